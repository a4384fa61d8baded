package proxy

import (
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/netpoll"
)

// maxSpareExchanges is how many requests' memory a loop keeps.
const maxSpareExchanges = 1024

// A loopClient is a client's connection in the event loop. While it is offloaded, the descriptor and
// all that is known of the client belong to its [blockingClient].
type loopClient struct {
	*clientConn           // nil: offloaded
	exchange    *exchange // nil: nothing is known of a request but its head, or it is offloaded

	loop     *eventLoop
	node     netpoll.Node[*loopClient] // in a list of the loop, unless queued
	upstream *loopUpstream             // while proxying
	away     *blockingClient           // while offloaded

	idleUpstream *loopUpstream // the client's own connection to the app, while it is idle

	fd           int32       // -1: offloaded
	responding   atomic.Bool // a response has begun and is not complete
	hupEvents    uint16      // which ends of the connection are known to be closed
	state        connState
	header       proxyHeader
	readPending  bool // an edge was seen, and the socket was not read to its end since
	resetOnClose bool // the client is to see an error
}

// connState is what a client's connection is in use for.
type connState uint8

const (
	stateIdle          connState = iota
	statePartialHeader           // a part of a PROXY header has come
	statePartial                 // a part of a request's head has come
	stateProxying                // its request is out on a loopUpstream
	stateQueued                  // its request is held at the gate
	stateOffloaded               // to a goroutine
	stateClosed
)

// clientEvents are the events of a client's connection that are reported.
const clientEvents = unix.EPOLLIN | unix.EPOLLRDHUP

// addClient adds the connection of a client at peer, accepted at local; invalid: it is asked for.
// The result is nil, and the connection closed, when there is no room for it.
func (l *eventLoop) addClient(fd int, peer, local netip.AddrPort) *loopClient {
	if peer.IsValid() && !local.IsValid() {
		local = netpoll.LocalAddr(fd)
	}
	c := &loopClient{clientConn: &clientConn{app: l.app, remote: peer, local: l.sharedAddress(local)}, loop: l, fd: int32(fd)}
	if err := l.poller.Add(fd, clientEvents, c); err != nil {
		l.app.logger.Error("cannot serve connection", "app", l.app.name, "error", err)
		netpoll.Close(fd)
		return nil
	}
	l.clients.Add(1)
	l.app.limiter.Opened(fd)
	c.node.Value = c
	l.addIdle(c)
	return c
}

// sharedAddress returns an address that is equal to a. Most clients have connected to the same one,
// so that the latest is enough to share it.
func (l *eventLoop) sharedAddress(a netip.AddrPort) *netip.AddrPort {
	if l.latestLocal == nil || *l.latestLocal != a {
		shared := a // not a itself, which would be allocated with each call
		l.latestLocal = &shared
	}
	return l.latestLocal
}

// OnEvents takes an event of the connection.
func (c *loopClient) OnEvents(events uint32) {
	c.hupEvents |= uint16(events & (unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR))
	switch c.state {
	case stateIdle, statePartialHeader, statePartial:
		c.onReadable()
	case stateQueued:
		c.readPending = true
		if c.gone() {
			c.leaveQueue()
		}
	case stateProxying:
		c.readPending = true
		if c.gone() {
			c.onGone()
		}
	}
}

// gone reports whether the client has closed the connection, as its settings define it.
func (c *loopClient) gone() bool {
	signs := uint16(unix.EPOLLHUP | unix.EPOLLERR)
	if c.rules.settings.finCounts() {
		signs |= unix.EPOLLRDHUP
	}
	return c.hupEvents&signs != 0
}

// onReadable reads what a client has sent that is idle or has sent a part of a head.
func (c *loopClient) onReadable() {
	l := c.loop
	limit := bufferSize
	if c.state == statePartial {
		limit = max(limit, c.rules.policy.Limits.Head)
	}
	room := c.in.room(limit)
	n, errno := netpoll.Receive(int(c.fd), room)
	switch {
	case errno == unix.EAGAIN:
		c.readPending = false
		switch {
		case c.state == statePartial && c.exchange.counted:
		case l.closing:
			c.leave()
		case c.state == stateIdle:
			c.in.release()
		}
	case n <= 0:
		c.leave()
	default:
		c.in.end += n
		c.readPending = n == len(room) || c.hupEvents != 0
		if c.state == statePartial {
			c.parseHead()
		} else {
			c.begin()
		}
	}
}

// leave ends the connection of a client that has closed it without a complete request.
func (c *loopClient) leave() {
	if c.state == statePartial {
		c.endPartial(clientLeft)
	}
	c.disconnect()
}

