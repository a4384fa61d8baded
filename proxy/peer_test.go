package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/proxyproto"
)

// noneTrusted trusts no client with an address.
var noneTrusted = []netip.Prefix{}

// withLine is the app of a target that gets PROXY lines.
var withLine = gate.TargetOptions{Peer: gate.PeerProxyLine}

// peerApp is an app that reads a PROXY line as gunicorn does: before the first request of a connection,
// where there is one. It answers with the number of its connection, that of the request on it, and the
// client's address.
func peerApp() func(*appConn) {
	var connections atomic.Int64
	return func(k *appConn) {
		n, peer := connections.Add(1), "none"
		if start, _ := k.in.Peek(6); string(start) == "PROXY " {
			line, _ := k.in.ReadString('\n')
			h, length, err := proxyproto.Parse([]byte(line))
			if err != nil || length != len(line) || !h.Source.IsValid() {
				k.answer(400, "bad line "+line)
				return
			}
			peer = h.Source.String() + ">" + h.Destination.String()
		}
		for i := 1; ; i++ {
			req := k.request()
			if req == nil {
				return
			}
			body, _ := io.ReadAll(req.Body)
			k.answer(200, fmt.Sprintf("connection %d request %d from %s close %v xff %q %s",
				n, i, peer, req.Close, req.Header["X-Forwarded-For"], body))
		}
	}
}

// skipLine reads the PROXY line of a connection, if it has one.
func (k *appConn) skipLine() {
	if start, _ := k.in.Peek(6); string(start) == "PROXY " {
		k.in.ReadString('\n')
	}
}

// listenOn returns a listener; network tcp4, tcp6, both (one socket for both) or unix.
func listenOn(t *testing.T, network string) net.Listener {
	t.Helper()
	address := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "both": "[::]:0", "unix": filepath.Join(t.TempDir(), "public")}[network]
	l, err := net.Listen(strings.Replace(network, "both", "tcp", 1), address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// peerOf is what the app must see of a client in a PROXY line: what it would see of its own socket.
func peerOf(c net.Conn, mapped bool) string {
	from, to := c.LocalAddr().String(), c.RemoteAddr().String()
	if mapped {
		return "[::ffff:" + strings.Replace(from, ":", "]:", 1) + ">[::ffff:" + strings.Replace(to, ":", "]:", 1)
	}
	return from + ">" + to
}

// The first and the third request of a connection have the same peer, on one connection to the app
// that is the client's own: also when some of them go through a goroutine.
func TestTheAppLearnsTheClientsAddressFromALine(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6", "both", "unix"} {
		for _, method := range []string{"GET", "PUT"} {
			t.Run(network+" "+method, func(t *testing.T) {
				l := listenOn(t, network)
				r := newHarnessOn(t, l, patient, Settings{Trusted: noneTrusted})
				if network == "both" {
					r.addr = fmt.Sprintf("127.0.0.1:%d", l.Addr().(*net.TCPAddr).Port)
				}
				r.gate.Swap(r.newTestApp(withLine, peerApp()).Target)
				ask := func(c *testClient, connection, request int) {
					t.Helper()
					peer := "none"
					if network != "unix" {
						peer = peerOf(c.Conn, network == "both")
					}
					c.say(method+" / HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody").want(200,
						fmt.Sprintf("connection %d request %d from %s close false", connection, request, peer))
					r.counted("ended", func(n Counters) bool { return n.Answered == n.Requests && r.gate.Target().InFlight() == 0 })
				}
				first, second := r.dial(), r.dial()
				ask(first, 1, 1)
				if network == "unix" { // they have no address, and share a connection
					ask(second, 1, 2)
					ask(first, 1, 3)
					return
				}
				ask(second, 2, 1)
				ask(first, 1, 2)
				ask(second, 2, 2)
				ask(first, 1, 3)
			})
		}
	}
}

// An app at a TCP port, as gunicorn's asgi workers need it: the connection may still be being made when
// the line is to be written.
func TestALineComesOverTCPToo(t *testing.T) {
	for _, method := range []string{"GET", "PUT", "POST"} {
		r := newHarness(t, patient, Settings{})
		r.gate.Swap(r.newTestAppOn(listenOn(t, "tcp4"), withLine, peerApp()).Target)
		for range 10 {
			c := r.dial()
			for range 3 {
				c.say(method+" / HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody").want(200, "from "+peerOf(c.Conn, false))
			}
		}
	}
}

