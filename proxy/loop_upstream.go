package proxy

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/netpoll"
)

const (
	// upstreamIdleTimeout is how long a connection to the app is kept for the next request: well
	// below the 2 s after which gunicorn closes it, perhaps at the moment at which a request is on
	// its way ([http1.RuleIdleUpstream]).
	upstreamIdleTimeout = time.Second
	// dialTimeout bounds a connect that neither succeeds nor fails: TCP with a full backlog, where
	// the kernel asks again after 1 s.
	dialTimeout = time.Second
	// maxOwnUpstreams is how many connections to the app are kept idle that are clients' own. A
	// gevent worker takes 1000 connections by default, idle ones included, and no further ones.
	maxOwnUpstreams = 256
)

// A loopUpstream is a connection to the app in the event loop, and the round trip that uses it.
// Only Close may be called from another goroutine.
type loopUpstream struct {
	roundTrip
	user upstreamUser // nil: idle

	loop        *eventLoop
	fd          int
	proof       *gate.Proof                 // under which the connection was opened
	node        netpoll.Node[*loopUpstream] // while idle
	owner       *loopClient                 // while idle: whose requests alone it carries; nil: any client's
	connecting  bool
	ended       bool // the last edge has come: a read must go on to the end
	readFull    bool // the last read filled its buffer: there may be more
	closed      bool // under mu: the descriptor is closed, or a goroutine's
	headOnlyLen int  // length of the head of a final response of which nothing else has come

	mu sync.Mutex // guards the descriptor against its number's next owner
}

// An upstreamUser is told what happens on the connection that its request is out on. A connection
// carries one request at a time ([http1.RuleOneUpstreamRequest]).
type upstreamUser interface {
	onConnected()
	onConnectFailed()
	onResponse(err error) (over bool) // more of it is in the buffer; err: nothing else will come
}