// endPartial ends a request of which only a part of the head has come.
func (c *loopClient) endPartial(o outcome) {
	if c.exchange.counted {
		c.exchange.end(o, c.loop.now)
	}
	c.exchange.finish()
}

// dispatch begins with the request whose first bytes are in the client's buffer.
func (c *loopClient) dispatch() {
	c.loop.serving = c
	c.node.Remove()
	c.updateRules()
	c.acquireExchange(c.loop.now)
	c.parseHead()
}

// parseHead parses the head of a request and takes the request as far as the loop can: to the app,
// into the gate's queue, or to a goroutine.
func (c *loopClient) parseHead() {
	l, x := c.loop, c.exchange
	r := &x.request
	n, fault := r.Parse(c.in.bytes(), &c.rules.policy)
	if fault == nil && n == 0 {
		c.awaitRestOfHead()
		return
	}
	c.node.Remove()
	if fault != nil || !r.Body.Empty() || r.Upgrade || x.settings.isHealthCheck(r) {
		c.offload(offload{reason: reasonNewRequest})
		return
	}
	x.count()
	x.setHead(n)
	x.logDropped()
	c.waiter.Owner = c
	switch d := l.app.gate.Enter(&c.waiter); d.Outcome {
	case gate.Passed:
		c.sendRequest(d.Target)
	case gate.Held:
		x.recordHeld()
		c.enqueue()
	default:
		c.offload(offload{reason: reasonDecision, decision: d})
	}
}

// awaitRestOfHead waits for more of a head. That costs the descriptor, the bytes that have come and
// what is known of them: no goroutine and no pooled buffer. A client that has sent an empty line and
// no byte of a head still counts as idle.
func (c *loopClient) awaitRestOfHead() {
	l, x := c.loop, c.exchange
	begun := x.counted
	x.count()
	c.in.unpool()
	x.request.Rebase(c.in.bytes())
	switch {
	case begun:
	case x.counted:
		c.node.Remove()
		l.partialHeads.PushBack(&c.node, l.ran)
		l.schedule(x.settings.HeadTimeout)
	case c.state != statePartial:
		l.addIdle(c)
	}
	c.state = statePartial
	if c.readPending {
		c.onReadable()
	}
}

// expireHeads answers requests whose head is not complete in time with 408.
func (l *eventLoop) expireHeads() {
	current := l.app.settings.Load()
	for n := l.partialHeads.Front(); n != nil; {
		c, next := n.Value, l.partialHeads.Next(n)
		switch set := c.exchange.settings; {
		case l.expiredWithin(n.AddedAt(), set.HeadTimeout):
			c.offload(offload{reason: reasonHeadTimeout})
		case set == current: // all that follow have as long, and began later
			return
		}
		n = next
	}
}

// enqueue makes a client small that the gate has put into its queue. What is kept is the head, and
// nothing else where nothing else came.
func (c *loopClient) enqueue() {
	c.state = stateQueued
	x := c.exchange
	if !x.compact() && c.app.gate.Leave(&c.waiter) {
		c.offload(offload{reason: reasonDecision, decision: gate.Decision{Outcome: gate.Overflowed}})
		return
	}
	if len(x.body.raw) == 0 && x.compacted {
		c.releaseExchange()
	}
	if c.gone() {
		c.leaveQueue()
	}
}

// requeue returns a request to the gate after a connection to its target could not be made.
func (c *loopClient) requeue(t *gate.Target) {
	c.node.Remove()
	c.state = stateQueued
	if !c.exchange.compacted {
		c.exchange.compact() // where that exceeds the budget it keeps its buffer
	}
	c.app.gate.Requeue(&c.waiter, t, true)
	if c.gone() {
		c.leaveQueue()
	}
}

// leaveQueue takes a client that is gone out of the gate's queue. If the gate has decided already,
// the decision is on its way.
func (c *loopClient) leaveQueue() {
	if c.app.gate.Leave(&c.waiter) {
		c.restoreExchange().clientGone(c.loop.now)
		c.finishRequest()
	}
}

// OnDecision has the loop act on the gate's decision. The gate calls it, on any goroutine.
func (c *loopClient) OnDecision(gate.Decision) { c.loop.tasks.Post(c) }

// Run acts on the gate's decision about a held request.
func (c *loopClient) Run() {
	c.loop.serving = c
	defer c.loop.recoverConnection()
	x, d := c.restoreExchange(), c.waiter.Decision()
	x.recordWait(d)
	switch {
	case d.Outcome != gate.Passed:
		c.offload(offload{reason: reasonDecision, decision: d})
	case c.gone() || netpoll.HungUp(int(c.fd), x.settings.finCounts()):
		c.app.gate.Done(d.Target, false)
		x.clientGone(c.loop.now)
		c.finishRequest()
	default:
		c.sendRequest(d.Target)
	}
}

