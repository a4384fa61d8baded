package monitor

import (
	"testing"
	"testing/synctest"
	"time"
)

// A supervisor that is killed again and again is started again at once, as long as that is no crash loop. In
// one the starts become rare, and one that stays up ends it.
func TestSupervisorsAreStartedAtOnceUnlessTheyCrashInALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r restarts
		startsIn := func(window, up time.Duration) (starts int) {
			for began := time.Now(); time.Since(began) < window; starts++ {
				started := time.Now()
				time.Sleep(up)
				time.Sleep(r.after(time.Since(started)))
			}
			return starts
		}
		if n := startsIn(time.Minute, soundFor); n != 30 {
			t.Errorf("%d starts in a minute of supervisors that are up for %v each", n, soundFor)
		}
		for n := range freeRestarts {
			time.Sleep(100 * time.Millisecond)
			if pause := r.after(100 * time.Millisecond); pause != 0 {
				t.Errorf("a pause of %v after %d supervisors that were killed at once", pause, n+1)
			}
		}
		if n := startsIn(time.Minute, 100*time.Millisecond); n > 20 {
			t.Errorf("%d starts in a minute of a crash loop", n)
		}
		if n := startsIn(time.Minute, 100*time.Millisecond); n > 12 {
			t.Errorf("%d starts in the next minute of a crash loop", n)
		}
		if r.after(soundFor); r.after(time.Millisecond) != 0 {
			t.Error("a pause after a supervisor that was sound")
		}
	})
}

func TestASupervisorThatCannotRestoreIsTriedLessAndLess(t *testing.T) {
	var r restarts
	for n, want := range []time.Duration{0, minPause, 2 * minPause, 4 * minPause, 8 * minPause, 16 * minPause, 32 * minPause, maxPause, maxPause} {
		if got := r.after(0); got != want {
			t.Errorf("a pause of %v after %d, want %v", got, n+1, want)
		}
	}
	if got := r.after(time.Millisecond); got != 0 {
		t.Errorf("a pause of %v after one that was up", got)
	}
}
