package proxy

import (
	"time"

	"tideover/proxy/gate"
)

// A delivery is how far a request has come on one connection to the app.
type delivery int

const (
	notConnected delivery = iota
	connected             // nothing written
	written               // at least one byte written, nothing read back
	begun                 // a byte of the response arrived
)

// workerTimeout is how long a request may have run in a worker that alone died and still be sent again: gunicorn kills a worker
// that works for too long, and would kill the next one too.
const workerTimeout = 5 * time.Second

// A loss is a delivery that failed, and what is known about it.
type loss struct {
	state      delivery
	idempotent bool          // by method, or by an Idempotency-Key that counts
	empty      bool          // the request has no body
	whole      bool          // all of it is still here
	reset      bool          // the connection ended with a reset: there were bytes the app had not read
	unaccepted bool          // the target's marker came: the app never saw the connection
	alone      bool          // the target lives: only a worker died
	ran        time.Duration // since the request was written
	fed        int           // times the request was lost after it had been written
}

// resendable reports whether the request may be sent to the app again.
func (l loss) resendable() bool {
	switch {
	case !l.whole || l.state == begun:
		return false
	case l.state == notConnected || l.state == connected || l.unaccepted:
		return true
	case l.fed > 1:
		return false
	case l.reset && l.empty:
		return true
	case l.alone && l.ran >= workerTimeout:
		return false
	}
	return l.idempotent
}

// cause says in words why the client gets a 502.
func (l loss) cause() string {
	switch {
	case l.state == begun:
		return "the app's response broke off"
	case !l.whole:
		return "the app closed the connection without an answer; the body was too large to be kept"
	case l.fed > 1:
		return "the app closed the connection without an answer, twice"
	case l.alone && l.ran >= workerTimeout:
		return "a worker of the app died after the request had run for " + l.ran.Round(100*time.Millisecond).String()
	}
	return "the app closed the connection without an answer; the request may have had an effect and is not sent again"
}

// died reports whether the target's processes died at about this time, as far as that can be known: a connection of theirs has
// just ended, and the news of their death comes later if it comes. Mostly the gate has let go of the target by then.
func died(t *gate.Target) bool {
	return t.WaitInactive(newsTime) && t.WaitAbandoned(dyingTime)
}
