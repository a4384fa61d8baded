package loadgen

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// conn is a client's connection with what was read ahead on it.
type conn struct {
	net.Conn
	socket net.Conn // under TLS; else the same
	reader *bufio.Reader
}

// dial connects to host:port, or to a unix socket if the address begins with a slash. With secure
// it speaks TLS and takes any certificate.
func dial(ctx context.Context, address string, secure bool) (*conn, error) {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	d := net.Dialer{KeepAlive: -1}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if !secure {
		return &conn{Conn: c, socket: c, reader: bufio.NewReader(c)}, nil
	}
	s := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	if err := s.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return &conn{Conn: s, socket: c, reader: bufio.NewReader(s)}, nil
}

// message is a request as it is written.
type message struct {
	method string
	head   []byte                      // with the empty line
	expect bool                        // the body waits for 100 Continue
	body   func(w *bufio.Writer) error // writes the body; nil: there is none
}

// Reply is what came back for a request.
type Reply struct {
	Status int // 0: none
	Header http.Header
	Body   []byte
	Err    error // no complete response came

	begun     bool      // a final response began
	continued time.Time // when 100 Continue came
	closing   bool      // the server closes the connection
}

// exchange sends one request and reads its final response.
func (c *conn) exchange(m message) Reply {
	var reply Reply
	// Where the server takes no more (EPIPE, ECONNRESET), a response may be there to be read.
	if err := c.write(m, &reply); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		reply.Err = err
		return reply
	}
	c.read(m.method, &reply)
	return reply
}

func (c *conn) write(m message, reply *Reply) error {
	if m.body == nil {
		_, err := c.Write(m.head)
		return err
	}
	w := bufio.NewWriter(c)
	w.Write(m.head)
	if m.expect {
		if err := w.Flush(); err != nil {
			return err
		}
		start, err := c.reader.Peek(len("HTTP/1.1 100"))
		if err != nil || string(start[9:]) != "100" {
			reply.closing = true // a final response or an error, which read reports; the body is not sent
			return nil
		}
		reply.continued = time.Now()
	}
	if err := m.body(w); err != nil {
		return err
	}
	return w.Flush()
}

// read takes the final response whole.
func (c *conn) read(method string, reply *Reply) {
	for {
		reply.begun = false
		if _, reply.Err = c.reader.Peek(1); reply.Err != nil {
			return
		}
		reply.begun = true
		res, err := http.ReadResponse(c.reader, &http.Request{Method: method})
		if err != nil {
			reply.Err = err
			return
		}
		if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		reply.Status, reply.Header = res.StatusCode, res.Header
		reply.closing = reply.closing || res.Close
		reply.Body, reply.Err = io.ReadAll(res.Body)
		return
	}
}

// quiet reports whether the server has neither closed the connection nor sent anything on it.
func (c *conn) quiet() bool {
	if c.reader.Buffered() > 0 {
		return false
	}
	raw, err := c.socket.(syscall.Conn).SyscallConn()
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
