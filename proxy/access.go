package proxy

import (
	"bytes"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/accesslog"
)

const (
	// accessBlock is how many bytes of lines are written at once: each write wakes the supervisor.
	accessBlock = 64 << 10
	// accessDelay is how long a line waits for others.
	accessDelay = 200 * time.Millisecond
	// maxAccessPending bounds in bytes what waits to be written; further lines are dropped.
	maxAccessPending = 1 << 20
	// accessFlushTimeout bounds the wait for the last lines.
	accessFlushTimeout = time.Second
)

// Access says which requests have a line in the access log.
type Access string

const (
	AccessOff    Access = "off" // or empty
	AccessAll    Access = "all"
	AccessErrors Access = "errors" // a status of 500 or above, and what the client got no whole response for
	AccessSlow   Access = "slow"   // those that take Settings.AccessSlow or longer
	AccessHeld   Access = "held"
)

// wants reports whether a request that has ended so has a line.
func (a Access) wants(e *ending, slow time.Duration) bool {
	switch a {
	case AccessAll:
		return true
	case AccessErrors:
		return e.status >= 500 || e.outcome != answered && e.outcome != clientLeft && e.outcome != badRequest
	case AccessSlow:
		return e.took >= slow
	case AccessHeld:
		return e.held
	}
	return false
}

// An accessLog collects lines and writes them to a pipe in blocks. A request never waits for it: the
// pipe does not block, and when too much waits to be written the line is dropped and counted.
type accessLog struct {
	totals *Totals

	mu      sync.Mutex // guards the fields below
	pipe    *os.File   // nil: lines are dropped
	raw     syscall.RawConn
	clock   accesslog.Clock
	record  accesslog.Record
	pending []byte
	full    bool        // the pipe had no room; the timer tries again
	due     bool        // the timer runs
	timer   *time.Timer // of the first pending line; no timer runs while there is none
}

// setFile has the lines written to the write end of a pipe, which it takes over. It must be
// non-blocking. nil ends the log: what can be written of the last lines within accessFlushTimeout is
// written.
func (l *accessLog) setFile(f *os.File) {
	var raw syscall.RawConn
	if f != nil {
		var err error
		if raw, err = f.SyscallConn(); err != nil { // it is closed
			f = nil
		}
	}
	l.flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropLocked()
	if l.pipe != nil {
		l.pipe.Close()
	}
	l.pipe, l.raw, l.full = f, raw, false
}

// flush writes the lines that wait, as far as the pipe takes them within accessFlushTimeout.
func (l *accessLog) flush() {
	l.mu.Lock()
	pipe, raw := l.pipe, l.raw
	l.mu.Unlock()
	if pipe == nil {
		return
	}
	pipe.SetWriteDeadline(time.Now().Add(accessFlushTimeout))
	raw.Write(func(uintptr) (done bool) { // called again when the pipe has room
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.pipe == pipe {
			l.writeLocked()
		}
		return l.pipe != pipe || len(l.pending) == 0
	})
	pipe.SetWriteDeadline(time.Time{})
}

// write adds a line for a request that has ended.
func (l *accessLog) write(x *exchange, e *ending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pipe == nil || len(l.pending) > maxAccessPending {
		l.totals.accessDropped.Add(1)
		return
	}
	r := &x.request
	l.record = accesslog.Record{Now: e.now, Clock: &l.clock, App: x.app.name, Client: x.client.peer(), Method: r.MethodName(), Target: r.Target(), Minor: int(r.Minor), Fields: r,
		Status: e.status, Bytes: x.sent, Response: x.loggedResponse(), Ending: e.outcome.String(), Took: e.took, Upstream: e.app, Hold: e.hold, Generation: x.target, Resent: x.resent}
	l.pending = x.client.rules.access.Append(l.pending, &l.record)
	l.record = accesslog.Record{} // it keeps no buffer of the pool
	if len(l.pending) >= accessBlock && !l.full {
		l.writeLocked()
	}
	if len(l.pending) > 0 && !l.due {
		l.startTimerLocked()
	}
}

// startTimerLocked has the pending lines written soon. l.mu must be held.
func (l *accessLog) startTimerLocked() {
	l.due = true
	if l.timer == nil {
		l.timer = time.AfterFunc(accessDelay, l.onTimer)
	} else {
		l.timer.Reset(accessDelay)
	}
}

// onTimer is called by the timer.
func (l *accessLog) onTimer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = false
	if l.pipe != nil {
		l.writeLocked()
	}
	if len(l.pending) > 0 {
		l.startTimerLocked()
	}
}

// writeLocked writes what the pipe takes at once of the pending lines. They are dropped when the
// supervisor has closed it. l.mu must be held, and there must be a pipe.
func (l *accessLog) writeLocked() {
	l.full = false
	for len(l.pending) > 0 && !l.full {
		var n int
		var err error
		if closed := l.raw.Control(func(fd uintptr) { n, err = unix.Write(int(fd), l.pending) }); closed != nil {
			err = closed
		}
		l.pending = l.pending[:copy(l.pending, l.pending[max(n, 0):])]
		switch {
		case err == unix.EAGAIN:
			l.full = true
		case err != nil && err != unix.EINTR:
			l.dropLocked()
		}
	}
	if len(l.pending) == 0 && cap(l.pending) > 2*accessBlock {
		l.pending = nil
	}
}

// dropLocked drops the pending lines. l.mu must be held.
func (l *accessLog) dropLocked() {
	l.totals.accessDropped.Add(uint64(bytes.Count(l.pending, []byte{'\n'})))
	l.pending = l.pending[:0]
}

// SetAccessLog has the lines of requests (Settings.Access) written to the write end of a pipe, which it
// takes over and which must be non-blocking; nil: they are dropped.
func (s *Server) SetAccessLog(f *os.File) { s.app.access.setFile(f) }
