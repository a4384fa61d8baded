package proxy

import "time"

// A waiter is a request's place at the gate. It is part of the client handle that owns it, so that being held costs no memory of
// its own. Everything but owner belongs to the gate from enter until the verdict.
type waiter struct {
	owner owner

	next, previous *waiter
	arrival        uint64 // position in the order of arrival, for all gates' life
	arrived        time.Time
	queued         bool
	since          time.Time     // when the present stay in the queue began
	waited         time.Duration // all stays together
	before         time.Duration // what it had waited when it was recalled, for the next enter
	stay           uint64        // number of the latest stay that observations counted
	given          verdict
}

// An owner is told what became of its waiter. deliver is called without any lock of the gate and must not block.
type owner interface {
	deliver(verdict)
}

// A queue links waiters in the order of their arrival, oldest first.
type queue struct {
	oldest, newest *waiter
	length         int
}

func (q *queue) empty() bool { return q.oldest == nil }

// insert puts w behind everybody who came before it. A new one goes to the end at once; one that comes back to the front is found
// from there, because what comes back is older than nearly all that are held.
func (q *queue) insert(w *waiter) {
	q.length++
	after := q.newest
	if after != nil && after.arrival > w.arrival {
		after = nil
		for n := q.oldest; n.arrival < w.arrival; n = n.next {
			after = n
		}
	}
	w.previous = after
	if after == nil {
		w.next, q.oldest = q.oldest, w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		q.newest = w
	} else {
		w.next.previous = w
	}
}

func (q *queue) remove(w *waiter) {
	q.length--
	if w.previous == nil {
		q.oldest = w.next
	} else {
		w.previous.next = w.next
	}
	if w.next == nil {
		q.newest = w.previous
	} else {
		w.next.previous = w.previous
	}
	w.next, w.previous = nil, nil
}

// queue puts w among the held. The lock is held.
func (g *Gate) queue(w *waiter, now time.Time) {
	g.held.insert(w)
	w.queued, w.since = true, now
	for _, o := range g.watchers {
		o.begins(w)
	}
	g.queued++
	w.stay = g.queued
}

// unqueue takes w from among the held. The lock is held.
func (g *Gate) unqueue(w *waiter, now time.Time) {
	g.held.remove(w)
	w.queued = false
	w.waited += now.Sub(w.since)
	for _, o := range g.watchers {
		o.ends(w, w.waited)
	}
}
