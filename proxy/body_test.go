package proxy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

// hash answers with the digest of the body.
func hash(k *appConn) {
	for req := k.request(); req != nil; req = k.request() {
		h := sha256.New()
		n, err := io.Copy(h, req.Body)
		if err != nil {
			return
		}
		k.answer(200, fmt.Sprintf("%d %x %s", n, h.Sum(nil), strings.Join(req.TransferEncoding, ",")))
	}
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(p)
	return p
}

// chunks writes p chunked, in pieces of odd sizes.
func chunks(w io.Writer, p []byte) {
	for size := 1; len(p) > 0; size = min(size*3+1, 70000) {
		n := min(size, len(p))
		fmt.Fprintf(w, "%x\r\n%s\r\n", n, p[:n])
		p = p[n:]
	}
	io.WriteString(w, "0\r\n\r\n")
}

func TestUploads(t *testing.T) {
	for _, size := range []int{0, 1, 100, 64 << 10, 64<<10 + 1, 10 << 20} {
		for _, framing := range []string{"length", "chunked"} {
			t.Run(fmt.Sprint(size, framing), func(t *testing.T) {
				r := newHarness(t, patient, Settings{})
				r.gate.Swap(r.newTestApp(gate.TargetOptions{}, hash).Target)
				body := randomBytes(size)
				c := r.dial()
				go func() {
					if framing == "length" {
						fmt.Fprintf(c, "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
						c.Write(body)
					} else {
						io.WriteString(c, "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
						chunks(c, body)
					}
				}()
				c.want(200, fmt.Sprintf("%d %x", size, sha256.Sum256(body)))
				c.get("/next").want(200, "0 ")
			})
		}
	}
}

func TestDownloads(t *testing.T) {
	body := randomBytes(3 << 20)
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		for req := k.request(); req != nil; req = k.request() {
			switch req.URL.Path {
			case "/length":
				k.answer(200, string(body))
			case "/chunked":
				k.say("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n")
				chunks(k, body)
			case "/close":
				k.say("HTTP/1.1 200 OK\n\n")
				k.Write(body)
				return
			}
		}
	}).Target)
	c := r.dial()
	for _, path := range []string{"/length", "/chunked", "/close", "/length"} {
		if _, got := c.get(path).hear(); got != string(body) {
			t.Fatalf("%s: %d bytes, want %d", path, len(got), len(body))
		}
	}
	for _, path := range []string{"/length", "/chunked", "/close"} {
		c := r.dial().say("GET " + path + " HTTP/1.0\n\n")
		res, got := c.hear()
		if got != string(body) || len(res.TransferEncoding) > 0 {
			t.Fatalf("%s to 1.0: %d bytes, %v", path, len(got), res.TransferEncoding)
		}
		c.ended()
	}
}

func TestEventsAreNotBuffered(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	next := make(chan string)
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.say("HTTP/1.1 200 OK\nContent-Type: text/event-stream\n\n")
		for event := range next {
			io.WriteString(k, event)
		}
	}).Target)
	c := r.dial().get("/events")
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		event := fmt.Sprintf("data: %d\n\n", i)
		next <- event
		got := make([]byte, len(event))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != event {
			t.Fatalf("%q, %v", got, err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Fatalf("%q %v", rest, err)
	}
}

func TestNoBodyWhereThereIsNone(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		for req := k.request(); req != nil; req = k.request() {
			switch req.URL.Path {
			case "/204":
				k.say("HTTP/1.1 204 No Content\n\n")
			case "/304":
				k.say("HTTP/1.1 304 Not Modified\nContent-Length: 5\n\n")
			default:
				k.say("HTTP/1.1 200 OK\nContent-Length: 5\n\n")
				if req.URL.Path == "/wrong" {
					io.WriteString(k, "hello") // what gunicorn 20 does
				}
			}
		}
	}).Target)
	c := r.dial()
	for _, line := range []string{"HEAD /", "GET /204", "GET /304", "HEAD /wrong", "HEAD /"} {
		req, _ := http.NewRequest(strings.Fields(line)[0], "http://a/", nil)
		c.say(line + " HTTP/1.1\nHost: a\n\n")
		res, body := c.hearTo(req)
		if body != "" || res.StatusCode > 304 {
			t.Fatalf("%s: %s %q", line, res.Status, body)
		}
	}
}

func TestEarlyAnswerToAnUpload(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.answer(413, "too large for me")
		io.CopyN(io.Discard, k, 1<<20)
	}).Target)
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 8000000\n\n")
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(c.Conn, bytes.NewReader(make([]byte, 8000000)))
		sent <- err
	}()
	if res := c.want(413, "too large for me"); !res.Close {
		t.Error("the connection is offered again")
	}
	if err := <-sent; err != nil {
		t.Errorf("the upload met %v", err)
	}
	c.ended()
}

