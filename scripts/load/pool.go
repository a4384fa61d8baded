package load

import (
	"sync"
	"syscall"
	"time"
)

const (
	maxIdle    = 16              // of one client: a browser has 6, a prefork Apache 150 in all
	maxIdleAge = 3 * time.Second // shorter than any front-end's, so that ours is never the racing side
)

// pool keeps the idle connections of keep-alive clients.
type pool struct {
	mu   sync.Mutex
	idle []parked
}

type parked struct {
	conn  *connection
	since time.Time
}

// take returns a connection that is open as far as can be known before
// writing to it, or nil.
func (p *pool) take() *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		last := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if time.Since(last.since) < maxIdleAge && last.conn.quiet() {
			return last.conn
		}
		last.conn.Close()
	}
	return nil
}

func (p *pool) put(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= maxIdle {
		c.Close()
		return
	}
	p.idle = append(p.idle, parked{c, time.Now()})
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.idle {
		one.conn.Close()
	}
	p.idle = nil
}

// quiet reports whether the server has neither closed the connection nor sent
// anything on it.
func (c *connection) quiet() bool {
	if c.reader.Buffered() > 0 {
		return false
	}
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN
	})
	return quiet && err == nil
}
