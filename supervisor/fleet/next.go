package fleet

import (
	"cmp"
	"slices"
	"strings"
)

// Self is what a host knows of itself.
type Self struct {
	Host    string
	Process string // of this process: another one has another; see sameRun
	Session string // of its lease: after the loss of a lease there is another
	Turn    *Turn  // that this process carries out; nil: none
	Busy    bool   // an operation runs on the app, of this process or of one before it
	Local   bool   // a reload of this host's own waits for a turn
	// Away are hosts that have been missing for so long that they are not waited for.
	Away func(host string) bool
}

// Turn is an open turn of this process.
type Turn struct {
	ID      string // of the rollout, or for a reload of the host's own
	Attempt int
	Begun   int64
}

// Local reports whether the turn is for a reload of the host's own.
func (t Turn) Local() bool { return t.ID == localTurns }

// Kind is what a Step is for.
type Kind int

const (
	Wait  Kind = iota // for another View
	Enter             // the queue, or stay in it by another lease
	Leave             // the queue
	Begin             // a turn: when the transaction has been done, the host may reload
	Close             // a turn that this process does not carry out
	GoOn              // a turn that a former process of this tideover has begun; there is no Txn
	Stop              // halts the rollout
)

// Step is the next thing that a host does. After it, Next is asked again with a View of at least
// the revision of the store's answer.
type Step struct {
	Kind Kind
	Txn  Txn
	// Of Begin and GoOn; the Begun of Begin is the revision at which the transaction is done.
	Turn Turn
	// Former, of GoOn, is the process that has begun the turn.
	Former string
	Halt   Halt // of Stop
}

// Next decides what a host does.
func Next(v *View, me Self) Step {
	if t, ok := v.strange(me); ok {
		if v.resumable(t, me) {
			b := v.begun[t]
			return Step{Kind: GoOn, Turn: Turn{t.id, b.record.Attempt, b.modified}, Former: b.record.Process}
		}
		if me.Busy {
			return Step{}
		}
		return v.closeStrange(t, me)
	}
	slot, queued := v.slots[me.Host]
	renewed := queued && slot.record.Session == me.Session
	if me.Turn != nil {
		if !renewed {
			return v.enter(me)
		}
		return Step{}
	}
	if step, ok := v.stopForOthers(me); ok {
		return step
	}
	id, ready := v.due(me)
	switch {
	case queued && !ready:
		return Step{Kind: Leave, Txn: Txn{If: []Cond{created(slotKey(me.Host), slot.created)}, Then: []Op{remove(slotKey(me.Host))}}}
	case !ready || me.Busy && !me.Local:
		return Step{}
	case !renewed:
		return v.enter(me)
	case v.before(me.Host, v.max()) >= v.max():
		return Step{}
	}
	return v.begin(id, me)
}

// max is how many turns may be open. It depends on the wish alone, so that all who begin under the
// same wish count by the same number.
func (v *View) max() int {
	if v.wish == nil {
		return 1
	}
	return v.wish.record.Max
}

// due is the kind of turn that the host is to queue for now.
func (v *View) due(me Self) (id string, ready bool) {
	if me.Local {
		return localTurns, true
	}
	if v.wish == nil || v.halt() != nil || !v.needs(me.Host) {
		return "", false
	}
	w := &v.wish.record
	if w.Canary != "" && w.Canary != me.Host && !v.settled(w.Canary) {
		return "", false
	}
	return w.id(), true
}

// sameWish holds while the wish is that of the view.
func (v *View) sameWish() Cond {
	if v.wish == nil {
		return absent(wishKey)
	}
	return modified(wishKey, v.wish.modified)
}

// enter puts the slot, or gives it the lease of this session. Then it keeps its create revision, and
// with that its place.
func (v *View) enter(me Self) Step {
	key := slotKey(me.Host)
	return Step{Kind: Enter, Txn: Txn{If: []Cond{created(key, v.slots[me.Host].created)}, Then: []Op{putLeased(key, Slot{me.Session})}}}
}

func (v *View) begin(id string, me Self) Step {
	t := turnKey{id, me.Host}
	conditions := []Cond{
		created(slotKey(me.Host), v.slots[me.Host].created), v.sameWish(),
		modified(begunKey(t), v.begun[t].modified), modified(doneKey(t), v.done[t].modified),
	}
	attempt := 0
	if id != localTurns {
		attempt = v.wish.record.Attempt
		conditions = append(conditions, absent(v.haltKey()))
	}
	return Step{Kind: Begin, Turn: Turn{ID: id, Attempt: attempt},
		Txn: Txn{If: conditions, Then: []Op{put(begunKey(t), Begun{attempt, me.Process})}}}
}

// strange is an open turn of the host that this process does not carry out: a former process has
// begun it, or this one has not got the answer of the store.
func (v *View) strange(me Self) (turnKey, bool) {
	for t := range v.open {
		if t.host == me.Host && (me.Turn == nil || me.Turn.ID != t.id || me.Turn.Begun != v.begun[t].modified) {
			return t, true
		}
	}
	return turnKey{}, false
}

