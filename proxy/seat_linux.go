package proxy

import (
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// A seat is a client's place in a loop. It belongs to the loop, whoever has the rest of the client.
type seat struct {
	link     // while silent: in the roster of those; while out: of the flying
	loop     *loop
	fd       int
	place    place
	stirred  bool   // something happened that nobody has looked at: bytes, or their end
	departed uint32 // which ends of the connection are known to be over
	harsh    bool   // the end shall be a reset
	trip     *trip  // while out
	errand   errand // while stranded
}

// A place is where a client is.
type place uint8

const (
	resting place = iota // idle
	out                  // its request is out on a connection that the loop reads
	inLine               // held at the gate
	absent               // on a goroutine of its own, or on the way there
)

// enter seats a new client.
func (l *loop) enter(d *door, fd int, peer unix.Sockaddr) {
	c := &client{server: l.server, host: "localhost"}
	switch a := peer.(type) {
	case *unix.SockaddrInet4:
		c.remote = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		c.remote = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	if c.remote.IsValid() {
		if c.host = d.host; c.host == "" {
			c.host = ownAddress(fd)
		}
	}
	c.loop, c.fd = l, fd
	c.exchange.client, c.exchange.server = c, l.server
	if err := l.watch(fd, unix.EPOLLIN|unix.EPOLLRDHUP, slot{client: c}); err != nil {
		l.server.logger.Error("cannot serve a connection", "app", l.server.app, "error", os.NewSyscallError("epoll_ctl", err))
		unix.Close(fd)
		return
	}
	l.open++
	l.server.parked.Add(1)
	l.server.totals.connections.Add(1)
	l.silent.join(&c.link, l.now)
	c.link.client = c
	l.wakeAt(l.now.Add(l.server.settings.Load().IdleTimeout))
}

// ownAddress is the address at which a connection was accepted.
func ownAddress(fd int) string {
	switch own, _ := unix.Getsockname(fd); a := own.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)).String()
	}
	return "localhost"
}

// notice takes an event of a client's connection.
func (l *loop) notice(c *client, events uint32) {
	c.departed |= events & (unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR)
	switch c.place {
	case resting:
		l.hear(c)
	case inLine:
		c.stirred = true
		if c.gone() {
			l.leave(c)
		}
	case out:
		c.stirred = true
		if c.gone() {
			l.desert(c)
		}
	case absent:
		c.stirred = true
	}
}

// gone reports whether the client has left, as its settings see it.
func (c *client) gone() bool {
	signs := uint32(unix.EPOLLHUP | unix.EPOLLERR)
	if !c.exchange.set.ServeHalfClosed {
		signs |= unix.EPOLLRDHUP
	}
	return c.departed&signs != 0
}

// hear reads what a silent client has sent.
func (l *loop) hear(c *client) {
	room := c.in.room(bufferSize)
	n, errno := read0(c.fd, room)
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
	c.link.quit()
	if set := l.server.settings.Load(); c.decided != set {
		c.decide(set)
	}
	x := &c.exchange
	x.begin(l.now)
	n, fault := x.request.Parse(c.in.bytes(), &c.policy)
	r := &x.request
	if fault != nil || n == 0 || !r.Body.Empty() || r.Upgrade || x.set.isAlive(r) {
		l.away(c, errand{kind: fresh})
		return
	}
	l.server.totals.requests.Add(1)
	x.headed(n)
	x.acceptable()
	c.owner = c.loopOwner()
	v := l.server.gate.enter(&c.waiter)
	switch v.outcome {
	case passed:
		l.fly(c, v.target)
	case held:
		l.server.totals.held.Add(1)
		x.held = true
		l.seatHeld(c)
	default:
		l.away(c, errand{kind: ruled, verdict: v})
	}
}

// seatHeld makes a client that was put into the gate's queue small for its wait.
func (l *loop) seatHeld(c *client) {
	c.place = inLine
	if !c.exchange.settleDown() && l.server.gate.leave(&c.waiter) {
		l.away(c, errand{kind: ruled, verdict: verdict{outcome: overflowed}})
		return
	}
	if c.gone() {
		l.leave(c)
	}
}

// leave takes a client that has left out of the gate's queue. When the gate has let it go already, release does the rest.
func (l *loop) leave(c *client) {
	if l.server.gate.leave(&c.waiter) {
		c.exchange.leave()
		l.finish(c)
	}
}

// release goes on with a client to whom the gate has given its verdict.
func (l *loop) release(c *client, v verdict) {
	x := &c.exchange
	x.took(v)
	switch {
	case v.outcome != passed:
		l.away(c, errand{kind: ruled, verdict: v})
	case c.gone() || departed(c.fd, !x.set.ServeHalfClosed):
		l.server.gate.done(v.target, false)
		x.leave()
		l.finish(c)
	default:
		l.fly(c, v.target)
	}
}

