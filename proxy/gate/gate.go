package gate

import (
	"slices"
	"sync"
	"time"

	"tideover/proxy/awake"
)

const (
	// stallInterval widens the release window by one when it passed without an answer, so that one
	// slow request, released first, does not delay all those behind it.
	stallInterval = 100 * time.Millisecond
	// initialBackoff is the first pause after a target that takes no connection (a full backlog, no
	// listener). Each further one doubles it, up to maxBackoff.
	initialBackoff = 2 * time.Millisecond
	maxBackoff     = 100 * time.Millisecond
)

// Settings bound what a gate holds.
type Settings struct {
	// Limit is how many requests are held at once; one more is answered 503. 0: none is held.
	Limit int
	// Timeout is the longest a request is held while no target can answer; then it is answered 503.
	// The time in which the queue is released at the target's pace does not count, and neither does
	// the time before, in which a former target had the request, nor that in which a former target
	// still answers others. 0: none is held.
	Timeout time.Duration
}

// A Refusal is the answer to all requests while a gate refuses instead of holding.
type Refusal struct {
	Status     int           // 0: 503
	RetryAfter time.Duration // rounded up to seconds; 0: no Retry-After
	Cause      string        // in words, for the log and the body: "the app is stopped"
}

// A Gate decides which requests pass, and to which target. A new request never overtakes a held
// one.
//
// All methods may be called from any goroutine. They block on nothing but g.mu, which is never held
// while an [Owner] or a [Conn] is called.
type Gate struct {
	createdAt time.Time

	mu       sync.Mutex
	settings Settings
	target   *Target
	holds    []Hold
	refusal  *Refusal
	gauges   *QueueGauges // nil: none are written

	held      queue
	deadlines expiryHeap    // the same requests, the next to expire first
	shutFor   time.Duration // the time in which requests were held and no target could answer
	shutAt    time.Duration // shutFor at the latest Swap
	clockRead time.Time     // shutFor is up to date until here
	shut      bool          // no target could answer at clockRead
	arrivals  uint64        // number of the latest arrival
	episodes  uint64        // number of the latest stay of a request in the queue
	observers []*Observation

	window        int           // in-flight limit of the target while requests are held
	windowMovedAt time.Time     // the stall interval counts from here
	backoff       time.Duration // the latest pause after "no connection"; 0 after a success
	pausedUntil   time.Time     // no request is released before; zero: not paused
	timer         *time.Timer   // for the next expiry, or end of a pause or stall
	holdTimer     *time.Timer   // for the next end of a hold; nil: none ends by itself
}

// New returns a gate that is shut: it has no target yet.
func New(s Settings) *Gate {
	return &Gate{createdAt: time.Now(), settings: s}
}

// moment is t as a duration since the creation of the gate, which takes a third of the memory of a
// time.Time.
func (g *Gate) moment(t time.Time) time.Duration { return t.Sub(g.createdAt) }

// ArrivedAt is when the request has entered the gate.
func (g *Gate) ArrivedAt(w *Waiter) time.Time {
	now := time.Now() // createdAt was read from a wall clock that may have been set since
	return now.Add(w.arrivedAt - g.moment(now))
}

// Configure replaces the settings. A new timeout applies to held requests too, with the time that
// has counted already; a lower limit ends no request that is held already.
func (g *Gate) Configure(s Settings) {
	g.change(func(time.Time) { g.settings = s })
}

// Desired is what a gate is to be: all that is not of its requests.
type Desired struct {
	Settings Settings
	Target   *Target // nil: none, so that requests are held
	Holds    []Hold  // in the order in which they began
	Refusal  *Refusal
}

// A Hold keeps a gate shut.
type Hold struct {
	Name  string    `json:"name"`
	Until time.Time `json:"until,omitzero"` // when it ends by itself; zero: never
}

