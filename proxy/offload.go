package proxy

import (
	"os"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/netpoll"
)

// This file is the passage between the event loop and the goroutines. A connection is passed on by
// a conversion: detach turns a loopClient into a blockingClient and a loopUpstream into a
// blockingUpstream, and takes from the former what the latter gets; Run and adopt are the way back.
// So neither side can reach what is the other's.

// An offload is what a client's connection goes to a goroutine for.
type offload struct {
	reason   offloadReason
	decision gate.Decision     // of gateDecision
	upstream *blockingUpstream // with the round trip under way, if there is one
	progress progress          // of failed
	err      error             // of failed; of streaming: how reading ended, if it did
}

type offloadReason uint8

const (
	reasonNewRequest   offloadReason = iota // a request has begun; nothing is known of it yet
	reasonHeadTimeout                       // its head was not complete in time
	reasonDecision                          // the gate has decided
	reasonAwaitingHead                      // the request is out
	reasonStreaming                         // the response has begun
	reasonFailed                            // the round trip has failed
)

// offload has a goroutine serve a client.
func (c *loopClient) offload(o offload) {
	l := c.loop
	c.node.Remove()
	c.state = stateOffloaded
	if c.upstream != nil {
		o.upstream = c.upstream.detach()
		c.upstream = nil
	}
	b := c.detach()
	l.offloaded.Go(func() {
		b.keep = b.serveOrBreakOff(o)
		b.detach()
		l.tasks.Post(b)
	})
}

// detach makes a client a goroutine's, descriptor and all.
func (c *loopClient) detach() *blockingClient {
	l := c.loop
	b := &blockingClient{clientConn: c.clientConn, exchange: c.exchange, home: c}
	b.waiter.Owner = b
	l.poller.Remove(int(c.fd))
	b.conn.open(os.NewFile(uintptr(c.fd), "client"))
	c.clientConn, c.exchange, c.fd, c.away = nil, nil, -1, b
	l.offloadedClients.PushBack(&c.node, l.ran)
	l.burst.begin()
	return b
}

// detach takes the descriptor from a goroutine's connection, or closes it. Go's runtime does not
// give it back, so that it is a duplicate; without a number for that the connection stays open.
func (b *blockingClient) detach() {
	b.fd = -1
	if b.keep {
		fd, err := b.conn.dup()
		if err != nil {
			return
		}
		b.conn.close()
		b.fd = b.app.limiter.Settle(fd)
		return
	}
	b.conn.close()
}

// Run makes the client the event loop's again. Without a descriptor for that it is tried again
// later.
func (b *blockingClient) Run() {
	c := b.home
	l := c.loop
	b.keep = b.keep && c.hupEvents&unix.EPOLLHUP == 0 // else it was cut meanwhile
	if b.keep && b.fd < 0 && !l.closing {
		if b.detach(); b.fd < 0 {
			l.deferredReturns = append(l.deferredReturns, b)
			l.schedule(retryInterval)
			return
		}
	}
	c.node.Remove()
	l.burst.end()
	c.clientConn, c.exchange, c.fd, c.away = b.clientConn, b.exchange, int32(b.fd), nil
	if !b.keep || c.fd < 0 || l.poller.Add(int(c.fd), clientEvents, c) != nil {
		b.conn.close()
		c.disconnect()
		return
	}
	c.readPending = true
	c.setIdle()
}

// retryReturns makes the clients the event loop's for which there was no descriptor.
func (l *eventLoop) retryReturns() {
	deferred := l.deferredReturns
	l.deferredReturns = nil
	for _, b := range deferred {
		b.Run()
	}
}

// detach makes a connection to the app a goroutine's, for good, with the round trip that uses it.
func (u *loopUpstream) detach() *blockingUpstream {
	b := &blockingUpstream{roundTrip: u.roundTrip}
	b.upload.sentWhole(u.startedAt)
	u.roundTrip = roundTrip{target: u.target}
	u.setUser(nil)
	if !u.release() { // its response was read to the end
		return b
	}
	u.loop.poller.Remove(u.fd)
	if b.target.Options().Network != "unix" {
		unix.SetsockoptInt(u.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	b.conn.open(os.NewFile(uintptr(u.fd), "upstream"))
	if !b.target.Add(b) {
		b.Abandon()
	}
	return b
}

// borrow returns the connection to t that became idle last, for a goroutine, if there is one that
// is fit.
func (b *blockingClient) borrow(t *gate.Target) (u *blockingUpstream) {
	own := b.hasProxyLine(t)
	for {
		u = nil
		b.home.loop.call(func() {
			if idle := b.home.takeIdle(t, own); idle != nil {
				u = idle.detach()
			}
		})
		if u == nil || u.conn.quiet() {
			return u
		}
		u.discard()
	}
}

// giveBack makes a connection to the app the event loop's, which keeps it for the next request: of
// the client c, if it is that client's own.
func (u *blockingUpstream) giveBack(c *loopClient) {
	t, hasLine := u.target, u.hasLine
	fd, err := u.conn.dup()
	u.discard()
	if err == nil {
		fd = c.loop.app.limiter.Settle(fd)
	}
	if err == nil && !c.loop.post(func() { c.adopt(t, fd, hasLine) }) {
		netpoll.Close(fd)
	}
}

// adopt keeps an idle connection to t.
func (c *loopClient) adopt(t *gate.Target, fd int, hasLine bool) {
	if u := c.loop.addUpstream(t, fd, unix.EPOLLIN|unix.EPOLLRDHUP); u != nil {
		u.hasLine = hasLine
		u.putIdle(c)
	}
}
