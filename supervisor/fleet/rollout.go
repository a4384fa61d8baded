package fleet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// State is that of a rollout.
type State string

const (
	Running    State = "running"
	Complete   State = "complete" // every host serves the revision
	Halted     State = "halted"   // no turn begins until it is resumed
	Aborted    State = "aborted"
	Superseded State = "superseded" // by another one, before it was complete
)

// Refusal says why an operator's request cannot be met.
type Refusal struct {
	Message, Hint string
	Busy          bool // another rollout is under way
}

func (r *Refusal) Error() string { return r.Message }

func refuse(hint, format string, args ...any) *Refusal {
	return &Refusal{Message: fmt.Sprintf(format, args...), Hint: hint}
}

// keptRollouts is how many rollouts the history has.
const keptRollouts = 20

// Start returns the transaction that begins a rollout. Of w it takes what the operator says. The members
// are the hosts that have the app now, and those of the last rollout of the app that are away: they are
// waited for. max is the number of hosts, or a part of them ("25%"). Hosts in w.Skipped are said to be down.
func Start(v *View, w Wish, max string, supersede bool) (Wish, Txn, error) {
	w.ID, w.Attempt, w.Members = 1, 1, nil
	txn := Txn{If: []Cond{v.sameWish()}}
	if v.wish != nil {
		former := v.wish.record
		if state := v.state(); (state == Running || state == Halted) && !supersede {
			r := refuse("tideover rollout status; --supersede puts the new one in its place", "rollout %d of %s is %s", former.ID, former.App, state)
			r.Busy = true
			return w, txn, r
		}
		w.ID = former.ID + 1
		txn.Then = append(txn.Then, put(historyKey(former.ID), v.past()))
		txn.Then = append(txn.Then, v.forget(former.ID)...)
	}
	skipped, err := v.skip(w.Skipped, &txn)
	if err != nil {
		return w, txn, err
	}
	w.Skipped = skipped
	for host, h := range v.hosts {
		if _, has := h.record.Apps[w.App]; has && !slices.Contains(skipped, host) {
			w.Members = append(w.Members, host)
		}
	}
	here := len(w.Members)
	for _, host := range v.membersBefore(w.App) {
		if !v.Has(host) && !slices.Contains(skipped, host) {
			w.Members = append(w.Members, host)
		}
	}
	slices.Sort(w.Members)
	switch {
	case len(v.hosts) == 0:
		return w, txn, refuse("tideover fleet lists them; the daemons need [fleet] with the same group", "no host of the fleet is there")
	case here == 0:
		return w, txn, refuse("tideover fleet lists what they have", "no host of the fleet has the app %s", w.App)
	case w.Canary != "" && !w.concerns(w.Canary):
		return w, txn, refuse("the hosts are "+strings.Join(w.Members, ", "), "the canary %s is no host of the fleet with the app %s", w.Canary, w.App)
	}
	if w.Max, err = portion(max, len(w.Members)); err != nil {
		return w, txn, err
	}
	txn.Then = append(txn.Then, put(wishKey, w))
	return w, txn, nil
}