// Loop and goroutine use the client's own connection in turn.
func TestAClientsOwnConnectionGoesToAGoroutineAndBack(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(withLine, peerApp()).Target)
	c := r.dial()
	for i := range 6 {
		if i%2 == 0 {
			c.get("/")
		} else {
			c.say("PUT / HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody")
		}
		c.want(200, fmt.Sprintf("connection 1 request %d from %s", i+1, peerOf(c.Conn, false)))
		r.counted("ended", func(n Counters) bool { return n.Answered == uint64(i+1) && r.gate.Target().InFlight() == 0 })
	}
	// A request that must not be sent twice has a new one, which then is the client's own.
	c.say("POST / HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody").want(200, "connection 2 request 1 from "+peerOf(c.Conn, false))
	r.counted("ended", func(n Counters) bool { return n.Answered == 7 && r.gate.Target().InFlight() == 0 })
	c.get("/").want(200, "connection 2 request 2 from "+peerOf(c.Conn, false))
}

// Clients with and without an address share an app, but no connection to it.
func TestAConnectionWithALineIsNeverUsedForAClientWithoutAnAddress(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	public := listenOn(t, "unix")
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ctx, public.(Listener)) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		public.Close()
	}()
	r.gate.Swap(r.newTestApp(withLine, peerApp()).Target)
	tcp := r.dial()
	r.addr = public.Addr().String()
	unix := r.dial()
	for i := range 4 {
		tcp.get("/").want(200, fmt.Sprintf("connection 1 request %d from %s", i+1, peerOf(tcp.Conn, false)))
		unix.get("/").want(200, fmt.Sprintf("connection 2 request %d from none", i+1))
		r.counted("ended", func(n Counters) bool { return n.Answered == uint64(2*i+2) && r.gate.Target().InFlight() == 0 })
	}
	unix.Close()
	tcp.Close()
}

// Where the app forgets the peer after one request, each has a connection and a line.
func TestEveryRequestHasItsOwnConnectionWhereTheAppForgetsThePeer(t *testing.T) {
	for _, method := range []string{"GET", "PUT"} {
		r := newHarness(t, patient, Settings{})
		child := r.newTestApp(gate.TargetOptions{Peer: gate.PeerProxyLine, OneRequest: true}, peerApp())
		r.gate.Swap(child.Target)
		c := r.dial()
		for i := range 3 {
			res := c.say(method+" / HTTP/1.1\nHost: a\nContent-Length: 1\n\nx").want(200, fmt.Sprintf("connection %d request 1 from %s close true", i+1, peerOf(c.Conn, false)))
			if res.Close {
				t.Error("the client's connection was closed, too")
			}
			r.eventually("closed", child.idle)
		}
	}
}

// Clients without an address have no line that an app could forget: they share kept connections.
func TestAClientWithoutAnAddressKeepsItsConnectionWhereTheAppForgetsThePeer(t *testing.T) {
	for _, method := range []string{"GET", "PUT"} {
		r := newHarnessOn(t, listenOn(t, "unix"), patient, Settings{})
		r.gate.Swap(r.newTestApp(gate.TargetOptions{Peer: gate.PeerProxyLine, OneRequest: true}, peerApp()).Target)
		c := r.dial()
		for i := range 3 {
			c.say(method+" / HTTP/1.1\nHost: a\nContent-Length: 1\n\nx").want(200, fmt.Sprintf("connection 1 request %d from none close false", i+1))
			r.counted("ended", func(n Counters) bool { return n.Answered == uint64(i+1) && r.gate.Target().InFlight() == 0 })
		}
	}
}

