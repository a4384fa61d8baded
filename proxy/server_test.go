package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

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
	if err := s.Serve(t.Context(), l.(Listener)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// A connection that was established before the server began to accept gets the same socket options
// as the others, TCP_NODELAY among them.
func TestConnectionsFromBefore(t *testing.T) {
	l := listen(t)
	early, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	r := newHarnessOn(t, l, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	r.dial().get("/").want(200, "GET / ")
	fmt.Fprint(early, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	r.counted("both are answered", func(c Counters) bool { return c.Answered == 2 })
	seen := 0
	r.everyClient(func(c *loopClient) {
		for what, want := range map[int]int{unix.TCP_NODELAY: 1, unix.TCP_KEEPIDLE: 15} {
			if got, err := unix.GetsockoptInt(int(c.fd), unix.IPPROTO_TCP, what); err != nil || got != want {
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
	go func() { served <- s.Serve(ctx, l.(Listener)) }()
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

// A listener may have an Accept of its own, which the event loop would pass over. Such a one is
// refused by its type.
func TestServeRefusesOtherListeners(t *testing.T) {
	for _, l := range []net.Listener{tls.NewListener(listen(t), &tls.Config{}), struct{ net.Listener }{listen(t)}} {
		if _, is := l.(Listener); is {
			t.Errorf("%T", l)
		}
	}
	s := NewServer(Options{Gate: gate.New(patient)})
	defer s.Close()
	if err := s.CheckAlive(t.Context()); err != nil {
		t.Errorf("nothing is served, and asked for: %v", err)
	}
}

// What was sent before the end was known is answered; what is idle then is closed.
func TestConnectionsAtTheEnd(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	idle, late := r.dial(), r.dial()
	for _, c := range []*testClient{idle, late} {
		c.get("/").want(200, "GET / ")
	}
	l := r.server.startedLoop()
	l.call(func() {
		late.get("/late")
		for arrived := false; !arrived; { // in the kernel; the loop has not seen it
			for c := range l.eachClient {
				arrived = arrived || !netpoll.Quiet(int(c.fd))
			}
		}
		l.beginClose()
	})
	idle.ended()
	late.want(200, "GET /late")
	late.ended()
}

func TestConfigureCountsFromTheNextRequestOn(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	idle := r.dial()
	idle.get("/-/alive").want(200, "GET /-/alive")
	during := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 10\n\nhalf ")
	r.counted("begun", func(c Counters) bool { return c.Requests == 2 })
	r.server.Configure(Settings{HealthPath: "/-/alive", Limits: Limits{Body: 3}})
	idle.get("/-/alive").want(200, "200 OK\nalive")
	during.say("later").want(200, "half later")
	during.say("POST / HTTP/1.1\nHost: a\nContent-Length: 4\n\nabcd").want(413, "")
}

func TestLameServerAnswersOnceMoreOnEveryConnection(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	idle, refused := r.dial(), r.dial()
	idle.get("/1").want(200, "GET /1")
	refused.get("/1").want(200, "GET /1")
	r.server.CloseAfterNextResponse()
	for _, c := range []*testClient{idle, r.dial()} {
		if res := c.get("/2").want(200, "GET /2"); !res.Close {
			t.Error("no Connection: close")
		}
		c.ended()
	}
	r.gate.Refuse(&gate.Refusal{Cause: "shutting down"})
	if res := refused.get("/3").want(503, "shutting down"); !res.Close {
		t.Error("no Connection: close")
	}
	refused.ended()
	r.server.WaitIdle(context.Background()) // returns at once: no connection is left
}

func TestLingerWaitsForIdleConnectionsWithinBounds(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	idle := r.dial().get("/1")
	idle.want(200, "GET /1")
	r.server.CloseAfterNextResponse()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if r.server.WaitIdle(short); short.Err() == nil {
		t.Error("returned while a connection was idle")
	}
	var lingering sync.WaitGroup
	for range 3 { // each of them learns of it
		lingering.Go(func() { r.server.WaitIdle(context.Background()) })
	}
	idle.get("/2").want(200, "GET /2")
	idle.ended()
	lingering.Wait()
}

func TestIdleConnectionsAreClosedWhileRequestsAndTunnelsGoOn(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	answer := make(chan struct{})
	app := r.newTestApp(gate.TargetOptions{}, func(k *appConn) { k.request(); <-answer; k.answer(200, "in time") })
	tunnels := r.newTestApp(gate.TargetOptions{Name: "shop.2"}, switching)
	r.gate.Swap(tunnels.Target)
	tunnel, idle := r.dial().say(handshake), r.dial()
	tunnel.want(101, "")
	r.gate.Swap(app.Target)
	working := r.dial().get("/")
	r.eventually("in flight", func() bool { return app.accepted.Load() == 1 })
	r.counted("accepted", func(c Counters) bool { return c.Connections == 3 })
	r.server.CloseIdle()
	idle.ended()
	close(answer)
	working.want(200, "in time")
	working.ended()
	tunnel.say("ping")
	if got, err := io.ReadAll(io.LimitReader(tunnel.in, 4)); string(got) != "ping" {
		t.Errorf("%q came back, %v", got, err)
	}
	tunnel.Conn.Close()
	r.server.WaitIdle(context.Background())
	r.end()
}

func TestEndOfServe(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	answer := make(chan struct{})
	child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) { k.request(); <-answer; k.answer(200, "in time") })
	r.gate.Swap(child.Target)
	idle, working, beginning := r.dial(), r.dial().get("/"), r.dial().say("GET / HTTP/1.1\nHo")
	r.counted("begun", func(c Counters) bool { return c.Requests == 2 && c.Connections == 3 })
	r.eventually("in flight", func() bool { return child.accepted.Load() == 1 })
	r.end()
	idle.ended()
	close(answer)
	for _, c := range []*testClient{working, beginning.say("st: a\n\n")} {
		if res := c.want(200, "in time"); !res.Close {
			t.Error("no Connection: close")
		}
		c.ended()
	}
}