// membersBefore are the hosts that the last rollout of an app was for, without those that were said to be
// down.
func (v *View) membersBefore(app string) (hosts []string) {
	last := Wish{}
	if v.wish != nil && v.wish.record.App == app {
		last = v.wish.record
	}
	for id, past := range v.history {
		if past.Wish.App == app && id > last.ID {
			last = past.Wish
		}
	}
	for _, host := range last.Members {
		if last.concerns(host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// portion is a number, or a percentage of all, rounded down; at least 1.
func portion(text string, all int) (int, error) {
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || percent && n > 100 {
		return 0, refuse("such as 2 or 25%", "max-unavailable is a number of hosts or a percentage, not %q", text)
	}
	if percent {
		return max(1, all*n/100), nil
	}
	return min(n, all), nil
}

// skip closes the open turns of hosts that an operator says are down. It refuses if another host has
// an open turn and is not there: that one may still be reloading, and would not be counted.
func (v *View) skip(hosts []string, txn *Txn) (skipped []string, err error) {
	for t := range v.open {
		_, alive := v.slots[t.host]
		switch {
		case slices.Contains(hosts, t.host):
			b := v.begun[t]
			txn.If = append(txn.If, modified(begunKey(t), b.modified), modified(doneKey(t), v.done[t].modified))
			txn.Then = append(txn.Then, put(doneKey(t), Done{Begun: b.modified, Attempt: b.record.Attempt, Outcome: Skipped, Reason: "said to be down"}))
		case !alive:
			return nil, refuse("wait until it is back; if the machine is down: --skip "+t.host, "%s has begun its turn and not said how it ended", t.host)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), nil
}

// forget deletes what is kept of rollouts before the last one: turns that are closed, and the oldest
// of the history.
func (v *View) forget(last int) (ops []Op) {
	old := map[string]bool{} // whether a turn is open, by rollout
	for t := range v.begun {
		if id, err := strconv.Atoi(t.id); err == nil && id < last {
			old[t.id] = old[t.id] || v.open[t]
		}
	}
	for id, open := range old {
		if !open {
			ops = append(ops, removeBelow("begun/"+id+"/"), removeBelow("done/"+id+"/"), removeBelow("halt/"+id+"/"))
		}
	}
	if _, ok := v.history[last-keptRollouts]; ok {
		ops = append(ops, remove(historyKey(last-keptRollouts)))
	}
	return ops
}

// Resume returns the transaction that begins another attempt of a halted rollout: hosts that have
// failed get another turn. Hosts in skip are said to be down.
func Resume(v *View, skip []string) (Wish, Txn, error) {
	if v.wish == nil {
		return Wish{}, Txn{}, refuse("tideover rollout APP", "there is no rollout")
	}
	w := v.wish.record
	if state := v.state(); state != Halted {
		hint := "only a halted one can be resumed"
		if state == Aborted {
			hint = "begin another one: tideover rollout " + w.App
		}
		return w, Txn{}, refuse(hint, "rollout %d of %s is %s", w.ID, w.App, state)
	}
	txn := Txn{If: []Cond{v.sameWish()}}
	skipped, err := v.skip(slices.Concat(w.Skipped, skip), &txn)
	if err != nil {
		return w, txn, err
	}
	w.Attempt++
	w.Skipped = skipped
	if w.Canary != "" && !w.concerns(w.Canary) {
		w.Canary = ""
	}
	txn.Then = append(txn.Then, put(wishKey, w))
	return w, txn, nil
}

// Abort returns the transaction that ends a rollout for good. Turns that are open go on to their end.
func Abort(v *View, by string) (Wish, Txn, error) {
	if v.wish == nil {
		return Wish{}, Txn{}, refuse("", "there is no rollout")
	}
	w := v.wish.record
	if state := v.state(); state != Running && state != Halted {
		return w, Txn{}, refuse("", "rollout %d of %s is %s", w.ID, w.App, state)
	}
	h := Halt{Reason: "aborted", Aborted: true, By: by}
	txn := Txn{If: []Cond{v.sameWish()}, Then: []Op{put(v.haltKey(), h)}}
	return w, txn, nil
}

// state is that of the wish.
func (v *View) state() State {
	h := v.halt()
	switch {
	case v.complete():
		return Complete
	case h != nil && h.Aborted:
		return Aborted
	case h != nil:
		return Halted
	}
	return Running
}

// past is what the history keeps of the wish.
func (v *View) past() Past {
	p := Past{Wish: v.wish.record, State: v.state(), Halt: v.halt()}
	for _, host := range p.Wish.Members {
		if v.settled(host) && p.Wish.concerns(host) {
			p.Done++
		}
	}
	if p.State == Running || p.State == Halted {
		p.State = Superseded
	}
	return p
}
