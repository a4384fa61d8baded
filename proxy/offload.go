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

// A deferredOffload is one for which there is no descriptor at present.
type deferredOffload struct {
	client *loopClient
	offload
}

// offload has a goroutine serve a client. Without a descriptor for that it is tried again later.
func (c *loopClient) offload(o offload) {
	l := c.loop
	c.node.Remove()
	c.state = stateOffloaded
	if c.upstream != nil {
		o.upstream = c.upstream.detach()
		c.upstream = nil
	}
	b, err := c.detach()
	if err != nil {
		l.deferredOffloads = append(l.deferredOffloads, deferredOffload{c, o})
		l.schedule(retryInterval)
		return
	}
	l.offloaded.Go(func() {
		b.keep = b.serve(o)
		b.conn.close()
		l.tasks.Post(b)
	})
}

// retryOffloads offloads what could not be offloaded before.
func (l *eventLoop) retryOffloads() {
	deferred := l.deferredOffloads
	l.deferredOffloads = nil
	for _, d := range deferred {
		d.client.offload(d.offload)
	}
}

// detach makes a client a goroutine's. That gets a duplicate of the descriptor: the loop keeps the
// original, so that the connection keeps its place in the epoll set.
func (c *loopClient) detach() (*blockingClient, error) {
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	b := &blockingClient{clientConn: c.clientConn, exchange: c.exchange, home: c}
	if err := b.conn.open(os.NewFile(uintptr(fd), "client")); err != nil {
		return nil, err
	}
	b.waiter.Owner = b
	c.clientConn, c.exchange = nil, nil
	return b, nil
}

// Run makes the client the event loop's again.
func (b *blockingClient) Run() {
	c := b.home
	c.clientConn, c.exchange = b.clientConn, b.exchange
	if !b.keep {
		c.disconnect()
		return
	}
	if c.eventsOff {
		c.eventsOff = false
		c.loop.poller.Modify(c.fd, clientEvents)
	}
	c.readPending = true
	c.setIdle()
}

// detach makes a connection to the app a goroutine's, for good, with the round trip that uses it.
func (u *loopUpstream) detach() *blockingUpstream {
	b := &blockingUpstream{roundTrip: u.roundTrip}
	b.upload.sentWhole(u.startedAt)
	u.roundTrip = roundTrip{target: u.target}
	u.user = nil
	if !u.release() { // its response was read to the end
		return b
	}
	u.loop.poller.Remove(u.fd)
	if b.target.Options().Network != "unix" {
		unix.SetsockoptInt(u.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	b.conn.open(os.NewFile(uintptr(u.fd), "upstream"))
	if !b.target.Add(b) || u.shutDown.Load() {
		b.Close()
	}
	return b
}

// borrow returns the connection to t that became idle last, for a goroutine, if there is one that
// is fit.
func (l *eventLoop) borrow(t *gate.Target) (b *blockingUpstream) {
	for {
		b = nil
		l.call(func() {
			if u := l.takeIdle(t); u != nil {
				b = u.detach()
			}
		})
		if b == nil || b.conn.quiet() {
			return b
		}
		b.discard()
	}
}

// giveBack makes a connection to the app the event loop's, which keeps it for the next request.
func (u *blockingUpstream) giveBack(l *eventLoop) {
	t := u.target
	fd, err := u.conn.dup()
	u.discard()
	if err == nil && !l.post(func() { l.adopt(t, fd) }) {
		netpoll.Close(fd)
	}
}

// adopt keeps an idle connection to t.
func (l *eventLoop) adopt(t *gate.Target, fd int) {
	if u := l.addUpstream(t, fd, unix.EPOLLIN|unix.EPOLLRDHUP); u != nil {
		u.putIdle()
	}
}
