package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
)

// An app may read nothing of the body. Then only the server can notice that the client has
// disconnected and that a deadline has passed.

const megabytes = 8 << 20

// takesNothing reads the head and nothing more, until its connection ends. The connection is sent
// to began.
func takesNothing(t *testing.T, began chan<- net.Conn, closed chan<- struct{}) func(*appConn) {
	return func(k *appConn) {
		k.request()
		began <- k.Conn
		blockingConn(t, k.Conn).waitHangup(true)
		close(closed)
	}
}

func TestClientThatLeavesWhileItsUploadIsBlocked(t *testing.T) {
	for _, c := range []struct {
		name string
		set  Settings
		head string
	}{
		{"streamed", Settings{}, fmt.Sprintf("Content-Length: %d", megabytes)},
		{"streamed in chunks", Settings{}, "Transfer-Encoding: chunked"},
		{"kept", Settings{Buffer: megabytes}, fmt.Sprintf("Content-Length: %d", megabytes)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newHarness(t, patient, c.set)
			began, closed := make(chan net.Conn, 1), make(chan struct{})
			r.gate.Swap(r.newTestApp(gate.TargetOptions{}, takesNothing(t, began, closed)).Target)
			caller := r.dial().say("POST / HTTP/1.1\nHost: a\n" + c.head + "\n\n")
			go func() {
				if strings.HasPrefix(c.head, "T") {
					chunks(caller, make([]byte, megabytes))
				} else {
					caller.Write(make([]byte, megabytes))
				}
			}()
			r.blocked(<-began)
			start := time.Now()
			caller.Conn.(*net.TCPConn).SetLinger(0)
			caller.Close()
			<-closed
			between(t, start, 0, later)
			r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
		})
	}
}

// blocked waits until a child's connection has been given as much as the kernel keeps: nothing has
// come for longer than the interval at which the server looks whether the client is there.
func (r *harness) blocked(c net.Conn) {
	r.Helper()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		r.Fatal(err)
	}
	last, since := 0, time.Now()
	r.eventually("blocked", func() bool {
		n := 0
		raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
		if n != last {
			last, since = n, time.Now()
		}
		return n > 0 && time.Since(since) > 2*disconnectCheckInterval
	})
}

// An app that has shut its reading side takes no more of an upload, and may work on.
func TestClientThatLeavesBehindAnUploadThatIsNotTaken(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	shut, closed := make(chan struct{}), make(chan struct{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.Conn.(*net.UnixConn).CloseRead()
		close(shut)
		blockingConn(t, k.Conn).waitHangup(false)
		close(closed)
	}).Target)
	c := r.dial().say(fmt.Sprintf("POST / HTTP/1.1\nHost: a\nContent-Length: %d\n\n", megabytes))
	<-shut
	c.Write(make([]byte, 100_000))
	start := time.Now()
	c.Close()
	<-closed
	between(t, start, 0, later)
	r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
}

func TestAppThatTakesNothingIsA504(t *testing.T) {
	for name, set := range map[string]Settings{"streamed": {Timeout: shortly}, "kept": {Timeout: shortly, Buffer: megabytes}} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t, patient, set)
			began, closed := make(chan net.Conn, 1), make(chan struct{})
			r.gate.Swap(r.newTestApp(gate.TargetOptions{}, takesNothing(t, began, closed)).Target)
			c := r.dial().say(fmt.Sprintf("POST / HTTP/1.1\nHost: a\nContent-Length: %d\n\n", megabytes))
			start := time.Now()
			go c.Write(make([]byte, megabytes))
			c.want(504, "did not answer in time")
			between(t, start, shortly, 2*later)
			<-closed
			r.counted("timed out", func(c Counters) bool { return c.TimedOut == 1 })
		})
	}
}

// How long a client needs for its body is not the app's time.
func TestSlowUploadIsNoSilenceOfTheApp(t *testing.T) {
	r := newHarness(t, patient, Settings{Timeout: shortly, Buffer: -1})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 30\n\n")
	c.drip(strings.Repeat("x", 30), shortly/10)
	c.want(200, "POST / xxx")
}

// begunUpload is a client in the middle of a chunked upload that is streamed to the child.
func (r *harness) begunUpload() *testClient {
	r.Helper()
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n")
	fmt.Fprintf(c, "%x\r\n%s\r\n", 100000, make([]byte, 100000))
	r.eventually("on its way", func() bool { return r.gate.Snapshot().InFlight == 1 || r.server.Counters().BadGateway == 1 })
	return c
}

// What may go wrong while an upload is being handed on, before and after the app began to answer.
func TestUploadsThatGoWrong(t *testing.T) {
	before := func(k *appConn) { io.Copy(io.Discard, k.content()) }
	dies := func(k *appConn) { io.CopyN(io.Discard, k.content(), 100000) } // as much as has come: the next piece is the client's affair
	after := func(k *appConn) {
		k.request()
		k.say("HTTP/1.1 200 OK\n\nabc")
		io.Copy(io.Discard, k.in)
	}
	nonsense := func(c *testClient) { c.say("zz\n") }
	leaves := func(c *testClient) { c.Close() }
	stays := func(*testClient) {}
	for _, c := range []struct {
		name   string
		app    func(*appConn)
		client func(*testClient)
		status int // of what the client gets; 0: nothing
		ended  func(Counters) uint64
	}{
		{"nonsense", before, nonsense, 400, func(c Counters) uint64 { return c.BadRequest }},
		{"nonsense, the answer has begun", after, nonsense, 200, func(c Counters) uint64 { return c.BadRequest }},
		{"the client leaves", before, leaves, 0, func(c Counters) uint64 { return c.ClientLeft }},
		{"the client leaves, the answer has begun", after, leaves, 0, func(c Counters) uint64 { return c.ClientLeft }},
		{"the app dies", dies, stays, 502, func(c Counters) uint64 { return c.BadGateway }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newHarness(t, patient, Settings{})
			r.gate.Swap(r.newTestApp(gate.TargetOptions{}, c.app).Target)
			caller := r.begunUpload()
			if c.status == 200 {
				caller.in.Peek(1)
			}
			if c.client(caller); c.status > 0 {
				line, err := caller.in.ReadString('\n')
				if err != nil || !strings.HasPrefix(line, fmt.Sprint("HTTP/1.1 ", c.status)) {
					t.Errorf("%q %v", line, err)
				}
			}
			r.counted(c.name, func(n Counters) bool { return c.ended(n) == 1 && n.Requests == 1 })
		})
	}
}
