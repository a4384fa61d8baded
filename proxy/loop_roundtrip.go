package proxy

import (
	"bytes"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
	"tideover/proxy/netpoll"
)

const (
	// maxInlineRequest is how long a request may be that the loop sends: a new connection takes as
	// much without waiting.
	maxInlineRequest = 8 << 10
	// headCoalesceDelay is for how long the head of a short response may wait for the first of its
	// body. Most servers send the two one after the other, and every write wakes a client.
	headCoalesceDelay = 20 * time.Millisecond
	// disconnectCheckDelay is how long the app may work before it matters that the client is gone:
	// most responses come earlier.
	disconnectCheckDelay = 20 * time.Millisecond
)

// sendRequest sends a request that has passed the gate: on the connection that became idle last, or
// on a new one. A request that must not be sent twice gets a new one: a server may be closing an
// idle one at this moment, and then nothing tells whether it has read the request.
func (c *loopClient) sendRequest(t *gate.Target) {
	l, x := c.loop, c.exchange
	x.target = t.Name()
	line := 0
	l.out, line = x.appendRequest(l.out[:0], t)
	if len(l.out) > maxInlineRequest {
		c.offload(offload{reason: reasonDecision, decision: gate.Decision{Outcome: gate.Passed, Target: t}})
		return
	}
	for x.attempts == 0 && x.settings.idempotent(&x.request) {
		u := c.takeIdle(t, c.hasProxyLine(t))
		if u == nil {
			break
		}
		request := l.out[line:]
		n, errno := netpoll.Send(u.fd, request)
		if errno == 0 || errno == unix.EAGAIN {
			c.requestSent(u, request[max(0, n):])
			return
		}
		u.discard() // it was ending, and took nothing
	}
	c.sendOnNewConnection(t)
}

// sendOnNewConnection sends the request that is in l.out, behind its PROXY line if it has one.
func (c *loopClient) sendOnNewConnection(t *gate.Target) {
	l := c.loop
	var to netpoll.Sockaddr
	if o := t.Options(); !to.Set(o.Network, o.Address) { // a name, which is resolved on a goroutine
		c.offload(offload{reason: reasonDecision, decision: gate.Decision{Outcome: gate.Passed, Target: t}})
		return
	}
	u := l.dial(t, &to)
	if u == nil {
		c.requeue(t)
		return
	}
	n, errno := u.writeFirst(l.out)
	if errno != 0 && errno != unix.EAGAIN {
		u.discard()
		c.requeue(t)
		return
	}
	u.connecting = errno == unix.EAGAIN
	u.hasLine = c.hasProxyLine(t)
	c.requestSent(u, l.out[max(0, n):])
}

// requestSent says that the request is written on u, but for unsent, which follows as soon as it
// can.
func (c *loopClient) requestSent(u *loopUpstream, unsent []byte) {
	l := c.loop
	c.state = stateProxying
	c.upstream = u
	u.setUser(c)
	u.begin(c.exchange, l.now)
	u.headOnlyLen = 0
	if u.connecting {
		l.connecting.PushBack(&c.node, l.ran)
		l.schedule(dialTimeout)
	} else {
		c.startResponseTimer()
	}
	if len(unsent) == 0 {
		return
	}
	u.unsent = bytes.Clone(unsent)
	if !u.connecting {
		c.offload(offload{reason: reasonAwaitingHead})
	}
}

// onConnected goes on when the connection to the app has been made, on which as much of the request
// was written as it takes.
func (c *loopClient) onConnected() {
	if len(c.upstream.unsent) > 0 || c.gone() && c.exchange.settings.FinishOnDisconnect {
		c.offload(offload{reason: reasonAwaitingHead})
		return
	}
	c.node.Remove()
	c.startResponseTimer()
}

// onConnectFailed gives up a connection that was not made.
func (c *loopClient) onConnectFailed() {
	t := c.upstream.target
	c.discardUpstream()
	c.requeue(t)
}

func (c *loopClient) discardUpstream() {
	c.upstream.discard()
	c.upstream = nil
}

// startResponseTimer says that the app's response is waited for.
func (c *loopClient) startResponseTimer() {
	l, set := c.loop, c.exchange.settings
	switch {
	case c.gone() && !set.FinishOnDisconnect:
		l.clientGone.PushBack(&c.node, l.ran)
		l.schedule(disconnectCheckDelay)
	case set.Timeout > 0:
		l.awaitingResponse.PushBack(&c.node, l.ran)
		l.schedule(set.Timeout)
	}
}

// onGone acts on a client that has closed its connection while its request is out. One that has
// sent nothing but FIN behind the request gets its response all the same when that comes at once.
func (c *loopClient) onGone() {
	l, u := c.loop, c.upstream
	switch {
	case c.exchange.settings.FinishOnDisconnect:
		if !u.responseStarted && !u.connecting { // else onConnected does it
			c.offload(offload{reason: reasonAwaitingHead})
		}
	case l.now.Sub(u.startedAt) >= disconnectCheckDelay:
		c.cancelRoundTrip()
	default:
		c.node.Remove()
		c.startResponseTimer()
	}
}

