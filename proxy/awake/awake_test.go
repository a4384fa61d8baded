package awake

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStallCountsAsOneStepAtMost(t *testing.T) {
	for _, c := range []struct{ timeout, step time.Duration }{
		{300 * time.Millisecond, 300 * time.Millisecond}, {3 * time.Second, time.Second}, {5 * time.Minute, 10 * time.Second},
	} {
		passed := time.Duration(0)
		for left := NewCountdown(c.timeout); left.Step() > 0; left.Passed() { // each step may take an hour
			if left.Step() > c.step {
				t.Errorf("%v: a step of %v, want at most %v", c.timeout, left.Step(), c.step)
			}
			passed += left.Step()
		}
		if passed != c.timeout {
			t.Errorf("%v: %v have passed", c.timeout, passed)
		}
	}
	if counted := Elapsed(time.Hour); counted != Interval {
		t.Errorf("an hour between two readings counts as %v", counted)
	}
	if counted := Elapsed(3 * Interval / 2); counted != 3*Interval/2 {
		t.Errorf("one and a half intervals count as %v", counted)
	}
}

func TestATimerFiresOnceAndOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fired := make(chan time.Time, 10)
		after := func(d time.Duration, began time.Time) {
			t.Helper()
			if took := (<-fired).Sub(began); took != d {
				t.Errorf("it fired after %v, want %v", took, d)
			}
		}
		start := time.Now()
		timer := AfterFunc(2500*time.Millisecond, func() { fired <- time.Now() })
		after(2500*time.Millisecond, start)
		if timer.Stop() {
			t.Error("Stop: it had fired already")
		}
		timer.Extend(time.Second) // does nothing any more

		timer.Reset(10 * time.Second)
		start = time.Now()
		time.Sleep(5500 * time.Millisecond)
		timer.Extend(4 * time.Second) // it has longer than that
		timer.Extend(5 * time.Second)
		after(10500*time.Millisecond, start)

		timer.Reset(10 * time.Second)
		time.Sleep(9500 * time.Millisecond)
		if !timer.Stop() {
			t.Error("Stop: it had not fired yet")
		}
		time.Sleep(time.Hour)
		select {
		case <-fired:
			t.Error("it fired after Stop")
		default:
		}
	})
}

func TestTheCauseTellsATimeoutFromACancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		began := time.Now()
		<-ctx.Done()
		if took := time.Since(began); took != 90*time.Second || context.Cause(ctx) != context.DeadlineExceeded {
			t.Errorf("it ended after %v: %v", took, context.Cause(ctx))
		}
		parent, end := context.WithCancelCause(t.Context())
		for _, over := range []func(){func() { end(context.DeadlineExceeded) }, func() {}} {
			ctx, cancel := WithTimeout(parent, 90*time.Second)
			over()
			cancel()
			if <-ctx.Done(); context.Cause(ctx) != context.Cause(parent) && context.Cause(ctx) != context.Canceled {
				t.Errorf("its cause is %v", context.Cause(ctx))
			}
		}
	})
}
