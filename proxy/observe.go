package proxy

import (
	"slices"
	"time"
)

// GateSnapshot is how a gate stood at one moment.
type GateSnapshot struct {
	Held     int           // requests waiting
	Oldest   time.Duration // since the arrival of the oldest of them; 0 when nobody waits
	Open     bool          // who comes now may pass (behind those still held)
	Holds    []string      // names of the holds, in the order they were set
	Target   string        // the target's name; empty without one
	InFlight int           // requests out on the target
	Tunnels  int           // tunnels through the target
	Refusing string        // the cause of the refusal; empty when nobody is refused
}

// Snapshot tells how the gate stands.
func (g *Gate) Snapshot() GateSnapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := GateSnapshot{Held: g.held.length, Open: g.open(), Holds: slices.Clone(g.holds)}
	if !g.held.empty() {
		s.Oldest = time.Since(g.held.oldest.arrived)
	}
	if g.target != nil {
		s.Target, s.InFlight, s.Tunnels = g.target.Name(), g.target.InFlight(), g.target.Tunnels()
	}
	if g.refusal != nil {
		s.Refusing = g.refusal.Cause
	}
	return s
}

// HeldStats is what an observation saw.
type HeldStats struct {
	Held    int           // requests that began to be held
	Longest time.Duration // the longest any of them was held, so far if it still is
}

// An Observation counts requests held during an operation. Several may run at once.
type Observation struct {
	gate  *Gate
	from  uint64 // stays numbered from here on are ours
	stats HeldStats
}

// Observe begins to count what is held from now on; requests already held are not counted. End must be called.
func (g *Gate) Observe() *Observation {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := &Observation{gate: g, from: g.queued + 1}
	g.watchers = append(g.watchers, o)
	return o
}

// End stops counting and returns what was counted. Calling it again returns the same.
func (o *Observation) End() HeldStats {
	g := o.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.watchers, o)
	if i < 0 {
		return o.stats
	}
	g.watchers = slices.Delete(g.watchers, i, i+1)
	now := time.Now()
	for w := g.held.oldest; w != nil; w = w.next {
		o.ends(w, w.waited+now.Sub(w.since))
	}
	return o.stats
}

// begins counts w, once however often it comes back. The gate's lock is held.
func (o *Observation) begins(w *waiter) {
	if w.stay < o.from {
		o.stats.Held++
	}
}

// ends notes how long w was held. The gate's lock is held.
func (o *Observation) ends(w *waiter, waited time.Duration) {
	if w.stay >= o.from {
		o.stats.Longest = max(o.stats.Longest, waited)
	}
}