// cancelRoundTrip ends a request after its client has disconnected.
func (c *loopClient) cancelRoundTrip() {
	t := c.upstream.target
	c.resetOnClose = c.upstream.bytesSent
	c.exchange.appTook = c.loop.now.Sub(c.upstream.startedAt)
	c.discardUpstream()
	c.exchange.clientGone(c.loop.now)
	c.app.gate.Done(t, false)
	c.finishRequest()
}

// onResponse goes on with what came from the app. err says that nothing else will come. It reports
// true when the round trip is over, or offloaded.
func (c *loopClient) onResponse(err error) bool {
	u := c.upstream
	if u.responseStarted {
		if err != nil {
			u.out = nil
			c.offload(offload{reason: reasonStreaming, err: err})
			return true
		}
		u.out = c.loop.out[:0]
		return c.flushResponse()
	}
	n := u.headOnlyLen
	if err == nil && n == 0 {
		n, err = u.parseHead()
	}
	switch {
	case err != nil:
		c.offload(offload{reason: reasonFailed, progress: u.progress(err), err: err})
		return true
	case n == 0:
		return false
	case u.response.Interim() || u.response.Status == 101:
		c.offload(offload{reason: reasonAwaitingHead})
		return true
	}
	if u.headOnlyLen == 0 && u.isHeadOnly(n) && !c.gone() {
		u.headOnlyLen = n
		c.awaitBody()
		return false
	}
	return c.startResponse(n)
}

// isHeadOnly reports whether nothing has come behind a head of n bytes, and the body is known to be
// so short that the buffer holds both.
func (u *loopUpstream) isHeadOnly(n int) bool {
	b := u.response.Body
	return n == len(u.in.bytes()) && b.Framing == http1.Fixed && 0 < b.Length && b.Length <= int64(len(u.in.data)-n)
}

// awaitBody waits for the first of the body, for a moment.
func (c *loopClient) awaitBody() {
	l := c.loop
	c.node.Remove()
	l.headOnly.PushBack(&c.node, l.ran)
	l.schedule(headCoalesceDelay)
}

// startResponse begins to send the response to the client. Its head is n bytes long.
func (c *loopClient) startResponse(n int) bool {
	c.node.Remove()
	c.upstream.headLen, c.upstream.out = n, c.loop.out[:0]
	c.upstream.startResponse()
	return c.flushResponse()
}

// flushResponse gives the client what there is of its response.
func (c *loopClient) flushResponse() bool {
	u := c.upstream
	done, fault := u.reframe()
	if fault != nil {
		u.out = nil
		c.offload(offload{reason: reasonFailed, err: fault})
		return true
	}
	if done && !u.persistent() {
		u.closeFD() // some servers wait for that
	}
	n, errno := 0, syscall.Errno(0)
	switch {
	case len(u.out) == 0:
	case done && !c.exchange.keepAlive:
		n, errno = netpoll.SendLast(int(c.fd), u.out)
	default:
		n, errno = netpoll.Send(int(c.fd), u.out)
	}
	u.bytesSent = u.bytesSent || n > 0
	switch {
	case errno != 0 && errno != unix.EAGAIN:
		c.cancelRoundTrip()
		return true
	case max(0, n) < len(u.out) || u.body.Remaining() > largeBody:
		u.out = bytes.Clone(u.out[max(0, n):])
		c.responding.Store(true)
		c.offload(offload{reason: reasonStreaming})
		return true
	}
	c.loop.out, u.out = u.out[:0], nil
	if done {
		c.finishResponse()
		return true
	}
	c.responding.Store(true)
	if u.in.empty() {
		u.in.release()
	}
	return false
}

// finishResponse ends a request after its response was sent to the client.
func (c *loopClient) finishResponse() {
	u, x := c.upstream, c.exchange
	t := u.target
	x.appTook = c.loop.now.Sub(u.startedAt)
	c.upstream = nil
	if u.reusable() && u.drained() {
		u.putIdle(c)
	} else {
		u.discard()
	}
	c.responding.Store(false)
	x.end(answered, c.loop.now)
	x.app.gate.Done(t, true)
	c.finishRequest()
}

// expireRoundTrips handles the requests that have passed a deadline. It cancels those of
// disconnected clients, gives up connect(), sends a response head that has waited alone for its
// body, and ends with errResponseTimeout those without a response.
func (l *eventLoop) expireRoundTrips() {
	for n := l.clientGone.Front(); n != nil && l.expiredWithin(n.AddedAt(), disconnectCheckDelay); n = l.clientGone.Front() {
		n.Value.cancelRoundTrip()
	}
	for n := l.connecting.Front(); n != nil && l.expiredWithin(n.AddedAt(), dialTimeout); n = l.connecting.Front() {
		n.Value.onConnectFailed()
	}
	for n := l.headOnly.Front(); n != nil && l.expiredWithin(n.AddedAt(), headCoalesceDelay); n = l.headOnly.Front() {
		n.Value.startResponse(n.Value.upstream.headOnlyLen)
	}
	current := l.app.settings.Load()
	for n := l.awaitingResponse.Front(); n != nil; {
		c, next := n.Value, l.awaitingResponse.Next(n)
		switch set := c.exchange.settings; {
		case l.expiredWithin(n.AddedAt(), set.Timeout):
			c.offload(offload{reason: reasonFailed, progress: requestSent, err: errResponseTimeout})
		case set == current: // all that follow have as long, and began later
			return
		}
		n = next
	}
}
