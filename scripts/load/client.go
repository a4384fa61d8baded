package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
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
	Network string        // "tcp" or "unix"
	Address string        //
	Host    string        // the Host field; empty: Address
	Timeout time.Duration // for one request as a whole; 0: 30 s
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
	if err := c.write(conn, k, a, body); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		return lossOf(ctx, err, Reset)
	}
	res, loss, cause := c.read(ctx, conn, k, a)
	if loss != "" {
		return loss, cause
	}
	a.Echo = ParseEcho(a.Body)
	if a.Status != http.StatusOK {
		return Status, fmt.Sprintf("status %d: %.120q", a.Status, a.Body)
	}
	if cause := k.wrong(a.Nonce, body, a.Echo); cause != "" {
		return Wrong, cause
	}
	keep = k.Keep && !res.Close
	return "", ""
}

// write sends the request. Where it fails, an early answer may be there to be
// read all the same.
func (c *Client) write(conn *connection, k Kind, a *Answer, body []byte) error {
	host := c.Host
	if host == "" {
		host = c.Address
	}
	w := bufio.NewWriter(conn)
	w.Write(k.head(host, a.Nonce))
	if k.Expect {
		if err := w.Flush(); err != nil {
			return err
		}
		peek, err := conn.reader.Peek(len("HTTP/1.1 100"))
		if err != nil {
			return nil // read tells what happened
		}
		if string(peek[9:12]) != "100" {
			return nil // a final answer: the body is not wanted
		}
		a.Continued = time.Since(a.Started)
	}
	if k.Over == 0 {
		if err := k.send(w, body); err != nil {
			return err
		}
		return w.Flush()
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return k.send(conn, body)
}

// read takes the final answer whole.
func (c *Client) read(ctx context.Context, conn *connection, k Kind, a *Answer) (*http.Response, Loss, string) {
	request := &http.Request{Method: k.method()}
	for {
		if _, err := conn.reader.Peek(1); err != nil {
			loss, cause := lossOf(ctx, err, Reset)
			return nil, loss, cause
		}
		res, err := http.ReadResponse(conn.reader, request)
		if err != nil {
			loss, cause := lossOf(ctx, err, Truncated)
			return nil, loss, cause
		}
		if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		a.Status, a.Header = res.StatusCode, res.Header
		a.Body, err = io.ReadAll(res.Body)
		if err != nil {
			loss, cause := lossOf(ctx, err, Truncated)
			return nil, loss, cause
		}
		return res, "", ""
	}
}

func lossOf(ctx context.Context, err error, otherwise Loss) (Loss, string) {
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return TimedOut, "no complete answer in time"
	}
	return otherwise, err.Error()
}

// connection is a client's connection with what was read ahead on it.
type connection struct {
	net.Conn
	reader *bufio.Reader
}

func (c *Client) connect(ctx context.Context, k Kind) (*connection, error) {
	if k.Keep {
		if conn := c.idle.take(); conn != nil {
			return conn, nil
		}
	}
	network := c.Network
	if network == "" {
		network = "tcp"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, c.Address)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, reader: bufio.NewReader(conn)}, nil
}

// Close drops the idle connections.
func (c *Client) Close() { c.idle.close() }
