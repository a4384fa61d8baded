package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/pathwatch"
)

// Bounds of the connections. Each has one request, so these are also the bounds of the
// requests that are served at the same time.
const (
	maxUser         = 128             // of one user
	maxMembers      = 192             // of all users but root and the daemon's own
	maxQueuedUser   = 32              // that wait for one of the others of their user
	maxQueuedMember = 64              // of all users but root and the daemon's own
	maxTurnedAway   = 64              // that get an error without being served
	queueTimeout    = 5 * time.Second // until a connection in the queue gets an error
	answerTimeout   = time.Second     // to send a request to which the answer is an error
)

// admission is the listener of the HTTP server. It asks the kernel for the credentials of
// each peer before a byte is read, and bounds the connections of each user and of all
// members of socket_group, so that no member takes the place of another one or of root. A
// connection beyond the bounds waits in a short queue. The request of a peer that may do
// nothing is not parsed.
type admission struct {
	socket *Socket
	group  int // of socket_group, or noGroup
	logger hclog.Logger

	admitted chan *admittedConn
	closed   chan struct{}
	running  sync.WaitGroup // the goroutine that accepts, and those that turn away

	mu       sync.Mutex // guards the fields below
	listener *net.UnixListener
	users    map[uint32]*userShare
	members  int // connections that are served
	queue    []*admittedConn
	away     int // connections that are turned away
	isClosed bool
}

// userShare is what one user has of the bounds.
type userShare struct{ served, queued int }

// admittedConn is a connection and its peer.
type admittedConn struct {
	*net.UnixConn
	peer    peer
	role    role
	expires *time.Timer // ends the wait in the queue; nil: it does not wait
	close   func() error
}

// Close closes the connection once, and gives its place to the next one in the queue.
func (c *admittedConn) Close() error { return c.close() }

func newAdmission(socket *Socket, logger hclog.Logger) *admission {
	a := &admission{
		socket: socket, listener: socket.listener, group: socket.group, logger: logger,
		admitted: make(chan *admittedConn), closed: make(chan struct{}), users: map[uint32]*userShare{},
	}
	first := a.listener // keepPath may replace it before this goroutine runs
	a.running.Go(func() { a.acceptAll(first) })
	a.running.Go(a.keepPath)
	return a
}

// Accept returns the next connection that is to be served.
func (a *admission) Accept() (net.Conn, error) {
	select {
	case c := <-a.admitted:
		return c, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

// Addr is not used: the HTTP server only wants it to be there.
func (a *admission) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: a.socket.Path()} }

// Close closes the socket and all connections in the queue.
func (a *admission) Close() error {
	a.mu.Lock()
	if a.isClosed {
		a.mu.Unlock()
		return nil
	}
	a.isClosed = true
	queue := a.queue
	a.queue = nil
	err := a.listener.Close()
	a.mu.Unlock()
	close(a.closed)
	for _, c := range queue {
		c.expires.Stop()
		c.UnixConn.Close()
	}
	return err
}

// wait waits for the goroutines after Close: answerTimeout at most.
func (a *admission) wait() { a.running.Wait() }

const (
	// pathInterval is the time between two checks of the files of the socket while they cannot
	// be made again, or their directory cannot be watched.
	pathInterval = time.Second
	// formerTime is how long a socket whose file was removed accepts what is in its backlog.
	formerTime = time.Second
)

// keepPath binds the socket again when its file or its lock file was removed or replaced,
// as by a cleaner of temporary files: commands find a daemon by both.
func (a *admission) keepPath() {
	paths, _ := pathwatch.New() // after an error the files are checked every second
	defer paths.Close()
	socket, lock := paths.Watch(a.socket.Path()), paths.Watch(a.socket.Path()+lockSuffix)
	for logged := ""; ; {
		watched := socket.Renew() && lock.Renew() // before the check, so that no change is missed
		err := a.rebind()
		if err == nil {
			logged = ""
		} else if text := err.Error(); text != logged {
			logged = text
			a.logger.Error("cannot bind control socket again", "socket", a.socket.Path(), "error", err,
				"hint", "commands do not find the daemon; it is tried again every second")
		}
		var later <-chan time.Time
		if err != nil || !watched {
			later = time.After(pathInterval)
		}
		select {
		case <-socket.Changed:
		case <-lock.Changed:
		case <-later:
		case <-a.closed:
			return
		}
	}
}

func (a *admission) rebind() error {
	made, err := a.socket.Rebind()
	if len(made.files) > 0 {
		a.logger.Warn("control socket bound again", "socket", a.socket.Path(), "files", made.files, "hint", "they were removed or replaced")
	}
	if made.fresh == nil {
		return err
	}
	made.former.SetDeadline(time.Now().Add(formerTime))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.isClosed {
		made.fresh.Close()
		return nil
	}
	a.listener = made.fresh
	a.running.Go(func() { a.acceptAll(made.fresh) })
	return nil
}

// acceptAll accepts connections until the socket is closed, or its deadline is over: then it
// is closed. When descriptors run out it tries again.
func (a *admission) acceptAll(socket *net.UnixListener) {
	for {
		conn, err := socket.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			socket.Close()
			return
		}
		if err != nil {
			a.logger.Warn("cannot accept control connection", "error", err)
			select {
			case <-time.After(time.Second):
				continue
			case <-a.closed:
				return
			}
		}
		a.admit(conn)
	}
}