// resumable reports whether this process finds out how such a turn ends: its supervisor knows what the former
// process has asked for.
func (v *View) resumable(t turnKey, me Self) bool {
	former := v.begun[t].record.Process
	return me.Turn == nil && former != me.Process && sameRun(former, me.Process) && v.wish != nil && t.id == v.wish.record.id()
}

// sameRun reports whether two processes are of the same tideover: of supervisors of which one has taken the place of
// the other. Their names begin with the same word and a slash.
func sameRun(a, b string) bool {
	run, _, named := strings.Cut(a, "/")
	return named && strings.HasPrefix(b, run+"/")
}

// closeStrange closes such a turn. This process has done nothing in a turn whose beginning it did
// not know; what a former one has done nobody knows.
func (v *View) closeStrange(t turnKey, me Self) Step {
	b := v.begun[t]
	done := Done{Begun: b.modified, Attempt: b.record.Attempt, Outcome: Untouched}
	if b.record.Process != me.Process {
		done.Outcome, done.Exit, done.Reason = Failed, 1, "tideover ended on this host in its turn"
	}
	return Step{Kind: Close, Txn: v.close(t, done)}
}

// Finish returns the transaction that closes the turn of this process. Where its conditions do not
// hold it is asked for again, with a later View. The turn is closed already, and there is nothing to
// do, when the answer to such a transaction was lost, or an operator has said that the host is down.
// v must be of turn.Begun or later.
func Finish(v *View, host string, turn Turn, done Done) (txn Txn, open bool) {
	t := turnKey{turn.ID, host}
	if !v.open[t] || v.begun[t].modified != turn.Begun {
		return Txn{}, false
	}
	done.Begun, done.Attempt = turn.Begun, turn.Attempt
	return v.close(t, done), true
}

// close puts done, gives up the slot, and halts the rollout if the turn has failed.
func (v *View) close(t turnKey, done Done) Txn {
	txn := Txn{If: []Cond{modified(begunKey(t), done.Begun)}, Then: []Op{put(doneKey(t), done), remove(slotKey(t.host))}}
	if done.Outcome != Failed || v.wish == nil || t.id != v.wish.record.id() {
		return txn
	}
	txn.If = append(txn.If, v.sameWish())
	if v.halt() == nil {
		txn.If = append(txn.If, absent(v.haltKey()))
		txn.Then = append(txn.Then, put(v.haltKey(), Halt{Host: t.host, Exit: done.Exit, Reason: done.Reason, Output: done.Output, By: t.host}))
	}
	return txn
}

// stopForOthers halts the rollout for a host that cannot say itself that it has failed.
func (v *View) stopForOthers(me Self) (Step, bool) {
	if v.wish == nil || v.halt() != nil {
		return Step{}, false
	}
	if lost := v.lost(); len(lost) > 0 && !v.complete() {
		t := lost[0]
		reason := "it has begun its turn, and its lease has ended: the host or its tideover has died, or is cut off"
		step := v.stop(Halt{Host: t.host, Exit: 1, Reason: reason, By: me.Host})
		step.Txn.If = append(step.Txn.If, modified(begunKey(t), v.begun[t].modified), modified(doneKey(t), v.done[t].modified), absent(slotKey(t.host)))
		return step, true
	}
	if host, ok := v.stuck(me); ok {
		step := v.stop(Halt{Host: host, Exit: 1, Reason: "it is away, and has not begun its turn", By: me.Host})
		step.Txn.If = append(step.Txn.If, absent(hostKey(host)))
		return step, true
	}
	return Step{}, false
}

// lost are the open turns without a slot, in the order of their hosts.
func (v *View) lost() (turns []turnKey) {
	for t := range v.open {
		if _, ok := v.slots[t.host]; !ok {
			turns = append(turns, t)
		}
	}
	slices.SortFunc(turns, func(a, b turnKey) int { return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.id, b.id)) })
	return turns
}

func (v *View) stop(h Halt) Step {
	return Step{Kind: Stop, Halt: h, Txn: Txn{If: []Cond{v.sameWish(), absent(v.haltKey())}, Then: []Op{put(v.haltKey(), h)}}}
}

// stuck is a host that is away when nobody has anything to do but to wait for it.
func (v *View) stuck(me Self) (string, bool) {
	if me.Away == nil || len(v.open) > 0 {
		return "", false
	}
	first := ""
	for _, host := range v.wish.record.Members {
		if v.settled(host) {
			continue
		}
		_, here := v.hosts[host]
		mayBegin := v.wish.record.Canary == "" || v.wish.record.Canary == host || v.settled(v.wish.record.Canary)
		if here && mayBegin || !here && !me.Away(host) {
			return "", false
		}
		if !here && first == "" {
			first = host
		}
	}
	return first, first != ""
}
