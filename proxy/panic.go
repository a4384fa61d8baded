package proxy

import (
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/netpoll"
)

// A panic in the code that serves a connection costs that connection: it is reset, its request counts
// as cut. Others go on.

// reportPanic logs a panic with its stack, and reports it. It must be called by the deferred function that has
// recovered.
func (a *app) reportPanic(cause any) {
	a.logger.Error("panic while a connection was served", "app", a.name, "error", cause, "stack", string(debug.Stack()),
		"hint", "this connection is lost; please report the stack")
	if a.panicked != nil {
		a.panicked()
	}
}

// deliver tells a handler its events.
func (l *eventLoop) deliver(h netpoll.Handler, events uint32) {
	l.serving = clientOf(h)
	defer l.recoverConnection()
	h.OnEvents(events)
}

// clientOf is the client whose connection or request a handler serves; nil: none.
func clientOf(h netpoll.Handler) (c *loopClient) {
	switch h := h.(type) {
	case *loopClient:
		return h
	case *loopUpstream:
		c, _ = h.user.(*loopClient)
	}
	return c
}

// recoverConnection ends the connection that was served when the loop has panicked. It must be
// deferred.
func (l *eventLoop) recoverConnection() {
	cause := recover()
	if cause == nil {
		return
	}
	l.app.reportPanic(cause)
	if l.serving != nil {
		l.serving.breakOff()
	}
}

// breakOff ends a client's connection, in whatever state it is.
func (c *loopClient) breakOff() {
	switch c.state {
	case stateClosed:
		return
	case stateOffloaded:
		c.cut()
		return
	case stateQueued:
		if !c.app.gate.Leave(&c.waiter) { // Run comes, and finds that the client is gone
			c.hupEvents = unix.EPOLLHUP
			return
		}
		c.restoreExchange()
	}
	if u := c.upstream; u != nil {
		c.discardUpstream()
		c.app.gate.Done(u.target, false)
	}
	if c.exchange != nil {
		c.exchange.breakOff()
	}
	c.resetOnClose = true
	c.disconnect()
}

// serveOrBreakOff is serve, which a panic ends with the connection.
func (b *blockingClient) serveOrBreakOff(o offload) (keep bool) {
	defer func() {
		if cause := recover(); cause != nil {
			b.app.reportPanic(cause)
			b.breakOff()
			keep = false
		}
	}()
	return b.serve(o)
}

func (b *blockingClient) breakOff() {
	if u := b.upstream; u != nil && u.x != nil {
		u.stopUpload()
		u.discard()
		u.end()
		b.app.gate.Done(u.target, false)
	}
	b.exchange.breakOff()
	b.conn.abort()
}

// breakOff counts a request that has not ended as cut, and gives back what it had.
func (x *exchange) breakOff() {
	if x.app == nil {
		return
	}
	if x.counted && !x.ended {
		x.end(truncated, time.Now())
	}
	x.app.buffered.Add(-x.reserved)
	x.reserved = 0
	x.stored.release()
}

// panicAt panics at a point of a request, where a test asks for it.
func (x *exchange) panicAt(point string) {
	if p := x.settings.PanicOn; p != "" && string(x.request.Target()) == p+point {
		panic("a test asks for a panic at the " + point)
	}
}