// Apply makes the gate what is desired, in one step, and returns the target that was replaced (nil:
// none was) with its requests in flight at that moment. Once it has returned, no further request
// passes to that target. It is retired. Applying the same again changes nothing.
func (g *Gate) Apply(d Desired) (former *Target, inFlight int) {
	g.change(func(now time.Time) {
		g.settings = d.Settings
		if d.Target != g.target {
			former = g.swapLocked(d.Target, now)
		}
		if former != nil {
			inFlight = former.InFlight()
		}
		if !sameRefusal(g.refusal, d.Refusal) {
			g.refusal = d.Refusal
			g.resetWindowLocked(now)
		}
		if g.setHoldsLocked(d.Holds, now) {
			g.resetWindowLocked(now)
		}
	})
	if former != nil {
		former.Retire()
	}
	return former, inFlight
}

func sameRefusal(a, b *Refusal) bool { return a == b || a != nil && b != nil && *a == *b }

// setHoldsLocked replaces the holds, but for those whose time is over, and reports whether one has
// ended. g.mu must be held.
func (g *Gate) setHoldsLocked(holds []Hold, now time.Time) (ended bool) {
	former, next := g.holds, time.Time{}
	g.holds = nil
	for _, h := range holds {
		switch {
		case h.Until.IsZero():
		case !h.Until.After(now):
			continue
		case next.IsZero() || h.Until.Before(next):
			next = h.Until
		}
		g.holds = append(g.holds, h)
	}
	if g.holdTimer != nil {
		g.holdTimer.Stop()
		g.holdTimer = nil
	}
	if !next.IsZero() {
		g.holdTimer = time.AfterFunc(next.Sub(now), g.endHolds)
	}
	return slices.ContainsFunc(former, func(h Hold) bool { return g.holdLocked(h.Name) < 0 })
}

// endHolds ends the holds whose time is over.
func (g *Gate) endHolds() {
	g.change(func(now time.Time) {
		if g.setHoldsLocked(g.holds, now) {
			g.resetWindowLocked(now)
		}
	})
}

// holdLocked returns the index of the hold of that name; -1: there is none. g.mu must be held.
func (g *Gate) holdLocked(name string) int {
	return slices.IndexFunc(g.holds, func(h Hold) bool { return h.Name == name })
}

// Swap makes t the gate's target and returns the former one; nil: none, so that requests are held.
// It is atomic with passes: once it has returned, no further request passes to the former target,
// and [Target.InFlight] of that one only falls.
func (g *Gate) Swap(t *Target) *Target {
	var former *Target
	g.change(func(now time.Time) { former = g.swapLocked(t, now) })
	return former
}

// swapLocked is Swap. g.mu must be held.
func (g *Gate) swapLocked(t *Target, now time.Time) *Target {
	former := g.target
	g.target = t
	if former != nil && former != t {
		former.deactivate()
	}
	if t != nil {
		t.activate(g)
	}
	g.shutAt = g.shutFor
	g.backoff, g.pausedUntil = 0, time.Time{}
	g.resetWindowLocked(now)
	return former
}

// Hold shuts the gate under a name until [Gate.Release] is called with it. The same name twice is
// one hold.
func (g *Gate) Hold(name string) {
	g.change(func(time.Time) {
		if g.holdLocked(name) < 0 {
			g.holds = append(g.holds, Hold{Name: name})
		}
	})
}

// Release ends the hold of that name; an unknown name is no error. When it was the last reason to
// be shut, held requests are released.
func (g *Gate) Release(name string) {
	g.change(func(now time.Time) {
		i := g.holdLocked(name)
		if i < 0 {
			return
		}
		g.holds = slices.Delete(g.holds, i, i+1)
		g.resetWindowLocked(now)
	})
}

// Refuse answers all requests with r instead of holding them: new ones and held ones, also where
// the gate is open. nil ends it.
func (g *Gate) Refuse(r *Refusal) {
	g.change(func(now time.Time) {
		g.refusal = r
		g.resetWindowLocked(now)
	})
}

