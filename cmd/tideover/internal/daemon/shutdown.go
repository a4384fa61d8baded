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
// supervisor itself. It has three steps: announced, requested and hurried. When it takes longer
// than it may, expire is called, so that a wait without a bound (a lock, a FIFO, a process in
// state D) does not keep the daemon.
type shutdown struct {
	announced context.Context // ended: the daemon is to end; with linger, it serves for a while
	requested context.Context // ended: the apps are to stop
	hurried   context.Context // ended: they are not to drain
	announce  context.CancelFunc
	request   context.CancelFunc
	hurry     context.CancelFunc
	linger    time.Duration // from announced to requested
	expire    func()

	mu     sync.Mutex   // guards what follows
	stop   stopper      // nil: the supervisor does not exist yet
	timer  *awake.Timer // nil: the shutdown has not begun
	serves *time.Timer  // until linger is over; nil: it has not begun
	ended  bool
}

// stopper is what a shutdown needs of the supervisor.
type stopper interface {
	Announce()                      // readiness says no from here on
	ShutdownTimeout() time.Duration // bounds a shutdown that drains
}

// newShutdown returns a shutdown that has not begun. It begins with the end of ctx, too.
func newShutdown(ctx context.Context, linger time.Duration, expire func()) *shutdown {
	s := &shutdown{linger: linger, expire: expire}
	s.announced, s.announce = context.WithCancel(context.WithoutCancel(ctx))
	s.requested, s.request = context.WithCancel(context.WithoutCancel(ctx))
	s.hurried, s.hurry = context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { s.begin(false) })
	return s
}

// begin begins the shutdown. When it was announced only, requests are served no longer; with
// fast, they are not finished either.
func (s *shutdown) begin(fast bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.announced.Err() == nil
	s.announceLocked()
	switch {
	case fast && s.hurried.Err() == nil:
		s.hurry()
		limit := fastTimeout
		if s.stop != nil {
			limit = min(limit, s.stop.ShutdownTimeout())
		}
		s.limitLocked(limit)
		s.request()
	case fast, s.requested.Err() != nil:
	case first && s.linger > 0 && s.stop != nil:
		s.limitLocked(s.linger + s.stop.ShutdownTimeout())
		s.serves = time.AfterFunc(s.linger, func() { s.begin(false) })
	default:
		s.drainLocked()
	}
}

// leave is called when the supervisor stops the apps by itself (exit_when).
func (s *shutdown) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announceLocked()
	if s.requested.Err() == nil {
		s.drainLocked()
	}
}

func (s *shutdown) announceLocked() {
	if s.stop != nil {
		s.stop.Announce() // before it is logged
	}
	s.announce()
}

// drainLocked has the apps stop.
func (s *shutdown) drainLocked() {
	limit := startTimeout
	if s.stop != nil {
		limit = s.stop.ShutdownTimeout()
	}
	s.limitLocked(limit)
	s.request()
}

// setSupervisor is called when the supervisor exists.
func (s *shutdown) setSupervisor(sup stopper) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop = sup
	if s.announced.Err() == nil {
		return
	}
	s.announceLocked()
	if s.hurried.Err() == nil {
		s.drainLocked()
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
	if s.serves != nil {
		s.serves.Stop()
	}
	s.announce()
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
