package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/netpoll"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestServeEndsWithItsListener(t *testing.T) {
	s := NewServer(Options{Gate: gate.New(patient)})
	defer s.Close()
	l := listen(t)
	l.Close()
	if err := s.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// A connection that waited before anybody served it is no slower than the others: it does not wait for more to send.
func TestConnectionsFromBefore(t *testing.T) {
	l := listen(t)
	early, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	r := newRigOn(t, l, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, echo).Target)
	r.dial().get("/").want(200, "GET / ")
	fmt.Fprint(early, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	r.counted("both are answered", func(c Counters) bool { return c.Answered == 2 })
	seen := 0
	r.everyClient(func(c *loopClient) {
		for what, want := range map[int]int{unix.TCP_NODELAY: 1, unix.TCP_KEEPIDLE: 15} {
			if got, err := unix.GetsockoptInt(c.fd, unix.IPPROTO_TCP, what); err != nil || got != want {
				t.Errorf("option %d of a connection is %d (%v), want %d", what, got, err, want)
			}
		}
		seen++
	})
	if seen != 2 {
		t.Errorf("%d connections, want 2", seen)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	s := NewServer(Options{Gate: gate.New(gate.Settings{})})
	defer s.Close()
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- s.Serve(ctx, l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if text, err := io.ReadAll(conn); err != nil || len(text) == 0 {
		t.Errorf("%q %v", text, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("%v", err)
	}
}

// A listener may have an Accept of its own, which the event loop would pass over. Such a one is refused, not served in another way.
func TestServeRefusesOtherListeners(t *testing.T) {
	s := NewServer(Options{Gate: gate.New(patient)})
	defer s.Close()
	l := struct{ *net.TCPListener }{listen(t).(*net.TCPListener)}
	if err := s.Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "*net.TCPListener") {
		t.Errorf("%v", err)
	}
	if err := s.CheckAlive(t.Context()); err != nil {
		t.Errorf("nothing is served, and asked for: %v", err)
	}
}

// What was sent before the end was known is answered; what is idle then is closed.
func TestConnectionsAtTheEnd(t *testing.T) {
	r := newRig(t, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, echo).Target)
	idle, late := r.dial(), r.dial()
	for _, c := range []*caller{idle, late} {
		c.get("/").want(200, "GET / ")
	}
	l := r.server.startedLoop()
	l.call(func() {
		late.get("/late")
		for arrived := false; !arrived; { // in the kernel; the loop has not seen it
			for c := range l.eachClient {
				arrived = arrived || !netpoll.Quiet(c.fd)
			}
		}
		l.beginClose()
	})
	idle.ended()
	late.want(200, "GET /late")
	late.ended()
}
