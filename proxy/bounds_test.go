package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

// pair returns two ends of a TCP connection, ours for a goroutine.
func pair(t *testing.T) (*conn, *caller) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	theirs, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close(); accepted.Close() })
	return blockingConn(t, accepted), &caller{T: t, Conn: theirs, in: bufio.NewReader(theirs)}
}

// blockingConn is a connection as a goroutine has it.
func blockingConn(t *testing.T, c net.Conn) *conn {
	ours := &conn{}
	if err := ours.open(c.(stream)); err != nil {
		t.Error(err)
	}
	return ours
}

// bodyOf is a body that is still to be read.
func bodyOf(body http1.Body) *requestBody {
	b := &requestBody{}
	limits := http1.RequestLimits()
	b.begin(&http1.Request{Body: body}, &limits, false, time.Minute, 0)
	return b
}

// What is there is read, however late we look.
func TestReadTakesWhatIsThere(t *testing.T) {
	w, peer := pair(t)
	p := make([]byte, 10)
	if n, err := w.read(p, time.Nanosecond); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d %v", n, err)
	}
	peer.say("x")
	for w.quiet() {
		runtime.Gosched()
	}
	if n, err := w.read(p, time.Nanosecond); n != 1 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	w.interrupt()
	if n, err := w.read(p, time.Hour); n != 0 || err != errInterrupted {
		t.Errorf("%d %v", n, err)
	}
	w.clearInterrupt()
	peer.Close()
	if n, err := w.read(p, time.Hour); n != 0 || err != io.EOF {
		t.Errorf("%d %v", n, err)
	}
}

// What a client sends after its answer is read, but not for ever.
func TestWhatIsReadAfterTheAnswerIsBounded(t *testing.T) {
	endless := http1.Body{Framing: http1.Fixed, Length: math.MaxInt64}
	for name, read := range map[string]func(*requestBody, *conn, drainLimits){"drain": (*requestBody).drain, "linger": (*requestBody).linger} {
		t.Run(name+", bytes", func(t *testing.T) {
			w, peer := pair(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for piece := make([]byte, 64<<10); ; {
					if _, err := peer.Write(piece); err != nil {
						return
					}
				}
			}()
			read(bodyOf(endless), w, drainLimits{1 << 20, time.Hour, time.Hour})
			w.close()
			<-done
		})
		t.Run(name+", time", func(t *testing.T) {
			w, peer := pair(t)
			start, done := time.Now(), make(chan struct{})
			go func() { defer close(done); peer.drip(strings.Repeat("x", 1000), 10*time.Millisecond) }()
			read(bodyOf(endless), w, drainLimits{1 << 20, shortly, time.Hour})
			between(t, start, shortly, later)
			w.abort()
			<-done
		})
		t.Run(name+", silence", func(t *testing.T) {
			w, _ := pair(t)
			start := time.Now()
			read(bodyOf(endless), w, drainLimits{1 << 20, time.Hour, shortly})
			between(t, start, shortly, later)
		})
		t.Run(name+", the client closes", func(t *testing.T) {
			w, peer := pair(t)
			start := time.Now()
			peer.Close()
			read(bodyOf(endless), w, drainLimits{1 << 20, 10 * time.Second, time.Hour})
			between(t, start, 0, later)
		})
	}
	t.Run("a body that makes no sense any more", func(t *testing.T) {
		w, peer := pair(t)
		peer.say("no chunk\n")
		go func() {
			rest, err := io.ReadAll(peer) // the end comes before the close
			if len(rest) > 0 || err != nil {
				t.Errorf("%q %v", rest, err)
			}
			peer.Close()
		}()
		start := time.Now()
		bodyOf(http1.Body{Framing: http1.Chunked}).drain(w, drainLimits{1 << 20, 10 * time.Second, 10 * time.Second})
		between(t, start, 0, later)
	})
}

func TestPatienceWithABody(t *testing.T) {
	b := requestBody{readTimeout: time.Second, minRate: 10, waited: 3 * time.Second}
	if d := b.timeLeft(); d != -2*time.Second {
		t.Errorf("%v are left", d)
	}
	if err := b.fill(nil, time.Minute); err != errBodySlow {
		t.Errorf("%v", err)
	}
	b.reader.Total = 50
	if d := b.timeLeft(); d != 3*time.Second {
		t.Errorf("%v are left", d)
	}
	b.reader.Total, b.minRate = math.MaxInt64, 1
	if d := b.timeLeft(); d < time.Hour {
		t.Errorf("%v are left", d)
	}
	b.minRate = 0
	if d := b.timeLeft(); d != math.MaxInt64 {
		t.Errorf("%v are left without a rate", d)
	}
}

// An answer to a body that is too large is seen by a client that looks at it only when it has sent everything.
func TestTooLargeABodyIsDrained(t *testing.T) {
	for name, framing := range map[string]string{"announced": fmt.Sprintf("Content-Length: %d", megabytes), "at the crossing byte": "Transfer-Encoding: chunked"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, patient, Settings{Limits: Limits{Body: 1000}})
			r.gate.Swap(r.newChild(gate.TargetOptions{}, echo).Target)
			c := r.dial().say("POST / HTTP/1.1\nHost: a\n" + framing + "\n\n")
			var err error
			if strings.HasPrefix(framing, "C") {
				_, err = c.Write(make([]byte, megabytes))
			} else {
				for piece := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, make([]byte, 64<<10)); err == nil && len(piece) > 0; {
					for range megabytes / (64 << 10) {
						if _, err = io.WriteString(c.Conn, piece); err != nil {
							break
						}
					}
					piece = ""
				}
			}
			if err != nil {
				t.Errorf("the upload met %v", err)
			}
			if res := c.want(413, "Content Too Large"); !res.Close {
				t.Error("the connection is offered again")
			}
		})
	}
}

// Who waits for a 100 and is refused sends no body, and is not asked for it by a 100 behind the answer.
func TestRefusedExpectationIsNotContinued(t *testing.T) {
	r := newRig(t, gate.Settings{}, Settings{})
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 5\n\n")
	start := time.Now()
	c.want(503, "too many")
	c.ended()
	between(t, start, 0, later)
}

func TestBuffer(t *testing.T) {
	var b buffer
	if room := b.room(bufferSize); len(room) != bufferSize {
		t.Fatalf("room for %d", len(room))
	}
	b.end = 100
	if b.room(4 * bufferSize); len(b.data) != bufferSize {
		t.Errorf("grew to %d bytes with room left", len(b.data))
	}
	b.end = bufferSize
	if room := b.room(1000); len(room) != 0 || len(b.bytes()) != bufferSize {
		t.Errorf("room for %d beyond the limit, %d bytes kept", len(room), len(b.bytes()))
	}
	if room := b.room(bufferSize + 10); len(room) != 10 || len(b.bytes()) != bufferSize {
		t.Errorf("room for %d at the limit, %d bytes kept", len(room), len(b.bytes()))
	}
	b.start, b.end = 50, len(b.data)
	if room := b.room(bufferSize + 10); len(room) != 50 || len(b.bytes()) != bufferSize-40 {
		t.Errorf("room for %d, %d bytes kept", len(room), len(b.bytes()))
	}
	if b.hold(nil); b.data != nil {
		t.Error("memory for nothing")
	}
}

func TestIsFault(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{{errBodySlow, true}, {fmt.Errorf("x: %w", errBodyTooLarge), true}, {errors.New("x"), false}, {io.ErrUnexpectedEOF, false}} {
		if isClientFault(c.err) != c.want {
			t.Errorf("%v", c.err)
		}
	}
}
