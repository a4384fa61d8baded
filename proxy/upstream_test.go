package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// TestWhichConnectionsAreUsedAgain: a connection is used again only if the head gave the length of
// the response, exactly that many bytes have arrived, and the app did not ask for a close.
func TestWhichConnectionsAreUsedAgain(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		again        bool
	}{
		{"length", ok + "\nabc", true},
		{"chunked", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", true},
		{"empty", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", true},
		{"Connection: close", ok + "Connection: close\n\nabc", false},
		{"HTTP/1.0", "HTTP/1.0 200 OK\nContent-Length: 3\n\nabc", false},
		{"204", "HTTP/1.1 204 No Content\n\n", false},
		{"304", "HTTP/1.1 304 Not Modified\n\n", false},
		{"bytes behind the length", ok + "\nabcEVIL", false},
		{"bytes behind the last chunk", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\nEVIL", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newHarness(t, patient, Settings{})
			child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
				for k.request() != nil {
					k.say(c.answer)
				}
			})
			r.gate.Swap(child.Target)
			caller := r.dial()
			for i := range 3 {
				if res, body := caller.get("/").hear(); res.StatusCode >= 400 || len(body) > 3 {
					t.Errorf("%s %q", res.Status, body)
				}
				r.counted("answered", func(n Counters) bool { return n.Answered == uint64(i+1) && child.InFlight() == 0 })
			}
			if n, want := child.accepted.Load(), map[bool]int64{true: 1, false: 3}[c.again]; n != want {
				t.Errorf("%d connections for 3 requests, want %d", n, want)
			}
		})
	}
}

// A connection that was used for a request on a goroutine is used again for one in the event loop,
// and the other way round.
func TestConnectionsToTheAppAreSharedByLoopAndGoroutines(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, echo)
	r.gate.Swap(child.Target)
	c := r.dial()
	for i := range 5 {
		c.get("/loop").want(200, "GET /loop")
		c.say("PUT /goroutine HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello").want(200, "PUT /goroutine hello")
		r.counted("answered", func(n Counters) bool { return n.Answered == uint64(2*i+2) && child.InFlight() == 0 })
	}
	if n := child.accepted.Load(); n != 1 {
		t.Errorf("%d connections for 10 requests, want 1", n)
	}
}

// None is kept for longer than the app may keep it.
func TestIdleConnectionToTheAppIsClosed(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, echo)
	r.gate.Swap(child.Target)
	r.dial().get("/").want(200, "")
	start := time.Now()
	r.eventually("closed", child.idle)
	between(t, start, upstreamIdleTimeout/2, upstreamIdleTimeout+later)
}

// A target that will be told to stop gets its connections back: the idle ones at once, the others
// when they are done.
func TestRetiredTargetKeepsNoConnection(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	finish := make(chan struct{})
	child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		for req := k.request(); req != nil; req = k.request() {
			if req.URL.Path == "/slow" {
				<-finish
			}
			k.answer(200, req.URL.Path)
		}
	})
	r.gate.Swap(child.Target)
	slow := r.dial().get("/slow")
	r.eventually("out", func() bool { return child.InFlight() == 1 })
	r.dial().get("/quick").want(200, "/quick")
	start := time.Now()
	child.Retire()
	r.eventually("the idle one is closed", func() bool { child.mu.Lock(); defer child.mu.Unlock(); return len(child.open) == 1 })
	close(finish)
	slow.want(200, "/slow")
	r.eventually("the other one is closed", child.idle)
	between(t, start, 0, upstreamIdleTimeout)
}

// What is dialled while the news of the target's death comes is closed again.
func TestNoConnectionToATargetThatIsGone(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, echo)
	child.Abandon()
	if _, err := r.server.app.dialBlocking(child.Target); err != net.ErrClosed {
		t.Errorf("%v", err)
	}
	r.eventually("closed", child.idle)
}

