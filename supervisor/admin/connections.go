package admin

import (
	"container/list"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// maxConnections bounds the connections. When there is one more, the connection is closed that
	// has waited longest for a request, or in the middle of its head.
	maxConnections = 256
	// acceptPause is the time until the next try when descriptors run out.
	acceptPause = 50 * time.Millisecond
)

// connections is a listener with a bound for its connections.
type connections struct {
	net.Listener

	mu      sync.Mutex // guards the fields below
	open    map[*connection]bool
	waiting *list.List // of *connection: no request of it is being answered; the longest first

	freed chan struct{} // of capacity 1: a connection began to wait or was closed
}

// errReplaced ends http.Server.Serve, which would go on after a temporary error.
var errReplaced = errors.New("another socket has the path")

type connection struct {
	net.Conn
	all   *connections
	place *list.Element // in waiting; nil: a request is being answered. Guarded by all.mu
}

func newConnections(l net.Listener) *connections {
	return &connections{Listener: l, open: map[*connection]bool{}, waiting: list.New(), freed: make(chan struct{}, 1)}
}

// Accept returns the next connection, and closes another one if there are too many. While
// requests are answered on all of them it waits. When the deadline of the listener is over, the error
// is errReplaced.
func (c *connections) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, errReplaced
		}
		var failed net.Error
		if errors.As(err, &failed) && !errors.Is(err, net.ErrClosed) {
			<-time.After(acceptPause)
			continue
		}
		if err != nil {
			return nil, err
		}
		accepted := c.add(conn)
		for accepted == nil {
			<-c.freed
			accepted = c.add(conn)
		}
		return accepted, nil
	}
}

// add returns nil if there is no room: a request is being answered on each connection.
func (c *connections) add(conn net.Conn) *connection {
	c.mu.Lock()
	var evicted *connection
	if len(c.open) >= maxConnections {
		longest := c.waiting.Front()
		if longest == nil {
			c.mu.Unlock()
			return nil
		}
		evicted = longest.Value.(*connection)
		c.removeLocked(evicted)
	}
	accepted := &connection{Conn: conn, all: c}
	accepted.place = c.waiting.PushBack(accepted)
	c.open[accepted] = true
	c.mu.Unlock()
	if evicted != nil {
		evicted.Conn.Close()
	}
	return accepted
}

func (c *connections) removeLocked(conn *connection) {
	delete(c.open, conn)
	if conn.place != nil {
		c.waiting.Remove(conn.place)
		conn.place = nil
	}
	c.notify()
}

// notify has an Accept that waits for room look again.
func (c *connections) notify() {
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

// Close closes the connection and gives its place back.
func (c *connection) Close() error {
	c.all.mu.Lock()
	c.all.removeLocked(c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// onConnState keeps the connections that wait for a request apart from those that are answered. A
// connection whose head has begun to arrive is active to net/http, too: so answering says when it
// is complete.
func onConnState(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*connection); ok && state == http.StateIdle {
		c.setWaiting(true)
	}
}

// setWaiting moves a connection to the end of those that wait, or out of them.
func (c *connection) setWaiting(waits bool) {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	switch {
	case !c.all.open[c]:
	case waits && c.place == nil:
		c.place = c.all.waiting.PushBack(c)
		c.all.notify()
	case !waits && c.place != nil:
		c.all.waiting.Remove(c.place)
		c.place = nil
	}
}
