package generation

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tideover/supervisor/config"
)

var lives = evidence{listens: true, accepted: true, usesCPU: true}

func TestOnlyFailuresInARowWithEvidenceAreADeath(t *testing.T) {
	stuck := livenessSample{evidence: evidence{listens: true}}
	stopped := livenessSample{evidence: evidence{listens: true, stopped: true, accepted: true, usesCPU: true}}
	orphaned := livenessSample{evidence: evidence{accepted: true, usesCPU: true}}
	refused := livenessSample{probe: probeRefused, evidence: lives}
	busy := livenessSample{evidence: evidence{listens: true, accepted: true}}
	importing := livenessSample{evidence: evidence{listens: true, usesCPU: true}}
	answered := livenessSample{probe: probeAccepted}
	heard := livenessSample{heard: true}
	for name, c := range map[string]struct {
		samples []livenessSample
		want    *Death
	}{
		"stuck":                          {[]livenessSample{stuck, stuck, stuck}, deathStuck},
		"stopped":                        {[]livenessSample{stopped, stopped, stopped}, deathStopped},
		"no process has the listener":    {[]livenessSample{orphaned, orphaned, orphaned}, deathNotListening},
		"nothing listens":                {[]livenessSample{refused, refused, refused}, deathNotListening},
		"the last cause counts":          {[]livenessSample{stuck, stopped, refused}, deathNotListening},
		"too few":                        {[]livenessSample{stuck, stuck}, nil},
		"an answer between":              {[]livenessSample{stuck, stuck, answered, stuck, stuck}, nil},
		"another response between":       {[]livenessSample{stuck, stuck, heard, stuck, stuck}, nil},
		"busy in accepted requests":      {[]livenessSample{busy, busy, busy, busy, busy, busy}, nil},
		"busy between":                   {[]livenessSample{stuck, stuck, busy, stuck, stuck}, nil},
		"nothing accepted, but CPU used": {[]livenessSample{importing, importing, importing, importing}, nil},
		"answers although stopped then":  {[]livenessSample{{probe: probeAccepted, evidence: stopped.evidence}, stopped, stopped}, nil},
	} {
		v := livenessVerdict{failures: 3}
		var dead *Death
		for _, s := range c.samples {
			dead, _ = v.add(s)
		}
		if dead != c.want {
			t.Errorf("%s: %v, want %v", name, dead, c.want)
		}
	}
}

// subject is a generation on a fake clock.
type subject struct {
	mu      sync.Mutex
	request chan struct{} // closed: there is a request in flight
	answers bool
	sends   bool // bytes of responses, all the time
	saw     evidence
	probes  []time.Time
	looks   int
}

func newSubject() *subject { return &subject{request: make(chan struct{}), answers: true, saw: lives} }

func (s *subject) awaitAsked(ctx context.Context) {
	select {
	case <-s.request:
	case <-ctx.Done():
	}
}

func (s *subject) heard() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sends
}

func (s *subject) probe(ctx context.Context, _ string) probeOutcome {
	s.mu.Lock()
	s.probes = append(s.probes, time.Now())
	answers := s.answers
	s.mu.Unlock()
	if answers {
		return probeAccepted
	}
	<-ctx.Done()
	return probeUnanswered
}

func (s *subject) look() evidence {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	return s.saw
}

// dies makes the generation stuck.
func (s *subject) dies() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers, s.sends, s.saw = false, false, evidence{listens: true}
}

// watch begins to watch it. The function that is returned ends the watch and waits for it.
func (s *subject) watch(settings config.Liveness) (w *LivenessWatch, end func()) {
	w, ctx := newLivenessWatch(s, settings)
	var running sync.WaitGroup
	running.Go(func() { w.run(ctx) })
	return w, func() { w.Stop(); running.Wait() }
}

func defaults() config.Liveness {
	return config.Liveness{Interval: 10 * time.Second, Timeout: 5 * time.Second, Failures: 3}
}

func TestAnIdleGenerationIsNotLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSubject()
		s.dies()
		_, end := s.watch(defaults())
		time.Sleep(time.Hour)
		end()
		if s.looks > 0 || len(s.probes) > 0 {
			t.Errorf("%d looks, %d probes", s.looks, len(s.probes))
		}
	})
}

func TestABusyGenerationGetsNoProbe(t *testing.T) {
	for name, change := range map[string]func(*subject){
		"it answers": func(s *subject) { s.sends = true },
		"all workers are in accepted requests": func(s *subject) {
			s.answers, s.saw = false, evidence{listens: true, accepted: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSubject()
				change(s)
				close(s.request)
				w, end := s.watch(defaults())
				time.Sleep(time.Hour)
				end()
				if len(s.probes) > 0 || len(w.Dead()) > 0 {
					t.Errorf("%d probes, dead %d", len(s.probes), len(w.Dead()))
				}
			})
		})
	}
}

// The death may come at any moment between two looks.
func TestADeadGenerationIsFoundWithinIntervalTimesFailures(t *testing.T) {
	for _, path := range []string{"", "/live"} {
		for _, settings := range []config.Liveness{
			defaults(),
			{Interval: time.Second, Timeout: 500 * time.Millisecond, Failures: 3},
			{Interval: time.Second, Timeout: 300 * time.Millisecond, Failures: 2},
			{Interval: 10 * time.Second, Timeout: time.Second, Failures: 10},
		} {
			settings.Path = path
			for phase := range time.Duration(20) {
				synctest.Test(t, func(t *testing.T) {
					s := newSubject()
					s.sends = true
					close(s.request)
					w, end := s.watch(settings)
					defer end()
					time.Sleep(3*settings.Interval + phase*settings.Interval/20 + time.Nanosecond)
					s.dies()
					died := time.Now()
					death := <-w.Dead()
					if took, limit := time.Since(died), settings.Interval*time.Duration(settings.Failures); death != deathStuck || took > limit {
						t.Errorf("%+v, phase %d: %v after %v, the limit is %v", settings, phase, death, took, limit)
					}
				})
			}
		}
	}
}

// A probe that fails at once must not be repeated at once.
func TestARefusedProbeIsRepeatedAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSubject()
		s.dies()
		s.saw = evidence{}
		settings := defaults()
		settings.Path, settings.Failures = "/live", 5
		w, end := s.watch(settings)
		defer end()
		if death := <-w.Dead(); death != deathNotListening || len(s.probes) != 5 {
			t.Fatalf("%v after %d probes", death, len(s.probes))
		}
		for i, at := range s.probes[1:] {
			if gap := at.Sub(s.probes[i]); gap < 5*time.Second {
				t.Errorf("two probes within %v", gap)
			}
		}
	})
}

func TestAStoppedWatchEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSubject()
		s.dies()
		close(s.request)
		w, end := s.watch(defaults())
		time.Sleep(17 * time.Second) // in the middle of a probe
		began := time.Now()
		end()
		if time.Since(began) > 0 || len(w.Dead()) > 0 {
			t.Errorf("it took %v", time.Since(began))
		}
	})
}
