package proxy

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/http1"
)

const (
	// mostAtOnce is how long a request may be that a loop sends: what a new connection takes without waiting.
	mostAtOnce = 8 << 10
	// bulk is how much of a body may still be to come in a loop; more goes away.
	bulk = 64 << 10
	// patience is how long a request may be out without an answer before it goes away, where the clocks are for single requests.
	patience = time.Second
	// sameMoment is how far apart two things are that are looked at together.
	sameMoment = 20 * time.Millisecond
)

// A berth is an upstream's place in a loop. Only guard and severed are for others.
type berth struct {
	link             // while idle: in the roster of those
	loop       *loop // whose reader it has; nil: a goroutine's
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

// sink closes a connection to the app.
func (l *loop) sink(u *upstream) {
	u.target.remove(u)
	u.link.quit()
	u.in.release()
	u.trip = trip{}
	u.guard.Lock()
	defer u.guard.Unlock()
	if !u.closed {
		u.closed = true
		l.forget(u.fd)
		unix.Close(u.fd)
	}
}

// part gives a connection to the app, with the request that is out on it, to a goroutine for good.
func (l *loop) part(u *upstream) {
	if u.loop == nil {
		return
	}
	unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, u.fd, nil)
	l.forget(u.fd)
	if u.target.options.Network != "unix" {
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
func (l *loop) moor(u *upstream) {
	if !u.target.keep(l, u) {
		l.sink(u)
		return
	}
	l.moored.join(&u.link, l.now)
	u.link.upstream = u
	l.wakeAt(l.now.Add(idleUpstream))
}

// fly sends a request that has a pass: on the connection that became idle last, or on a new one.
func (l *loop) fly(c *client, t *Target) {
	x := &c.exchange
	x.target = t.Name()
	l.out = x.appendRequest(l.out[:0])
	if len(l.out) > mostAtOnce {
		l.away(c, errand{kind: ruled, verdict: verdict{outcome: passed, target: t}})
		return
	}
	once := x.fed > 0 || !x.idempotent() // see connect
	for !once {
		idle := t.reuse(l)
		if idle == nil {
			break
		}
		u := idle.(*upstream)
		u.link.quit()
		n, errno := write0(u.fd, l.out)
		if errno != 0 && errno != unix.EAGAIN { // it was ending, and took nothing
			l.sink(u)
			continue
		}
		l.launch(c, u, n)
		return
	}
	if !l.dial(c, t) {
		l.requeue(c, t)
	}
}

// requeue gives back the pass of a request whose target takes no connection at present.
func (l *loop) requeue(c *client, t *Target) {
	c.link.quit()
	c.trip = nil
	c.place = inLine
	if c.in.pooled != nil {
		c.exchange.settleDown() // where that is too much it keeps its buffer
	}
	l.server.gate.requeue(&c.waiter, t, true)
	if c.gone() {
		l.leave(c)
	}
}

// dial sends a request on a new connection. It reports false when there is none; every error means "not now", as in the function dial.
func (l *loop) dial(c *client, t *Target) bool {
	family, address, events := unix.AF_UNIX, unix.Sockaddr(&unix.SockaddrUnix{Name: t.options.Address}), uint32(unix.EPOLLIN|unix.EPOLLRDHUP)
	if t.options.Network != "unix" {
		at, err := netip.ParseAddrPort(t.options.Address)
		switch {
		case err != nil: // a name
			l.away(c, errand{kind: ruled, verdict: verdict{outcome: passed, target: t}})
			return true
		case at.Addr().Unmap().Is4():
			family, address = unix.AF_INET, &unix.SockaddrInet4{Addr: at.Addr().Unmap().As4(), Port: int(at.Port())}
		default:
			family, address = unix.AF_INET6, &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())}
		}
		events |= unix.EPOLLOUT
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if err := unix.Connect(fd, address); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return false
	}
	u := &upstream{target: t}
	u.loop, u.fd = l, fd
	if err := l.watch(fd, events, slot{upstream: u}); err != nil || !t.add(u) {
		l.sink(u)
		return false
	}
	n, errno := write0(fd, l.out)
	if errno != 0 && errno != unix.EAGAIN {
		l.sink(u)
		return false
	}
	u.connecting = errno == unix.EAGAIN
	l.launch(c, u, n)
	return true
}

// launch notes that a request is out: the first n bytes of it, and the rest as soon as that can be.
func (l *loop) launch(c *client, u *upstream, n int) {
	x := &c.exchange
	c.trip = u.embark(x)
	c.place = out
	x.attendant.flew(l.now)
	u.response.Reset(http1.Asked{Head: x.request.Method == http1.MethodHead})
	l.flying.join(&c.link, l.now)
	l.wakeAt(l.now.Add(x.patience()))
	if n = max(0, n); n == len(l.out) {
		return
	}
	u.unsent = bytes.Clone(l.out[n:])
	if !u.connecting {
		l.away(c, errand{kind: abroad})
	}
}

