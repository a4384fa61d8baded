package proxy

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// onceThenEcho runs the first script on the first connection and echoes on all others.
func onceThenEcho(first func(*appConn)) func(*appConn) {
	var n atomic.Int64
	return func(k *appConn) {
		if n.Add(1) == 1 {
			first(k)
			return
		}
		echo(k)
	}
}

// readAndDie reads a whole request and closes without an answer.
func readAndDie(k *appConn) {
	if req := k.request(); req != nil {
		io.Copy(io.Discard, req.Body)
	}
}

func TestIdempotentRequestIsSentAgainOnce(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, onceThenEcho(readAndDie)).Target)
	r.dial().get("/again").want(200, "GET /again")
	r.counted("resent", func(c Counters) bool { return c.Resent == 1 && c.Answered == 1 })
}

func TestRequestThatKillsItsWorkerIsTriedTwiceAndNotAThirdTime(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, readAndDie)
	r.gate.Swap(child.Target)
	r.dial().get("/poison").want(502, "twice")
	if n := child.accepted.Load(); n != 2 {
		t.Errorf("tried %d times", n)
	}
	r.counted("502", func(c Counters) bool { return c.BadGateway == 1 && c.Resent == 1 })
}

func TestPostIsNotSentTwice(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, onceThenEcho(readAndDie))
	r.gate.Swap(child.Target)
	r.dial().say("POST / HTTP/1.1\nHost: shop.test\nContent-Length: 2\n\nhi").want(502, "not sent again")
	if n := child.accepted.Load(); n != 1 {
		t.Errorf("tried %d times", n)
	}
	if log := r.log.String(); !strings.Contains(log, `"generation":"shop.1"`) || !strings.Contains(log, "POST /") {
		t.Errorf("log: %s", log)
	}
}

func TestMarkerProvesThatTheAppNeverSawIt(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	marker := "\x00tideover 1b2c3d"
	r.gate.Swap(r.newTestApp(gate.TargetOptions{Marker: []byte(marker)}, onceThenEcho(func(k *appConn) {
		io.WriteString(k, marker[:5])
		io.WriteString(k, marker[5:])
		k.Conn.(*net.UnixConn).CloseWrite()
		io.Copy(io.Discard, k)
	})).Target)
	r.dial().say("POST /m HTTP/1.1\nHost: shop.test\nContent-Length: 2\n\nhi").want(200, "POST /m hi")
	r.counted("answered", func(c Counters) bool { return c.Answered == 1 })
}

func TestSilentChildIsA504(t *testing.T) {
	r := newHarness(t, patient, Settings{Timeout: shortly})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) { k.request(); k.Read(make([]byte, 1)) }).Target)
	start := time.Now()
	r.dial().get("/").want(504, "in time")
	between(t, start, shortly, later)
	r.counted("timed out", func(c Counters) bool { return c.TimedOut == 1 })
}

func TestClientThatLeavesWhileTheAppWorks(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	cut := make(chan struct{}, 1)
	child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.Read(make([]byte, 1))
		cut <- struct{}{}
	})
	r.gate.Swap(child.Target)
	c := r.dial().get("/")
	r.eventually("in flight", func() bool { return child.InFlight() == 1 })
	left := time.Now()
	c.Close()
	<-cut
	between(t, left, 0, later)
	r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
	if err := child.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAbandonSendsBackWhatMayBeSentAgain(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	var read atomic.Int64
	silent := r.newTestApp(gate.TargetOptions{}, func(k *appConn) { k.request(); read.Add(1); k.Read(make([]byte, 1)) })
	begun := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.say("HTTP/1.1 200 OK\n\nuntil the end")
		k.Read(make([]byte, 1))
	})
	r.gate.Swap(begun.Target)
	streaming := r.dial().get("/stream")
	streaming.in.Peek(1)
	r.gate.Swap(silent.Target)
	get, post := r.dial().get("/get"), r.dial().say("POST / HTTP/1.1\nHost: shop.test\nContent-Length: 2\n\nhi")
	r.eventually("in flight", func() bool { return silent.InFlight() == 2 && read.Load() == 2 })
	r.gate.Swap(nil)
	silent.Abandon()
	begun.Abandon()
	post.want(502, "not sent again")
	if all, err := io.ReadAll(streaming.in); err == nil && strings.HasSuffix(string(all), "0\r\n\r\n") {
		t.Errorf("a response that ended with its process looks whole: %q", all)
	}
	r.held(1)
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	get.want(200, "GET /get")
	r.counted("all", func(c Counters) bool { return c.Answered == 1 && c.BadGateway == 1 && c.Cut == 1 && c.Resent == 1 })
}

// A response of unknown length ends an HTTP/1.0 connection, also with Connection: keep-alive.
func TestEndOfAKeptHTTP10Connection(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) { k.request(); k.say("HTTP/1.1 200 OK\n\nabc") }).Target)
	c := r.dial().say("GET / HTTP/1.0\nConnection: keep-alive\n\n")
	if text, err := io.ReadAll(c.in); err != nil || !strings.HasSuffix(string(text), "\r\n\r\nabc") {
		t.Errorf("%q %v", text, err)
	}
}

// A response with a framing error in the first bytes of its body is a 502, because nothing of it was
// sent to the client.
func TestFaultInTheFirstPieceIsA502(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.say("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nzz\n")
	}).Target)
	c := r.dial()
	c.get("/").want(502, "not valid")
	c.get("/").want(502, "not valid")
	r.counted("502", func(n Counters) bool { return n.BadGateway == 2 && n.Cut == 0 })
}
