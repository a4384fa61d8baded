// Package awake measures time in which this process runs. Time in which it does not run, because it
// was stopped (SIGSTOP), its cgroup is frozen or the machine is suspended, counts toward no timeout
// of this package: in that time no other process could have been heard.
//
// A timeout is waited for in steps, and each step counts with its nominal length, however late its
// timer fires. So at most one step of a stall counts.
package awake

import (
	"context"
	"sync"
	"time"
)

const (
	// Interval is the length of a step, and of the time between two readings of a clock whose
	// steps go through Elapsed.
	Interval = time.Second
	// maxSteps is into how many steps a long timeout is divided, so that a thousand of them cost
	// few wake-ups.
	maxSteps = 30
)

// Elapsed returns what counts of the time between two readings of a clock that is read at least
// every Interval. More than two intervals mean a stall; it counts as one interval.
func Elapsed(step time.Duration) time.Duration {
	if step > 2*Interval {
		return Interval
	}
	return step
}

// A Countdown is a timeout that its owner waits for step by step.
type Countdown struct {
	left, step time.Duration
}

// NewCountdown returns a countdown of d.
func NewCountdown(d time.Duration) Countdown {
	return Countdown{left: d, step: max(Interval, d/maxSteps)}
}

// Step is how long to wait next. It is 0 or less when the time is over.
func (c *Countdown) Step() time.Duration { return min(c.left, c.step) }

// Passed says that the present step was waited for.
func (c *Countdown) Passed() { c.left -= c.Step() }

// A Timer calls a function once, after a duration. Its methods may be called from any goroutine.
type Timer struct {
	f func()

	mu        sync.Mutex
	countdown Countdown
	step      *time.Timer // for the present step; nil: the timer is not pending
	steps     int         // number of the present step
	began     time.Time   // when it began
}

// AfterFunc has f called on a goroutine of its own after d.
func AfterFunc(d time.Duration, f func()) *Timer {
	t := &Timer{f: f}
	t.Reset(d)
	return t
}

// Reset makes the timer fire after d from now, also when it has fired or was stopped.
func (t *Timer) Reset(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.resetLocked(d)
}

// Extend makes the timer fire not before d from now. It does nothing when it has fired or was
// stopped.
func (t *Timer) Extend(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.step != nil && d > t.countdown.left-time.Since(t.began) {
		t.resetLocked(d)
	}
}

// Stop reports whether it has kept the timer from firing.
func (t *Timer) Stop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopLocked()
}

func (t *Timer) resetLocked(d time.Duration) {
	t.stopLocked()
	t.countdown = NewCountdown(d)
	t.waitLocked()
}

func (t *Timer) stopLocked() bool {
	if t.step == nil {
		return false
	}
	t.step.Stop()
	t.step = nil
	return true
}

// waitLocked waits for the next step. t.mu must be held.
func (t *Timer) waitLocked() {
	t.steps++
	number := t.steps
	t.began = time.Now()
	t.step = time.AfterFunc(t.countdown.Step(), func() {
		if t.passed(number) {
			t.f()
		}
	})
}

// passed goes on when a step has passed, and reports whether it was the last one.
func (t *Timer) passed(number int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.step == nil || t.steps != number { // the timer was stopped meanwhile, or reset
		return false
	}
	if t.countdown.Passed(); t.countdown.Step() > 0 {
		t.waitLocked()
		return false
	}
	t.step = nil
	return true
}

// WithTimeout is context.WithTimeout, but for two things: the context has no Deadline, and its Err
// is context.Canceled; its Cause is context.DeadlineExceeded.
func WithTimeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return WithTimeoutCause(parent, d, context.DeadlineExceeded)
}

// WithTimeoutCause is WithTimeout with another cause.
func WithTimeoutCause(parent context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	t := AfterFunc(d, func() { cancel(cause) })
	return ctx, func() {
		t.Stop()
		cancel(context.Canceled)
	}
}