// patience is how long a loop waits for an answer.
func (x *exchange) patience() time.Duration {
	if x.set.Timeout > 0 {
		return min(patience, x.set.Timeout/2)
	}
	return patience
}

// hearApp takes an event of a connection to the app.
func (l *loop) hearApp(u *upstream, events uint32) {
	x := u.trip.x
	u.ended = u.ended || events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	switch {
	case x == nil: // idle: whatever comes is its end, or nothing that anybody asked for
		l.sink(u)
	case u.connecting:
		l.connected(x.client, u)
	case events&^unix.EPOLLOUT != 0:
		l.land(x.client, u)
	}
}

// connected goes on when a connection has been made, or has failed.
func (l *loop) connected(c *client, u *upstream) {
	n, errno := write0(u.fd, u.unsent)
	switch {
	case errno == unix.EAGAIN:
	case errno != 0:
		t := u.target
		l.sink(u)
		l.requeue(c, t)
	default:
		u.connecting = false
		u.unsent = u.unsent[n:]
		if len(u.unsent) > 0 {
			l.away(c, errand{kind: abroad})
		}
	}
}

// land reads what the app sent in answer to a request that is out.
func (l *loop) land(c *client, u *upstream) {
	for {
		room := u.in.room(responseLimits.Head)
		n, errno := read0(u.fd, room)
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
		case u.severed.Load():
			err = net.ErrClosed
		case n == 0:
			err = io.EOF
		case n < 0:
			err = errno
		}
		if l.step(c, &u.trip, err) || !u.brimming && !u.ended {
			return
		}
	}
}

// step goes on with what came; err is how reading ended, if it did. It reports true when the trip is over, or elsewhere.
func (l *loop) step(c *client, d *trip, err error) bool {
	u := d.u
	if d.told {
		u.out = l.out[:0]
		if err != nil {
			u.failed, u.out = err, nil
			l.away(c, errand{kind: telling})
			return true
		}
		return l.tell(c, d)
	}
	in := u.in.bytes()
	switch u.marked(in) {
	case marker:
		err = errUnaccepted
		in = nil
	case perhaps:
		in = nil
	}
	n := 0
	if err == nil {
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
	u.headEnd, u.out = n, l.out[:0]
	d.begin()
	return l.tell(c, d)
}

// tell gives the client what there is of its answer.
func (l *loop) tell(c *client, d *trip) bool {
	u := d.u
	done, fault := d.digest()
	if fault != nil {
		u.out = nil
		l.away(c, errand{kind: failed, err: fault})
		return true
	}
	n, errno := 0, syscall.Errno(0)
	if len(u.out) > 0 {
		n, errno = write0(c.fd, u.out)
	}
	d.handed = d.handed || n > 0
	switch {
	case errno != 0 && errno != unix.EAGAIN:
		l.abandon(c)
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

// desert acts on a client that has left while its request is out. Who has sent nothing but its end after the request gets its answer
// all the same when that comes at once.
func (l *loop) desert(c *client) {
	x := &c.exchange
	switch {
	case x.set.KeepWorking:
		if !c.trip.told {
			l.away(c, errand{kind: abroad})
		}
	case l.due(c.link.since.Add(lookAfter)):
		l.abandon(c)
	}
}

// abandon ends a request whose client has left.
func (l *loop) abandon(c *client) {
	x, d := &c.exchange, c.trip
	t := d.u.target
	c.harsh = d.handed
	l.sink(d.u)
	x.leave()
	l.server.gate.done(t, false)
	l.finish(c)
}

// sendOff looks at the requests that are out without an answer: those of clients that have left end, those that have waited for long
// go away.
func (l *loop) sendOff() {
	for n := l.flying.first(); n != nil; {
		c := n.client
		n = l.flying.after(n)
		x, u := &c.exchange, c.trip.u
		age := l.now.Sub(c.link.since)
		switch {
		case age < lookAfter:
			l.wakeAt(c.link.since.Add(max(lookAfter, sameMoment)))
			return
		case c.gone() && !x.set.KeepWorking:
			l.abandon(c)
		case c.trip.told:
		case age < x.patience():
			l.wakeAt(l.now.Add(max(sameMoment, x.patience()-age)))
		case u.connecting:
			t := u.target
			l.sink(u)
			l.requeue(c, t)
		default:
			l.away(c, errand{kind: abroad})
		}
	}
}
