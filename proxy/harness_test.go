package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/connlimit"
	"tideover/proxy/gate"
	"tideover/proxy/spool"
)

// never is how long a test waits for what has to happen, also on a busy machine, before it fails.
const never = time.Minute

// harness is a server on a loopback port with a gate, for scripted clients and scripted apps.
type harness struct {
	*testing.T
	gate   *gate.Gate
	server *Server
	spool  *spool.Spool
	addr   string
	log    *lockedBuffer
	end    context.CancelFunc
	served chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newHarness starts a server. When the test ends everything must be accounted for and every connection
// and goroutine gone.
func newHarness(t *testing.T, g gate.Settings, s Settings) *harness {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newHarnessOn(t, l, g, s)
}

// newHarnessOn is newHarness on a listener of the test's choice.
func newHarnessOn(t *testing.T, l net.Listener, g gate.Settings, s Settings) *harness {
	t.Helper()
	return newHarnessWithin(t, l, g, s, nil)
}

// newHarnessWithin is newHarnessOn with a limit of connections that it shares with other servers.
func newHarnessWithin(t *testing.T, l net.Listener, g gate.Settings, s Settings, limiter *connlimit.Limiter) *harness {
	t.Helper()
	before := runtime.NumGoroutine()
	r := &harness{T: t, gate: gate.New(g), addr: l.Addr().String(), log: &lockedBuffer{}, served: make(chan error, 1)}
	logger := hclog.New(&hclog.LoggerOptions{Output: r.log, JSONFormat: true})
	r.spool = spool.New(spool.Options{Dir: t.TempDir(), Limit: 64 << 20, Logger: logger})
	r.server = NewServer(Options{App: "shop", Gate: r.gate, Settings: s, Logger: logger, Spool: r.spool, Limiter: limiter})
	ctx, cancel := context.WithCancel(context.Background())
	r.end = cancel
	go func() {
		err := r.server.Serve(ctx, l.(Listener))
		r.server.Close()
		r.served <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-r.served; err != nil {
			t.Errorf("serve: %v", err)
		}
		l.Close()
		r.balanced()
		r.eventually("goroutines as before", func() bool { return runtime.NumGoroutine() <= before })
	})
	return r
}

// balanced checks that every request ended in exactly one way.
func (r *harness) balanced() {
	r.Helper()
	c := r.server.Counters()
	sum := c.Answered + c.Expired + c.Overflowed + c.ClientLeft + c.Cut + c.BadRequest + c.BadGateway + c.TimedOut + c.Refused
	if sum != c.Requests {
		r.Errorf("%d requests, %d endings: %+v", c.Requests, sum, c)
	}
	if m := r.server.Metrics(); m.Client.Count() != sum || m.Hold.Count() > c.Held || m.App.Count() > sum {
		r.Errorf("%d endings, %d held, %d durations of clients, %d of the app, %d of holds", sum, c.Held, m.Client.Count(), m.App.Count(), m.Hold.Count())
	}
	if n := r.server.app.buffered.Load(); n != 0 {
		r.Errorf("%d bytes are still counted as kept", n)
	}
	r.spool.Wait(10 * time.Second)
	if n := r.spool.Used(); n != 0 {
		r.Errorf("%d bytes are still in the spool", n)
	}
}

// everyClient does something to every client, on the event loop.
func (r *harness) everyClient(do func(*loopClient)) {
	if l := r.server.startedLoop(); l != nil {
		l.call(func() {
			for c := range l.eachClient {
				do(c)
			}
		})
	}
}

// counted waits until the counters satisfy a condition: an ending is counted just after the client
// has its bytes.
func (r *harness) counted(want string, is func(Counters) bool) {
	r.Helper()
	r.eventually(want, func() bool { return is(r.server.Counters()) })
}

func (r *harness) eventually(what string, is func() bool) {
	r.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(never)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			r.Fatalf("%s: never; %+v %+v", what, r.server.Counters(), r.gate.Snapshot())
		}
	}
}

// held waits until n requests are held.
func (r *harness) held(n int) {
	r.Helper()
	r.eventually(fmt.Sprint(n, " held"), func() bool { return r.gate.Snapshot().Held == n })
}

// queueUp starts n clients. Their requests, every other with a body, are held in the order /0, /1
// ...
func (r *harness) queueUp(n int) (callers []*testClient) {
	r.Helper()
	for i := range n {
		c := r.dial()
		if i%2 == 0 {
			c.get(fmt.Sprintf("/%d", i))
		} else {
			c.say(fmt.Sprintf("POST /%d HTTP/1.1\nHost: shop.test\nContent-Length: 6\n\nbody%02d", i, i%100))
		}
		r.held(i + 1)
		callers = append(callers, c)
	}
	return callers
}

// testClient is a scripted client.
type testClient struct {
	*testing.T
	net.Conn
	in *bufio.Reader
}

