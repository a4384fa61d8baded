package proxy

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
	"tideover/proxy/netpoll"
)

const (
	// mostAtOnce is how long a request may be that a loop sends: what a new connection takes without waiting.
	mostAtOnce = 8 << 10
	// headAlone is how long the head of a short response may wait for the first of its body. Most servers send the two one after
	// the other, and every write wakes a client.
	headAlone = 20 * time.Millisecond
	// sameMoment is how far apart two things are that are looked at together.
	sameMoment = 20 * time.Millisecond
)

// A berth is an upstream's place in a loop. Only guard and severed are for others.
type berth struct {
	node       netpoll.Node[*upstream] // while idle: in the list of those
	loop       *loop                   // whose reader it has; nil: a goroutine's
	fd         int
	connecting bool
	ended      bool   // its last edge has come: whoever reads must read to the end
	brimming   bool   // the last read took all that there was room for: there may be more
	unsent     []byte // of the request

	severed atomic.Bool // somebody else has cut it
	guard   sync.Mutex  // around closing, and around the change of its reader
	closed  bool
}

// sever cuts a connection that a loop reads; the loop will find out. It reports false for another one.
func (b *berth) sever() bool {
	b.guard.Lock()
	defer b.guard.Unlock()
	if b.loop == nil {
		return false
	}
	if !b.closed {
		b.severed.Store(true)
		unix.Shutdown(b.fd, unix.SHUT_RDWR)
	}
	return true
}

// sink closes a connection to the app, and ends its trip.
func (u *upstream) sink() {
	u.shut()
	u.node.Remove()
	u.in.release()
	u.trip = trip{}
}

// shut closes a connection to the app, from which nothing is read any more.
func (u *upstream) shut() {
	u.target.Remove(u)
	u.guard.Lock()
	defer u.guard.Unlock()
	if !u.closed {
		u.closed = true
		u.loop.poller.Forget(u.fd)
		netpoll.Close(u.fd)
	}
}

