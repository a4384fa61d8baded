package loadgen

import (
	"sync"
	"time"
)

const (
	maxIdle    = 16              // of one client: a browser has 6, a prefork Apache 150 in all
	maxIdleAge = 3 * time.Second // shorter than any front-end's, so that the client closes first
)

// pool keeps the idle connections of keep-alive clients.
type pool struct {
	mu   sync.Mutex
	idle []idleConn
}

type idleConn struct {
	conn  *conn
	since time.Time
}

// take returns a connection that is open as far as can be known before
// writing to it, or nil.
func (p *pool) take() *conn {
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

func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= maxIdle {
		c.Close()
		return
	}
	p.idle = append(p.idle, idleConn{c, time.Now()})
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.idle {
		one.conn.Close()
	}
	p.idle = nil
}