// admit serves a connection, queues it or turns it away.
func (a *admission) admit(conn *net.UnixConn) {
	p, err := peerCredentials(conn)
	if err != nil {
		conn.Close()
		return
	}
	c := &admittedConn{UnixConn: conn, peer: p, role: p.roleOf(a.group)}
	c.close = sync.OnceValue(func() error { return a.release(c) })
	if c.role == roleNone {
		denied := errDenied(p, a.group, "the control socket")
		a.logger.Warn("control request denied", "path", "(not read)", "uid", p.uid, "error", denied.Message)
		a.turnAway(conn, denied)
		return
	}
	a.mu.Lock()
	switch {
	case a.fitsLocked(c):
		a.serveLocked(c)
		a.mu.Unlock()
		a.deliver(c)
		return
	case a.queueLocked(c):
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	a.turnAway(conn, errTooMany())
}

func errTooMany() *api.Error {
	return errorf(api.ExitError, "end some of them, or try again in a moment", "too many requests of one user, or of all members of socket_group, on the control socket")
}

// shareLocked is what the user of a connection has.
func (a *admission) shareLocked(c *admittedConn) *userShare {
	s, ok := a.users[c.peer.uid]
	if !ok {
		s = &userShare{}
		a.users[c.peer.uid] = s
	}
	return s
}

// fitsLocked reports whether a connection may be served now.
func (a *admission) fitsLocked(c *admittedConn) bool {
	return !a.isClosed && a.shareLocked(c).served < maxUser && (c.role == roleAdmin || a.members < maxMembers)
}

// serveLocked counts a connection that is served from now on.
func (a *admission) serveLocked(c *admittedConn) {
	a.shareLocked(c).served++
	if c.role != roleAdmin {
		a.members++
	}
}

// queueLocked adds a connection to the queue if there is room.
func (a *admission) queueLocked(c *admittedConn) bool {
	members := 0
	for _, q := range a.queue {
		if q.role != roleAdmin {
			members++
		}
	}
	if a.isClosed || a.shareLocked(c).queued >= maxQueuedUser || c.role != roleAdmin && members >= maxQueuedMember {
		a.forgetLocked(c)
		return false
	}
	a.shareLocked(c).queued++
	a.queue = append(a.queue, c)
	c.expires = time.AfterFunc(queueTimeout, func() { a.expire(c) })
	return true
}

// forgetLocked removes the share of a user without connections.
func (a *admission) forgetLocked(c *admittedConn) {
	if s, ok := a.users[c.peer.uid]; ok && *s == (userShare{}) {
		delete(a.users, c.peer.uid)
	}
}

// unqueueLocked removes a connection from the queue, and reports whether it was there.
func (a *admission) unqueueLocked(c *admittedConn) bool {
	for i, q := range a.queue {
		if q == c {
			a.queue = append(a.queue[:i:i], a.queue[i+1:]...)
			a.shareLocked(c).queued--
			a.forgetLocked(c)
			return true
		}
	}
	return false
}

// expire turns a connection away that has waited for too long.
func (a *admission) expire(c *admittedConn) {
	a.mu.Lock()
	waited := a.unqueueLocked(c)
	a.mu.Unlock()
	if waited {
		a.turnAway(c.UnixConn, errTooMany())
	}
}

// release closes a connection that was served, and serves those in the queue that fit now.
func (a *admission) release(c *admittedConn) error {
	err := c.UnixConn.Close()
	var next []*admittedConn
	a.mu.Lock()
	a.shareLocked(c).served--
	if c.role != roleAdmin {
		a.members--
	}
	for _, q := range a.queue {
		if a.fitsLocked(q) {
			a.serveLocked(q)
			next = append(next, q)
		}
	}
	for _, q := range next {
		q.expires.Stop()
		a.unqueueLocked(q)
	}
	a.forgetLocked(c)
	a.mu.Unlock()
	for _, q := range next {
		a.deliver(q)
	}
	return err
}

// deliver passes a connection to Accept.
func (a *admission) deliver(c *admittedConn) {
	select {
	case a.admitted <- c:
	case <-a.closed:
		c.Close()
	}
}

// turnAway answers a request with an error and closes the connection. The answer is sent
// after the first bytes have come, because a client may take an earlier one for an answer
// to nothing; they are not looked at. Beyond maxTurnedAway a connection is only closed.
func (a *admission) turnAway(conn *net.UnixConn, reason *api.Error) {
	a.mu.Lock()
	full := a.isClosed || a.away >= maxTurnedAway
	if !full {
		a.away++
		a.running.Go(func() {
			answerUnread(conn, reason)
			a.mu.Lock()
			a.away--
			a.mu.Unlock()
		})
	}
	a.mu.Unlock()
	if full {
		conn.Close()
	}
}

// answerUnread sends an error and waits for the client to close the connection: to close it
// with bytes unread would be ECONNRESET for the client.
func answerUnread(conn *net.UnixConn, reason *api.Error) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return
	}
	body, err := json.Marshal(reason)
	if err != nil {
		return
	}
	status := httpStatus(reason.Exit)
	fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), len(body), body)
	conn.CloseWrite()
	io.Copy(io.Discard, io.LimitReader(conn, maxRequestBytes))
}

// errDenied is the error for a peer that may not use something.
func errDenied(p peer, group int, what string) *api.Error {
	hint := "root and the daemon's own user may"
	if group != noGroup {
		hint += "; members of socket_group may reload, hold, release and look"
	}
	return errorf(api.ExitDenied, hint, "uid %d may not use %s", p.uid, what)
}
