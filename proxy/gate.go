package proxy

import (
	"slices"
	"sync"
	"time"
)

const (
	// stallGuard widens the release window by one when a whole interval passed without an answer, so that one slow request,
	// released first, does not keep everybody behind it.
	stallGuard = 100 * time.Millisecond
	// The target said "not now" (a full backlog, nobody listening): the first pause, doubled up to the longest.
	firstPause   = 2 * time.Millisecond
	longestPause = 100 * time.Millisecond
)

// GateSettings bound what a gate holds.
type GateSettings struct {
	Limit   int           // requests held at once; one more is answered 503 at once. 0 holds none.
	Timeout time.Duration // the longest a request is held, counted from its arrival; then 503. 0 holds none.
}

// Refusal is the answer to everybody while a gate refuses instead of holding.
type Refusal struct {
	Status     int           // 0: 503
	RetryAfter time.Duration // rounded up to seconds; 0: no Retry-After
	Cause      string        // in words, for the log and the body: "the app is stopped"
}

// Gate decides who may pass, and to which target. It is open when it has a target and nobody holds it; shut, it holds what comes
// and lets it go oldest first when it opens. A newcomer never overtakes a held request.
//
// All methods may be called from any goroutine. None of them waits for anything but the gate's own lock, which is never held
// while somebody is told a verdict.
type Gate struct {
	mu       sync.Mutex
	settings GateSettings
	target   *Target
	holds    []string
	refusal  *Refusal
	recalled bool // see recall

	held     queue
	arrivals uint64 // numbers requests in order of arrival
	queued   uint64 // numbers stays in the queue; observations count by it
	watchers []*Observation

	window   int           // while somebody is held: how many may be out on the target
	progress time.Time     // when the window last moved; the stall guard counts from here
	pause    time.Duration // the last "not now" pause; 0 after a success
	resume   time.Time     // nothing is released before; zero when the target takes connections
	timer    *time.Timer   // one for the whole gate: the next expiry, the end of a pause or the stall guard
}

// NewGate returns a gate that is shut: it has no target yet.
func NewGate(s GateSettings) *Gate {
	return &Gate{settings: s}
}

// Configure replaces the bounds. A new timeout counts for those already held as well, from their arrival; a lower limit sends
// nobody away.
func (g *Gate) Configure(s GateSettings) {
	g.change(func(time.Time) { g.settings = s })
}

// Swap makes t the gate's target (nil: none, what comes is held) and returns the former one. It is atomic with passes: when it
// returns, nothing more is let through to the former target, and [Target.InFlight] of that target only falls.
func (g *Gate) Swap(t *Target) *Target {
	var old *Target
	g.change(func(now time.Time) {
		old, g.target = g.target, t
		if old != nil && old != t {
			old.replaced()
		}
		if t != nil {
			t.taken()
		}
		g.pause, g.resume = 0, time.Time{}
		g.widen(now)
	})
	return old
}

// Hold shuts the gate under a name until [Gate.Release] is called with it. The same name twice is one hold.
func (g *Gate) Hold(name string) {
	g.change(func(time.Time) {
		if !slices.Contains(g.holds, name) {
			g.holds = append(g.holds, name)
		}
	})
}

// Release ends the hold of that name; an unknown one is no error. When it was the last reason to be shut, the held are let go.
func (g *Gate) Release(name string) {
	g.change(func(now time.Time) {
		i := slices.Index(g.holds, name)
		if i < 0 {
			return
		}
		g.holds = slices.Delete(g.holds, i, i+1)
		g.widen(now)
	})
}

// Refuse answers everybody with r instead of holding: those who come and those already held. nil ends it. An open gate refuses too.
func (g *Gate) Refuse(r *Refusal) {
	g.change(func(now time.Time) {
		g.refusal = r
		g.widen(now)
	})
}

// verdict is what the gate says about a request.
type verdict struct {
	outcome outcome
	target  *Target       // set when passed: the request is counted on it until done or requeue
	refusal *Refusal      // set when refused
	waited  time.Duration // how long the request was held, all its stays together
}

type outcome int

const (
	passed     outcome = iota + 1 // go to the target
	held                          // the verdict comes later, through deliver
	expired                       // held for as long as anybody may be
	overflowed                    // too many are held already
	refused                       // the gate refuses
	recalled                      // go back to the connection it came from; see recall
)

// enter asks for a pass for a request that has just arrived. Asking and being queued is one step. After held, and only then, the
// waiter's owner is told the verdict exactly once, unless leave took the waiter out before.
func (g *Gate) enter(w *waiter) verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.arrivals++
	w.arrival, w.arrived, w.waited, w.stay = g.arrivals, now.Add(-w.before), w.before, 0
	w.before = 0
	switch {
	case g.recalled:
		return verdict{outcome: recalled, waited: w.waited}
	case g.refusal != nil:
		return verdict{outcome: refused, refusal: g.refusal}
	case g.open() && g.held.empty():
		return g.pass(w)
	case g.held.length >= g.settings.Limit:
		return verdict{outcome: overflowed}
	case g.settings.Timeout <= 0:
		return verdict{outcome: expired}
	}
	g.queue(w, now)
	g.arm(now)
	return verdict{outcome: held}
}

