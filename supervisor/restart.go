package supervisor

import (
	"time"

	"tideover/supervisor/generation"
)

// The first retry after a crash is immediate, because requests are held. Then the
// backoff doubles.
const (
	initialBackoff      = 500 * time.Millisecond
	maxBackoff          = 30 * time.Second
	failedRetryInterval = 60 * time.Second
	resetAfter          = 30 * time.Second // of serving: the retries start anew
	maxFailedStarts     = 5                // in a row; then the app has failed
)

// backoff decides when an app that went down is started again. It is pure. Its
// zero value is an app that never failed.
type backoff struct {
	retries      int // since the app last served for resetAfter
	failedStarts int // in a row
}

// retry is when to start again, and whether requests are held until then.
type retry struct {
	after  time.Duration
	failed bool // requests are not held
}

// exited is called when a generation that was ready has exited by itself.
func (b *backoff) exited(uptime time.Duration) retry {
	b.failedStarts = 0
	if uptime >= resetAfter {
		b.retries = 0
	}
	return b.next()
}

// startFailed is called when a generation has ended without being ready.
func (b *backoff) startFailed() retry {
	b.failedStarts++
	return b.next()
}

func (b *backoff) next() retry {
	if b.failedStarts >= maxFailedStarts {
		return retry{after: failedRetryInterval, failed: true}
	}
	after := backoffAfter(b.retries)
	b.retries++
	return retry{after: after}
}

// backoffAfter is 0, 0.5, 1, 2, 4, 8, 16, 30, 30 ... seconds.
func backoffAfter(retries int) time.Duration {
	if retries == 0 {
		return 0
	}
	after := initialBackoff
	for range retries - 1 {
		if after *= 2; after >= maxBackoff {
			return maxBackoff
		}
	}
	return after
}

// restart is whether an app is to be up, and when and why the next generation is
// started without a request. The app's goroutine owns it.
type restart struct {
	backoff
	desired      desired
	dependencies []<-chan struct{} // before the first start: started of the apps in after
	timer        *time.Timer
	at           time.Time // when timer fires
	reason       string    // why the app is down, in words
	failed       bool
	crashed      bool // the next generation replaces one that crashed
	afterStop    bool // the next generation starts when the last teardown is done
	crashes      int
}

// desired is the state that an app is to have.
type desired int

const (
	desiredUp       desired = iota
	desiredStopped          // by the operator, or not started yet
	desiredFinished         // the process has exited, and the restart policy leaves the app down
)

func (r *restart) schedule(next retry, reason string) {
	r.stopTimer()
	r.at, r.reason, r.failed = time.Now().Add(next.after), reason, next.failed
	r.timer = time.NewTimer(next.after)
}

// due is ready when the next start is due.
func (r *restart) due() <-chan time.Time {
	if r.timer == nil {
		return nil
	}
	return r.timer.C
}

// dependencyStarted is ready when the first of the dependencies has started.
func (r *restart) dependencyStarted() <-chan struct{} {
	if len(r.dependencies) == 0 {
		return nil
	}
	return r.dependencies[0]
}

// dependenciesStarted forgets the dependencies that have started and reports
// whether none is left.
func (r *restart) dependenciesStarted() bool {
	for len(r.dependencies) > 0 && isClosed(r.dependencies[0]) {
		r.dependencies = r.dependencies[1:]
	}
	return len(r.dependencies) == 0
}

// pending reports whether a start is to come.
func (r *restart) pending() bool {
	return r.timer != nil || r.afterStop || len(r.dependencies) > 0
}

// cancel forgets the start that is to come.
func (r *restart) cancel() {
	r.stopTimer()
	r.afterStop, r.dependencies = false, nil
}

// setDown makes the app stay down, for a reason in words.
func (r *restart) setDown(d desired, reason string, failed bool) {
	r.cancel()
	r.desired, r.reason, r.failed, r.crashed = d, reason, failed, false
}

// setUp forgets why the app was down: it is up, or is being started.
func (r *restart) setUp() {
	r.cancel()
	r.desired, r.reason, r.failed, r.crashed = desiredUp, "", false, false
}

// resetBackoff is for an operation of the operator: earlier failures do not count.
func (r *restart) resetBackoff() { r.backoff = backoff{} }

// startReason is why the next generation is started without a request.
func (r *restart) startReason() generation.Reason {
	if r.crashed {
		return generation.ReasonCrash
	}
	return generation.ReasonStart
}

func (r *restart) stopTimer() {
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
