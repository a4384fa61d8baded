package proxy

import (
	"bytes"

	"golang.org/x/sys/unix"

	"tideover/proxy/http1"
)

// fly sends a request that has a pass: on the connection that became idle last, or on a new one.
func (l *loop) fly(c *client, t *Target) {
	x := c.exchange
	x.target = t.Name()
	l.out = appendRequest(l.out[:0], x)
	if len(l.out) > mostAtOnce {
		l.away(c, errand{kind: ruled, verdict: verdict{outcome: passed, target: t}})
		return
	}
	once := x.fed > 0 || !x.set.idempotent(&x.request) // see connect
	for !once {
		idle := t.reuse(l)
		if idle == nil {
			break
		}
		u := idle.(*upstream)
		u.link.quit()
		n, errno := write0(u.fd, l.out)
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
func (c *client) requeue(t *Target) {
	c.link.quit()
	c.trip = nil
	c.place = inLine
	if c.in.pooled != nil {
		c.exchange.settleDown() // where that is too much it keeps its buffer
	}
	c.server.gate.requeue(&c.waiter, t, true)
	if c.gone() {
		c.leaveLine()
	}
}

// dial sends a request on a new connection. It reports false when there is none; every error means "not now", as in the function dial.
func (l *loop) dial(c *client, t *Target) bool {
	var to sockaddr
	if !to.aim(&t.options) {
		l.away(c, errand{kind: ruled, verdict: verdict{outcome: passed, target: t}})
		return true
	}
	fd, err := unix.Socket(to.family(), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if errno := connect0(fd, &to); errno != 0 && errno != unix.EINPROGRESS {
		close0(fd)
		return false
	}
	events := uint32(unix.EPOLLIN | unix.EPOLLRDHUP)
	if to.family() != unix.AF_UNIX {
		events |= unix.EPOLLOUT
	}
	u := &upstream{target: t}
	u.loop, u.fd = l, fd
	if err := l.watch(fd, events, slot{upstream: u}); err != nil || !t.add(u) {
		u.sink()
		return false
	}
	n, errno := write0(fd, l.out)
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
	l.flying.join(&c.link, l.now)
	l.wakeAt(l.now.Add(x.set.patience()))
	if n = max(0, n); n == len(l.out) {
		return
	}
	u.unsent = bytes.Clone(l.out[n:])
	if !u.connecting {
		l.away(c, errand{kind: abroad})
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
	case l.due(c.link.since.Add(lookAfter)):
		c.trip.abandon()
	}
}

// abandon ends a request whose client has left.
func (d *trip) abandon() {
	x, c := d.x, d.x.client
	t := d.u.target
	c.harsh = d.handed
	d.u.sink()
	x.leave()
	c.server.gate.done(t, false)
	c.loop.finish(c)
}

// sendOff looks at the requests that are out without an answer: those of clients that have left end, those that have waited for long
// go away.
func (l *loop) sendOff() {
	for n := l.flying.first(); n != nil; {
		c := n.client
		n = l.flying.after(n)
		x, u := c.exchange, c.trip.u
		age := l.now.Sub(c.link.since)
		switch {
		case age < lookAfter:
			l.wakeAt(c.link.since.Add(max(lookAfter, sameMoment)))
			return
		case c.gone() && !x.set.KeepWorking:
			c.trip.abandon()
		case c.trip.told:
		case age < x.set.patience():
			l.wakeAt(l.now.Add(max(sameMoment, x.set.patience()-age)))
		case u.connecting:
			t := u.target
			u.sink()
			c.requeue(t)
		default:
			l.away(c, errand{kind: abroad})
		}
	}
}