// requeue gives w's pass to t (nil: it has none any more) back and asks for another one: w takes its old place, before everybody who came after it, with its
// old deadline, and beyond the limit if need be. The verdict is always delivered, perhaps before requeue returns. With busy the
// target would not take the connection ("not now"): nobody is released for a short while, which doubles as long as that goes on.
func (g *Gate) requeue(w *waiter, t *Target, busy bool) {
	g.change(func(now time.Time) {
		if t != nil {
			t.leave()
		}
		g.queue(w, now)
		switch {
		case t != g.target:
		case busy:
			g.pause = min(max(firstPause, 2*g.pause), longestPause)
			g.resume = now.Add(g.pause)
			g.window, g.progress = max(1, t.InFlight()), g.resume
		case g.held.length == 1:
			g.widen(now)
		}
	})
}

// done ends a pass to t. answered says that the target answered, so that it can be trusted with one request more.
func (g *Gate) done(t *Target, answered bool) {
	t.leave()
	g.mu.Lock()
	if g.held.empty() {
		g.pause, g.resume = 0, time.Time{}
		g.mu.Unlock()
		return
	}
	now := time.Now()
	if t == g.target && answered {
		g.window, g.progress = g.window+1, now
		g.pause, g.resume = 0, time.Time{}
	}
	told := g.settle(now)
	g.mu.Unlock()
	tell(told)
}

// leave takes w out of the queue: its client is gone. It reports false when the verdict was already given; then the owner is
// told, or is being told, and has to act on it.
func (g *Gate) leave(w *waiter) bool {
	left := false
	g.change(func(now time.Time) {
		if left = w.queued; left {
			g.unqueue(w, now)
		}
	})
	return left
}

// recall sends everybody who is held, and from now on everybody who comes, back to where he came from: as if the request had not been
// read. It ends with recall(false).
func (g *Gate) recall(on bool) {
	g.change(func(time.Time) { g.recalled = on })
}

// open reports whether requests may pass. The lock is held.
func (g *Gate) open() bool {
	return g.target != nil && len(g.holds) == 0 && g.refusal == nil
}

// inviting reports whether a request that came now would pass at once. It may be out of date when it returns.
func (g *Gate) inviting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open() && g.held.empty()
}

// hostDefault is the Host of requests that have none: the target's, else the one given.
func (g *Gate) hostDefault(otherwise string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.target != nil && g.target.options.HostDefault != "" {
		return g.target.options.HostDefault
	}
	return otherwise
}

// pass counts w on the target. The lock is held and the gate is open.
func (g *Gate) pass(w *waiter) verdict {
	g.target.enter()
	return verdict{outcome: passed, target: g.target, waited: w.waited}
}

// widen starts a release window: what the target can do at once, beside what is out on it already. The lock is held.
func (g *Gate) widen(now time.Time) {
	if g.target != nil {
		g.window = g.target.InFlight() + max(1, g.target.options.Concurrency)
		g.progress = now
	}
}

// change does one thing to the gate and then whatever follows from it, and tells those concerned when the lock is free again.
func (g *Gate) change(do func(now time.Time)) {
	g.mu.Lock()
	now := time.Now()
	do(now)
	told := g.settle(now)
	g.mu.Unlock()
	tell(told)
}

// settle gives every verdict that is due and returns those who must be told, linked. The lock is held.
func (g *Gate) settle(now time.Time) *waiter {
	var due queue
	give := func(w *waiter, v verdict) {
		g.unqueue(w, now)
		v.waited = w.waited
		w.given = v
		due.insert(w)
	}
	for !g.held.empty() && g.recalled {
		give(g.held.oldest, verdict{outcome: recalled})
	}
	for !g.held.empty() && g.refusal != nil {
		give(g.held.oldest, verdict{outcome: refused, refusal: g.refusal})
	}
	for !g.held.empty() && g.mayRelease(now) {
		w := g.held.oldest
		give(w, g.pass(w))
	}
	for !g.held.empty() && !now.Before(g.deadline()) {
		give(g.held.oldest, verdict{outcome: expired})
	}
	g.arm(now)
	return due.oldest
}

// mayRelease reports whether the oldest held request may go. The lock is held.
func (g *Gate) mayRelease(now time.Time) bool {
	if !g.open() || now.Before(g.resume) {
		return false
	}
	out := g.target.InFlight()
	if out >= g.window && !now.Before(g.progress.Add(stallGuard)) {
		g.window, g.progress = out+1, now
	}
	return out < g.window
}

// deadline is when the oldest held request expires: arrival order is expiry order. The lock is held, somebody is held.
func (g *Gate) deadline() time.Time {
	return g.held.oldest.arrived.Add(g.settings.Timeout)
}

// arm sets the gate's timer to the next moment at which something happens by itself. The lock is held.
func (g *Gate) arm(now time.Time) {
	if g.held.empty() {
		return
	}
	next := g.deadline()
	if g.open() {
		ready := g.progress.Add(stallGuard)
		if now.Before(g.resume) {
			ready = g.resume
		}
		if ready.Before(next) {
			next = ready
		}
	}
	if g.timer == nil {
		g.timer = time.AfterFunc(next.Sub(now), func() { g.change(func(time.Time) {}) })
		return
	}
	g.timer.Reset(next.Sub(now))
}

// tell delivers verdicts. No lock is held: an owner may call the gate again at once.
func tell(w *waiter) {
	for w != nil {
		next := w.next
		w.next = nil
		w.owner.deliver(w.given)
		w = next
	}
}
