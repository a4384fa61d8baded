package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// stranger is a process that listens in the place of the app.
type stranger struct {
	net.Listener
	accepted, bytes atomic.Int64
	serving         sync.WaitGroup
}

// end closes the listener and waits for the last byte of every connection.
func (s *stranger) end() {
	s.Close()
	s.serving.Wait()
}

// listenAs listens at an address as another process would, after the app's socket was closed.
func listenAs(t *testing.T, address string) *stranger {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{Listener: l}
	s.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			s.serving.Go(func() {
				defer conn.Close()
				n, _ := io.Copy(io.Discard, conn)
				s.bytes.Add(n)
			})
		}
	})
	t.Cleanup(s.end)
	return s
}

// mixedRequests sends n requests: short ones, which the event loop sends, and long ones, which a
// goroutine sends. None may be sent twice.
func (r *harness) mixedRequests(n int) (clients []*testClient) {
	r.Helper()
	for i := range n {
		body := strings.Repeat("x", i%2*(maxInlineRequest+1)+1)
		clients = append(clients, r.dial().say(fmt.Sprintf("POST /%d HTTP/1.1\nHost: a\nContent-Length: %d\n\n%s", i, len(body), body)))
	}
	return clients
}

func TestAfterAFailedConnectNothingIsDialledUntilTheNextProof(t *testing.T) {
	const n = 20
	r := newHarness(t, patient, Settings{})
	former, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := former.Addr().String()
	former.Close()
	var suspended atomic.Int64
	target := gate.NewTarget(gate.TargetOptions{Network: "tcp", Address: address, OnSuspend: func(*gate.Proof) { suspended.Add(1) }})
	target.Resume(&gate.Proof{Valid: func() bool { return true }})
	r.gate.Swap(target)
	clients := r.mixedRequests(n)
	r.counted("all held", func(c Counters) bool { return c.Requests == n && r.gate.Snapshot().Held == n })
	thief := listenAs(t, address)
	wait := time.NewTimer(300 * time.Millisecond) // longer than every pause of the gate
	<-wait.C
	if suspended.Load() != 1 || thief.accepted.Load() != 0 || target.InFlight() != 0 {
		t.Errorf("%d suspensions, %d connections to the socket that was not proven, %d in flight", suspended.Load(), thief.accepted.Load(), target.InFlight())
	}
	thief.end()
	own, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r.newTestAppOn(own, gate.TargetOptions{}, echo)
	target.Resume(&gate.Proof{Valid: func() bool { return true }})
	for i, c := range clients {
		c.want(200, fmt.Sprintf("POST /%d x", i))
	}
	r.counted("all answered", func(c Counters) bool { return c.Answered == n && c.Resent == 0 })
}

// The app has closed its socket and another process listens at once: no connect fails.
func TestASocketThatWasNotProvenGetsNoByte(t *testing.T) {
	const n = 20
	r := newHarness(t, patient, Settings{})
	thief := listenAs(t, "127.0.0.1:0")
	suspended := make(chan struct{}, n)
	target := gate.NewTarget(gate.TargetOptions{Network: "tcp", Address: thief.Addr().String(), OnSuspend: func(*gate.Proof) { suspended <- struct{}{} }})
	invalid := func() bool { return false }
	target.Resume(&gate.Proof{Valid: invalid})
	r.gate.Swap(target)
	clients := r.mixedRequests(n)
	for range 10 { // the supervisor proves the former socket, which is closed again
		<-suspended
		target.Resume(&gate.Proof{Valid: invalid})
	}
	<-suspended
	r.held(n)
	thief.end()
	if thief.bytes.Load() != 0 {
		t.Errorf("%d bytes to the socket that was not proven, on %d connections", thief.bytes.Load(), thief.accepted.Load())
	}
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	for i, c := range clients {
		c.want(200, fmt.Sprintf("POST /%d x", i))
	}
	r.counted("all answered", func(c Counters) bool { return c.Answered == n && c.Resent == 0 })
	t.Logf("%d connections, %d bytes", thief.accepted.Load(), thief.bytes.Load())
}