// A Decision says what is to be done with a request.
type Decision struct {
	Outcome Outcome
	Target  *Target       // of a passed request, which is counted on it until Done or Requeue
	Refusal *Refusal      // of a refused request; of an expired one only its Cause: what kept the gate shut
	Waited  time.Duration // for how long the request was held, all its stays in the queue together
}

// An Outcome is the kind of a Decision. The zero value is none.
type Outcome uint8

const (
	Passed     Outcome = iota + 1 // goes to the target
	Held                          // the decision is delivered later, to the Owner
	Expired                       // was held for Settings.Timeout while no target could answer
	Overflowed                    // too many requests are held already
	Refused                       // the gate refuses
)

// Enter asks for a pass for a request that has just arrived. The check and the entry into the queue
// are one step. After Held, and only then, the owner of w is told the decision exactly once, unless
// Leave took w out before.
func (g *Gate) Enter(w *Waiter) Decision {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.readClockLocked(now)
	g.arrivals++
	w.waited, w.counted = 0, 0
	w.arrival, w.arrivedAt, w.episode = g.arrivals, g.moment(now), 0
	switch {
	case g.refusal != nil:
		return Decision{Outcome: Refused, Refusal: g.refusal}
	case g.openLocked() && g.held.empty():
		g.passLocked(w)
		return Decision{Outcome: Passed, Target: g.target}
	case g.held.length >= g.settings.Limit:
		return Decision{Outcome: Overflowed}
	case g.settings.Timeout <= 0:
		return Decision{Outcome: Expired, Refusal: &Refusal{Cause: g.whyShutLocked()}}
	}
	g.enqueueLocked(w, now)
	g.resetTimerLocked(now)
	return Decision{Outcome: Held}
}

// Requeue gives the pass of w to t back (nil: it has none any more) and asks for another one. w
// takes its former place, ahead of all later arrivals, regardless of the limit. Toward the timeout
// count only its stays in the queue. The decision is always delivered to the owner, perhaps before Requeue returns. busy
// says that t took no connection: releases pause for a backoff.
func (g *Gate) Requeue(w *Waiter, t *Target, busy bool) {
	g.change(func(now time.Time) {
		if t != nil {
			t.leave()
		}
		g.enqueueLocked(w, now)
		switch {
		case t != g.target:
		case busy:
			g.backoff = min(max(initialBackoff, 2*g.backoff), maxBackoff)
			g.pausedUntil = now.Add(g.backoff)
			g.window, g.windowMovedAt = max(1, t.InFlight()), g.pausedUntil
		case g.held.length == 1:
			g.resetWindowLocked(now)
		}
	})
}

// Done ends a pass to t. answered says that the target has answered, which widens the release
// window by one.
func (g *Gate) Done(t *Target, answered bool) {
	t.leave()
	g.mu.Lock()
	if g.held.empty() {
		g.backoff, g.pausedUntil = 0, time.Time{}
		g.mu.Unlock()
		return
	}
	now := time.Now()
	g.readClockLocked(now)
	if t != g.target && answered {
		g.shutFor = g.shutAt // until here a generation was answering
	}
	if t == g.target && answered {
		g.window, g.windowMovedAt = g.window+1, now
		g.backoff, g.pausedUntil = 0, time.Time{}
	}
	decided := g.dispatchLocked(now)
	g.mu.Unlock()
	deliver(decided)
}

// Leave takes w out of the queue: its client has closed the connection. It reports false when the
// decision has been made already; then the owner is told it, or is being told, and has to act on
// it.
func (g *Gate) Leave(w *Waiter) bool {
	left := false
	g.change(func(now time.Time) {
		if left = w.queued; left {
			g.dequeueLocked(w, now)
		}
	})
	return left
}

// WouldAdmit reports whether a request that entered now would pass at once. It may be out of date
// when it returns.
func (g *Gate) WouldAdmit() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.openLocked() && g.held.empty()
}

// Target returns the gate's target; nil: none.
func (g *Gate) Target() *Target {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.target
}