// An app that answers only when its client has shut the writing side: by loop and goroutine, over unix
// sockets and TCP, with a body in one piece, in chunks, or streamed. A connection carries one request.
func TestTheEndOfARequestIsShownToAnAppThatWaitsForIt(t *testing.T) {
	requests := map[string]string{
		"no body":       "GET / HTTP/1.1\nHost: a\n\n",
		"a body":        "PUT / HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody",
		"chunks":        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n4\nbody\n0\n\n",
		"a long body":   "POST / HTTP/1.1\nHost: a\nContent-Length: 300000\n\n" + strings.Repeat("x", 300_000),
		"a long target": "GET /" + strings.Repeat("x", maxInlineRequest) + " HTTP/1.1\nHost: a\n\n",
	}
	for _, network := range []string{"unix", "tcp4"} {
		for name, request := range requests {
			t.Run(name+" "+network, func(t *testing.T) {
				r := newHarness(t, patient, Settings{Buffer: 1 << 10, Limits: Limits{Target: 2 * maxInlineRequest}})
				connections := atomic.Int64{}
				app := r.newTestAppOn(listenOn(t, network), gate.TargetOptions{HalfClose: true}, func(k *appConn) {
					n := connections.Add(1)
					req := k.request()
					body, err := io.ReadAll(req.Body)
					if rest, end := io.ReadAll(k.in); err != nil || end != nil || len(rest) > 0 {
						t.Errorf("%v, then %q %v", err, rest, end)
					}
					k.answer(200, fmt.Sprintf("connection %d body %d", n, len(body)))
				})
				r.gate.Swap(app.Target)
				body := map[string]int{"a body": 4, "chunks": 4, "a long body": 300_000}[name]
				c := r.dial()
				for i := range 3 {
					c.say(request).want(200, fmt.Sprintf("connection %d body %d", i+1, body))
					r.eventually("closed", app.idle)
				}
			})
		}
	}
}

// A worker resets a connection, or the reclaim returns it from the backlog: the request is sent again,
// with its line, and a body that was streamed comes back from behind the line.
func TestARequestIsSentAgainWithItsLine(t *testing.T) {
	option := gate.TargetOptions{Peer: gate.PeerProxyLine, Marker: []byte("marker")}
	for _, test := range []struct {
		name  string
		first func(*appConn)
	}{
		{"a worker died", func(k *appConn) { k.in.ReadString('\n') }},
		{"it was in the backlog", func(k *appConn) { io.WriteString(k, "marker") }},
	} {
		for _, method := range []string{"GET", "PUT"} {
			t.Run(test.name+" "+method, func(t *testing.T) {
				r := newHarness(t, patient, Settings{})
				serve, connections := peerApp(), atomic.Int64{}
				r.gate.Swap(r.newTestApp(option, func(k *appConn) {
					if connections.Add(1) == 1 {
						test.first(k)
						return
					}
					serve(k)
				}).Target)
				c := r.dial()
				c.say(method+" / HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody").want(200, "connection 1 request 1 from "+peerOf(c.Conn, false))
			})
		}
	}
	t.Run("a streamed body comes back", func(t *testing.T) {
		r := newHarness(t, patient, Settings{Buffer: 1 << 10})
		accepted, start := make(chan net.Conn, 1), make(chan struct{})
		serve, connections := peerApp(), atomic.Int64{}
		r.gate.Swap(r.newTestApp(option, func(k *appConn) {
			if connections.Add(1) == 1 {
				reclaim(accepted, start, megabytes)(k)
				return
			}
			serve(k)
		}).Target)
		body := strings.Repeat("0123456789", 15<<10)
		c := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 153600\n\n" + body[:75<<10])
		r.blocked(<-accepted)
		close(start)
		r.eventually("back at the gate, and out again", func() bool { return r.gate.Target().InFlight() == 1 })
		c.say(body[75<<10:]).want(200, "request 1 from "+peerOf(c.Conn, false)+` close false xff [] `+body)
	})
}

