package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// reclaim is what the supervisor does with a connection that no worker has accepted: the marker,
// and every byte that has come. It begins when start is closed.
func reclaim(accepted chan<- net.Conn, start <-chan struct{}, bytes int64) func(*appConn) {
	return func(k *appConn) {
		accepted <- k.Conn
		<-start
		io.WriteString(k, "marker")
		io.CopyN(k.Conn, k.Conn, bytes)
		k.Conn.(*net.UnixConn).CloseWrite()
	}
}

// A body that is too long to be kept is on its way to the app when the connection turns out never
// to have been accepted. It is sent again all the same: the part that was sent comes back.
func TestAStreamedBodyComesBackFromABacklog(t *testing.T) {
	body := make([]byte, 150<<10)
	for i := range body {
		body[i] = byte('a' + i/1000%26)
	}
	half := len(body) / 2
	for _, c := range []struct {
		name, head string
		set        Settings
		back       int64 // bytes that come back
		rest       bool  // the client sends the second half only then
		want       int
	}{
		{"with a length", "Content-Length: 153600", Settings{Buffer: 1 << 10}, megabytes, true, 200},
		{"with a length, sent completely", "Content-Length: 153600", Settings{Buffer: 1 << 10}, megabytes, false, 200},
		{"chunked", "Transfer-Encoding: chunked", Settings{Buffer: 1 << 10}, megabytes, true, 200},
		{"chunked, sent completely", "Transfer-Encoding: chunked", Settings{Buffer: 1 << 10}, megabytes, false, 200},
		{"not all comes back", "Content-Length: 153600", Settings{Buffer: 1 << 10}, 20000, true, 502},
		{"more than may be kept", "Content-Length: 153600", Settings{Buffer: 1 << 10, BufferTotal: 16 << 10}, megabytes, true, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newHarness(t, patient, c.set)
			accepted, start := make(chan net.Conn, 1), make(chan struct{})
			r.gate.Swap(r.newTestApp(gate.TargetOptions{Marker: []byte("marker")}, onceThenEcho(reclaim(accepted, start, c.back))).Target)
			caller := r.dial().say("POST /m HTTP/1.1\nHost: a\n" + c.head + "\n\n")
			chunked := c.head[0] == 'T'
			send := func(part []byte) {
				if chunked {
					part = fmt.Appendf(nil, "%x\r\n%s\r\n", len(part), part)
				}
				if _, err := caller.Write(part); err != nil {
					t.Error(err)
				}
			}
			end := func() {
				send(body[half:])
				if chunked {
					io.WriteString(caller, "0\r\n\r\n")
				}
			}
			send(body[:half])
			if !c.rest {
				end()
			}
			r.blocked(<-accepted)
			close(start)
			if c.rest && c.want == 200 {
				r.eventually("back at the gate, and out again", func() bool { return r.gate.Target().InFlight() == 1 })
				end()
			}
			res, text := caller.hear()
			if res.StatusCode != c.want {
				t.Fatalf("%d %.100q", res.StatusCode, text)
			}
			if c.want == 200 && !bytes.HasSuffix([]byte(text), body) {
				t.Errorf("the app read %d bytes, and others", len(text))
			}
		})
	}
}

// The supervisor accepts what waits in the backlog, writes the marker, and says that the app's processes
// are gone. A relay that has not read the marker by then reads it all the same. On the loop and on a
// goroutine.
func TestAMarkerIsReadFromATargetThatWasAbandoned(t *testing.T) {
	request := "POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
	t.Run("loop", func(t *testing.T) {
		r := newHarness(t, patient, Settings{})
		accepted, start, ended := make(chan net.Conn, 1), make(chan struct{}), make(chan struct{})
		waiting := r.newTestApp(gate.TargetOptions{Marker: []byte("marker")}, func(k *appConn) {
			reclaim(accepted, start, 1)(k)
			k.Close()
			close(ended)
		})
		r.gate.Swap(waiting.Target)
		caller := r.dial()
		caller.Write([]byte(request))
		r.blocked(<-accepted)
		r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
		r.server.startedLoop().call(func() {
			close(start)
			<-ended
			waiting.Abandon()
		})
		caller.want(200, "POST /m")
		r.counted("sent again without a loss", func(c Counters) bool { return c.Answered == 1 && c.Resent == 0 })
	})
	t.Run("goroutine", func(t *testing.T) {
		r := newHarness(t, patient, Settings{})
		accepted, start, ended := make(chan net.Conn, 1), make(chan struct{}), make(chan struct{})
		close(start)
		u, c := r.roundTrip(request, Settings{}, func(k *appConn) {
			reclaim(accepted, start, 1)(k)
			k.Close()
			close(ended)
		})
		r.server.app.counters.requests.Add(1) // the one that has passed
		p, err := u.sendRequest(u.client.exchange)
		if err != nil {
			t.Fatal(p, err)
		}
		<-ended
		u.target.Abandon()
		if p, err = u.awaitHead(); p != requestSent || err != errNeverAccepted {
			t.Errorf("progress %d, %v", p, err)
		}
		if again, busy := u.handleFailure(p, err); !again || busy {
			t.Fatalf("again %v, busy %v", again, busy)
		}
		r.gate.Done(u.target, false)
		u.client.exchange.clientGone(time.Now())
		c.Close()
	})
}

// A client that leaves while its body comes back is no request any more.
func TestAClientThatLeavesWhileItsBodyComesBack(t *testing.T) {
	r := newHarness(t, patient, Settings{Buffer: 1 << 10})
	accepted, start := make(chan net.Conn, 1), make(chan struct{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{Marker: []byte("marker")}, onceThenEcho(reclaim(accepted, start, megabytes))).Target)
	caller := r.dial().say("POST /m HTTP/1.1\nHost: a\nContent-Length: 153600\n\n")
	caller.Write(make([]byte, 75<<10))
	r.blocked(<-accepted)
	caller.Conn.(*net.TCPConn).SetLinger(0)
	caller.Close()
	close(start)
	r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
	between(t, time.Now(), 0, later)
}
