package loadgen

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// Loss says in which way a request got no complete right answer; "" means it
// got one.
type Loss string

// The ways in which a request can be lost.
const (
	Refused   Loss = "refused"   // no connection
	Reset     Loss = "reset"     // closed or reset before an answer began
	Truncated Loss = "truncated" // the answer began and did not end
	Status    Loss = "status"    // an answer other than 200
	Wrong     Loss = "wrong"     // an answer to another request, or to a body that was cut
	TimedOut  Loss = "timeout"
)

// Answer is what became of one request.
type Answer struct {
	Kind      Kind
	Nonce     string
	Loss      Loss
	Cause     string // in words, when lost
	Status    int    // 0: none came
	Header    http.Header
	Body      []byte
	Echo      Echo
	Started   time.Time
	Waited    time.Duration // from before the connect to the last byte, or to the loss
	Continued time.Duration // until 100 Continue came; 0: none came
}

// Client sends single requests to one address. It is safe for concurrent use.
type Client struct {
	Address string        // host:port, or the path of a unix socket
	Host    string        // the Host field; empty: Address
	Timeout time.Duration // for one request as a whole; 0: 30 s
	TLS     bool          // any certificate will do
	Prefix  string        // of the nonces, so that two clients of one app differ

	last atomic.Int64
	idle pool
}

// Nonce returns the next one.
func (c *Client) Nonce() string {
	return c.Prefix + strconv.FormatInt(c.last.Add(1), 10)
}

// Do sends one request, once, and waits for its end.
func (c *Client) Do(ctx context.Context, k Kind) Answer {
	return c.DoNamed(ctx, k, c.Nonce())
}

// DoNamed is Do with a nonce that the caller chose, to look for it in the
// app's log meanwhile.
func (c *Client) DoNamed(ctx context.Context, k Kind, nonce string) Answer {
	a := Answer{Kind: k, Nonce: nonce, Started: time.Now()}
	a.Loss, a.Cause = c.exchange(ctx, k, &a)
	a.Waited = time.Since(a.Started)
	return a
}

func (c *Client) exchange(ctx context.Context, k Kind, a *Answer) (Loss, string) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := c.connect(ctx, k)
	if err != nil {
		return lossOf(ctx, err, Refused)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	keep := false
	defer func() {
		if keep && stop() {
			c.idle.put(conn)
			return
		}
		conn.Close()
	}()
	body := k.body(a.Nonce)
	reply := conn.exchange(c.message(k, a.Nonce, body))
	if !reply.continued.IsZero() {
		a.Continued = reply.continued.Sub(a.Started)
	}
	a.Status, a.Header, a.Body = reply.Status, reply.Header, reply.Body
	switch {
	case reply.Err != nil && reply.begun:
		return lossOf(ctx, reply.Err, Truncated)
	case reply.Err != nil:
		return lossOf(ctx, reply.Err, Reset)
	}
	a.Echo = ParseEcho(a.Body)
	if a.Status != http.StatusOK {
		return Status, fmt.Sprintf("status %d: %.120q", a.Status, a.Body)
	}
	if cause := k.wrong(a.Nonce, body, a.Body, a.Echo); cause != "" {
		return Wrong, cause
	}
	keep = k.Keep && !reply.closing
	return "", ""
}

// message is a request of this kind, ready to be written.
func (c *Client) message(k Kind, nonce string, body []byte) message {
	m := message{method: k.method(), head: k.head(c.host(), nonce), expect: k.Expect}
	if len(body) > 0 || k.Chunked || k.Expect {
		m.body = func(w *bufio.Writer) error { return k.send(w, body) }
	}
	return m
}

// host is the Host field of each request.
func (c *Client) host() string { return cmp.Or(c.Host, c.Address) }

func lossOf(ctx context.Context, err error, otherwise Loss) (Loss, string) {
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return TimedOut, "no complete answer in time"
	}
	return otherwise, err.Error()
}

// connect takes an idle connection for a keep-alive client, or opens one.
func (c *Client) connect(ctx context.Context, k Kind) (*conn, error) {
	if k.Keep {
		if conn := c.idle.take(); conn != nil {
			return conn, nil
		}
	}
	return dial(ctx, c.Address, c.TLS)
}

// Close drops the idle connections.
func (c *Client) Close() { c.idle.close() }
