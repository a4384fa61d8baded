package loadgen

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// ClosedLoop is a number of clients of which each sends its next request when the last one is
// answered. All send the same one, as cheaply as they can: a bench shares the machine with them.
type ClosedLoop struct {
	Address   string
	Clients   int
	Reconnect bool                // each request on a connection of its own
	Head      string              // of the request, without the field Connection and the empty line
	Body      string              // of every right response
	Answered  func(end time.Time) // called for each, by its client's goroutine; nil: not called

	clients []*loopClient
}

// LoopResult is what the clients of a ClosedLoop got.
type LoopResult struct {
	Answered, Failed int
	Elapsed          time.Duration
}

// loopTimeout is for one request as a whole.
const loopTimeout = 2 * time.Minute

// Open connects every client, one after the other.
func (l *ClosedLoop) Open() error {
	end := "\r\n\r\n"
	if l.Reconnect {
		end = "\r\nConnection: close\r\n\r\n"
	}
	request := message{method: http.MethodGet, head: []byte(l.Head + end)}
	for range l.Clients {
		c := &loopClient{loop: l, request: request}
		l.clients = append(l.clients, c)
		if err := c.connect(); err != nil {
			return err
		}
	}
	return nil
}

// Run lets every client send requests until the time is over, at least one, and waits for the last
// response. An error says that a connection could not be opened.
func (l *ClosedLoop) Run(d time.Duration) (LoopResult, error) {
	var running sync.WaitGroup
	begun := time.Now()
	for _, c := range l.clients {
		running.Go(func() { c.run(begun.Add(d)) })
	}
	running.Wait()
	sum := LoopResult{Elapsed: time.Since(begun)}
	var errs []error
	for _, c := range l.clients {
		sum.Answered += c.answered
		sum.Failed += c.failed
		errs = append(errs, c.err)
	}
	return sum, errors.Join(errs...)
}

// Close closes every connection.
func (l *ClosedLoop) Close() {
	for _, c := range l.clients {
		if c.conn != nil {
			c.conn.Close()
		}
	}
}

// loopClient is one client of a ClosedLoop.
type loopClient struct {
	loop             *ClosedLoop
	request          message
	conn             *conn // nil: to be opened
	served           int   // requests answered on conn
	answered, failed int   // in this run
	err              error
}

func (c *loopClient) connect() (err error) {
	c.conn, err = dial(context.Background(), c.loop.Address, false)
	c.served = 0
	return err
}

func (c *loopClient) run(end time.Time) {
	c.answered, c.failed, c.err = 0, 0, nil
	for first := true; first || time.Now().Before(end); first = false {
		if c.conn == nil {
			if c.err = c.connect(); c.err != nil {
				return
			}
		}
		c.conn.SetDeadline(time.Now().Add(loopTimeout))
		c.count(c.conn.exchange(c.request))
	}
}

// count judges a reply. Many servers close a kept connection after a number of requests: a request
// that meets this is neither answered nor a failure, and the client opens another connection.
func (c *loopClient) count(reply Reply) {
	switch {
	case reply.Err == nil && reply.Status == http.StatusOK && string(reply.Body) == c.loop.Body:
		c.answered++
		c.served++
		if c.loop.Answered != nil {
			c.loop.Answered(time.Now())
		}
	case reply.Err == nil || reply.begun || c.served == 0:
		c.failed++
	}
	if reply.Err != nil || reply.closing || c.loop.Reconnect {
		c.conn.Close()
		c.conn = nil
	}
}
