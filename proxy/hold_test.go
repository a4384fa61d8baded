package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tideover/proxy/gate"
)

func TestHeldRequestsAreReleasedOldestFirst(t *testing.T) {
	const n = 1000
	r := newHarness(t, gate.Settings{Limit: n, Timeout: time.Minute}, Settings{})
	var mu sync.Mutex
	var order []string
	child := r.newTestApp(gate.TargetOptions{Concurrency: 1}, func(k *appConn) {
		for req := k.request(); req != nil; req = k.request() {
			body, _ := io.ReadAll(req.Body)
			mu.Lock()
			order = append(order, req.URL.Path)
			mu.Unlock()
			k.answer(200, req.URL.Path+" "+string(body))
		}
	})
	callers := r.queueUp(n)
	r.dial().get("/over").want(503, "too many")
	watch := r.gate.Observe()
	start := time.Now()
	r.gate.Swap(child.Target)
	for i, c := range callers {
		res := c.want(200, fmt.Sprintf("/%d ", i))
		if !strings.HasPrefix(res.Header.Get("Server-Timing"), "hold;dur=") {
			t.Fatalf("request %d: Server-Timing %q", i, res.Header.Get("Server-Timing"))
		}
	}
	if s := watch.End(); s.Held != 0 {
		t.Errorf("%d began to be held after the release", s.Held)
	}
	// The window starts at 1 and grows by one with each answer: of the first p+1 to arrive none had
	// more than 2p+1 before it. What is let through together may overtake on its way; the stall
	// guard adds one whenever this machine stalls.
	early := 0
	for at, path := range order {
		var i int
		fmt.Sscanf(path, "/%d", &i)
		early = max(early, i-2*at-1)
	}
	t.Logf("%d held and released; the furthest beyond the window: %d places", n, early)
	const stallInterval = 100 * time.Millisecond // the gate's
	if early > 20+int(time.Since(start)/stallInterval) {
		t.Errorf("a request came %d places too early", early)
	}
	r.counted("all", func(c Counters) bool { return c.Answered == n && c.Overflowed == 1 && c.Held == n && c.Resent == 0 })
}

func TestBoundsOfAThousandAreExact(t *testing.T) {
	const n, over = 1000, 50
	r := newHarness(t, gate.Settings{Limit: n, Timeout: time.Minute}, Settings{})
	var all []*testClient
	for range n + over {
		all = append(all, r.dial().get("/"))
	}
	r.counted("overflowed", func(c Counters) bool { return c.Overflowed == over && r.gate.Snapshot().Held == n })
	r.gate.Configure(gate.Settings{Limit: n, Timeout: time.Millisecond})
	for _, c := range all {
		c.want(503, "")
	}
	r.counted("expired", func(c Counters) bool { return c.Expired == n && c.Overflowed == over && c.Held == n })
	r.server.app.errorLog.flush()
	if lines := len(r.logged("error response")) + len(r.logged("error response repeated")); lines < 4 || lines > 20 {
		t.Errorf("%d lines for %d answers", lines, n+over)
	}
}

func TestHoldTimeout(t *testing.T) {
	r := newHarness(t, gate.Settings{Limit: 10, Timeout: 300 * time.Millisecond}, Settings{})
	start := time.Now()
	c := r.dial().get("/")
	res := c.want(503, "held")
	between(t, start, 300*time.Millisecond, later)
	if res.Header.Get("Retry-After") == "" || res.Close {
		t.Errorf("headers %v, close %v", res.Header, res.Close)
	}
	c.get("/again").want(503, "held")
	r.counted("two expired", func(c Counters) bool { return c.Expired == 2 && c.Held == 2 })
	if log := r.log.String(); strings.Count(log, `"status":503`) != 2 || !strings.Contains(log, "GET /again") {
		t.Errorf("log: %s", log)
	}
}

func TestClientThatLeavesWhileHeldIsNeverForwarded(t *testing.T) {
	for name, leave := range map[string]func(*testClient){
		"closes":       func(c *testClient) { c.Close() },
		"resets":       func(c *testClient) { c.Conn.(*net.TCPConn).SetLinger(0); c.Close() },
		"shuts down":   func(c *testClient) { c.Conn.(*net.TCPConn).CloseWrite() },
		"unread bytes": func(c *testClient) { c.say("and a body that nobody reads"); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t, patient, Settings{})
			child := r.newTestApp(gate.TargetOptions{}, echo)
			c := r.dial().say("POST / HTTP/1.1\nHost: shop.test\nContent-Length: 1000\n\nsome")
			r.held(1)
			start := time.Now()
			leave(c)
			r.held(0)
			between(t, start, 0, later)
			r.gate.Swap(child.Target)
			r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
			if child.accepted.Load() != 0 {
				t.Error("the app was asked for somebody who had left")
			}
		})
	}
}

func TestHalfClosedClientsAreServedWhereConfigured(t *testing.T) {
	r := newHarness(t, patient, Settings{AllowHalfClose: true})
	child := r.newTestApp(gate.TargetOptions{}, echo)
	c := r.dial().get("/half")
	c.Conn.(*net.TCPConn).CloseWrite()
	r.held(1)
	r.gate.Swap(child.Target)
	c.want(200, "GET /half")
}

func TestExpectIsAnsweredAtOnceAlsoWhenHeld(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, echo)
	c := r.dial().say("POST /up HTTP/1.1\nHost: shop.test\nExpect: 100-continue\nContent-Length: 4\n\n")
	start := time.Now()
	if line, err := c.in.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q: %v", line, err)
	}
	between(t, start, 0, later)
	c.in.ReadString('\n')
	c.say("body")
	r.held(1)
	r.gate.Swap(child.Target)
	c.want(200, "POST /up body")
}

