package loadgen

import (
	"bufio"
	"context"
	"time"

	"tideover/scripts/httpgen"
)

// RawClient is a keep-alive client that sends requests octet by octet as they are given, one after
// the other on one connection as long as that lasts. It belongs to one goroutine.
type RawClient struct {
	Address string // host:port, or the path of a unix socket

	conn *conn
	used time.Time
}

// Close ends the connection.
func (c *RawClient) Close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// rawTimeout is for one request as a whole.
const rawTimeout = time.Minute

// Send sends one request, once, and waits for its final response. The connection is used again as
// long as both sides keep it, and a new one is opened where it was idle or is known to be closed.
func (c *RawClient) Send(r httpgen.Request) Reply {
	if c.conn != nil && (time.Since(c.used) > maxIdleAge || !c.conn.quiet()) {
		c.Close()
	}
	if c.conn == nil {
		conn, err := dial(context.Background(), c.Address, false)
		if err != nil {
			return Reply{Err: err}
		}
		c.conn = conn
	}
	c.conn.SetDeadline(time.Now().Add(rawTimeout))
	reply := c.conn.exchange(message{r.Method, r.Head, r.Expect, func(w *bufio.Writer) error {
		_, err := w.Write(r.Body)
		return err
	}})
	c.used = time.Now()
	if reply.Err != nil || reply.closing {
		c.Close()
	}
	return reply
}
