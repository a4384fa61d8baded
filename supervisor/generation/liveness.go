package generation

import (
	"context"
	"time"

	"tideover/proxy/awake"
	"tideover/supervisor/config"
)

// Death is why a generation counts as dead although its main process lives.
type Death struct {
	Cause string
	// MayFinish says that its processes run, and may finish the requests that they have accepted.
	MayFinish bool
}

var (
	deathNotListening = &Death{Cause: "none of its processes listens on its socket any more", MayFinish: true}
	deathStopped      = &Death{Cause: "all of its processes are stopped (SIGSTOP)"}
	deathStuck        = &Death{Cause: "its processes accept nothing, send nothing and use no CPU"}
)

// probeOutcome is how one request to a generation ended.
type probeOutcome int

const (
	probeUnanswered probeOutcome = iota // no answer in time, or no connection
	probeRefused                        // nothing listens at the address
	probeAccepted                       // it was answered, or a process has closed its connection
)

// evidence is what the kernel says about a generation at one moment.
type evidence struct {
	listens  bool // false: it is certain that no process of the tree has the listening socket
	stopped  bool // all processes are stopped by a signal
	accepted bool // a connection to it is accepted and open, or may be
	usesCPU  bool // the tree has used CPU time since the evidence before
}

// suspicious reports whether the generation may be dead. The requests that it has accepted show that
// it is busy, however long they take.
func (e evidence) suspicious() bool { return !e.listens || e.stopped || !e.accepted }

// death is what the evidence speaks for; nil: the generation may live.
func (e evidence) death() *Death {
	switch {
	case !e.listens:
		return deathNotListening
	case e.stopped:
		return deathStopped
	case !e.accepted && !e.usesCPU:
		return deathStuck
	}
	return nil
}

// livenessSample is what is known after a request to a generation.
type livenessSample struct {
	probe probeOutcome
	heard bool // the app has sent a byte of another response meanwhile
	evidence
}

// death is what the sample speaks for; nil: the generation lives, or may live.
func (s livenessSample) death() *Death {
	if s.probe == probeAccepted || s.heard {
		return nil
	}
	if s.probe == probeRefused {
		s.listens = false
	}
	return s.evidence.death()
}

// livenessVerdict decides from samples in their order. It is pure.
type livenessVerdict struct {
	failures int // samples in a row that a death takes
	failed   int // in a row, so far
}

// add returns the death once the last samples leave no doubt. suspected says that further samples
// are needed.
func (v *livenessVerdict) add(s livenessSample) (dead *Death, suspected bool) {
	death := s.death()
	if death == nil {
		v.failed = 0
		return nil, false
	}
	if v.failed++; v.failed < v.failures {
		return nil, true
	}
	return death, true
}

// livenessSubject is the generation that a LivenessWatch looks at.
type livenessSubject interface {
	// awaitAsked returns as soon as the app has something to answer, or ctx ends.
	awaitAsked(ctx context.Context)
	// heard reports whether the app has sent a byte of a response since the last call.
	heard() bool
	// probe sends one request on a connection of its own.
	probe(ctx context.Context, path string) probeOutcome
	// look returns the evidence. The CPU time is that since the call before.
	look() evidence
}

// A LivenessWatch finds out whether a generation that serves has died although its main process
// lives. Without live.path it does nothing while no request is in flight: no timer, no wake-up. A
// request is sent to the generation only when the evidence is suspicious already.
//
// A generation that dies is found within live.interval x live.failures; with one failure,
// live.timeout comes on top.
type LivenessWatch struct {
	subject  livenessSubject
	settings config.Liveness
	dead     chan *Death // capacity 1
	stop     context.CancelFunc
}

// WatchLiveness begins to watch the generation. The result is nil if there is nothing to watch:
// a plain process, or live.interval = "0s".
func (g *Generation) WatchLiveness(settings config.Liveness) *LivenessWatch {
	if g.Target == nil || settings.Interval == 0 {
		return nil
	}
	w, ctx := newLivenessWatch(newLivenessLook(g), settings)
	g.watches.Go(func() { w.run(ctx) })
	return w
}

func newLivenessWatch(subject livenessSubject, settings config.Liveness) (*LivenessWatch, context.Context) {
	ctx, stop := context.WithCancel(context.Background())
	settings.Timeout = min(settings.Timeout, settings.Interval)
	return &LivenessWatch{subject: subject, settings: settings, dead: make(chan *Death, 1), stop: stop}, ctx
}

// Dead gets a value when the generation counts as dead, once. It is nil for a nil LivenessWatch.
func (w *LivenessWatch) Dead() <-chan *Death {
	if w == nil {
		return nil
	}
	return w.dead
}

// Stop ends the watch. It does not wait for it; the Teardown of the generation does.
func (w *LivenessWatch) Stop() {
	if w != nil {
		w.stop()
	}
}

func (w *LivenessWatch) run(ctx context.Context) {
	for {
		if w.settings.Path != "" {
			pause(ctx, w.settings.Interval)
		} else {
			w.awaitSilence(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if death := w.examine(ctx); death != nil && ctx.Err() == nil {
			w.dead <- death
			return
		}
	}
}

// awaitSilence returns when the app has had something to answer, has sent nothing for a while, and
// has nothing accepted that it may be busy with; or when ctx ends. It looks twice in an interval, so
// that the silence is noticed within one.
func (w *LivenessWatch) awaitSilence(ctx context.Context) {
	for ctx.Err() == nil {
		w.subject.awaitAsked(ctx)
		pause(ctx, w.settings.Interval/2)
		if !w.subject.heard() && ctx.Err() == nil && w.subject.look().suspicious() {
			return
		}
	}
}

// examine sends requests until one is answered, or the evidence speaks for a death no more (nil), or
// the generation is dead.
func (w *LivenessWatch) examine(ctx context.Context) *Death {
	verdict := livenessVerdict{failures: w.settings.Failures}
	spacing := w.spacing()
	for {
		next := time.NewTimer(spacing)
		dead, suspected := verdict.add(w.sample(ctx))
		if dead != nil || !suspected || ctx.Err() != nil {
			next.Stop()
			return dead
		}
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return nil
		}
	}
}

// spacing is the time between the beginnings of two requests of examine. The first one begins within
// an interval of the death; with this time the last one ends within interval x failures.
func (w *LivenessWatch) spacing() time.Duration {
	s := w.settings
	if s.Failures < 2 {
		return s.Interval
	}
	return max(s.Timeout, s.Interval-s.Timeout/time.Duration(s.Failures-1))
}

func (w *LivenessWatch) sample(ctx context.Context) livenessSample {
	ctx, cancel := awake.WithTimeout(ctx, w.settings.Timeout)
	defer cancel()
	w.subject.heard()
	s := livenessSample{probe: w.subject.probe(ctx, w.settings.Path)}
	if s.heard = w.subject.heard(); s.probe != probeAccepted && !s.heard {
		s.evidence = w.subject.look()
	}
	return s
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