// The kept connections are bounded, and none is left when the clients have gone.
func TestKeptConnectionsOfClientsAreBoundedAndGivenBack(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(withLine, peerApp())
	r.gate.Swap(child.Target)
	count := func() (n, listed int) {
		l := r.server.startedLoop()
		l.call(func() {
			n = l.ownUpstreams
			for node := l.idleOwnUpstreams.Front(); node != nil; node = l.idleOwnUpstreams.Next(node) {
				listed++
			}
		})
		return n, listed
	}
	var clients []*testClient
	for i := range maxOwnUpstreams + 50 {
		c := r.dial()
		clients = append(clients, c)
		c.get("/").want(200, fmt.Sprintf("connection %d request 1", i+1))
	}
	if n, listed := count(); n > maxOwnUpstreams || n != listed {
		t.Errorf("%d kept, %d in the list", n, listed)
	}
	for _, c := range clients[:len(clients)/2] {
		c.Close()
	}
	for _, c := range clients[len(clients)/2:] {
		c.get("/").want(200, "request")
	}
	for _, c := range clients[len(clients)/2:] {
		c.Close()
	}
	r.eventually("all given back", func() bool {
		n, listed := count()
		return n == 0 && listed == 0 && child.idle()
	})
}

// A retired target's kept connections are closed at once, and the next request goes to the next target.
func TestAClientsOwnConnectionIsOfThePresentTarget(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	first, second := r.newTestApp(withLine, peerApp()), r.newTestApp(withLine, peerApp())
	r.gate.Swap(first.Target)
	c := r.dial()
	c.get("/").want(200, "connection 1 request 1")
	c.get("/").want(200, "connection 1 request 2")
	r.gate.Swap(second.Target)
	c.get("/").want(200, "connection 1 request 1 from "+peerOf(c.Conn, false))
	first.Retire()
	r.eventually("closed", first.idle)
	c.get("/").want(200, "connection 1 request 2")
}

// A held request, and one on a connection that another relay has given away, have their line.
func TestAHeldRequestHasItsLine(t *testing.T) {
	r := newHarness(t, gate.Settings{Limit: 100, Timeout: time.Minute}, Settings{})
	callers := []*testClient{r.dial().get("/"), r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody")}
	r.held(2)
	r.gate.Swap(r.newTestApp(withLine, peerApp()).Target)
	for _, c := range callers {
		c.want(http.StatusOK, "request 1 from "+peerOf(c.Conn, false))
		c.get("/").want(200, "request 2 from "+peerOf(c.Conn, false))
	}
	next := newHarness(t, patient, Settings{})
	next.gate.Swap(next.newTestApp(withLine, peerApp()).Target)
	r.yieldsTo(next, len(callers))
	for _, c := range callers {
		c.get("/").want(200, "request 1 from "+peerOf(c.Conn, false))
		c.Close()
	}
}

// Forwarding fields do not change with a line: an untrusted client's are replaced, a front-end's pass.
func TestALineComesBesideForwardingFields(t *testing.T) {
	for _, test := range []struct {
		set  Settings
		want string
	}{{Settings{}, `xff ["6.6.6.6, 203.0.113.9"]`}, {Settings{Trusted: noneTrusted}, `xff ["127.0.0.1"]`}} {
		r := newHarness(t, patient, test.set)
		r.gate.Swap(r.newTestApp(withLine, peerApp()).Target)
		c := r.dial()
		c.say("GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 6.6.6.6, 203.0.113.9\n\n").want(200, peerOf(c.Conn, false)+" close false "+test.want)
	}
}

// An ASGI server gets one address, from the trusted list or of the client itself.
func TestAnASGIServerGetsOneForwardedFor(t *testing.T) {
	for _, test := range []struct {
		set        Settings
		sent, want string
	}{
		{Settings{}, "", `xff ["127.0.0.1"]`},
		{Settings{}, "X-Forwarded-For: 6.6.6.6, 203.0.113.9\n", `xff ["203.0.113.9"]`},
		{Settings{}, "X-Forwarded-For: 6.6.6.6\nX-Forwarded-For: 203.0.113.9, 127.0.0.1\n", `xff ["203.0.113.9"]`},
		{Settings{Trusted: noneTrusted}, "X-Forwarded-For: 6.6.6.6, 203.0.113.9\n", `xff ["127.0.0.1"]`},
	} {
		r := newHarness(t, patient, test.set)
		r.gate.Swap(r.newTestApp(gate.TargetOptions{Peer: gate.PeerOneForwardedFor}, peerApp()).Target)
		r.dial().say("GET / HTTP/1.1\nHost: a\n"+test.sent+"\n").want(200, "from none close false "+test.want)
	}
}
