package gate

import (
	"sync/atomic"
	"time"
)

// TargetGauges are the numbers of a target as they are now, in memory that another process may read.
// Only the target writes them.
type TargetGauges struct {
	InFlight atomic.Int64
	Tunnels  atomic.Int64
	Heard    atomic.Uint32 // 1: the app has sent a byte since the last TakeHeard
}

// SetHeard says that the app has sent a byte of a response.
func (g *TargetGauges) SetHeard() {
	if g.Heard.Load() == 0 { // mostly it is set, and then no cache line changes its owner
		g.Heard.Store(1)
	}
}

// TakeHeard reports whether SetHeard was called since the last TakeHeard.
func (g *TargetGauges) TakeHeard() bool { return g.Heard.Swap(0) != 0 }

// QueueGauges are the numbers of a gate's queue as they are now, in memory that another process may
// read. Only the gate writes them.
type QueueGauges struct {
	Held  atomic.Int64
	since atomic.Int64 // when the wait of the oldest began, less its former waits, in nanoseconds of the wall clock
}

// Oldest returns for how long the oldest held request is held; 0 when none is held. A step of the
// wall clock makes it wrong by as much.
func (g *QueueGauges) Oldest() time.Duration {
	if g.Held.Load() == 0 {
		return 0
	}
	return max(0, time.Since(time.Unix(0, g.since.Load())))
}

// SetGauges has the gate write its numbers to q. It must be called before the first request.
func (g *Gate) SetGauges(q *QueueGauges) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gauges = q
}

// publishLocked brings the gauges up to date. g.mu must be held.
func (g *Gate) publishLocked(now time.Time) {
	if g.gauges == nil {
		return
	}
	if oldest := g.held.oldest; oldest != nil {
		g.gauges.since.Store(now.UnixNano() - int64(oldest.waited+g.moment(now)-oldest.queuedAt))
	}
	g.gauges.Held.Store(int64(g.held.length))
}