func TestSlowBodyThatWasHeldTakesNoWorker(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{Concurrency: 1}, echo)
	slow := r.dial().say("POST /slow HTTP/1.1\nHost: shop.test\nContent-Length: 10\n\nhalf ")
	r.held(1)
	quick := r.dial().get("/quick")
	r.held(2)
	r.gate.Swap(child.Target)
	quick.want(200, "GET /quick")
	if n := child.accepted.Load(); n != 1 {
		t.Errorf("%d connections to the app before the body was whole", n)
	}
	slow.say("later").want(200, "POST /slow half later")
}

func TestRefusedWithTheBodyDrained(t *testing.T) {
	r := newHarness(t, gate.Settings{Limit: 10, Timeout: 10 * time.Millisecond}, Settings{})
	c := r.dial().say("POST / HTTP/1.1\nHost: shop.test\nContent-Length: 4000000\n\n")
	go io.WriteString(c.Conn, strings.Repeat("x", 4000000))
	res := c.want(503, "held")
	if !res.Close {
		t.Error("the connection is offered again although its body was not read")
	}
	c.ended()
}

func TestStoppedAppAnswersAtOnce(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	waiting := r.dial().get("/waiting")
	r.held(1)
	r.gate.Refuse(&gate.Refusal{RetryAfter: 7 * time.Second, Cause: "the app is stopped"})
	for _, c := range []*testClient{waiting, r.dial().get("/new")} {
		if res := c.want(503, "stopped"); res.Header.Get("Retry-After") != "7" {
			t.Errorf("%v", res.Header)
		}
	}
	r.counted("refused", func(c Counters) bool { return c.Refused == 2 && c.Held == 1 })
}

func TestAliveIsNeverHeld(t *testing.T) {
	r := newHarness(t, patient, Settings{HealthPath: "/-/alive"})
	c := r.dial()
	c.get("/-/alive").want(200, "alive")
	c.get("/-/alive?x").want(200, "alive")
	r.counted("error response", func(c Counters) bool { return c.Answered == 2 && c.Held == 0 })
}

func TestBufferTotalBoundsWhatIsHeld(t *testing.T) {
	r := newHarness(t, patient, Settings{BufferTotal: 10 << 10})
	child := r.newTestApp(gate.TargetOptions{}, echo)
	var all []*testClient
	head := "GET / HTTP/1.1\nHost: shop.test\nCookie: " + strings.Repeat("c", 1000) + "\n\n"
	size := len(strings.ReplaceAll(head, "\n", "\r\n"))
	fit := 10 << 10 / size
	for i := range fit {
		all = append(all, r.dial().say(head))
		r.held(i + 1)
	}
	for range 5 {
		r.dial().say(head).want(503, "too many")
	}
	r.gate.Swap(child.Target)
	for _, c := range all {
		c.want(200, "GET / ")
	}
	t.Logf("%d requests of %d bytes held in 10 KiB", fit, size)
	r.counted("overflowed", func(c Counters) bool { return c.Overflowed == 5 && c.Answered == uint64(fit) })
}

// A request that was held gives its pass back when its body is slow, and ends where it stands.
func TestHeldBodyThatNeverComes(t *testing.T) {
	r := newHarness(t, patient, Settings{BodyTimeout: shortly})
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 10\n\nhalf")
	r.held(1)
	child := r.newTestApp(gate.TargetOptions{}, echo)
	r.gate.Swap(child.Target)
	c.want(408, "too slowly")
	r.counted("408", func(n Counters) bool { return n.BadRequest == 1 && child.InFlight() == 0 && child.accepted.Load() == 0 })
}

// Bytes of the body that were read together with the head of a held request are kept until it is
// released, though the buffers are used by other requests meanwhile.
func TestHeldBodyKeepsWhatWasReadAhead(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	var all []*testClient
	for i := range 20 {
		all = append(all, r.dial().say(fmt.Sprintf("POST /%d HTTP/1.1\nHost: a\nContent-Length: 10\n\nbody%d", i, i%10)))
		r.held(i + 1)
	}
	r.gate.Swap(r.newTestApp(gate.TargetOptions{Concurrency: 20}, echo).Target)
	for i, c := range all {
		c.say("-tail").want(200, fmt.Sprintf("POST /%d body%d-tail", i, i%10))
	}
}

// A request that was held before CloseAfterNextResponse gets Connection: close in its response,
// too.
func TestLameServerClosesBehindTheHeld(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	c := r.dial().get("/")
	r.held(1)
	r.server.CloseAfterNextResponse()
	r.gate.Refuse(&gate.Refusal{Cause: "shutting down"})
	if res := c.want(503, "shutting down"); !res.Close {
		t.Error("no Connection: close")
	}
	c.ended()
}

// What was not held for a moment does not count as held, though it was lost and sent again.
func TestResentIsNotHeld(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, onceThenEcho(readAndDie)).Target)
	if res := r.dial().get("/").want(200, "GET /"); res.Header.Get("Server-Timing") != "" {
		t.Errorf("%v", res.Header)
	}
	r.counted("resent", func(c Counters) bool { return c.Resent == 1 && c.Answered == 1 })
	if n := r.server.Counters().Held; n != 0 {
		t.Errorf("%d held", n)
	}
}
