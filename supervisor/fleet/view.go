package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// kept is a record and the revisions of its key.
type kept[R any] struct {
	record            R
	created, modified int64
}

// View is what the keys of a group were at one revision. It is no copy of the store at this moment:
// what is decided by it holds by the conditions of the transaction.
type View struct {
	Revision int64

	wish    *kept[Wish]
	hosts   map[string]kept[Host]
	slots   map[string]kept[Slot]
	queue   []string // hosts with a slot, in the order of its creation
	begun   map[turnKey]kept[Begun]
	done    map[turnKey]kept[Done]
	open    map[turnKey]bool // begun, and not done
	halts   map[string]Halt  // by key
	history map[int]Past
}

// NewView is that of a group without a key.
func NewView() *View {
	return &View{hosts: map[string]kept[Host]{}, slots: map[string]kept[Slot]{}, begun: map[turnKey]kept[Begun]{}, done: map[turnKey]kept[Done]{},
		open: map[turnKey]bool{}, halts: map[string]Halt{}, history: map[int]Past{}}
}

// KeyValue is a key of the store, without the prefix of the group.
type KeyValue struct {
	Key               string
	Value             string
	Created, Modified int64
}

// Put takes over a key that was made or changed. A key that this program does not know is left out;
// one that it cannot read is an error.
func (v *View) Put(kv KeyValue) error {
	kind, rest, _ := strings.Cut(kv.Key, "/")
	switch kind {
	case wishKey:
		w, err := decode[Wish](kv)
		if err != nil {
			return err
		}
		v.wish = &w
	case "hosts":
		return store(v.hosts, rest, kv)
	case "slots":
		v.dequeue(rest)
		if err := store(v.slots, rest, kv); err != nil {
			return err
		}
		at, _ := v.place(kv.Created)
		v.queue = slices.Insert(v.queue, at, rest)
	case "begun", "done":
		id, host, _ := strings.Cut(rest, "/")
		t := turnKey{id, host}
		var err error
		if kind == "begun" {
			err = store(v.begun, t, kv)
		} else {
			err = store(v.done, t, kv)
		}
		v.recount(t)
		return err
	case "halt":
		h, err := decode[Halt](kv)
		v.halts[kv.Key] = h.record
		return err
	case "history":
		p, err := decode[Past](kv)
		if id, failed := strconv.Atoi(rest); err == nil && failed == nil {
			v.history[id] = p.record
		}
		return err
	}
	return nil
}

// Delete takes over that a key is gone.
func (v *View) Delete(key string) {
	kind, rest, _ := strings.Cut(key, "/")
	switch kind {
	case wishKey:
		v.wish = nil
	case "hosts":
		delete(v.hosts, rest)
	case "slots":
		v.dequeue(rest)
		delete(v.slots, rest)
	case "begun", "done":
		id, host, _ := strings.Cut(rest, "/")
		t := turnKey{id, host}
		if kind == "begun" {
			delete(v.begun, t)
		} else {
			delete(v.done, t)
		}
		v.recount(t)
	case "halt":
		delete(v.halts, key)
	case "history":
		if id, err := strconv.Atoi(rest); err == nil {
			delete(v.history, id)
		}
	}
}

func decode[R any](kv KeyValue) (kept[R], error) {
	k := kept[R]{created: kv.Created, modified: kv.Modified}
	if err := json.Unmarshal([]byte(kv.Value), &k.record); err != nil {
		return k, fmt.Errorf("the key %s is not of this version of tideover: %w", kv.Key, err)
	}
	return k, nil
}

func store[K comparable, R any](in map[K]kept[R], at K, kv KeyValue) error {
	k, err := decode[R](kv)
	if err == nil {
		in[at] = k
	}
	return err
}

// recount notes whether a turn is open.
func (v *View) recount(t turnKey) {
	if b, ok := v.begun[t]; ok && v.done[t].record.Begun < b.modified {
		v.open[t] = true
	} else {
		delete(v.open, t)
	}
}

