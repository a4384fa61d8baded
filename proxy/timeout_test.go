package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// drip sends p byte by byte, one each interval, until all is sent or the connection is over.
func (c *testClient) drip(p string, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for i := range len(p) {
		<-tick.C
		if _, err := io.WriteString(c.Conn, p[i:i+1]); err != nil {
			return
		}
	}
}

// between checks how long something took.
func between(t *testing.T, start time.Time, least, most time.Duration) {
	t.Helper()
	if d := time.Since(start); d < least || d > most {
		t.Errorf("after %v, want %v to %v", d, least, most)
	}
}

const (
	shortly = 200 * time.Millisecond
	later   = 2 * time.Second // on a busy machine
)

func TestHeadHasOneDeadlineHoweverItDrips(t *testing.T) {
	r := newHarness(t, patient, Settings{HeadTimeout: shortly})
	c := r.dial()
	start := time.Now()
	go c.drip("GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 1000), 10*time.Millisecond)
	c.want(408, "head took too long")
	between(t, start, shortly, later)
	r.counted("one bad request", func(c Counters) bool { return c.BadRequest == 1 && c.Requests == 1 })
}

func TestConnectionWithoutARequestIsClosedInSilence(t *testing.T) {
	r := newHarness(t, patient, Settings{IdleTimeout: shortly})
	start := time.Now()
	c := r.dial()
	c.ended()
	between(t, start, shortly, later)
	c = r.dial().say("\n")
	c.ended()
	if n := r.server.Counters().Requests; n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestSlowBodies(t *testing.T) {
	fixed := "POST / HTTP/1.1\nHost: a\nContent-Length: 2000\n\n"
	large := "POST / HTTP/1.1\nHost: a\nContent-Length: 2000000\n\n"
	chunked := "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n"
	for _, c := range []struct {
		name, head, body string
		every            time.Duration
	}{
		{"silent", fixed, "", 1},
		{"silent, streamed", large, "", 1},
		{"below the rate", fixed, strings.Repeat("x", 2000), 20 * time.Millisecond},
		{"below the rate, streamed", large, strings.Repeat("x", 2000), 20 * time.Millisecond},
		{"below the rate, in chunks that are all overhead", chunked, strings.Repeat("1;x=yyyyyyyyyyyyyyyyyyyyyy\r\nx\r\n", 100), time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newHarness(t, patient, Settings{BodyTimeout: shortly, MinRate: 1000})
			r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
			start := time.Now()
			caller := r.dial().say(c.head)
			go caller.drip(c.body, c.every)
			if res := caller.want(408, "too slowly"); !res.Close {
				t.Error("no Connection: close")
			}
			between(t, start, shortly, later)
			r.counted("one bad request", func(c Counters) bool { return c.BadRequest == 1 })
		})
	}
}

func TestSteadyBodyMayTakeLong(t *testing.T) {
	r := newHarness(t, patient, Settings{BodyTimeout: 3 * shortly, MinRate: 1})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 100\n\n")
	c.drip(strings.Repeat("x", 100), 10*time.Millisecond)
	c.want(200, "POST / xxx")
}

// A body that a worker waits for has to keep a rate of its own, whatever the client was ahead: bytes
// that came fast do not pay for a worker that waits for hours.
func TestABodyThatAWorkerWaitsForHasARateOfItsOwn(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    Settings
		status int
	}{
		{"a worker waits", Settings{Buffering: true, WorkerMinRate: 10_000}, 408},
		{"none does", Settings{WorkerMinRate: 10_000}, 200},
		{"no such rate", Settings{Buffering: true, WorkerMinRate: -1, MinRate: -1}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.set.BodyTimeout, c.set.Buffer = shortly, -1
			r := newHarness(t, patient, c.set)
			r.server.app.spool = nil // so that the body is streamed
			r.gate.Swap(r.newTestApp(gate.TargetOptions{}, hash).Target)
			start := time.Now()
			caller := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 1000060\n\n" + strings.Repeat("x", 1_000_000))
			go caller.drip(strings.Repeat("x", 60), 20*time.Millisecond)
			caller.want(c.status, "")
			between(t, start, shortly, 5*time.Second)
		})
	}
}

