package proxy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/spool"
)

// buffering are settings under which bodies are kept, a small part of them in memory.
var buffering = Settings{Buffering: true, Buffer: 1 << 10}

// uploadOf returns the request line and head of an upload in a framing, and its body in it.
func uploadOf(method, framing string, body []byte) (head string, text []byte) {
	head = method + " /up HTTP/1.1\r\nHost: a\r\n"
	if framing == "length" {
		return head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)), body
	}
	var b bytes.Buffer
	chunks(&b, body)
	return head + "Transfer-Encoding: chunked\r\n\r\n", b.Bytes()
}

var framings = []string{"length", "chunked"}

// While a client sends its body the app's only worker answers others. The app gets the body whole,
// with a length.
func TestASlowBodyOccupiesNoWorker(t *testing.T) {
	for _, framing := range framings {
		for _, size := range []int{100, 5000, 300_000} {
			t.Run(fmt.Sprint(framing, size), func(t *testing.T) {
				r := newHarness(t, patient, buffering)
				child := r.newTestApp(gate.TargetOptions{}, hash)
				r.gate.Swap(child.Target)
				body := randomBytes(size)
				head, text := uploadOf("POST", framing, body)
				slow := r.dial()
				io.WriteString(slow, head)
				slow.Write(text[:len(text)/2])
				r.eventually("it is read", func() bool { return r.server.app.buffered.Load() > 0 })
				for range 3 {
					r.dial().get("/quick").want(200, "0 ")
				}
				r.eventually("nothing in flight", func() bool { return child.InFlight() == 0 })
				slow.Write(text[len(text)/2:])
				slow.want(200, fmt.Sprintf("%d %x", size, sha256.Sum256(body)))
				if c := r.server.Counters(); c.Streamed != 0 {
					t.Errorf("%d were streamed", c.Streamed)
				}
			})
		}
	}
}

// Buffered bodies of every size arrive as they were sent, also a second time.
func TestABufferedBodyCanBeSentAgain(t *testing.T) {
	for _, framing := range framings {
		for _, size := range []int{0, 1, 1 << 10, 1<<10 + 1, 200_000, 3 << 20} {
			t.Run(fmt.Sprint(framing, size), func(t *testing.T) {
				r := newHarness(t, patient, buffering)
				var once sync.Once
				r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
					first := false
					once.Do(func() { first = true })
					if !first {
						hash(k)
						return
					}
					io.CopyN(io.Discard, k.content(), int64(size/2)) // and dies
				}).Target)
				body := randomBytes(size)
				head, text := uploadOf("PUT", framing, body)
				c := r.dial()
				go func() {
					io.WriteString(c, head)
					c.Write(text)
				}()
				c.want(200, fmt.Sprintf("%d %x", size, sha256.Sum256(body)))
				r.counted("resent", func(n Counters) bool { return n.Resent == 1 && n.Answered == 1 })
				c.get("/next").want(200, "0 ")
			})
		}
	}
}

// failingSpools are spools that take little or nothing.
var failingSpools = map[string]func(*testing.T) spool.Options{
	"none":         func(*testing.T) spool.Options { return spool.Options{} },
	"short":        func(t *testing.T) spool.Options { return spool.Options{Dir: t.TempDir(), Limit: 5 * spool.BlockSize} },
	"no directory": func(*testing.T) spool.Options { return spool.Options{Dir: "/proc/missing", Limit: 1 << 30} },
	"full disk": func(*testing.T) spool.Options {
		return spool.Options{Limit: 1 << 30, Open: func() (*os.File, error) { return os.OpenFile("/dev/full", os.O_RDWR, 0) }}
	},
	"disk that hangs": func(t *testing.T) spool.Options {
		over := make(chan struct{})
		t.Cleanup(func() { close(over) })
		return spool.Options{Limit: 1 << 30, Open: func() (*os.File, error) {
			<-over
			return nil, os.ErrClosed
		}}
	},
}

// A spool that takes nothing, or no more, costs the request its buffering and nothing else.
func TestABodyForWhichThereIsNoSpoolIsStreamed(t *testing.T) {
	for name, options := range failingSpools {
		for _, framing := range framings {
			for _, budget := range []int64{64 << 20, 1} {
				t.Run(fmt.Sprint(name, framing, budget), func(t *testing.T) {
					set := buffering
					set.BufferTotal = budget
					r := newHarness(t, patient, set)
					r.server.app.spool = spool.New(options(t))
					child := r.newTestApp(gate.TargetOptions{}, hash)
					r.gate.Swap(child.Target)
					body := randomBytes(1 << 20)
					head, text := uploadOf("POST", framing, body)
					c := r.dial()
					io.WriteString(c, head)
					c.Write(text[:len(text)/2])
					r.eventually("in flight", func() bool { return child.InFlight() == 1 })
					c.Write(text[len(text)/2:])
					c.want(200, fmt.Sprintf("%d %x", len(body), sha256.Sum256(body)))
					c.get("/next").want(200, "0 ")
					if n := r.server.Counters().Streamed; n != 1 {
						t.Errorf("%d were streamed", n)
					}
				})
			}
		}
	}
}

// What is long and comes fast is not written to disk as a whole.
func TestAFastUploadIsStreamed(t *testing.T) {
	for _, framing := range framings {
		t.Run(framing, func(t *testing.T) {
			r := newHarness(t, patient, buffering)
			r.gate.Swap(r.newTestApp(gate.TargetOptions{}, hash).Target)
			body := randomBytes(2 * fastBody)
			head, text := uploadOf("POST", framing, body)
			c := r.dial()
			go func() {
				io.WriteString(c, head)
				c.Write(text)
			}()
			c.want(200, fmt.Sprintf("%d %x", len(body), sha256.Sum256(body)))
		})
	}
}

