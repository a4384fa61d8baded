package proxy

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tideover/proxy/gate"
)

const handshake = "GET /ws HTTP/1.1\nHost: a\nUpgrade: websocket\nConnection: upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n"

// switching accepts the handshake and echoes bytes until the end.
func switching(k *appConn) {
	k.request()
	k.say("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n\n")
	io.Copy(k.Conn, k.in)
	k.Conn.(*net.UnixConn).CloseWrite()
}

func (c *testClient) echoes(s string) {
	c.Helper()
	io.WriteString(c.Conn, s)
	got := make([]byte, len(s))
	if _, err := io.ReadFull(c.in, got); err != nil || string(got) != s {
		c.Fatalf("sent %q, got %q, %v", s, got, err)
	}
}

func TestTunnel(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, switching)
	c := r.dial().say(handshake)
	r.held(1)
	r.gate.Swap(child.Target)
	c.want(101, "")
	c.echoes("hello")
	r.eventually("one tunnel", func() bool { return child.Tunnels() == 1 && child.InFlight() == 0 })
	r.gate.Swap(r.newTestApp(gate.TargetOptions{Name: "shop.2"}, echo).Target)
	c.echoes("still on its generation")
	c.Conn.(*net.TCPConn).CloseWrite()
	c.ended()
	if err := child.WaitTunnels(t.Context()); err != nil {
		t.Error(err)
	}
	r.counted("answered", func(c Counters) bool { return c.Answered == 1 && c.Tunnels == 1 })
}

// The end of a handshake is not that of what the client sends.
func TestTunnelOfAnAppThatWaitsForTheEndOfRequests(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{HalfClose: true}, switching).Target)
	c := r.dial().say(handshake)
	c.want(101, "")
	c.echoes("hello")
	c.Conn.(*net.TCPConn).CloseWrite()
	c.ended()
}

func TestCloseTunnels(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, switching)
	r.gate.Swap(child.Target)
	c := r.dial().say(handshake)
	c.want(101, "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if child.WaitTunnels(ctx) == nil {
		t.Error("the tunnel is not counted")
	}
	child.CloseTunnels()
	c.ended()
	if err := child.WaitTunnels(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestHandshakeWithAnAppThatIsGoneIsSentAgain(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	u, c := r.roundTrip(strings.ReplaceAll(handshake, "\n", "\r\n"), Settings{}, func(k *appConn) {
		k.request()
		k.say("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\n")
	})
	r.server.app.counters.requests.Add(1) // the one that has passed
	p, err := u.sendRequest(u.client.exchange)
	if err == nil {
		p, err = u.awaitHead()
	}
	if p != responseStarted || err != nil {
		t.Fatal(p, err)
	}
	u.target.Remove(u) // Abandon closes the connections a moment after the target is abandoned
	u.target.Abandon()
	if again, busy := u.handleResponse(p, err); !again || busy {
		t.Errorf("again %v, busy %v", again, busy)
	}
	r.gate.Done(u.target, false)
	u.client.exchange.clientGone(time.Now())
	c.Close()
	r.counted("resent", func(c Counters) bool { return c.Resent == 1 && c.Tunnels == 0 })
}

func TestSilentTunnelEnds(t *testing.T) {
	r := newHarness(t, patient, Settings{TunnelTimeout: 3 * shortly})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, switching).Target)
	c := r.dial().say(handshake)
	c.want(101, "")
	tick := time.NewTicker(shortly / 4)
	for range 16 { // longer than it may be silent
		<-tick.C
		c.echoes("x")
	}
	start := time.Now()
	c.ended()
	between(t, start, 2*shortly, later)
}

func TestBytesBehindTheHandshakeWaitForThe101(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, switching).Target)
	c := r.dial().say(handshake + "early")
	c.want(101, "")
	got := make([]byte, 5)
	if _, err := io.ReadFull(c.in, got); err != nil || string(got) != "early" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestRefusedHandshakeIsNoTunnel(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) { k.request(); k.answer(200, "not here") })
	r.gate.Swap(child.Target)
	c := r.dial().say(handshake + "GET /smuggled HTTP/1.1\nHost: a\n\n")
	c.want(200, "not here")
	c.ended()
	if n := child.accepted.Load(); n != 1 {
		t.Errorf("%d requests reached the app", n)
	}
}

// When one side has said all it has to say, the other goes on.
func TestTunnelHalfClosed(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.say("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\n")
		said, _ := io.ReadAll(k.in)
		io.WriteString(k, string(said)+", bye")
	}).Target)
	c := r.dial().say(handshake)
	c.want(101, "")
	io.WriteString(c.Conn, "hello")
	c.Conn.(*net.TCPConn).CloseWrite()
	if text, err := io.ReadAll(c.in); string(text) != "hello, bye" || err != nil {
		t.Errorf("%q %v", text, err)
	}
}

// A side that breaks off ends the tunnel at once, however long it may be silent.
func TestTunnelThatBreaks(t *testing.T) {
	r := newHarness(t, patient, Settings{TunnelTimeout: time.Hour})
	child := r.newTestApp(gate.TargetOptions{}, switching)
	r.gate.Swap(child.Target)
	c := r.dial().say(handshake)
	c.want(101, "")
	r.eventually("one tunnel", func() bool { return child.Tunnels() == 1 })
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	r.eventually("ended", func() bool { return child.Tunnels() == 0 && child.idle() })
}

// A client that has left before its tunnel began gets none, even where the app may go on.
func TestTunnelForNobody(t *testing.T) {
	r := newHarness(t, patient, Settings{FinishOnDisconnect: true})
	gone := make(chan struct{})
	child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		<-gone
		k.say("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\n")
		io.Copy(io.Discard, k)
	})
	r.gate.Swap(child.Target)
	c := r.dial().say(handshake)
	r.eventually("in flight", func() bool { return child.InFlight() == 1 })
	c.Close()
	noticed := time.NewTimer(5 * disconnectCheckDelay)
	<-noticed.C
	close(gone)
	r.counted("left", func(n Counters) bool { return n.ClientLeft == 1 && n.Tunnels == 0 && child.Tunnels() == 0 })
}

// A tunnel is silent when neither side sends anything nor takes anything.
func TestTunnelOfASlowReaderIsNotSilent(t *testing.T) {
	const idle = 400 * time.Millisecond
	r := newHarness(t, patient, Settings{TunnelTimeout: idle})
	child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.say("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\n")
		for piece := make([]byte, 64<<10); ; {
			if _, err := k.Write(piece); err != nil {
				return
			}
		}
	})
	r.gate.Swap(child.Target)
	c := r.dial()
	c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.say(handshake).want(101, "")
	if got := c.sips(25_000, 1_500_000, 20*time.Millisecond); got < 1_500_000 { // three times as long as it may be silent
		t.Errorf("cut after %d bytes", got)
	}
	start := time.Now()
	if err := child.WaitTunnels(t.Context()); err != nil {
		t.Error(err)
	}
	between(t, start, idle/2, later)
	io.Copy(io.Discard, c.in)
}