// dial opens a connection to t, at the address to, which may still be connecting. Every failure
// means "not now": a full backlog (EAGAIN on a unix socket), no listener (ECONNREFUSED, ENOENT), no
// free port or descriptor, a suspended target ([http1.RuleUpstreamUnavailable]). Then the result is
// nil.
func (l *eventLoop) dial(t *gate.Target, to *netpoll.Sockaddr) *loopUpstream {
	proof, ok := t.Proof()
	if !ok {
		return nil
	}
	fd, err := unix.Socket(to.Family(), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	if !l.app.limiter.MayDial(fd) {
		netpoll.Close(fd)
		return nil
	}
	if errno := netpoll.Connect(fd, to); errno != 0 && errno != unix.EINPROGRESS {
		netpoll.Close(fd)
		if isListenerGone(errno) {
			t.Suspend(proof)
		}
		return nil
	}
	events := uint32(unix.EPOLLIN | unix.EPOLLRDHUP)
	if to.Family() != unix.AF_UNIX {
		events |= unix.EPOLLOUT
	}
	u := l.addUpstream(t, fd, events)
	if u != nil {
		u.proof = proof
	}
	return u
}

// isListenerGone reports whether connect failed because nothing listens at the address.
func isListenerGone(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
}

// writeFirst writes the first bytes to a new connection. It writes none, which is EAGAIN, while the
// connection is not made and the proof has to hold afterwards. Every other error says that the
// connection was not made, or has not reached the listening socket of the proof. The loop sends no
// body, so that the bytes are the whole request.
func (u *loopUpstream) writeFirst(p []byte) (n int, errno syscall.Errno) {
	if u.proof != nil && u.proof.Valid != nil && !netpoll.Writable(u.fd) {
		return 0, unix.EAGAIN
	}
	holds := u.proof.Holds()
	switch {
	case !holds:
	case u.target.Options().HalfClose && u.loop.roundTrips >= u.target.Options().Concurrency: // else no request waits for a worker
		n, errno = netpoll.SendLast(u.fd, p)
	default:
		n, errno = netpoll.Send(u.fd, p)
	}
	if !holds || isListenerGone(errno) {
		u.target.Suspend(u.proof)
		return 0, unix.ECONNREFUSED
	}
	return n, errno
}

// addUpstream adds an open connection to t; nil when that was abandoned, or there is no room.
func (l *eventLoop) addUpstream(t *gate.Target, fd int, events uint32) *loopUpstream {
	u := &loopUpstream{loop: l, fd: fd}
	u.target, u.node.Value = t, u
	if err := l.poller.Add(fd, events, u); err != nil || !t.Add(u) {
		u.discard()
		return nil
	}
	return u
}

// takeIdle takes a connection to t that is idle, and fit for a request of the client: its own one,
// or the one of all clients that became idle last. The result is nil when there is none.
func (c *loopClient) takeIdle(t *gate.Target, own bool) *loopUpstream {
	if !own {
		return c.loop.takeIdle(t)
	}
	u := c.idleUpstream
	if u == nil || u.target != t || !t.SetExchanging(u) {
		return nil
	}
	u.leaveIdle()
	return u
}

// takeIdle takes the connection to t that became idle last, of those that are no client's own; nil
// when there is none.
func (l *eventLoop) takeIdle(t *gate.Target) *loopUpstream {
	n := l.idleUpstreams.Back()
	for n != nil && n.Value.target != t {
		n = l.idleUpstreams.Prev(n)
	}
	if n == nil || !t.SetExchanging(n.Value) {
		return nil
	}
	n.Value.leaveIdle()
	return n.Value
}

// setUser says which request is out on the connection; nil: none.
func (u *loopUpstream) setUser(user upstreamUser) {
	if u.user != nil {
		u.loop.roundTrips--
	}
	if u.user = user; user != nil {
		u.loop.roundTrips++
	}
}

// putIdle keeps the connection for the next request: of the client c, if it is that client's own.
func (u *loopUpstream) putIdle(c *loopClient) {
	l := u.loop
	u.setUser(nil)
	u.end()
	if u.hasLine && c.state == stateClosed || !u.target.SetIdle(u) {
		u.discard()
		return
	}
	l.schedule(upstreamIdleTimeout)
	if !u.hasLine {
		l.idleUpstreams.PushBack(&u.node, l.ran)
		return
	}
	if c.idleUpstream != nil { // it was not used for a request that must not be sent twice
		c.idleUpstream.discard()
	}
	if l.ownUpstreams == maxOwnUpstreams {
		l.idleOwnUpstreams.Front().Value.discard()
	}
	l.idleOwnUpstreams.PushBack(&u.node, l.ran)
	l.ownUpstreams++
	u.owner, c.idleUpstream = c, u
}

// leaveIdle says that the connection is not idle any more, if it was.
func (u *loopUpstream) leaveIdle() {
	u.node.Remove()
	if u.owner != nil {
		u.loop.ownUpstreams--
		u.owner.idleUpstream = nil
		u.owner = nil
	}
}

// closeIdleUpstreams closes the connections that have been idle for too long.
func (l *eventLoop) closeIdleUpstreams() {
	for _, idle := range [...]*netpoll.List[*loopUpstream]{&l.idleUpstreams, &l.idleOwnUpstreams} {
		for n := idle.Front(); n != nil && l.expired(n.AddedAt(), upstreamIdleTimeout); n = idle.Front() {
			n.Value.discard()
		}
	}
}

// OnEvents takes an event of the connection.
func (u *loopUpstream) OnEvents(events uint32) {
	u.ended = u.ended || events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	switch {
	case u.connecting:
		u.onWritable()
	case events == unix.EPOLLOUT: // that was known
	case u.user == nil: // it has ended, or sends what was not asked for
		u.discard()
	default:
		u.onReadable()
	}
}

// onWritable writes the request on a connection that has been made, or has failed.
func (u *loopUpstream) onWritable() {
	n, errno := u.writeFirst(u.unsent)
	switch {
	case errno == unix.EAGAIN:
	case errno != 0:
		u.user.onConnectFailed()
	default:
		u.connecting = false
		u.unsent = u.unsent[n:]
		u.user.onConnected()
	}
}

// onReadable reads what the app has sent in answer to the request.
func (u *loopUpstream) onReadable() {
	for {
		room := u.in.room(responseLimits.Head)
		n, errno := netpoll.Receive(u.fd, room)
		if errno == unix.EAGAIN {
			if u.in.empty() {
				u.in.release()
			}
			return
		}
		if n > 0 {
			u.in.end += n
			u.target.SetHeard()
		}
		u.readFull = n == len(room)
		if u.user.onResponse(readError(n, errno)) || !u.readFull && !u.ended {
			return
		}
	}
}

func readError(n int, errno syscall.Errno) error {
	switch {
	case n == 0:
		return io.EOF
	case n < 0:
		return errno
	}
	return nil
}

// drained reports whether nothing has come behind the response.
func (u *loopUpstream) drained() bool { return !u.ended && !u.readFull }

// Close ends the connection. The loop finds out by an event, and is the one to close the
// descriptor.
func (u *loopUpstream) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		unix.Shutdown(u.fd, unix.SHUT_RDWR)
	}
}

// Abandon is Close: the loop reads what is there, and then the end.
func (u *loopUpstream) Abandon() { u.Close() }

// discard closes the connection and ends its round trip.
func (u *loopUpstream) discard() {
	u.closeFD()
	u.leaveIdle()
	u.setUser(nil)
	u.end()
}

// closeFD closes the connection, from which nothing is read any more.
func (u *loopUpstream) closeFD() {
	if u.release() {
		u.loop.poller.Forget(u.fd)
		netpoll.Close(u.fd)
	}
}

// release makes the descriptor the caller's, which has to take it out of the poller. It reports
// false when it is closed already.
func (u *loopUpstream) release() bool {
	u.target.Remove(u)
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.closed
	u.closed = true
	return !was
}
