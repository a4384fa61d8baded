package proxy

import (
	"bytes"
	"os"
	"sync"
	"time"

	"tideover/proxy/accesslog"
)

const (
	// maxAccessPending bounds in bytes what waits to be written; further lines are dropped.
	maxAccessPending = 1 << 20
	// accessDelay is for how long lines are collected: one write has many of them.
	accessDelay = 50 * time.Millisecond
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

// An accessLog collects lines, and a goroutine writes them to a pipe. A request never waits for it: when
// too much waits to be written the line is dropped and counted.
type accessLog struct {
	totals  *Totals
	writing sync.Mutex // held during a write, so that lines stay in their order

	mu      sync.Mutex // guards the fields below
	record  accesslog.Record
	pending []byte
	spare   []byte        // memory of the lines that were written last
	wake    chan struct{} // capacity 1: there are lines; nil: no goroutine runs
	ended   chan struct{} // closed when the goroutine has ended
	file    *os.File      // nil: lines are dropped
}

// setFile has the lines written to the write end of a pipe, which it takes over. nil ends the log: what
// can be written at once of the last lines is written.
func (l *accessLog) setFile(f *os.File) {
	l.mu.Lock()
	wake, ended := l.wake, l.ended
	l.wake, l.ended = nil, nil
	if wake != nil {
		l.file.SetWriteDeadline(time.Now().Add(accessFlushTimeout))
		close(wake)
	}
	l.mu.Unlock()
	if ended != nil {
		<-ended
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
	}
	l.file = f
	if f != nil {
		l.wake, l.ended = make(chan struct{}, 1), make(chan struct{})
		go l.run(f, l.wake, l.ended)
	}
}

// run writes lines until wake is closed.
func (l *accessLog) run(f *os.File, wake <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	for open := true; open; {
		if _, open = <-wake; open {
			<-time.After(accessDelay)
		}
		l.writePending(f)
	}
}

// writePending writes the lines that wait.
func (l *accessLog) writePending(f *os.File) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	lines := l.pending
	l.pending, l.spare = l.spare[:0], nil
	l.mu.Unlock()
	if len(lines) > 0 {
		if _, err := f.Write(lines); err != nil { // the supervisor does not read, or has closed the pipe
			l.totals.accessDropped.Add(uint64(bytes.Count(lines, []byte{'\n'})))
		}
	}
	l.mu.Lock()
	l.spare = lines
	l.mu.Unlock()
}

// flush writes the lines that wait, as far as that can be done at once.
func (l *accessLog) flush() {
	l.mu.Lock()
	f := l.file
	l.mu.Unlock()
	if f != nil {
		f.SetWriteDeadline(time.Now().Add(accessFlushTimeout))
		l.writePending(f)
		f.SetWriteDeadline(time.Time{})
	}
}

// write adds a line for a request that has ended.
func (l *accessLog) write(x *exchange, e *ending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wake == nil || len(l.pending) > maxAccessPending {
		l.totals.accessDropped.Add(1)
		return
	}
	r := &x.request
	l.record = accesslog.Record{Now: e.now, App: x.app.name, Client: x.client.logAddress(), Method: r.MethodName(), Target: r.Target(), Minor: int(r.Minor), Fields: r,
		Status: e.status, Bytes: x.sent, Ending: e.outcome.String(), Took: e.took, Upstream: e.app, Hold: e.hold, Generation: x.target, Resent: x.resent}
	l.pending = x.client.rules.access.Append(l.pending, &l.record)
	l.record = accesslog.Record{} // it keeps no buffer of the pool
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// SetAccessLog has the lines of requests (Settings.Access) written to the write end of a pipe, which it
// takes over; nil: they are dropped.
func (s *Server) SetAccessLog(f *os.File) { s.app.access.setFile(f) }
