package supervisor

import (
	"testing"
	"testing/synctest"
	"time"
)

// start is any time for a pure test.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestAProcessThatHadAnsweredIsReplacedAtOnceWithinTheBudget(t *testing.T) {
	t.Parallel()
	var b backoff
	now := start
	for i := range restartBudget {
		if got := b.exited(now); got.after != 0 || got.failed {
			t.Fatalf("crash %d in a minute: %+v, want no pause", i+1, got)
		}
		now = now.Add(time.Second)
	}
	for i, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second,
		8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
		if got := b.exited(now); got.after != want || got.failed {
			t.Fatalf("crash %d beyond the budget: %+v, want %v", i+1, got, want)
		}
		now = now.Add(time.Millisecond)
	}
	if got := b.exited(now.Add(restartWindow)); got.after != 0 {
		t.Fatalf("a minute later: %+v, want no pause", got)
	}
}

func TestAnAppThatNeverStartsFailsAfterFiveStarts(t *testing.T) {
	t.Parallel()
	var b backoff
	for i, want := range []retry{{}, {after: 500 * time.Millisecond}, {after: time.Second}, {after: 2 * time.Second},
		{after: failedRetryInterval, failed: true}, {after: failedRetryInterval, failed: true}} {
		if got := b.startFailed(); got != want {
			t.Fatalf("start %d: %+v, want %+v", i+1, got, want)
		}
	}
	if got := b.exited(start); got.after != 0 || got.failed {
		t.Fatalf("a crash after an answer: %+v, want no pause", got)
	}
	if got := b.startFailed(); got != (retry{}) {
		t.Fatalf("the first failed start after an answer: %+v, want no pause", got)
	}
}

func TestAnOperationResetsThePauses(t *testing.T) {
	t.Parallel()
	var r restart
	for range 20 {
		r.exited(start)
	}
	r.startFailed()
	r.resetBackoff()
	if got := r.exited(start); got.after != 0 {
		t.Errorf("a crash after an operation: %+v", got)
	}
	r.resetBackoff()
	for i := 1; i < maxFailedStarts; i++ {
		if got := r.startFailed(); got.failed {
			t.Errorf("start %d after an operation: failed", i)
		}
	}
}

// crashes lets the process of an app die for four minutes: every interval, as long as a
// process is up, or life after it was ready. It returns the number of starts and the longest
// time without a process that answers.
func crashes(held bool, boot, life, every time.Duration) (starts int, longest time.Duration) {
	var r restart
	end, died := time.Now().Add(4*time.Minute), time.Now()
	kill := time.Now().Add(every)
	for time.Now().Before(end) {
		r.schedule(r.exited(time.Now()), "killed")
		for {
			<-r.due()
			if r.isDue(held) {
				break
			}
		}
		r.setUp()
		starts++
		time.Sleep(boot)
		longest = max(longest, time.Since(died))
		if every > 0 {
			for !kill.After(time.Now()) {
				kill = kill.Add(every)
			}
			life = time.Until(kill)
		}
		time.Sleep(life)
		died = time.Now()
	}
	return starts, longest
}

func TestAHeldRequestWaitsForTheStartAndOneSecondAtMost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ boot, life, every time.Duration }{
		{boot: 1200 * time.Millisecond, every: 4 * time.Second},
		{boot: 1200 * time.Millisecond, every: 12 * time.Second},
		{boot: 1200 * time.Millisecond, life: 12 * time.Second},
		{boot: 200 * time.Millisecond, life: time.Millisecond},
		{boot: 8 * time.Second, every: 9 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			starts, longest := crashes(true, c.boot, c.life, c.every)
			t.Logf("%+v: %d starts, longest %v", c, starts, longest)
			if longest > c.boot+maxPauseWhileHeld {
				t.Errorf("%+v: a request waited %v", c, longest)
			}
			if starts > 4*70 {
				t.Errorf("%+v: %d starts in 4 minutes", c, starts)
			}
		})
	}
}

func TestCrashesThatNoRequestWaitsForCostFewStarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		starts, _ := crashes(false, 100*time.Millisecond, time.Millisecond, 0)
		t.Logf("%d starts", starts)
		if starts > 4*(restartBudget+8) {
			t.Errorf("%d starts in 4 minutes", starts)
		}
	})
}

func TestAPauseEndsWhenARequestIsHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r restart
		r.schedule(retry{after: maxPause}, "crashed")
		began := time.Now()
		for range 5 { // no request comes
			<-r.due()
			if r.isDue(false) {
				t.Fatalf("due after %v", time.Since(began))
			}
		}
		<-r.due()
		if waited := time.Since(began); !r.isDue(true) || waited != 6*time.Second {
			t.Errorf("not due after %v, although a request is held", waited)
		}
		r.cancel()
		r.schedule(retry{after: failedRetryInterval, failed: true}, "failed")
		began = time.Now()
		<-r.due()
		if waited := time.Since(began); waited != failedRetryInterval || !r.isDue(false) {
			t.Errorf("an app that has failed is tried after %v", waited)
		}
	})
}