func TestTimeInWhichNobodyReadsIsNotTheClients(t *testing.T) {
	r := newHarness(t, patient, Settings{BodyTimeout: shortly, MinRate: 1 << 20})
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 100000\n\n" + strings.Repeat("x", 50000))
	r.held(1)
	wait := time.NewTimer(2 * shortly)
	<-wait.C
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, hash).Target)
	c.say(strings.Repeat("x", 50000)).want(200, "100000 ")
}

func TestAppMayTakeItsTimeWithAnUpload(t *testing.T) {
	r := newHarness(t, patient, Settings{BodyTimeout: shortly, Timeout: time.Minute})
	busy := time.NewTimer(3 * shortly)
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		req := k.request()
		<-busy.C
		n, err := io.Copy(io.Discard, req.Body)
		k.answer(200, fmt.Sprint(n, err))
	}).Target)
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 8000000\n\n")
	go c.Conn.Write(make([]byte, 8000000))
	c.want(200, "8000000 <nil>")
}

// endless answers with bytes for as long as they are taken.
func endless(k *appConn) {
	k.request()
	k.say("HTTP/1.1 200 OK\n\n")
	for piece := make([]byte, 64<<10); ; {
		if _, err := k.Write(piece); err != nil {
			return
		}
	}
}

func TestClientThatTakesNothingIsCut(t *testing.T) {
	r := newHarness(t, patient, Settings{WriteTimeout: 400 * time.Millisecond})
	child := r.newTestApp(gate.TargetOptions{}, endless)
	r.gate.Swap(child.Target)
	start := time.Now()
	c := r.dial().say("GET / HTTP/1.0\n\n")
	r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
	between(t, start, 400*time.Millisecond, 2*later)
	if err := child.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if n, err := io.Copy(io.Discard, c.in); err == nil {
		t.Errorf("the response looks whole, %d bytes long", n)
	}
}

// sips takes n bytes each interval until the connection ends or total bytes were taken, and returns
// how many it got.
func (c *testClient) sips(n, total int, interval time.Duration) (got int) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for p := make([]byte, n); got < total; {
		<-tick.C
		m, err := io.ReadFull(c.Conn, p)
		if got += m; err != nil {
			break
		}
	}
	return got
}

// A kernel wakes a writer only when a third of its buffer is free. A client that reads steadily is
// not cut for that.
func TestSlowReaderIsServed(t *testing.T) {
	r := newHarness(t, patient, Settings{WriteTimeout: 400 * time.Millisecond, MinRate: 1000})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, endless).Target)
	c := r.dial()
	c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.say("GET / HTTP/1.1\nHost: a\n\n")
	if got := c.sips(40_000, 1_600_000, 40*time.Millisecond); got < 1_600_000 {
		t.Errorf("cut after %d bytes", got)
	}
	c.Close()
	r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
}

func TestReaderBelowTheRateIsCut(t *testing.T) {
	r := newHarness(t, patient, Settings{WriteTimeout: 400 * time.Millisecond, MinRate: 1 << 20})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, endless).Target)
	c := r.dial()
	c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.say("GET / HTTP/1.1\nHost: a\n\n")
	done := make(chan int)
	go func() { done <- c.sips(2000, 10_000_000, 20*time.Millisecond) }()
	r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
	<-done
}

// A request keeps the timeout that was set when it began, also when the settings change later.
func TestTimeoutIsThatOfTheRequestsBeginning(t *testing.T) {
	r := newHarness(t, patient, Settings{Timeout: time.Minute})
	begun, answer := make(chan string, 2), make(chan struct{})
	target := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		for req := k.request(); req != nil; req = k.request() {
			begun <- req.URL.Path
			if req.URL.Path == "/patient" {
				<-answer
				k.answer(200, "at last")
			}
		}
	}).Target
	r.gate.Swap(target)
	first := r.dial().get("/patient")
	<-begun
	r.server.Configure(Settings{Timeout: shortly})
	start := time.Now()
	second := r.dial().get("/hasty")
	second.want(504, "the app did not answer in time")
	between(t, start, shortly, later)
	if n := target.InFlight(); n != 1 {
		t.Errorf("%d requests are out, want the first", n)
	}
	close(answer)
	first.want(200, "at last")
}

// An empty line is no request: after it a client has the same time for a request as after
// nothing.
func TestEmptyLineIsNoRequestYet(t *testing.T) {
	r := newHarness(t, patient, Settings{HeadTimeout: shortly})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	c := r.dial().say("\n")
	wait := time.NewTimer(3 * shortly)
	<-wait.C
	c.get("/").want(200, "GET /")
}
