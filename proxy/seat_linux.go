package proxy

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/netpoll"
)

// A seat is a client's place in a loop. It belongs to the loop, whoever has the rest of the client.
type seat struct {
	node     netpoll.Node[*client] // while silent: in the list of those; while out: in one of those of requests
	loop     *loop
	fd       int
	place    place
	stirred  bool   // something happened that nobody has looked at: bytes, or their end
	departed uint32 // which ends of the connection are known to be over
	muted    bool   // events are not wanted
	harsh    bool   // the end shall be a reset
	trip     *trip  // while out
}

// A place is where a client is.
type place uint8

const (
	resting place = iota // idle
	out                  // its request is out on a connection that the loop reads
	inLine               // held at the gate
	absent               // on a goroutine of its own, or on the way there
)

// clientEvents are what a loop wants to know of a client.
const clientEvents = unix.EPOLLIN | unix.EPOLLRDHUP

// seat seats a new client, who has come to an address of ours (empty: whichever it is). The result is nil when there is no room.
func (l *loop) seat(fd int, peer netip.AddrPort, host string) *client {
	c := &client{server: l.server, host: "localhost", remote: peer}
	if c.remote.IsValid() {
		if c.host = host; host == "" {
			c.host = ownAddress(fd)
		}
	}
	c.loop, c.fd = l, fd
	if err := l.poller.Add(fd, clientEvents, c); err != nil {
		l.server.logger.Error("cannot serve a connection", "app", l.server.app, "error", err)
		netpoll.Close(fd)
		return nil
	}
	l.open++
	l.server.connected.Add(1)
	l.silent.PushBack(&c.node, l.now)
	c.node.Value = c
	l.wakeAt(l.now.Add(l.server.settings.Load().IdleTimeout))
	return c
}

// ownAddress is the address at which a connection was accepted.
func ownAddress(fd int) string {
	if at := netpoll.LocalAddr(fd); at.IsValid() {
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String()
	}
	return "localhost"
}

// OnEvents takes an event of a client's connection.
func (c *client) OnEvents(events uint32) {
	l := c.loop
	c.departed |= events & (unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR)
	switch c.place {
	case resting:
		l.hear(c)
	case inLine:
		c.stirred = true
		if c.gone() {
			c.leaveLine()
		}
	case out:
		c.stirred = true
		if c.gone() {
			c.trip.desert()
		}
	case absent: // its goroutine finds out for itself; one event more would be for nothing
		if c.stirred = true; !c.muted {
			c.muted = true
			l.poller.Modify(c.fd, 0)
		}
	}
}

// gone reports whether the client has left, as its settings see it.
func (c *client) gone() bool {
	signs := uint32(unix.EPOLLHUP | unix.EPOLLERR)
	if !c.rules.settings.ServeHalfClosed {
		signs |= unix.EPOLLRDHUP
	}
	return c.departed&signs != 0
}

// hear reads what a silent client has sent.
func (l *loop) hear(c *client) {
	if l.suspended {
		c.stirred = true
		return
	}
	room := c.in.room(bufferSize)
	n, errno := netpoll.Read(c.fd, room)
	switch {
	case errno == unix.EAGAIN:
		c.in.release()
		c.stirred = false
		if l.ending {
			l.hangUp(c)
		}
	case n <= 0:
		l.hangUp(c)
	default:
		c.in.end += n
		c.stirred = n == len(room) || c.departed != 0
		l.handle(c)
	}
}

// handle takes a request that has begun in the client's buffer, and carries it as far as that can be done at once.
func (l *loop) handle(c *client) {
	c.node.Remove()
	c.decide()
	x := c.remember(l.now)
	n, fault := x.request.Parse(c.in.bytes(), &c.rules.policy)
	r := &x.request
	if fault != nil || n == 0 || !r.Body.Empty() || r.Upgrade || x.set.isAlive(r) {
		l.away(c, errand{kind: fresh})
		return
	}
	l.server.totals.requests.Add(1)
	x.headed(n)
	x.acceptable()
	c.waiter.Owner = c.loopOwner()
	v := l.server.gate.Enter(&c.waiter)
	switch v.Outcome {
	case gate.Passed:
		x.note(v)
		l.fly(c, v.Target)
	case gate.Held:
		l.server.totals.held.Add(1)
		x.held = true
		c.standInLine()
	case gate.Evicted:
		c.takeBack(v)
	default:
		l.away(c, errand{kind: ruled, verdict: v})
	}
}

// remember gives a client, which has sent at least a head, the memory for a request.
func (c *client) remember(began time.Time) *exchange {
	x := c.exchange
	if x == nil {
		if spare := len(c.loop.exchanges); spare > 0 {
			x = c.loop.exchanges[spare-1]
			c.loop.exchanges = c.loop.exchanges[:spare-1]
		} else {
			x = &exchange{}
		}
		c.exchange = x
	}
	x.client, x.server = c, c.server
	x.begin(began)
	return x
}

