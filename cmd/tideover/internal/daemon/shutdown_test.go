package daemon

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeStopper is a supervisor whose shutdown may take bound, or must be over at end.
type fakeStopper struct {
	bound time.Duration
	limit time.Duration // from Announce on; 0: bound counts

	mu        sync.Mutex // guards what follows
	end       time.Time
	announced int
}

func (s *fakeStopper) announcements() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.announced
}

func (s *fakeStopper) Announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.announced++; s.announced == 1 {
		s.end = time.Now().Add(s.limit)
	}
}

func (s *fakeStopper) ShutdownTimeout() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limit > 0 {
		return time.Until(s.end)
	}
	return s.bound
}

// Whatever hangs, the daemon ends: after TERM within the bound that the supervisor states,
// after QUIT within 10 s.
func TestAShutdownThatHangsIsEnded(t *testing.T) {
	const bound = 2 * time.Minute
	supervised := func(s *shutdown) { s.setSupervisor(&fakeStopper{bound: bound}) }
	for name, c := range map[string]struct {
		requests func(s *shutdown)
		want     time.Duration
	}{
		"TERM": {func(s *shutdown) { supervised(s); s.begin(false) }, bound},
		"TERM again is the same shutdown": {func(s *shutdown) {
			supervised(s)
			s.begin(false)
			time.Sleep(time.Minute) // on the fake clock
			s.begin(false)
		}, bound},
		"QUIT": {func(s *shutdown) { supervised(s); s.begin(true) }, fastTimeout},
		"QUIT after TERM": {func(s *shutdown) {
			supervised(s)
			s.begin(false)
			time.Sleep(time.Minute)
			s.begin(true)
		}, time.Minute + fastTimeout},
		"TERM during the start":                      {func(s *shutdown) { s.begin(false) }, startTimeout},
		"TERM during the start, which then succeeds": {func(s *shutdown) { s.begin(false); supervised(s) }, bound},
		"QUIT during the start, which then succeeds": {func(s *shutdown) { s.begin(true); supervised(s) }, fastTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, expired := time.Now(), make(chan time.Duration, 1)
				s := newShutdown(t.Context(), 0, func() { expired <- time.Since(began) })
				c.requests(s)
				if got := <-expired; got != c.want {
					t.Errorf("ended after %v, want %v", got, c.want)
				}
				s.end()
			})
		})
	}
}

// A shutdown that ends in time is left alone, and a fast one is both.
func TestAShutdownInTimeIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newShutdown(ctx, 0, func() { t.Error("expired") })
		cancel()
		<-s.requested.Done()
		if s.hurried.Err() != nil {
			t.Error("the end of the context does not drain")
		}
		s.begin(true)
		<-s.hurried.Done()
		s.end()
		time.Sleep(time.Hour) // on the fake clock
	})
}

// After TERM the apps serve on for linger, while readiness says no; a second TERM or INT ends
// that. The whole shutdown stays within stop_timeout.
func TestRequestsAreServedAsBeforeWhileADaemonLingers(t *testing.T) {
	const linger, limit = 5 * time.Second, 25 * time.Second
	for name, c := range map[string]struct {
		more    func(s *shutdown) // what comes after a second
		stops   time.Duration     // when the apps are to stop
		hurried bool
		expires time.Duration
	}{
		"alone":       {func(*shutdown) {}, linger, false, limit},
		"TERM again":  {func(s *shutdown) { s.begin(false) }, time.Second, false, limit},
		"INT twice":   {func(s *shutdown) { s.begin(true) }, time.Second, true, time.Second + fastTimeout},
		"exit_when":   {func(s *shutdown) { s.leave() }, time.Second, false, limit},
		"a third one": {func(s *shutdown) { s.begin(false); s.begin(false) }, time.Second, false, limit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, expired := time.Now(), make(chan time.Duration, 1)
				s := newShutdown(t.Context(), linger, func() { expired <- time.Since(began) })
				sup := &fakeStopper{limit: limit}
				s.setSupervisor(sup)
				s.begin(false)
				if sup.announcements() != 1 || s.announced.Err() == nil || s.requested.Err() != nil {
					t.Fatal("TERM does not announce the shutdown, or stops the apps at once")
				}
				time.Sleep(time.Second) // on the fake clock
				c.more(s)
				<-s.requested.Done()
				if got := time.Since(began); got != c.stops || (s.hurried.Err() != nil) != c.hurried {
					t.Errorf("the apps stop after %v, hurried: %v", got, s.hurried.Err() != nil)
				}
				if got := <-expired; got != c.expires {
					t.Errorf("ended after %v, want %v", got, c.expires)
				}
				s.end()
			})
		})
	}
}

// A TERM before the apps exist does not linger: nothing serves.
func TestATermDuringTheStartDoesNotLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShutdown(t.Context(), time.Hour, func() {})
		s.begin(false)
		if s.requested.Err() == nil {
			t.Error("the start goes on")
		}
		s.setSupervisor(&fakeStopper{bound: time.Minute})
		s.end()
	})
}