// A loopOwner is a client to whom the gate's verdict comes as a note.
type loopOwner client

func (c *client) loopOwner() *loopOwner { return (*loopOwner)(c) }

func (o *loopOwner) deliver(v verdict) { o.loop.post(note{client: (*client)(o), verdict: v}) }

// finish ends a request and goes on with the next one, if there is to be one.
func (l *loop) finish(c *client) {
	c.link.quit()
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
	c.place = resting
	l.silent.join(&c.link, l.now)
	if l.silent.first() == &c.link {
		l.wakeAt(l.now.Add(l.server.settings.Load().IdleTimeout))
	}
	if c.stirred || l.ending {
		l.hear(c)
	}
}

// hangUp ends a client's connection.
func (l *loop) hangUp(c *client) {
	c.link.quit()
	c.in.release()
	l.forget(c.fd)
	if c.harsh {
		resetOnClose(c.fd)
	}
	unix.Close(c.fd)
	c.place = absent
	l.open--
	l.server.parked.Add(-1)
	l.server.departure()
}

// closeSilent ends the connections that have been silent for too long.
func (l *loop) closeSilent() {
	timeout := l.server.settings.Load().IdleTimeout
	for n := l.silent.first(); n != nil && l.due(n.since.Add(timeout)); n = l.silent.first() {
		l.hangUp(n.client)
	}
}

// end closes what is idle, once what has arrived was looked at.
func (l *loop) end() {
	l.ending = true
	for n := l.silent.first(); n != nil; n = l.silent.first() {
		l.hear(n.client)
	}
}

// cut ends what is still there.
func (l *loop) cut() {
	for fd := range l.slots {
		c := l.slots[fd].client
		if c == nil {
			continue
		}
		c.departed = unix.EPOLLHUP
		switch c.place {
		case resting:
			l.hangUp(c)
		case inLine:
			l.leave(c)
		case out:
			l.abandon(c)
		case absent: // its goroutine finds out
			unix.Shutdown(fd, unix.SHUT_RDWR)
		}
	}
}

// An errand is what a client goes away for.
type errand struct {
	kind    errandKind
	verdict verdict  // ruled
	state   delivery // failed
	err     error    // failed
}

type errandKind uint8

const (
	fresh   errandKind = iota // a request has begun; nothing is known of it yet
	ruled                     // the gate has given its verdict
	abroad                    // the request is out, the head of its response is waited for
	telling                   // the response has begun
	failed                    // the delivery
)

// away sends a client to a goroutine of its own, with a duplicate of its descriptor: the loop keeps the original, so that the
// connection keeps its place in the set. Without a descriptor for that it is tried again in a moment.
func (l *loop) away(c *client, e errand) {
	c.link.quit()
	c.place = absent
	if c.trip != nil {
		l.part(c.trip.u)
	}
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		c.wire, err = newWire(os.NewFile(uintptr(fd), "client"))
	}
	if err != nil {
		c.errand = e
		l.stranded = append(l.stranded, c)
		l.wakeAt(l.now.Add(retryAccept))
		return
	}
	c.errand = errand{}
	c.exchange.body.wire = c.wire
	c.settle()
	l.server.open.Go(func() { c.travel(e) })
}

// travel is what a client does while it is away; then it comes back.
func (c *client) travel(e errand) {
	x := &c.exchange
	more := false
	switch d := c.trip; e.kind {
	case fresh:
		more = c.awaitRequest() && x.run()
	case ruled:
		more = x.goOn(e.verdict)
		x.finish()
	default:
		more = x.resume(d, e)
		x.finish()
	}
	for more && !c.in.empty() && c.awaitRequest() {
		more = x.run()
	}
	c.wire.close()
	c.wire, c.exchange.body.wire = nil, nil
	c.loop.post(note{client: c, back: true, keep: more})
}

// resume goes on with a trip that a loop began.
func (x *exchange) resume(d *trip, e errand) bool {
	again, busy := false, false
	switch {
	case e.kind == abroad:
		again, busy = d.depart()
	case e.kind == telling:
		d.conclude(d.passBody())
	case d.told:
		d.conclude(e.err)
	default:
		again, busy = d.lost(e.state, e.err)
	}
	if again {
		return x.goOn(x.askAgain(d.u.target, busy))
	}
	return x.keepAlive
}

// welcome takes a client back.
func (l *loop) welcome(c *client, keep bool) {
	c.trip = nil
	if !keep || c.harsh {
		l.hangUp(c)
		return
	}
	c.stirred = true
	l.park(c)
}
