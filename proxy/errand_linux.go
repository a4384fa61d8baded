package proxy

import (
	"os"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/netpoll"
)

// An errand is what a client goes away for.
type errand struct {
	kind    errandKind
	verdict gate.Decision // ruled
	state   delivery      // failed
	err     error         // failed
}

type errandKind uint8

const (
	fresh   errandKind = iota // a request has begun; nothing is known of it yet
	ruled                     // the gate has given its verdict
	abroad                    // the request is out, the head of its response is waited for
	telling                   // the response has begun
	failed                    // the delivery
)

// A traveller is a client that cannot go away yet, for want of a descriptor.
type traveller struct {
	*client
	errand
}

// mostSpare is how many requests' memories a loop keeps.
const mostSpare = 1024

// away sends a client to a goroutine of its own, with a duplicate of its descriptor: the loop keeps the original, so that the
// connection keeps its place in the set. Without a descriptor for that it is tried again in a moment.
func (l *loop) away(c *client, e errand) {
	c.node.Remove()
	c.place = absent
	if c.trip != nil {
		c.trip.u.part()
	}
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		c.wire, err = newWire(os.NewFile(uintptr(fd), "client"))
	}
	if err != nil {
		l.stranded = append(l.stranded, traveller{c, e})
		l.wakeAt(l.now.Add(retryAccept))
		return
	}
	c.exchange.body.wire = c.wire
	c.settle()
	l.server.running.Go(func() { c.travel(e) })
}

// travel is what a client does while it is away; then it comes back.
func (c *client) travel(e errand) {
	x := c.exchange
	more := false
	switch d := c.trip; e.kind {
	case fresh:
		c.decide()
		more = x.run()
	case ruled:
		more = x.goOn(e.verdict)
		x.finish()
	default:
		more = d.resume(e)
		x.finish()
	}
	for more && !c.in.empty() && !c.past.recalled {
		c.decide()
		more = x.run()
	}
	c.wire.close()
	c.wire, c.exchange.body.wire = nil, nil
	c.loop.tasks.Post(netpoll.TaskFunc(func() { c.loop.welcome(c, more) }))
}

// resume goes on with a trip that a loop began.
func (d *trip) resume(e errand) bool {
	x := d.x
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
	if c.muted {
		c.muted = false
		l.poller.Modify(c.fd, clientEvents)
	}
	c.stirred = true
	l.park(c)
}
