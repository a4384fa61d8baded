package supervisor

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/generation"
	"tideover/supervisor/handoff"
)

// ticket is one caller's request in the queue of an app.
type ticket struct {
	request api.Request
	left    atomic.Bool     // the caller has left, and does not want what has not begun
	phases  chan api.Phase  // lossy: a caller that does not read misses phases and delays nothing
	done    chan api.Result // capacity 1: the caller may have left
	upgrade *upgrade        // of which it is a part
}

func newTicket(r api.Request) *ticket {
	return &ticket{request: r, phases: make(chan api.Phase, 64), done: make(chan api.Result, 1)}
}

// await passes phases to progress until the result is there. When ctx ends, the
// caller stops waiting. An operation that has begun goes on; a request that still waits in
// the queue is dropped, unless it has NoWait.
func (t *ticket) await(ctx context.Context, progress func(api.Phase)) api.Result {
	for {
		select {
		case p := <-t.phases:
			progress(p)
		case r := <-t.done:
			for len(t.phases) > 0 {
				progress(<-t.phases)
			}
			return r
		case <-ctx.Done():
			t.left.Store(!t.request.NoWait)
			return api.Result{App: t.request.App, Verb: t.request.Verb, Result: "timeout", Exit: api.ExitTimeout,
				Error: "stopped waiting; an operation that has begun goes on", Hint: "tideover status " + t.request.App}
		}
	}
}

// isWithdrawn reports whether the caller wants no old generation stopped for it any more.
func (t *ticket) isWithdrawn() bool {
	return t.request.Withdrawn != nil && isClosed(t.request.Withdrawn)
}

func (t *ticket) refused(exit api.Exit, why string) api.Result {
	return api.Result{App: t.request.App, Verb: t.request.Verb, Result: "refused", Exit: exit, Error: why,
		Phases: []api.PhaseResult{}, ChildOutput: []string{}}
}

// queue has the requests for operations on one app. The app's goroutine owns it.
type queue struct {
	app     string
	logger  hclog.Logger
	waiting []*ticket
	running *running
	wake    chan struct{} // capacity 1: a ticket was added
	closed  bool
	began   time.Time           // when the last operation has begun
	last    *api.Result         // of the last reload or restart
	ended   []handoff.Operation // that have ended last, and whose callers can ask again; the oldest first
}

// maxEnded is how many operations of an app that have ended are kept, of those whose callers can ask again, and of the
// others.
const maxEnded = 4

// running is the operation that runs.
type running struct {
	verb      api.Verb
	abort     context.CancelCauseFunc
	operation *operation
}

// instant is when an operation begins that begins now. The history knows the operations of an app by it, so no two
// have the same.
func (q *queue) instant() time.Time {
	now := time.Now()
	if !now.After(q.began) {
		now = q.began.Add(1)
	}
	q.began = now
	return now
}