// roundTrip is a connection to a child, on a goroutine, for a request that has passed the gate, and
// the request's client.
func (r *harness) roundTrip(request string, set Settings, script func(*appConn)) (*blockingUpstream, *testClient) {
	r.Helper()
	child := r.newTestApp(gate.TargetOptions{Marker: []byte("marker")}, script)
	u, err := r.server.app.dialBlocking(child.Target)
	if err != nil {
		r.Fatal(err)
	}
	ours, caller := pair(r.T)
	r.server.Configure(set)
	b := &blockingClient{clientConn: &clientConn{app: &r.server.app, local: &netip.AddrPort{}}, exchange: &exchange{}}
	if err := b.conn.open(ours.stream); err != nil {
		r.Fatal(err)
	}
	b.waiter.Owner = b
	b.updateRules()
	b.exchange.begin(b.clientConn, time.Now())
	b.in.hold([]byte(request))
	n, fault := b.exchange.request.Parse(b.in.bytes(), &b.rules.policy)
	if fault != nil || n == 0 {
		r.Fatal(n, fault)
	}
	b.exchange.setHead(n)
	r.gate.Swap(child.Target)
	if d := r.gate.Enter(&b.waiter); d.Outcome != gate.Passed {
		r.Fatalf("%+v", d)
	}
	u.client = b
	return u, caller
}

// lostRoundTrip is one that failed before a byte of the request was written.
func (r *harness) lostRoundTrip(request string, set Settings) (again, busy bool, x *exchange) {
	r.Helper()
	u, _ := r.roundTrip(request, set, func(k *appConn) { io.Copy(io.Discard, k) })
	x = u.client.exchange
	u.conn.close()
	p, err := u.sendRequest(x)
	if p != connected || err == nil {
		r.Errorf("progress %d, %v", p, err)
	}
	again, busy = u.handleFailure(p, err)
	r.gate.Done(u.target, false)
	return again, busy, x
}

// No byte was written: a request of any method is sent on another connection, and that does not
// count as resending.
func TestConnectionThatTakesNoByte(t *testing.T) {
	for _, set := range []Settings{{}, {NoResend: true}} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(fmt.Sprint(method, set.NoResend), func(t *testing.T) {
				r := newHarness(t, patient, Settings{})
				again, busy, x := r.lostRoundTrip(method+" / HTTP/1.1\r\nHost: a\r\n\r\n", set)
				if n := r.server.Counters().Resent; !again || !busy || x.attempts != 0 || n != 0 {
					t.Errorf("again %v, busy %v, fed %d, resent %d", again, busy, x.attempts, n)
				}
			})
		}
	}
}

// The head of a short response that arrives alone is kept back until its body arrives, but not for
// long: an app may send the body only after the client has reacted to the head.
func TestHeadAlone(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	seen := make(chan struct{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		for k.request() != nil {
			k.say("HTTP/1.1 200 OK\nContent-Length: 5\n\n")
			<-seen
			io.WriteString(k, "hello")
		}
	}).Target)
	for range 3 {
		c := r.dial().get("/")
		res, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		seen <- struct{}{}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "hello" {
			t.Errorf("%q %v", body, err)
		}
	}
	r.counted("all are answered", func(c Counters) bool { return c.Answered == 3 })
}

// An app that dies between the head and the body has not answered: the client sees that, or a 502.
func TestHeadAndNoMore(t *testing.T) {
	for _, end := range []string{"Connection: close\n", ""} {
		r := newHarness(t, patient, Settings{})
		r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
			k.request()
			k.say("HTTP/1.1 200 OK\nContent-Length: 5\n" + end + "\n")
		}).Target)
		for range 20 {
			c := r.dial().get("/")
			res, err := http.ReadResponse(c.in, nil)
			if err != nil {
				continue
			}
			if body, err := io.ReadAll(res.Body); err == nil && res.StatusCode != 502 {
				t.Errorf("%s %q", res.Status, body)
			}
		}
		r.counted("20 ended badly", func(c Counters) bool { return c.Cut+c.BadGateway == 20 })
	}
}

// A server that waits until its last answer was taken, as gunicorn does with a worker, does not
// wait for a client that is slow.
func TestLastAnswerIsTakenAtOnce(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	taken := make(chan error, 1)
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.say("HTTP/1.1 200 OK\nContent-Length: 5\nConnection: close\n\nhello")
		_, err := k.in.ReadByte()
		taken <- err
	}).Target)
	for range 20 {
		c := r.dial().get("/")
		if err := <-taken; err != io.EOF {
			t.Error(err)
		}
		c.want(200, "hello")
	}
	r.counted("all are answered", func(c Counters) bool { return c.Answered == 20 })
}
