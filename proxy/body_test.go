package proxy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// hash answers with the digest of the body.
func hash(k *talk) {
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
				r := newRig(t, patient, Settings{})
				r.gate.Swap(r.newChild(gate.TargetOptions{}, hash).Target)
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
	r := newRig(t, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, func(k *talk) {
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
	r := newRig(t, patient, Settings{})
	next := make(chan string)
	r.gate.Swap(r.newChild(gate.TargetOptions{}, func(k *talk) {
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
	r := newRig(t, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, func(k *talk) {
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
	r := newRig(t, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, func(k *talk) {
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
	r := newRig(t, patient, Settings{Limits: Limits{Body: 100}, BodyTimeout: 200 * time.Millisecond, HeadTimeout: 200 * time.Millisecond})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, echo).Target)
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
	r := newRig(t, patient, Settings{})
	whole := make(chan error, 1)
	r.gate.Swap(r.newChild(gate.TargetOptions{}, func(k *talk) {
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
	r := newRig(t, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, echo).Target)
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
