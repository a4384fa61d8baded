package gate

import (
	"slices"
	"time"
)

// A Snapshot is the state of a gate at one moment.
type Snapshot struct {
	Held     int           // requests in the queue
	Oldest   time.Duration // for how long the oldest of them is held; 0 when none is held
	Open     bool          // a new request may pass, behind those that are still held
	Holds    []string      // names of the holds, in the order they were set
	Target   string        // the target's name; empty without one
	InFlight int           // requests in flight on the target
	Tunnels  int           // tunnels through the target
	Refusing string        // the cause of the refusal; empty when nothing is refused
}

// Snapshot returns the present state of the gate.
func (g *Gate) Snapshot() Snapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Snapshot{Held: g.held.length, Open: g.openLocked(), Holds: g.holdNamesLocked()}
	if !g.held.empty() {
		oldest := g.held.oldest
		s.Oldest = oldest.waited + g.moment(time.Now()) - oldest.queuedAt
	}
	if g.target != nil {
		s.Target, s.InFlight, s.Tunnels = g.target.Name(), g.target.InFlight(), g.target.Tunnels()
	}
	if g.refusal != nil {
		s.Refusing = g.refusal.Cause
	}
	return s
}

// holdNamesLocked returns the names of the holds; nil: there is none. g.mu must be held.
func (g *Gate) holdNamesLocked() (names []string) {
	for _, h := range g.holds {
		names = append(names, h.Name)
	}
	return names
}

// HeldStats is the result of an observation.
type HeldStats struct {
	Held    int           // requests that began to be held
	Longest time.Duration // the longest that any of them was held, so far if it still is
}

// An Observation counts requests held during an operation. Several may run at once.
type Observation struct {
	gate  *Gate
	from  uint64 // stays in the queue count from this number on
	stats HeldStats
}

// Observe begins to count requests that are held from now on; those in the queue already are not
// counted. End must be called.
func (g *Gate) Observe() *Observation {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := &Observation{gate: g, from: g.episodes + 1}
	g.observers = append(g.observers, o)
	return o
}

// End stops the count and returns its result. Calling it again returns the same.
func (o *Observation) End() HeldStats {
	g := o.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.observers, o)
	if i < 0 {
		return o.stats
	}
	g.observers = slices.Delete(g.observers, i, i+1)
	return o.readLocked()
}

// Stats returns the result so far.
func (o *Observation) Stats() HeldStats {
	o.gate.mu.Lock()
	defer o.gate.mu.Unlock()
	if !slices.Contains(o.gate.observers, o) {
		return o.stats
	}
	return o.readLocked()
}

// readLocked brings the result up to date. The gate's mu must be held.
func (o *Observation) readLocked() HeldStats {
	g := o.gate
	now := g.moment(time.Now())
	for w := g.held.oldest; w != nil; w = w.next {
		o.endLocked(w, w.waited+now-w.queuedAt)
	}
	return o.stats
}

// beginLocked counts w, once however often it is requeued. The gate's mu must be held.
func (o *Observation) beginLocked(w *Waiter) {
	if w.episode < o.from {
		o.stats.Held++
	}
}

// endLocked records for how long w was held. The gate's mu must be held.
func (o *Observation) endLocked(w *Waiter, waited time.Duration) {
	if w.episode >= o.from {
		o.stats.Longest = max(o.stats.Longest, waited)
	}
}