// forget takes that memory back.
func (c *client) forget() {
	if c.exchange != nil && len(c.loop.exchanges) < mostSpare {
		c.exchange.client = nil
		c.loop.exchanges = append(c.loop.exchanges, c.exchange)
	}
	c.exchange = nil
}

// standInLine makes a client that was put into the gate's queue small for its wait. What is kept is the head, and nothing else where
// nothing else came.
func (c *client) standInLine() {
	c.place = inLine
	x := c.exchange
	if !x.settleDown() && c.server.gate.Leave(&c.waiter) {
		c.loop.away(c, errand{kind: ruled, verdict: gate.Decision{Outcome: gate.Overflowed}})
		return
	}
	if len(x.body.raw) == 0 && c.in.pooled == nil {
		c.forget()
	}
	if c.gone() {
		c.leaveLine()
	}
}

// comeForth makes a client that was held remember its request.
func (c *client) comeForth() *exchange {
	if c.exchange != nil {
		return c.exchange
	}
	x := c.remember(c.waiter.ArrivedAt())
	n, _ := x.request.Parse(c.in.bytes(), &c.rules.policy)
	x.headed(n)
	x.acceptable()
	x.reserved, x.held = int64(n), true
	return x
}

// leaveLine takes a client that has left out of the gate's queue. When the gate has let it go already, release does the rest.
func (c *client) leaveLine() {
	if c.server.gate.Leave(&c.waiter) {
		c.comeForth().leave()
		c.loop.finish(c)
	}
}

// release goes on with a client to whom the gate has given its verdict.
func (l *loop) release(c *client, v gate.Decision) {
	x := c.comeForth()
	x.note(v)
	switch {
	case v.Outcome == gate.Evicted:
		c.takeBack(v)
	case v.Outcome != gate.Passed:
		l.away(c, errand{kind: ruled, verdict: v})
	case c.gone() || netpoll.HungUp(c.fd, !x.set.ServeHalfClosed):
		l.server.gate.Done(v.Target, false)
		x.leave()
		l.finish(c)
	default:
		l.fly(c, v.Target)
	}
}

// A loopOwner is a client to whom the gate's verdict comes as a note.
type loopOwner client

func (c *client) loopOwner() *loopOwner { return (*loopOwner)(c) }

func (o *loopOwner) OnDecision(gate.Decision) { o.loop.tasks.Post(o) }

// Run acts on the verdict.
func (o *loopOwner) Run() { o.loop.release((*client)(o), o.waiter.Decision()) }

// finish ends a request and goes on with the next one, if there is to be one.
func (l *loop) finish(c *client) {
	c.node.Remove()
	c.trip = nil
	c.exchange.finish()
	switch {
	case !c.exchange.keepAlive || c.harsh:
		l.hangUp(c)
	case !c.in.empty():
		l.handle(c)
	default:
		l.park(c)
	}
}

// park makes a client silent.
func (l *loop) park(c *client) {
	c.forget()
	c.place = resting
	l.silent.PushBack(&c.node, l.now)
	if l.silent.Front() == &c.node {
		l.wakeAt(l.now.Add(l.server.settings.Load().IdleTimeout))
	}
	if c.stirred || l.ending {
		l.hear(c)
	}
}

// hangUp ends a client's connection.
func (l *loop) hangUp(c *client) {
	c.node.Remove()
	c.in.release()
	c.forget()
	l.poller.Forget(c.fd)
	if c.harsh {
		netpoll.ResetOnClose(c.fd)
	}
	netpoll.Close(c.fd)
	c.place = absent
	l.open--
	l.server.connected.Add(-1)
	l.server.departure()
}

// closeSilent ends the connections that have been silent for too long.
func (l *loop) closeSilent() {
	timeout := l.server.settings.Load().IdleTimeout
	for n := l.silent.Front(); n != nil && l.due(n.AddedAt().Add(timeout)); n = l.silent.Front() {
		l.hangUp(n.Value)
	}
}

// end closes what is idle, once what has arrived was looked at.
func (l *loop) end() {
	l.ending = true
	for n := l.silent.Front(); n != nil; n = l.silent.Front() {
		l.hear(n.Value)
	}
}

// cut ends what is still there.
func (l *loop) cut() {
	for c := range l.clients {
		c.departed = unix.EPOLLHUP
		switch c.place {
		case resting:
			l.hangUp(c)
		case inLine:
			c.leaveLine()
		case out:
			c.trip.abandon()
		case absent: // its goroutine finds out
			unix.Shutdown(c.fd, unix.SHUT_RDWR)
		}
	}
}