// part gives a connection to the app, with the request that is out on it, to a goroutine for good.
func (u *upstream) part() {
	l := u.loop
	if l == nil || u.closed {
		return
	}
	l.poller.Remove(u.fd)
	if u.target.Options().Network != "unix" {
		unix.SetsockoptInt(u.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	u.guard.Lock()
	defer u.guard.Unlock()
	u.loop = nil
	u.wire, _ = newWire(os.NewFile(uintptr(u.fd), "upstream"))
	if u.severed.Load() {
		u.wire.close()
	}
}

// moor keeps an idle connection to the app.
func (u *upstream) moor() {
	l := u.loop
	if !u.target.SetIdle(u) {
		u.sink()
		return
	}
	l.moored.PushBack(&u.node, l.now)
	u.node.Value = u
	l.wakeAt(l.now.Add(idleUpstream))
}

// unmoor takes the connection to t that became idle last; nil when there is none.
func (l *loop) unmoor(t *gate.Target) *upstream {
	n := l.moored.Back()
	for n != nil && n.Value.target != t {
		n = l.moored.Prev(n)
	}
	if n == nil || !t.SetExchanging(n.Value) {
		return nil
	}
	n.Remove()
	return n.Value
}

// lend takes it for a goroutine.
func (l *loop) lend(t *gate.Target) (u *upstream) {
	l.tasks.Call(func() {
		if u = l.unmoor(t); u != nil {
			u.part()
		}
	})
	return u
}

// adopt keeps an idle connection to the app that a goroutine had.
func (l *loop) adopt(t *gate.Target, fd int) {
	u := &upstream{target: t}
	u.loop, u.fd = l, fd
	if err := l.poller.Add(fd, unix.EPOLLIN|unix.EPOLLRDHUP, u); err != nil || !t.Add(u) {
		u.sink()
		return
	}
	u.moor()
}

// OnEvents takes an event of a connection to the app.
func (u *upstream) OnEvents(events uint32) {
	x := u.trip.x
	u.ended = u.ended || events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	switch {
	case u.connecting:
		u.connected(x.client)
	case events == unix.EPOLLOUT: // that was known
	case x == nil: // idle: whatever comes is its end, or nothing that anybody asked for
		u.sink()
	default:
		u.land(x.client)
	}
}

// miss gives up a connection that was not made.
func (u *upstream) miss(c *client) {
	u.sink()
	c.requeue(u.target)
}

// connected goes on when a connection has been made, or has failed.
func (u *upstream) connected(c *client) {
	n, errno := netpoll.Write(u.fd, u.unsent)
	switch {
	case errno == unix.EAGAIN:
	case errno != 0:
		u.miss(c)
	default:
		u.connecting = false
		u.unsent = u.unsent[n:]
		if len(u.unsent) > 0 {
			c.loop.away(c, errand{kind: abroad})
			return
		}
		c.node.Remove()
		c.takeOff()
	}
}

// land reads what the app sent in answer to a request that is out.
func (u *upstream) land(c *client) {
	for {
		if u.severed.Load() { // what has come meanwhile is not looked at: nothing answers from an app that is gone
			u.trip.step(net.ErrClosed)
			return
		}
		room := u.in.room(responseLimits.Head)
		n, errno := netpoll.Read(u.fd, room)
		if errno == unix.EAGAIN {
			if u.in.empty() {
				u.in.release()
			}
			return
		}
		u.in.end += max(0, n)
		u.brimming = n == len(room)
		var err error
		switch {
		case n == 0:
			err = io.EOF
		case n < 0:
			err = errno
		}
		if u.trip.step(err) || !u.brimming && !u.ended {
			return
		}
	}
}

// step goes on with what came; err is how reading ended, if it did. It reports true when the trip is over, or elsewhere.
func (d *trip) step(err error) bool {
	u, c := d.u, d.x.client
	l := c.loop
	if d.told {
		u.out = l.out[:0]
		if err != nil {
			u.failed, u.out = err, nil
			l.away(c, errand{kind: telling})
			return true
		}
		return d.tell()
	}
	in := u.in.bytes()
	switch u.marked(in) {
	case marker:
		err = errUnaccepted
		in = nil
	case perhaps:
		in = nil
	}
	n := d.alone
	if err == nil && n == 0 {
		var fault *http1.Error
		if n, fault = u.response.Parse(in, &responseLimits); fault != nil {
			err = fault
		}
	}
	switch {
	case err != nil:
		state := written
		if len(in) > 0 {
			state = begun
		}
		l.away(c, errand{kind: failed, state: state, err: err})
		return true
	case n == 0:
		return false
	case u.response.Interim() || u.response.Status == 101:
		l.away(c, errand{kind: abroad})
		return true
	}
	if d.alone == 0 && n == len(in) && u.fits(n) && !c.gone() {
		d.alone = n
		c.node.Remove()
		l.alone.PushBack(&c.node, l.now)
		l.wakeAt(l.now.Add(headAlone))
		return false
	}
	return d.answer(n)
}

// fits reports whether a response with a head of n bytes has a body, and is known to be so short that the buffer holds both.
func (u *upstream) fits(n int) bool {
	b := u.response.Body
	return b.Framing == http1.Fixed && 0 < b.Length && b.Length <= int64(len(u.in.data)-n)
}

// answer begins to give the client its answer, whose head is n bytes long.
func (d *trip) answer(n int) bool {
	u, c := d.u, d.x.client
	c.node.Remove()
	u.headEnd, u.out = n, c.loop.out[:0]
	d.begin()
	return d.tell()
}

// tell gives the client what there is of its answer.
func (d *trip) tell() bool {
	u, c := d.u, d.x.client
	l := c.loop
	done, fault := d.digest()
	if fault != nil {
		u.out = nil
		l.away(c, errand{kind: failed, err: fault})
		return true
	}
	if done && !u.response.Reusable { // some servers wait for that
		u.shut()
	}
	n, errno := 0, syscall.Errno(0)
	if len(u.out) > 0 {
		n, errno = netpoll.Write(c.fd, u.out)
	}
	d.handed = d.handed || n > 0
	switch {
	case errno != 0 && errno != unix.EAGAIN:
		c.trip.abandon()
		return true
	case max(0, n) < len(u.out) || d.body.Left() > bulk:
		u.out = bytes.Clone(u.out[max(0, n):])
		l.away(c, errand{kind: telling})
		return true
	}
	l.out, u.out = u.out[:0], nil
	if done {
		d.conclude(nil)
		l.finish(c)
	} else if u.in.empty() {
		u.in.release()
	}
	return done
}
