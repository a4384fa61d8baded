package daemon

import (
	"context"
	"os"
	"sync"
	"time"

	"tideover/proxy/awake"
	"tideover/supervisor"
)

const (
	// startTimeout bounds a shutdown that begins before the supervisor exists: nothing
	// drains then.
	startTimeout = 10 * time.Second
	// fastTimeout bounds a shutdown that does not drain (QUIT, a second INT).
	fastTimeout = 10 * time.Second
	// killTimeout is for the processes that live when a shutdown has not ended in time.
	killTimeout = 3 * time.Second
)

// shutdown is the end of the daemon. It is requested by a signal, a client, or the
// supervisor itself. When it takes longer than it may, expire is called, so that
// a wait without a bound (a lock, a FIFO, a process in state D) does not keep the daemon.
type shutdown struct {
	requested context.Context // ended: the daemon is to end
	hurried   context.Context // ended: it is not to drain
	request   context.CancelFunc
	hurry     context.CancelFunc
	expire    func()

	mu    sync.Mutex           // guards what follows
	bound func() time.Duration // of a shutdown that drains
	timer *awake.Timer         // nil: the shutdown has not begun
	ended bool
}

// newShutdown returns a shutdown that has not begun. It begins with the end of ctx, too.
func newShutdown(ctx context.Context, expire func()) *shutdown {
	s := &shutdown{expire: expire, bound: func() time.Duration { return startTimeout }}
	s.requested, s.request = context.WithCancel(context.WithoutCancel(ctx))
	s.hurried, s.hurry = context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { s.begin(false) })
	return s
}

// begin begins the shutdown, or makes one that drains a fast one.
func (s *shutdown) begin(fast bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case fast && s.hurried.Err() == nil:
		s.hurry()
		s.limitLocked(fastTimeout)
	case s.requested.Err() == nil:
		s.limitLocked(s.bound())
	}
	s.request()
}

// setBound is called when the supervisor exists and knows how long a shutdown may take.
func (s *shutdown) setBound(bound func() time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound = bound
	if s.requested.Err() != nil && s.hurried.Err() == nil {
		s.limitLocked(bound())
	}
}

// limitLocked sets the time until expire is called.
func (s *shutdown) limitLocked(d time.Duration) {
	if s.timer != nil {
		s.timer.Stop()
	}
	if !s.ended {
		s.timer = awake.AfterFunc(d, s.expire)
	}
}

// end is called when the daemon has ended in time.
func (s *shutdown) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.request()
	s.hurry()
}

// abandon ends the process when a shutdown has not ended in time. What it says and kills
// is bounded, too, because anything may be what hangs.
func (d *daemon) abandon() {
	unfinished := []string{"the start of the daemon"}
	if sup := d.supervisor.Load(); sup != nil {
		unfinished = sup.Unfinished()
	}
	d.logger.Error("shutdown timed out", "unfinished", unfinished, "hint", "every process is killed, and tideover exits with code 1")
	ctx, cancel := awake.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	if left := supervisor.KillProcesses(ctx); len(left) > 0 {
		d.logger.Error("processes left", "pids", left)
	}
	d.closeLog()
	os.Exit(1)
}
