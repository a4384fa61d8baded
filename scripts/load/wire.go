package load

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"tideover/scripts/httpgen"
)

// Wire sends requests to one address octet by octet as they are given.
type Wire struct {
	Address string
}

// Kept is a keep-alive client: one request after the other, on one connection as
// long as that lasts. It belongs to one goroutine.
type Kept struct {
	wire *Wire
	conn *connection
	sent time.Time
}

// Reply is what came of a request.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
	Err    error // no complete answer came
}

// Keep begins a connection; it is opened at the first Send.
func (w *Wire) Keep() *Kept { return &Kept{wire: w} }

// Close ends it.
func (k *Kept) Close() {
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
}

// wireTimeout is for one request as a whole.
const wireTimeout = time.Minute

// Send sends one request, once, and waits for its final answer. The connection
// is used again as long as both sides keep it, and a new one is opened where it
// was idle or is known to be closed.
func (k *Kept) Send(r httpgen.Request) Reply {
	if k.conn != nil && (time.Since(k.sent) > maxIdleAge || !k.conn.quiet()) {
		k.Close()
	}
	if k.conn == nil {
		conn, err := (&Client{Address: k.wire.Address}).connect(context.Background(), Kind{})
		if err != nil {
			return Reply{Err: err}
		}
		k.conn = conn
	}
	k.conn.SetDeadline(time.Now().Add(wireTimeout))
	reply, keep := k.exchange(r)
	k.sent = time.Now()
	if !keep {
		k.Close()
	}
	return reply
}

func (k *Kept) exchange(r httpgen.Request) (Reply, bool) {
	body := r.Body
	if r.Expect {
		if _, err := k.conn.Write(r.Head); err != nil {
			return Reply{Err: err}, false
		}
		wanted, err := awaitContinue(k.conn.reader)
		if err != nil {
			return Reply{Err: err}, false
		}
		if !wanted {
			reply, _ := k.read(r.Method)
			return reply, false
		}
		if _, err := k.conn.Write(body); err != nil && !broken(err) {
			return Reply{Err: err}, false
		}
	} else {
		pieces := net.Buffers{r.Head, body}
		if _, err := pieces.WriteTo(k.conn.Conn); err != nil && !broken(err) {
			return Reply{Err: err}, false
		}
	}
	return k.read(r.Method)
}

// broken: the other side took no more, and an early answer may be there.
func broken(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// awaitContinue waits for an answer and reports whether it is 100: then the body
// is wanted.
func awaitContinue(in *bufio.Reader) (bool, error) {
	start, err := in.Peek(len("HTTP/1.1 100"))
	if err != nil {
		return false, err
	}
	return string(start[9:]) == "100", nil
}

func (k *Kept) read(method string) (reply Reply, keep bool) {
	for {
		res, err := http.ReadResponse(k.conn.reader, &http.Request{Method: method})
		if err != nil {
			return Reply{Err: err}, false
		}
		if res.StatusCode < 200 {
			continue
		}
		reply = Reply{Status: res.StatusCode, Header: res.Header}
		reply.Body, reply.Err = io.ReadAll(res.Body)
		if errors.Is(reply.Err, os.ErrDeadlineExceeded) {
			return reply, false
		}
		return reply, reply.Err == nil && !res.Close
	}
}
