package proxy

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// descriptors is the number of open descriptors of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// partial waits until n clients have sent a part of a head.
func (r *harness) partial(n int) {
	r.Helper()
	r.eventually("heads that have begun", func() bool {
		found := 0
		r.everyClient(func(c *loopClient) {
			if c.state == statePartial {
				found++
			}
		})
		return found == n
	})
}

func TestAHalfSentHeadCostsADescriptorAndNoGoroutine(t *testing.T) {
	const n = 200
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	r.dial().get("/first").want(200, "GET /first")
	var callers []*testClient
	for range n {
		callers = append(callers, r.dial())
	}
	r.eventually("accepted", func() bool { return r.server.Counters().Connections == n+1 })
	goroutines, before := runtime.NumGoroutine(), descriptors(t)
	for _, c := range callers {
		c.say("GET /half HTTP/1.1\nHost: sh")
	}
	r.partial(n)
	if now := descriptors(t); now > before {
		t.Errorf("%d descriptors, before the heads began %d", now, before)
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("%d goroutines, before the heads began %d", now, goroutines)
	}
	r.everyClient(func(c *loopClient) {
		if c.state == statePartial && len(c.in.data) > minOwnBuffer {
			t.Errorf("%d bytes of memory for a part of a head", len(c.in.data))
		}
	})
	if c := r.server.Counters(); c.Requests != n+1 {
		t.Errorf("%d requests, want %d", c.Requests, n+1)
	}
	for _, c := range callers[1:] {
		c.say("op.test\n\n").want(200, "GET /half")
	}
	callers[0].Close()
	r.counted("one has left", func(c Counters) bool { return c.ClientLeft == 1 && c.Answered == n })
}

// A head that comes in many pieces, longer than a pooled buffer, is the same request.
func TestAHeadInPiecesIsTheSameRequest(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	long := strings.Repeat("Cookie: "+strings.Repeat("c", 3990)+"\n", 6)
	for _, head := range []string{"GET /short HTTP/1.1\nHost: a\n\n", "GET /long HTTP/1.1\nHost: a\n" + long + "\n", "POST /body HTTP/1.1\nHost: a\nContent-Length: 2\n\n"} {
		for _, size := range []int{1, 7, 1000, 5000} {
			if len(head)/size > 1000 {
				continue
			}
			c := r.dial()
			for p := head; len(p) > 0; p = p[min(size, len(p)):] {
				c.say(p[:min(size, len(p))])
				runtime.Gosched()
			}
			method, path, _ := strings.Cut(head[:strings.Index(head, " HTTP")], " ")
			if method == "POST" {
				c.say("ok")
			}
			c.want(200, method+" "+path)
			c.get("/next").want(200, "GET /next")
		}
	}
}

// An empty line is no request: what has sent one is as idle as before.
func TestAnEmptyLineBeginsNoHead(t *testing.T) {
	r := newHarness(t, patient, Settings{HeadTimeout: shortly})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	c := r.dial().say("\n")
	r.partial(1)
	wait := time.NewTimer(2 * shortly)
	<-wait.C
	if n := r.server.Counters().Requests; n != 0 {
		t.Errorf("%d requests", n)
	}
	c.get("/late").want(200, "GET /late")
	c.say("\n").get("/behind").want(200, "GET /behind")
}

func TestAHalfSentHeadIsCutWithTheServer(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	c := r.dial().say("GET /half HTTP/1.1\nHo")
	r.partial(1)
	r.server.Cut()
	c.ended()
	r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 && c.Requests == 1 })
}
