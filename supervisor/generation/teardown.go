package generation

import (
	"context"
	"syscall"
	"time"

	"tideover/proxy/awake"
	"tideover/supervisor/process"
)

// Teardown is a generation that is being stopped: it gets no new request, drains,
// and is stopped until none of its processes exists. A goroutine of its own
// carries it out.
type Teardown struct {
	Number   int
	Revision string
	Target   *Target // nil: it never got requests

	reason StopReason
	done   chan struct{}

	// Set before done is closed.
	generation *Generation // nil: it had no process
	InFlight   int         // requests in flight when it was told to stop
	Cut        int         // of those, the ones still in flight when the processes were stopped
	Stopped    process.StopReport
	Reclaimed  int // connections that no worker had accepted
	Took       time.Duration
}

// StopReason says how a generation is stopped.
type StopReason int

const (
	StopReplaced StopReason = iota // a newer one serves, or will: that gets what no worker has accepted
	StopDown                       // no newer one follows: its workers go on accepting during the drain
	StopCrashed                    // the main process has exited: its workers may finish within a bound
	StopNotReady                   // it was never ready: there is nothing to drain
)

// StopTimeouts bound a Teardown.
type StopTimeouts struct {
	Drain   time.Duration // for requests in flight
	Tunnels time.Duration // after that, for tunnels
	Stop    time.Duration // from the stop signal to SIGKILL
}

// StopTimeouts are those of the app's settings.
func (g *Generation) StopTimeouts() StopTimeouts {
	return StopTimeouts{Drain: g.App.Drain.Timeout, Tunnels: g.App.Drain.Tunnels, Stop: g.App.Stop.Timeout}
}

// StopTimeoutsWhileHeld are for a stop during which requests are held for the next
// generation: the drain has what hold.timeout leaves after the time that the app
// needs to start, less 5 s. Tunnels are closed at once.
func (g *Generation) StopTimeoutsWhileHeld() StopTimeouts {
	startup := g.Ready.Sub(g.Started)
	left := max(g.App.Hold.Timeout-startup-5*time.Second, time.Second)
	return StopTimeouts{Drain: min(g.App.Drain.Timeout, left), Stop: g.App.Stop.Timeout}
}

// importGrace is the grace period of a generation that never answered. It gets
// SIGINT, because a gunicorn that is still importing does not act on SIGTERM.
const importGrace = 2 * time.Second

// endTimeout bounds the wait for the requests of an abandoned target.
const endTimeout = time.Second

// Stop begins to stop g. The relay must have another target of the app, or none. When
// Options.Hurry ends, what is left of it is killed. done gets a value, if there is room,
// once the Teardown is done.
func (l *Launcher) Stop(g *Generation, reason StopReason, timeouts StopTimeouts, done chan<- struct{}) *Teardown {
	t := &Teardown{Number: g.Number, Revision: g.Revision, Target: g.Target, reason: reason, generation: g, done: make(chan struct{})}
	if g.Target != nil {
		t.InFlight = g.Target.InFlight()
	}
	go t.run(done, func() { l.tearDown(t, timeouts) })
	return t
}

// Cancel ends a startup and stops what exists of its generation. done is that of Stop.
func (l *Launcher) Cancel(s *Startup, done chan<- struct{}) *Teardown {
	s.cancel(ErrOvertaken)
	t := &Teardown{Number: s.Number, reason: StopNotReady, done: make(chan struct{})}
	go t.run(done, func() {
		<-s.done
		if t.generation = s.generation; t.generation != nil {
			l.tearDown(t, t.generation.StopTimeouts())
		}
	})
	return t
}

// run carries the teardown out.
func (t *Teardown) run(done chan<- struct{}, tearDown func()) {
	began := time.Now()
	tearDown()
	t.Took = time.Since(began)
	close(t.done)
	select {
	case done <- struct{}{}:
	default:
	}
}

// Outcome is how the main process has ended; ok is false if there was none. Done must be closed.
func (t *Teardown) Outcome() (o process.Outcome, ok bool) {
	if t.generation == nil || t.generation.Process == nil {
		return o, false
	}
	return t.generation.Process.Outcome(), true
}

// Done is closed when no process of the generation exists.
func (t *Teardown) Done() <-chan struct{} { return t.done }

func (l *Launcher) tearDown(t *Teardown, timeouts StopTimeouts) {
	g, hurry := t.generation, l.options.Hurry
	if t.reason == StopReplaced || t.reason == StopCrashed {
		g.Target.Reclaim(t.reason == StopCrashed) // the next generation serves what waits in the backlog
	}
	t.drain(l.options.EndDrains, timeouts)
	l.options.Journal.Signal(g.Number, time.Now().Add(timeouts.Stop))
	t.stopProcesses(hurry, timeouts.Stop)
	if g.Target != nil {
		t.Reclaimed = g.Target.gone()
		t.awaitEnd()
	}
	g.cleanup()
	l.release(g)
	if err := l.options.State.RemoveTree(g.App.Name, g.Number); err != nil {
		l.logger.Warn("cannot save state", "record", "process ended", "app", g.App.Name, "generation", g.Number, "error", err)
	}
}

// awaitEnd waits until every request has left the target that was abandoned: then those
// that are lost are counted. One whose client reads slowly may take longer than that.
func (t *Teardown) awaitEnd() {
	ctx, cancel := awake.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	_ = t.generation.Target.Wait(ctx)
}

// drain lets the generation finish its requests, until the timeouts are over or ending ends.
func (t *Teardown) drain(ending context.Context, timeouts StopTimeouts) {
	target := t.generation.Target
	if target == nil || t.reason == StopNotReady {
		return
	}
	ctx, cancel := awake.WithTimeout(ending, timeouts.Drain)
	defer cancel()
	if t.reason == StopCrashed {
		t.drainWhileWorkersLive(ctx)
		return
	}
	_ = target.Wait(ctx)
	if target.Tunnels() > 0 {
		tunnels, cancel := awake.WithTimeout(ending, timeouts.Tunnels)
		defer cancel()
		_ = target.WaitTunnels(tunnels)
	}
	target.CloseTunnels()
}

// drainWhileWorkersLive waits for the requests in flight, but not longer than a
// process of the tree exists.
func (t *Teardown) drainWhileWorkersLive(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	emptied := make(chan struct{})
	go func() {
		defer close(emptied)
		if t.generation.Process.WaitEmpty(ctx) == nil {
			stop()
		}
	}()
	_ = t.generation.Target.Wait(ctx)
	stop()
	<-emptied
}

// stopProcesses stops the tree and makes sure that no process is left.
func (t *Teardown) stopProcesses(hurry context.Context, grace time.Duration) {
	g := t.generation
	if g.Target != nil {
		t.Cut = g.Target.InFlight()
	}
	switch {
	case t.reason == StopCrashed && g.App.Direct(): // its workers may finish: they are not seen to be idle
		t.Stopped = g.Process.StopTree(hurry, g.App.Stop.Signal, grace)
	case t.reason == StopCrashed:
		t.Stopped = g.Process.Kill(context.WithoutCancel(hurry))
	case t.reason == StopNotReady && g.App.Listens():
		t.Stopped = g.Process.Stop(hurry, syscall.SIGINT, min(importGrace, grace))
	case g.App.Stop.Tree:
		t.Stopped = g.Process.StopTree(hurry, g.App.Stop.Signal, grace)
	default: // also a plain process that was never ready: it may be at work
		t.Stopped = g.Process.Stop(hurry, g.App.Stop.Signal, grace)
	}
}