// A length that is announced reserves nothing: a thousand clients that send three bytes each leave
// the app's budget for others.
func TestAnAnnouncedLengthReservesNothing(t *testing.T) {
	set := buffering
	set.Buffer, set.BufferTotal = 64<<10, 1<<20
	r := newHarness(t, patient, set)
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, hash).Target)
	for range 100 {
		r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 50000\n\nabc")
	}
	r.eventually("read", func() bool { return r.server.Counters().Requests == 100 && r.server.app.buffered.Load() >= 300 })
	if n := r.server.app.buffered.Load(); n > 100*200 {
		t.Errorf("%d bytes are counted as kept of 300, and of 100 heads", n)
	}
	r.dial().get("/").want(200, "0 ")
}

// A client that asks gets its 100 before the app knows of the request.
func TestExpectIsAnsweredWhereBodiesAreBuffered(t *testing.T) {
	r := newHarness(t, patient, buffering)
	child := r.newTestApp(gate.TargetOptions{}, hash)
	r.gate.Swap(child.Target)
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 100000\n\n")
	if res, _ := c.hearTo(&http.Request{Method: "HEAD"}); res.StatusCode != 100 {
		t.Fatalf("got %s", res.Status)
	}
	if n := child.InFlight(); n != 0 {
		t.Errorf("%d in flight", n)
	}
	c.Write(make([]byte, 100_000))
	c.want(200, "100000 ")
}

// A request that is held reads no body before its turn, and gives its turn back for a slow one.
func TestASlowBodyOfAHeldRequestOccupiesNoWorker(t *testing.T) {
	r := newHarness(t, patient, buffering)
	child := r.newTestApp(gate.TargetOptions{Concurrency: 1}, hash)
	r.gate.Hold("deploy")
	r.gate.Swap(child.Target)
	body := randomBytes(300_000)
	head, text := uploadOf("POST", "length", body)
	slow := r.dial()
	io.WriteString(slow, head)
	slow.Write(text[:1000])
	r.held(1)
	quick := r.dial().get("/quick")
	r.held(2)
	r.gate.Release("deploy")
	quick.want(200, "0 ")
	stop := make(chan struct{})
	go func() { // slowly, but without a pause that is longer than the pass may wait for a piece
		defer close(stop)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 1000; i < 4000; i += 10 {
			slow.Write(text[i : i+10])
			<-tick.C
		}
		slow.Write(text[4000:])
	}()
	r.dial().get("/quick").want(200, "0 ")
	<-stop
	slow.want(200, fmt.Sprintf("%d %x", len(body), sha256.Sum256(body)))
}

// What lies in an app's backlog at a reload goes to the next generation, whole, also beyond the
// budget for memory.
func TestABufferedBodyComesBackFromABacklog(t *testing.T) {
	set := buffering
	set.BufferTotal = 8 << 10
	r := newHarness(t, patient, set)
	accepted, start := make(chan net.Conn, 10), make(chan struct{})
	old := r.newTestApp(gate.TargetOptions{Marker: []byte("marker")}, reclaim(accepted, start, megabytes))
	r.gate.Swap(old.Target)
	body := randomBytes(3 << 20)
	var clients []*testClient
	for i := range 5 {
		head, text := uploadOf("POST", framings[i%2], body)
		c := r.dial()
		clients = append(clients, c)
		go func() {
			io.WriteString(c, head)
			c.Write(text)
		}()
		r.blocked(<-accepted)
	}
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, hash).Target)
	close(start)
	for _, c := range clients {
		c.want(200, fmt.Sprintf("%d %x", len(body), sha256.Sum256(body)))
	}
}

// A client that leaves while its body is buffered is counted, and its space is free again.
func TestAClientThatLeavesWhileItsBodyIsBuffered(t *testing.T) {
	r := newHarness(t, patient, buffering)
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, hash).Target)
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 1000000\n\n")
	c.Write(make([]byte, 300_000))
	r.eventually("in the spool", func() bool { return r.spool.Used() > 0 })
	c.Close()
	r.counted("left", func(n Counters) bool { return n.ClientLeft == 1 })
	r.eventually("given back", func() bool { return r.spool.Used() == 0 })
}

// A disk that does not give back what was written is a 502, and no other body.
func TestABodyThatCannotBeReadAgainIsA502(t *testing.T) {
	r := newHarness(t, patient, buffering)
	var file *os.File
	r.server.app.spool = spool.New(spool.Options{Limit: 1 << 30, Open: func() (_ *os.File, err error) {
		file, err = spool.OpenIn(t.TempDir())
		return file, err
	}})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, hash).Target)
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 300000\n\n")
	c.Write(make([]byte, 200_000))
	r.eventually("in the spool", func() bool { return r.server.app.spool.Used() >= 150_000 })
	r.gate.Hold("deploy")
	c.Write(make([]byte, 100_000))
	r.held(1)
	file.Truncate(0)
	r.gate.Release("deploy")
	c.want(502, "cannot be read")
	r.counted("bad gateway", func(n Counters) bool { return n.BadGateway == 1 })
}

// An app whose bodies are not buffered gets them as they come.
func TestABodyIsStreamedWhereBufferingIsOff(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, hash)
	r.gate.Swap(child.Target)
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 100000\n\n")
	r.eventually("in flight", func() bool { return child.InFlight() == 1 })
	c.Write([]byte(strings.Repeat("x", 100_000)))
	c.want(200, "100000 ")
	if n := r.server.Counters().Streamed; n != 0 {
		t.Errorf("%d count as streamed for want of room", n)
	}
}
