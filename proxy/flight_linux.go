package proxy

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
	"tideover/proxy/netpoll"
)

// fly sends a request that has a pass: on the connection that became idle last, or on a new one.
func (l *loop) fly(c *client, t *gate.Target) {
	x := c.exchange
	x.target = t.Name()
	l.out = appendRequest(l.out[:0], x)
	if len(l.out) > mostAtOnce {
		l.away(c, errand{kind: ruled, verdict: gate.Decision{Outcome: gate.Passed, Target: t}})
		return
	}
	once := x.fed > 0 || !x.set.idempotent(&x.request) // see exchange.connect
	for !once {
		u := l.unmoor(t)
		if u == nil {
			break
		}
		n, errno := netpoll.Write(u.fd, l.out)
		if errno != 0 && errno != unix.EAGAIN { // it was ending, and took nothing
			u.sink()
			continue
		}
		u.launch(c, n)
		return
	}
	if !l.dial(c, t) {
		c.requeue(t)
	}
}

// requeue gives back the pass of a request whose target takes no connection at present.
func (c *client) requeue(t *gate.Target) {
	c.node.Remove()
	c.trip = nil
	c.place = inLine
	if c.in.pooled != nil {
		c.exchange.settleDown() // where that is too much it keeps its buffer
	}
	c.server.gate.Requeue(&c.waiter, t, true)
	if c.gone() {
		c.leaveLine()
	}
}

// dial sends a request on a new connection. It reports false when there is none; every error means "not now", as in the function dial.
func (l *loop) dial(c *client, t *gate.Target) bool {
	var to netpoll.Sockaddr
	if !to.Set(t.Options().Network, t.Options().Address) {
		l.away(c, errand{kind: ruled, verdict: gate.Decision{Outcome: gate.Passed, Target: t}})
		return true
	}
	fd, err := unix.Socket(to.Family(), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if errno := netpoll.Connect(fd, &to); errno != 0 && errno != unix.EINPROGRESS {
		netpoll.Close(fd)
		return false
	}
	events := uint32(unix.EPOLLIN | unix.EPOLLRDHUP)
	if to.Family() != unix.AF_UNIX {
		events |= unix.EPOLLOUT
	}
	u := &upstream{target: t}
	u.loop, u.fd = l, fd
	if err := l.poller.Add(fd, events, u); err != nil || !t.Add(u) {
		u.sink()
		return false
	}
	n, errno := netpoll.Write(fd, l.out)
	if errno != 0 && errno != unix.EAGAIN {
		u.sink()
		return false
	}
	u.connecting = errno == unix.EAGAIN
	u.launch(c, n)
	return true
}

// launch notes that a request is out: the first n bytes of it, and the rest as soon as that can be.
func (u *upstream) launch(c *client, n int) {
	x, l := c.exchange, c.loop
	c.trip = u.embark(x)
	c.place = out
	x.attendant.flew(l.now)
	u.response.Reset(http1.Asked{Head: x.request.Method == http1.MethodHead})
	if u.connecting {
		l.dialing.PushBack(&c.node, l.now)
		l.wakeAt(l.now.Add(dialTimeout))
	} else {
		c.takeOff()
	}
	if n = max(0, n); n == len(l.out) {
		return
	}
	u.unsent = bytes.Clone(l.out[n:])
	if !u.connecting {
		l.away(c, errand{kind: abroad})
	}
}

// takeOff notes that the app is waited for.
func (c *client) takeOff() {
	l, set := c.loop, c.exchange.set
	switch {
	case c.gone() && !set.KeepWorking:
		l.leaving.PushBack(&c.node, l.now)
		l.wakeAt(l.now.Add(lookAfter))
	case set.Timeout > 0:
		l.flying.PushBack(&c.node, l.now)
		l.wakeAt(l.now.Add(set.Timeout))
	}
}

// desert acts on a client that has left while its request is out. Who has sent nothing but its end after the request gets its answer
// all the same when that comes at once.
func (d *trip) desert() {
	x, c := d.x, d.x.client
	l := c.loop
	switch {
	case x.set.KeepWorking:
		if !d.told {
			l.away(c, errand{kind: abroad})
		}
	case l.now.Sub(x.attendant.began) >= lookAfter:
		d.abandon()
	default:
		c.node.Remove()
		c.takeOff()
	}
}

// abandon ends a request whose client has left.
func (d *trip) abandon() {
	x, c := d.x, d.x.client
	t := d.u.target
	c.harsh = d.handed
	d.u.sink()
	x.leave()
	c.server.gate.Done(t, false)
	c.loop.finish(c)
}

// sendOff ends the requests that have been out for too long: those of clients that have left, those on connections that are not
// made, and those without an answer.
func (l *loop) sendOff() {
	for n := l.leaving.Front(); n != nil && l.ripe(n, lookAfter); n = l.leaving.Front() {
		n.Value.trip.abandon()
	}
	for n := l.dialing.Front(); n != nil && l.ripe(n, dialTimeout); n = l.dialing.Front() {
		n.Value.trip.u.miss(n.Value)
	}
	for n := l.alone.Front(); n != nil && l.ripe(n, headAlone); n = l.alone.Front() {
		n.Value.trip.answer(n.Value.trip.alone)
	}
	current := l.server.settings.Load()
	for n := l.flying.Front(); n != nil; {
		c, next := n.Value, l.flying.Next(n)
		switch set := c.exchange.set; {
		case l.ripe(n, set.Timeout):
			l.away(c, errand{kind: failed, state: written, err: errSilent})
		case set == current: // all that follow have as long, and began later
			return
		}
		n = next
	}
}

// ripe is due, for the first of many: those that follow within a moment are looked at together.
func (l *loop) ripe(n *netpoll.Node[*client], age time.Duration) bool {
	left := age - l.now.Sub(n.AddedAt())
	if left > 0 {
		l.wakeAt(l.now.Add(max(left, sameMoment)))
	}
	return left <= 0
}
