package gate

import (
	"container/heap"
	"time"
)

// A Waiter is a request as the gate sees it. It is part of the connection that owns it, so that a
// held request costs no memory of its own; TestPriceOfAHeldRequest in package proxy bounds its
// size. From Enter or Requeue until the decision it belongs to the gate.
type Waiter struct {
	Owner Owner

	next, prev *Waiter
	arrival    uint64        // position in the order of arrival, for the life of the gate
	episode    uint64        // number of the latest stay
	arrivedAt  time.Duration // as Gate.moment
	queuedAt   time.Duration // when the present stay in the queue began, as Gate.moment
	waited     time.Duration // all stays together
	counted    time.Duration // the part of waited that counts toward the timeout
	countFrom  time.Duration // while queued: Gate.shutFor less counted
	turn       int           // of the latest pass
	target     *Target       // of the latest decision
	refusal    *Refusal      // of the latest decision
	expiry     int32         // while queued: index in Gate.deadlines
	outcome    Outcome       // of the latest decision
	queued     bool
}

// An Owner is told what was decided about its Waiter. OnDecision is called with no lock of the gate
// held and must not block.
type Owner interface {
	OnDecision(Decision)
}

// Turn is the place in the order of the target that the request has passed to, for
// Target.AcceptedAt.
func (w *Waiter) Turn() int { return w.turn }

// Decision is the latest decision that was delivered.
func (w *Waiter) Decision() Decision {
	return Decision{Outcome: w.outcome, Target: w.target, Refusal: w.refusal, Waited: w.waited}
}

// A queue links waiters in the order of their arrival, oldest first.
type queue struct {
	oldest, newest *Waiter
	length         int
}

func (q *queue) empty() bool { return q.oldest == nil }

// insert puts w behind all earlier arrivals. A new one goes to the end at once. The place of a
// requeued one is searched from the front, because it is older than nearly all that are held.
func (q *queue) insert(w *Waiter) {
	q.length++
	after := q.newest
	if after != nil && after.arrival > w.arrival {
		after = nil
		for n := q.oldest; n.arrival < w.arrival; n = n.next {
			after = n
		}
	}
	w.prev = after
	if after == nil {
		w.next, q.oldest = q.oldest, w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		q.newest = w
	} else {
		w.next.prev = w
	}
}

func (q *queue) remove(w *Waiter) {
	q.length--
	if w.prev == nil {
		q.oldest = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.newest = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev = nil, nil
}

// enqueueLocked puts w into the queue. g.mu must be held.
func (g *Gate) enqueueLocked(w *Waiter, now time.Time) {
	g.held.insert(w)
	w.queued, w.queuedAt = true, g.moment(now)
	w.countFrom = g.shutFor - w.counted
	heap.Push(&g.deadlines, w)
	for _, o := range g.observers {
		o.beginLocked(w)
	}
	g.episodes++
	w.episode = g.episodes
}

// dequeueLocked takes w out of the queue. g.mu must be held.
func (g *Gate) dequeueLocked(w *Waiter, now time.Time) {
	g.held.remove(w)
	heap.Remove(&g.deadlines, int(w.expiry))
	w.queued = false
	w.waited += g.moment(now) - w.queuedAt
	w.counted = max(0, g.shutFor-w.countFrom)
	for _, o := range g.observers {
		o.endLocked(w, w.waited)
	}
}
