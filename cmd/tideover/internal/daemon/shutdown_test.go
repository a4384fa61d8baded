package daemon

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever hangs, the daemon ends: after TERM within the bound that the supervisor states,
// after QUIT within 10 s.
func TestAShutdownThatHangsIsEnded(t *testing.T) {
	const bound = 2 * time.Minute
	supervised := func(s *shutdown) { s.setBound(func() time.Duration { return bound }) }
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
				s := newShutdown(t.Context(), func() { expired <- time.Since(began) })
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
		s := newShutdown(ctx, func() { t.Error("expired") })
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
