package supervisor

import (
	"cmp"
	"slices"
	"time"

	"tideover/supervisor/generation"
)

const (
	maxFailedStarts     = 5 // in a row; then the app has failed, unless daemon.failed_after says otherwise
	failedRetryInterval = 60 * time.Second
	initialPause        = 500 * time.Millisecond
	maxPause            = 30 * time.Second
	maxPauseWhileHeld   = time.Second
	restartWindow       = time.Minute
	restartBudget       = 10 // restarts in a restartWindow that cost no pause
)

// backoff decides when an app that went down is started again. It is pure. Its zero value is
// an app that never failed. The rule:
//
//   - A start that failed (the generation never answered) is tried again after 0, 0.5, 1 and
//     2 s. After the fifth in a row (daemon.failed_after) the app has failed: requests are
//     answered 503, and a start is tried once a minute. A generation that is ready sets this count to 0.
//   - A generation that had been ready and exited is replaced at once, up to restartBudget
//     times in the last minute. Beyond that, the pause is 0.5 s and doubles with each further
//     restart in that minute, up to 30 s. So an app that dies all the time does not take a
//     whole CPU. Nothing else resets this count but time.
//   - A held request ends a pause after 1 s (maxPauseWhileHeld), unless the app has failed. So
//     the longest wait after a crash is 1 s and the time that the app needs to start.
//   - An operation of the operator sets both counts to 0.
type backoff struct {
	failedAfter  int         // failed starts in a row; 0: maxFailedStarts
	failedStarts int         // in a row
	exits        []time.Time // of generations that were ready, in the last restartWindow
}

// retry is when to start again, and whether requests are held until then.
type retry struct {
	after  time.Duration
	failed bool // requests are not held
}

// exited is called when a generation that was ready has exited by itself.
func (b *backoff) exited(now time.Time) retry {
	b.failedStarts = 0
	b.exits = slices.DeleteFunc(append(b.exits, now), func(at time.Time) bool { return now.Sub(at) >= restartWindow })
	return retry{after: pauseAfter(len(b.exits) - restartBudget + 1)}
}

// startFailed is called when a generation has ended without being ready.
func (b *backoff) startFailed() retry {
	b.failedStarts++
	if b.failedStarts >= cmp.Or(b.failedAfter, maxFailedStarts) {
		return retry{after: failedRetryInterval, failed: true}
	}
	return retry{after: pauseAfter(b.failedStarts)}
}

// pauseAfter is 0 for the first failure and those before it, then 0.5, 1, 2, 4 ... 30 s.
func pauseAfter(failures int) time.Duration {
	if failures <= 1 {
		return 0
	}
	pause := initialPause
	for range failures - 2 {
		if pause *= 2; pause >= maxPause {
			return maxPause
		}
	}
	return pause
}

// restart is whether an app is to be up, and when and why the next generation is
// started without a request. The app's goroutine owns it.
type restart struct {
	backoff
	desired      desired
	dependencies []<-chan struct{} // before the first start: started of the apps in after
	timer        *time.Timer
	at           time.Time // when the pause ends
	reason       string    // why the app is down, in words
	failed       bool
	crashed      bool // the next generation replaces one that crashed
	afterStop    bool // the next generation starts when the last teardown is done
	crashes      int
	awaitStart   *time.Timer // of a stop whose requests are held: they are refused then; nil: they are not held
}

// desired is the state that an app is to have.
type desired int

const (
	desiredUp       desired = iota
	desiredStopped          // by the operator, or not started yet
	desiredFinished         // the process has exited, and the restart policy leaves the app down
)

func (r *restart) schedule(next retry, reason string) {
	r.at, r.reason, r.failed = time.Now().Add(next.after), reason, next.failed
	r.setTimer()
}

// setTimer sets the timer for the end of the pause, or for the next look whether a request
// is held.
func (r *restart) setTimer() {
	r.stopTimer()
	left := time.Until(r.at)
	if !r.failed {
		left = min(left, maxPauseWhileHeld)
	}
	r.timer = time.NewTimer(left)
}

// isDue reports, when the timer has fired, whether the next start is due: the pause is over,
// or a request is held. If not, it sets the timer again.
func (r *restart) isDue(held bool) bool {
	if held && !r.failed || time.Until(r.at) <= 0 {
		return true
	}
	r.setTimer()
	return false
}

// due is ready when it is time to ask isDue.
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
	r.endAwaitStart()
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
func (r *restart) resetBackoff() { r.backoff = backoff{failedAfter: r.failedAfter} }

// holdUntilStart is for a stop after which requests are held for d.
func (r *restart) holdUntilStart(d time.Duration) {
	r.endAwaitStart()
	r.awaitStart = time.NewTimer(d)
}

// endAwaitStart ends that hold.
func (r *restart) endAwaitStart() {
	if r.awaitStart != nil {
		r.awaitStart.Stop()
		r.awaitStart = nil
	}
}

// startOverdue is ready when requests are to be refused after a stop.
func (r *restart) startOverdue() <-chan time.Time {
	if r.awaitStart == nil {
		return nil
	}
	return r.awaitStart.C
}

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