// acquireExchange gives a client, which has sent at least a part of a head, the memory for a
// request.
func (c *loopClient) acquireExchange(began time.Time) *exchange {
	l := c.loop
	if c.exchange == nil {
		if last := len(l.spareExchanges) - 1; last >= 0 {
			c.exchange, l.spareExchanges = l.spareExchanges[last], l.spareExchanges[:last]
		} else {
			c.exchange = &exchange{}
		}
	}
	c.exchange.begin(c.clientConn, began)
	return c.exchange
}

// restoreExchange parses the head of a held request once more, where that is all that was kept of
// it.
func (c *loopClient) restoreExchange() *exchange {
	if c.exchange != nil {
		return c.exchange
	}
	x := c.acquireExchange(c.app.gate.ArrivedAt(&c.waiter))
	n, _ := x.request.Parse(c.in.bytes(), &c.rules.policy)
	x.setHead(n)
	x.counted, x.compacted = true, true
	x.reserved, x.held = int64(n), true
	return x
}

// releaseExchange takes that memory back.
func (c *loopClient) releaseExchange() {
	if c.exchange != nil && len(c.loop.spareExchanges) < maxSpareExchanges {
		c.exchange.client = nil
		c.exchange.request.Rebase(nil) // else it keeps a buffer of the pool
		c.loop.spareExchanges = append(c.loop.spareExchanges, c.exchange)
	}
	c.exchange = nil
}

// finishRequest ends a request and goes on with the next one, if there is to be one.
func (c *loopClient) finishRequest() {
	c.node.Remove()
	c.exchange.finish()
	switch {
	case !c.exchange.keepAlive || c.resetOnClose:
		c.disconnect()
	case !c.in.empty():
		c.dispatch()
	default:
		c.setIdle()
	}
}

// setIdle makes a client wait for the next request.
func (c *loopClient) setIdle() {
	l := c.loop
	c.releaseExchange()
	c.state = stateIdle
	l.addIdle(c)
	if c.readPending || l.closing {
		c.onReadable()
	}
}

// addIdle puts a client behind those that are idle.
func (l *eventLoop) addIdle(c *loopClient) {
	l.idleClients.PushBack(&c.node, l.ran)
	if l.idleClients.Front() == &c.node {
		l.schedule(l.app.settings.Load().IdleTimeout)
	}
	l.offerYield()
}

// disconnect closes the connection.
func (c *loopClient) disconnect() {
	l := c.loop
	c.release()
	if c.fd >= 0 {
		l.poller.Forget(int(c.fd))
		if c.resetOnClose {
			netpoll.SetReset(int(c.fd), true)
		}
		netpoll.Close(int(c.fd))
	}
	l.forget(c)
}

// giveAway makes the connection of an idle client that of the caller.
func (c *loopClient) giveAway() {
	c.release()
	c.loop.poller.Remove(int(c.fd))
	c.loop.forget(c)
}

// release gives up what a client has but its connection.
func (c *loopClient) release() {
	c.node.Remove()
	if c.idleUpstream != nil {
		c.idleUpstream.discard()
	}
	c.in.release()
	c.releaseExchange()
}

// forget is called when a client is none of the loop's any more.
func (l *eventLoop) forget(c *loopClient) {
	c.state = stateClosed
	l.clients.Add(-1)
	l.app.limiter.Closed()
	l.reportClosed()
	l.offerYield()
}

// reportClosed wakes one Server.WaitIdle.
func (l *eventLoop) reportClosed() {
	select {
	case l.clientClosed <- struct{}{}:
	default:
	}
}

// cut ends what is under way on a client's connection.
func (c *loopClient) cut() {
	c.hupEvents = unix.EPOLLHUP
	switch c.state {
	case stateIdle, statePartialHeader, statePartial:
		c.leave()
	case stateQueued:
		c.leaveQueue()
	case stateProxying:
		c.cancelRoundTrip()
	case stateOffloaded: // the goroutine notices it
		if conn := &c.away.conn; !c.responding.Load() || !conn.reset() {
			conn.shutdown()
		}
	}
}

// closeIdleClients closes the connections that have been idle for too long.
func (l *eventLoop) closeIdleClients() {
	timeout := l.app.settings.Load().IdleTimeout
	for n := l.idleClients.Front(); n != nil && l.expired(n.AddedAt(), timeout); n = l.idleClients.Front() {
		n.Value.leave()
	}
}