func TestBodyLimits(t *testing.T) {
	r := newHarness(t, patient, Settings{Limits: Limits{Body: 100}, BodyTimeout: 200 * time.Millisecond, HeadTimeout: 200 * time.Millisecond})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 100\n\n"+strings.Repeat("x", 100)).want(200, "xxx")
	r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 101\n\n"+strings.Repeat("x", 101)).want(413, "")
	r.dial().say("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n65\n"+strings.Repeat("x", 101)+"\n0\n\n").want(413, "")
	r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 100\n\nx").want(408, "slowly")
	r.dial().say("GET / HTTP/1.1\nHo").want(408, "too long")
	r.dial().say("GET / HTTP/1.1\nHost: a b\n\n").want(400, "")
	r.dial().say("GET / HTTP/3.1\nHost: a\n\n").want(505, "")
	r.dial().say("CONNECT a:1 HTTP/1.1\nHost: a:1\n\n").want(405, "")
	r.counted("bad", func(c Counters) bool { return c.BadRequest == 7 && c.Answered == 1 })
}

func TestStreamedUploadOfAClientThatLeaves(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	whole := make(chan error, 1)
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		_, err := io.Copy(io.Discard, k.content())
		whole <- err
	}).Target)
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n")
	fmt.Fprintf(c, "%x\r\n%s\r\n", 100000, make([]byte, 100000))
	r.eventually("in flight", func() bool { return r.gate.Snapshot().InFlight == 1 })
	c.Close()
	if err := <-whole; err == nil {
		t.Error("the app took half a body for a whole one")
	}
	r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	c := r.dial()
	var all strings.Builder
	for i := range 50 {
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\nHost: a\nContent-Length: 3\n\nabcGET /%d HTTP/1.1\nHost: a\n\n", i, i)
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n1\nx\n0\n\n", i)
	}
	c.say(all.String())
	for i := range 50 {
		c.want(200, fmt.Sprintf("POST /%d abc", i))
		c.want(200, fmt.Sprintf("GET /%d ", i))
		c.want(200, fmt.Sprintf("POST /%d x", i))
	}
}

// bodyOf is a body that is still to be read.
func bodyOf(body http1.Body) *requestBody {
	b := &requestBody{}
	limits := http1.RequestLimits()
	b.begin(&http1.Request{Body: body}, &limits, time.Minute, 0)
	return b
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

// An answer to a body that is too large is seen by a client that looks at it only when it has sent
// everything.
func TestTooLargeABodyIsDrained(t *testing.T) {
	for name, framing := range map[string]string{"announced": fmt.Sprintf("Content-Length: %d", megabytes), "at the crossing byte": "Transfer-Encoding: chunked"} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t, patient, Settings{Limits: Limits{Body: 1000}})
			r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
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

// A large upload is not counted as kept, and not kept.
func TestStreamedBodyIsNotKept(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, hash)
	r.gate.Swap(child.Target)
	c := r.dial().say(fmt.Sprintf("POST / HTTP/1.1\nHost: a\nContent-Length: %d\n\n", 1<<20))
	c.Write(make([]byte, 1<<19))
	r.eventually("in flight", func() bool { return child.InFlight() == 1 })
	if n := r.server.app.buffered.Load(); n != 0 {
		t.Errorf("%d bytes are counted as kept", n)
	}
	c.Write(make([]byte, 1<<19))
	c.want(200, "1048576 ")
}

// Bodies that are kept are counted, and those for which there is no room are streamed: then they
// cannot be sent again.
func TestRoomForBodies(t *testing.T) {
	put := "PUT / HTTP/1.1\nHost: a\n"
	for name, request := range map[string]string{
		"length":  put + "Content-Length: 1000\n\n" + strings.Repeat("x", 1000),
		"chunked": put + "Transfer-Encoding: chunked\n\n3e8\n" + strings.Repeat("x", 1000) + "\n0\n\n",
	} {
		for _, total := range []int64{999, 1000} {
			t.Run(fmt.Sprint(name, total), func(t *testing.T) {
				r := newHarness(t, patient, Settings{BufferTotal: total})
				kept := make(chan int64, 2)
				child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
					io.Copy(io.Discard, k.content())
					kept <- r.server.app.buffered.Load()
				})
				r.gate.Swap(child.Target)
				cause := "too large to be kept"
				if total == 1000 {
					cause = "twice"
				}
				r.dial().say(request).want(502, cause)
				if n := <-kept; n != 1000 && total == 1000 || n != 0 && total == 999 {
					t.Errorf("%d bytes counted as kept of %d", n, total)
				}
			})
		}
	}
}