// resume releases held requests to t, which was suspended, if the gate still has it.
func (g *Gate) resume(t *Target) {
	g.change(func(now time.Time) {
		if g.target == t {
			g.backoff, g.pausedUntil = 0, time.Time{}
			g.resetWindowLocked(now)
		}
	})
}

// openLocked reports whether requests may pass. g.mu must be held.
func (g *Gate) openLocked() bool {
	return g.target != nil && len(g.holds) == 0 && g.refusal == nil && !g.target.suspended()
}

// passLocked counts w on the target. g.mu must be held, and the gate must be open.
func (g *Gate) passLocked(w *Waiter) { w.turn = g.target.enter() }

// resetWindowLocked sets the release window to what the target can do at once, beside what is in
// flight on it already. g.mu must be held.
func (g *Gate) resetWindowLocked(now time.Time) {
	if g.target != nil {
		g.window = g.target.InFlight() + max(1, g.target.options.Concurrency)
		g.windowMovedAt = now
	}
}

// change makes one change to the gate, then every decision that follows from it, and delivers them
// with no lock held.
func (g *Gate) change(do func(now time.Time)) {
	g.mu.Lock()
	now := time.Now()
	g.readClockLocked(now)
	do(now)
	decided := g.dispatchLocked(now)
	g.mu.Unlock()
	deliver(decided)
}

// dispatchLocked makes every decision that is due and returns the waiters concerned, linked. g.mu
// must be held.
func (g *Gate) dispatchLocked(now time.Time) *Waiter {
	var decided queue
	decide := func(w *Waiter, o Outcome, t *Target, r *Refusal) {
		g.dequeueLocked(w, now)
		w.outcome, w.target, w.refusal = o, t, r
		decided.insert(w)
	}
	for !g.held.empty() && g.refusal != nil {
		decide(g.held.oldest, Refused, nil, g.refusal)
	}
	for !g.held.empty() && g.canReleaseLocked(now) {
		w := g.held.oldest
		g.passLocked(w)
		decide(w, Passed, g.target, nil)
	}
	for !g.held.empty() && g.isShutLocked() && g.untilExpiryLocked() <= 0 {
		decide(g.deadlines[0], Expired, nil, &Refusal{Cause: g.whyShutLocked()})
	}
	g.resetTimerLocked(now)
	return decided.oldest
}

// canReleaseLocked reports whether the oldest held request may pass. g.mu must be held.
func (g *Gate) canReleaseLocked(now time.Time) bool {
	if !g.openLocked() || now.Before(g.pausedUntil) {
		return false
	}
	inFlight := g.target.InFlight()
	if inFlight >= g.window && !now.Before(g.windowMovedAt.Add(stallInterval)) {
		g.window, g.windowMovedAt = inFlight+1, now
	}
	return inFlight < g.window
}

// resetTimerLocked sets the gate's timer to the next moment at which a decision may be due, or the
// clock must be read. g.mu must be held.
func (g *Gate) resetTimerLocked(now time.Time) {
	g.shut = g.isShutLocked()
	g.publishLocked(now)
	if g.held.empty() {
		return
	}
	wait := awake.Interval // for readClockLocked
	if g.shut {
		wait = min(wait, g.untilExpiryLocked())
	}
	if g.openLocked() {
		ready := g.windowMovedAt.Add(stallInterval)
		if now.Before(g.pausedUntil) {
			ready = g.pausedUntil
		}
		wait = min(wait, ready.Sub(now))
	}
	if g.timer == nil {
		g.timer = time.AfterFunc(wait, func() { g.change(func(time.Time) {}) })
		return
	}
	g.timer.Reset(wait)
}

// deliver tells the owners their decisions. g.mu must not be held: an owner may call the gate again
// at once.
func deliver(w *Waiter) {
	for w != nil {
		next := w.next
		w.next = nil
		w.Owner.OnDecision(w.Decision())
		w = next
	}
}