// add appends a ticket. A stop overtakes any other operation: one that runs is aborted,
// and those that wait are refused, because the app would be stopped after them anyway. A
// ticket with NoQueue is refused when an operation runs.
func (q *queue) add(t *ticket) {
	switch {
	case q.closed:
		t.done <- t.refused(api.ExitNotRunning, "tideover is shutting down")
		return
	case q.running != nil && t.request.NoQueue:
		t.done <- t.refused(api.ExitBusy, "another "+string(q.running.verb)+" of "+t.request.App+" runs")
		return
	case t.request.Verb == api.Stop:
		q.overtake()
	}
	if q.running != nil {
		t.phases <- api.Phase{App: t.request.App, Verb: t.request.Verb, Name: "queue", Attrs: []api.Attr{api.String("behind", string(q.running.verb))}}
	}
	q.waiting = append(q.waiting, t)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// overtake makes way for a stop.
func (q *queue) overtake() {
	if q.running != nil && q.running.verb != api.Stop {
		q.running.abort(generation.ErrOvertaken)
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(t *ticket) bool {
		if t.request.Verb == api.Stop {
			return false
		}
		q.logDropped(t, "overtaken by a stop")
		t.done <- t.refused(api.ExitError, "overtaken: "+generation.ErrOvertaken.Error())
		return true
	})
}

func (q *queue) logDropped(t *ticket, why string) {
	q.logger.Info("operation dropped", "app", q.app, "verb", t.request.Verb, "by", t.request.By.String(), "cause", why)
}

// next removes the first ticket and those directly behind it with the same verb.
// All of them were added before the operation begins, so one new generation
// answers each, but for a ticket with a command, which is alone. Tickets of callers that have left or
// withdrawn them are dropped before.
func (q *queue) next() []*ticket {
	q.waiting = slices.DeleteFunc(q.waiting, func(t *ticket) bool {
		switch {
		case t.left.Load():
			q.logDropped(t, "the client has left")
		case t.isWithdrawn():
			q.logDropped(t, "withdrawn")
			r := t.refused(api.ExitTimeout, "its caller has withdrawn it before it began")
			r.Result = api.GivenUp
			t.done <- r
		default:
			return false
		}
		return true
	})
	if len(q.waiting) == 0 {
		return nil
	}
	n := 1
	joins := func(t *ticket) bool {
		return t.request.Verb == q.waiting[0].request.Verb && len(t.request.Command)+len(q.waiting[0].request.Command) == 0
	}
	for n < len(q.waiting) && joins(q.waiting[n]) {
		n++
	}
	tickets := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	return tickets
}

// close refuses the tickets that wait, and those that are added later.
func (q *queue) close() {
	q.closed = true
	for _, t := range q.waiting {
		t.done <- t.refused(api.ExitNotRunning, "tideover is shutting down")
	}
	q.waiting = nil
}

// keep keeps the result of an operation for callers that ask again, and for a later supervisor, which
// adds it to the history if that does not have it, and ends its drain.
func (q *queue) keep(o *operation) {
	if o.verb == upgrading {
		return
	}
	q.ended = append(slices.Clone(q.ended), *o.record())
	for _, asked := range []bool{false, true} { // those whose callers can ask again, and the others
		kind := func(e handoff.Operation) bool { return len(e.IDs) > 0 == asked }
		count := 0
		for _, e := range q.ended {
			if kind(e) {
				count++
			}
		}
		if count > maxEnded {
			oldest := slices.IndexFunc(q.ended, kind)
			q.ended = slices.Delete(q.ended, oldest, oldest+1)
		}
	}
}

// update keeps the result of an operation that has changed after its end.
func (q *queue) update(o *operation, r *api.Result) {
	q.ended = slices.Clone(q.ended) // the record has the former one
	for i := range q.ended {
		if q.ended[i].ID == o.id {
			q.ended[i].Result = r
		}
	}
}

// rejoin has a caller that asks again get the result of its operation, whether that runs or has ended. It
// reports false if the operation is not known, or waits: then it is to be added.
func (a *App) rejoin(t *ticket) bool {
	q, id := &a.queue, t.request.ID
	if r := q.running; r != nil && r.operation != nil && slices.Contains(r.operation.ids, id) {
		o := r.operation
		o.tickets = append(o.tickets, t)
		if o.phase.Name != "" && o.phase.Result == "" {
			reportPhase([]*ticket{t}, o.phase)
		}
		return true
	}
	for _, d := range a.drains {
		if t.request.WaitDrain && slices.Contains(d.operation.ids, id) {
			d.waiting = append(d.waiting, t)
			reportPhase([]*ticket{t}, d.phase)
			return true
		}
	}
	for _, ended := range q.ended {
		if slices.Contains(ended.IDs, id) {
			r := *ended.Result
			if t.request.WaitDrain && r.Drain != nil { // as for a caller that has not asked again
				r = judgeLost(r)
			}
			t.done <- r
			return true
		}
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(other *ticket) bool {
		if other.request.ID != id {
			return false
		}
		other.done <- other.refused(api.ExitTimeout, "its caller has asked again")
		return true
	})
	return false
}

// waitingRecord are the tickets whose callers do not ask again. What the daemon itself asks for it asks
// for again, too.
func (q *queue) waitingRecord() (all []api.Request) {
	for _, t := range q.waiting {
		if r := t.request; r.Verb != upgrading && r.Cause == "" && !r.Attached && !r.InTurn && (r.ID == "" || r.NoWait) {
			all = append(all, r)
		}
	}
	return all
}