// place is where in the queue a slot of that create revision is, or would be.
func (v *View) place(created int64) (int, bool) {
	return slices.BinarySearchFunc(v.queue, created, func(host string, created int64) int {
		return cmp.Compare(v.slots[host].created, created)
	})
}

func (v *View) dequeue(host string) {
	if slot, ok := v.slots[host]; ok {
		if at, ok := v.place(slot.created); ok {
			v.queue = slices.Delete(v.queue, at, at+1)
		}
	}
}

// before counts the other hosts that are before the host's slot in the queue, or have an open turn.
// It counts no further than enough.
func (v *View) before(host string, enough int) int {
	at, _ := v.place(v.slots[host].created)
	if at >= enough {
		return at
	}
	ahead := v.queue[:at]
	n := at
	counted := map[string]bool{host: true}
	for t := range v.open {
		if !counted[t.host] && !slices.Contains(ahead, t.host) {
			n++
		}
		counted[t.host] = true
	}
	return n
}

// Behind are the other hosts for which a host waits that queues for a turn: those in their turn, those
// that have begun one and are not there, and those before it in the queue.
func (v *View) Behind(host string) (turning, gone, queued []string) {
	for t := range v.open {
		_, here := v.slots[t.host]
		switch {
		case t.host == host:
		case here:
			turning = append(turning, t.host)
		default:
			gone = append(gone, t.host)
		}
	}
	for _, other := range v.queue {
		if other == host {
			break
		}
		if !slices.Contains(turning, other) {
			queued = append(queued, other)
		}
	}
	slices.Sort(turning)
	slices.Sort(gone)
	return slices.Compact(turning), slices.Compact(gone), queued
}

// halt is that of the attempt under way; nil: none.
func (v *View) halt() *Halt {
	if v.wish == nil {
		return nil
	}
	if h, ok := v.halts[v.haltKey()]; ok {
		return &h
	}
	return nil
}

func (v *View) haltKey() string { return haltKey(v.wish.record.id(), v.wish.record.Attempt) }

// needs reports whether the host is to have a turn of the wish, now or later.
func (v *View) needs(host string) bool {
	if v.wish == nil || !v.wish.record.concerns(host) {
		return false
	}
	d, ok := v.done[turnKey{v.wish.record.id(), host}]
	switch {
	case !ok || d.record.Outcome == Untouched:
		return true
	case d.record.Outcome == Failed:
		return d.record.Attempt < v.wish.record.Attempt
	}
	return false
}

// settled reports whether the host serves what is wished, or is not to.
func (v *View) settled(host string) bool {
	d, ok := v.done[turnKey{v.wish.record.id(), host}]
	return !v.wish.record.concerns(host) || ok && (d.record.Outcome == OK || d.record.Outcome == Skipped)
}

// complete reports whether every host is settled.
func (v *View) complete() bool {
	for _, host := range v.wish.record.Members {
		if !v.settled(host) {
			return false
		}
	}
	return true
}

// Wish is what the fleet is to do; ok is false if there was no rollout yet.
func (v *View) Wish() (w Wish, ok bool) {
	if v.wish == nil {
		return Wish{}, false
	}
	return v.wish.record, true
}

// Has reports whether a host is there.
func (v *View) Has(host string) bool {
	_, here := v.hosts[host]
	return here
}

// Join returns the transaction that puts what a host says of itself. ok is false while the key is
// there that another process has put: one before it, or one on another host of that name. A process of the same
// tideover has ended with its supervisor: its key is taken over.
func Join(v *View, host string, h Host) (txn Txn, ok bool) {
	key := hostKey(host)
	former, here := v.hosts[host]
	if here && former.record.Process != h.Process && !sameRun(former.record.Process, h.Process) {
		return Txn{}, false
	}
	return Txn{If: []Cond{modified(key, former.modified)}, Then: []Op{putLeased(key, h)}}, true
}
