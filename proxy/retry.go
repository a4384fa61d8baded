package proxy

import (
	"time"

	"tideover/proxy/gate"
)

const (
	// workerTimeout is how long a request may have run in a worker that died alone and still be
	// sent again. gunicorn kills a worker that works for too long, and would kill the next one too.
	workerTimeout = 5 * time.Second
	// exitNotice is how long to wait, after a connection to a target has ended, for the gate to drop
	// that target.
	exitNotice = 10 * time.Millisecond
	// exitGrace is how long to wait for the news that all of the target has died, after one of its
	// connections broke.
	exitGrace = 250 * time.Millisecond
)

// progress is how far a request has come on one connection to the app.
type progress int

const (
	notConnected    progress = iota
	connected                // nothing written
	requestSent              // at least one byte written, nothing read back
	responseStarted          // a byte of the response arrived, and none was sent to the client
)

// A failedAttempt is what is known about a round trip that failed.
type failedAttempt struct {
	progress      progress
	idempotent    bool          // by method, or by an Idempotency-Key that counts
	noBody        bool          // the request has no body
	replayable    bool          // all of it is still here
	reset         bool          // ECONNRESET: there were bytes that the app had not read
	neverAccepted bool          // the target's marker came: the app never accepted the connection
	workerDied    bool          // the target lives: only a worker died
	elapsed       time.Duration // since a worker had the request, as far as that is known
	attempts      int           // times the request was lost after it had been written
}

// retryable reports whether the request may be sent to the app again ([http1.RuleResend]).
func (f failedAttempt) retryable() bool {
	switch {
	case !f.replayable:
		return false
	case f.progress == notConnected || f.progress == connected || f.neverAccepted:
		return true
	case f.attempts > 1:
		return false
	case f.reset && f.noBody && f.progress == requestSent:
		return true
	case f.workerDied && f.elapsed >= workerTimeout:
		return false
	}
	return f.idempotent
}

// mayHaveRun reports whether a worker of the app may have read the request.
func (f failedAttempt) mayHaveRun() bool { return f.progress >= requestSent && !f.neverAccepted }

// cause says in words why the client gets a 502.
func (f failedAttempt) cause() string {
	switch {
	case f.progress == responseStarted:
		return "the app's response broke off"
	case !f.replayable:
		return "the app closed the connection without an answer; the body was too large to be kept"
	case f.attempts > 1:
		return "the app closed the connection without an answer, twice"
	case f.workerDied && f.elapsed >= workerTimeout:
		return "a worker of the app died after the request had run for " + f.elapsed.Round(100*time.Millisecond).String()
	}
	return "the app closed the connection without an answer; the request may have had an effect and is not sent again"
}

// workerDiedAlone reports whether the target still lives, after one of its connections has broken
// at an age of elapsed.
func workerDiedAlone(t *gate.Target, elapsed time.Duration) bool {
	return elapsed >= workerTimeout && !t.WaitInactive(exitGrace)
}

// targetDied reports whether the target's processes died at about this time, as far as that can be
// known: one of their connections has just ended, and the news of their death comes later if it
// comes. Mostly the gate has let go of the target by then.
func targetDied(t *gate.Target) bool {
	return t.WaitInactive(exitNotice) && t.WaitAbandoned(exitGrace)
}