func (r *harness) dial() *testClient {
	r.Helper()
	network := "tcp"
	if strings.HasPrefix(r.addr, "/") {
		network = "unix"
	}
	conn, err := net.Dial(network, r.addr)
	if err != nil {
		r.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(never))
	r.Cleanup(func() { conn.Close() })
	return &testClient{T: r.T, Conn: conn, in: bufio.NewReader(conn)}
}

// say sends bytes; \n stands for CRLF.
func (c *testClient) say(s string) *testClient {
	c.Helper()
	if _, err := io.WriteString(c.Conn, strings.ReplaceAll(s, "\n", "\r\n")); err != nil {
		c.Fatal(err)
	}
	return c
}

func (c *testClient) get(path string) *testClient {
	c.Helper()
	return c.say("GET " + path + " HTTP/1.1\nHost: shop.test\n\n")
}

// hear reads one whole response.
func (c *testClient) hear() (*http.Response, string) {
	c.Helper()
	return c.hearTo(nil)
}

func (c *testClient) hearTo(req *http.Request) (*http.Response, string) {
	c.Helper()
	res, err := http.ReadResponse(c.in, req)
	if err != nil {
		c.Fatalf("no response: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.Fatalf("response %s broke off after %d bytes: %v", res.Status, len(body), err)
	}
	return res, string(body)
}

// want reads a response and checks it.
func (c *testClient) want(status int, body string) *http.Response {
	c.Helper()
	res, got := c.hear()
	if res.StatusCode != status || !strings.Contains(got, body) {
		c.Fatalf("got %s %q, want %d %q", res.Status, got, status, body)
	}
	return res
}

// ended checks that the server closes the connection without another byte.
func (c *testClient) ended() {
	c.Helper()
	rest, err := io.ReadAll(c.in)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.Fatal("the connection is open still")
	}
	if len(rest) > 0 {
		c.Fatalf("%q after the end (%v)", rest, err)
	}
}

// testApp is a scripted app: it accepts on a private socket and runs a script on each connection.
type testApp struct {
	*gate.Target
	listener net.Listener
	accepted atomic.Int64
	running  sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]struct{}
	dead bool
}

// appConn is the app's side of one connection.
type appConn struct {
	net.Conn
	in *bufio.Reader
}

// newTestApp starts an app on a unix socket. It runs script on every connection and closes the
// connection after it.
func (r *harness) newTestApp(o gate.TargetOptions, script func(*appConn)) *testApp {
	r.Helper()
	path := filepath.Join(r.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		r.Fatal(err)
	}
	return r.newTestAppOn(l, o, script)
}

func (r *harness) newTestAppOn(l net.Listener, o gate.TargetOptions, script func(*appConn)) *testApp {
	o.Network, o.Address = l.Addr().Network(), l.Addr().String()
	if o.Name == "" {
		o.Name = "shop.1"
	}
	c := &testApp{Target: gate.NewTarget(o), listener: l, open: map[net.Conn]struct{}{}}
	c.running.Go(func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, syscall.EMFILE) { // in TestOutOfDescriptors it shares our lack of them, for a moment
				continue
			}
			if err != nil {
				return
			}
			c.accepted.Add(1)
			if !c.keep(conn) {
				conn.Close()
				return
			}
			c.running.Go(func() {
				defer c.drop(conn)
				script(&appConn{Conn: conn, in: bufio.NewReader(conn)})
			})
		}
	})
	r.Cleanup(c.kill)
	return c
}

func (c *testApp) keep(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return false
	}
	c.open[conn] = struct{}{}
	return true
}

func (c *testApp) drop(conn net.Conn) {
	conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

// kill ends the child as SIGKILL would: all its sockets are closed at once.
func (c *testApp) kill() {
	c.mu.Lock()
	c.dead = true
	for conn := range c.open {
		conn.Close()
	}
	c.mu.Unlock()
	c.listener.Close()
	c.running.Wait()
}

// request reads one request; nil at the end of the connection.
func (t *appConn) request() *http.Request {
	req, err := http.ReadRequest(t.in)
	if err != nil {
		return nil
	}
	return req
}

// content is the body of the next request; nothing at the end of the connection, which may come
// before the request.
func (t *appConn) content() io.Reader {
	if req := t.request(); req != nil {
		return req.Body
	}
	return http.NoBody
}

func (t *appConn) say(s string) {
	io.WriteString(t.Conn, strings.ReplaceAll(s, "\n", "\r\n"))
}

// answer sends a plain response with a length.
func (t *appConn) answer(status int, body string) {
	t.say(fmt.Sprintf("HTTP/1.1 %d X\nContent-Length: %d\nContent-Type: text/plain\n\n", status, len(body)))
	io.WriteString(t.Conn, body)
}

// echo is an app that answers with method, path and body, and keeps connections.
func echo(t *appConn) {
	for req := t.request(); req != nil; req = t.request() {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		t.answer(200, fmt.Sprintf("%s %s %s", req.Method, req.URL.Path, body))
	}
}

var patient = gate.Settings{Limit: 1000, Timeout: 10 * time.Second}
