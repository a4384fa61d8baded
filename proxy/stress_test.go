package proxy

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tideover/proxy/gate"
)

var stressed = flag.Int("stress", 3000, "requests of TestStress; a million is the proof")

// shapes answers as its path says, in every way in which an app may.
func shapes(k *appConn) {
	k.skipLine()
	for req := k.request(); req != nil; req = k.request() {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		id := req.Header.Get("X-Id")
		answer := fmt.Sprintf("%s %s %s %d", id, req.Method, req.URL.Path, len(body))
		head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n", len(answer))
		switch req.URL.Path {
		case "/split": // as gunicorn does: the head first, then the body
			io.WriteString(k, head+"\r\n")
			io.WriteString(k, answer)
		case "/bytes":
			for _, b := range []byte(head + "\r\n" + answer) {
				k.Write([]byte{b})
			}
		case "/last":
			io.WriteString(k, head+"Connection: close\r\n\r\n"+answer)
			return
		case "/close":
			io.WriteString(k, "HTTP/1.1 200 OK\r\n\r\n"+answer)
			return
		case "/chunked":
			fmt.Fprintf(k, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(answer), answer)
			io.WriteString(k, "0\r\n\r\n")
		case "/long":
			answer += strings.Repeat(".", 300_000)
			fmt.Fprintf(k, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
		case "/hints":
			io.WriteString(k, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+head+"\r\n"+answer)
		case "/late":
			late := time.NewTimer(time.Duration(rand.IntN(40)) * time.Millisecond)
			<-late.C
			fallthrough
		default:
			io.WriteString(k, head+"\r\n"+answer)
		}
	}
}

// A stressor is one client of the stress test.
type stressor struct {
	*harness
	name   int
	random *rand.Rand
	conn   net.Conn
	in     *bufio.Reader
	sent   int
}

var stressPaths = []string{"/", "/", "/", "/split", "/bytes", "/last", "/close", "/chunked", "/long", "/hints", "/late"}

// order makes a request of a random shape and says what must come back.
func (s *stressor) order() (request, answer string) {
	s.sent++
	path := stressPaths[s.random.IntN(len(stressPaths))]
	method, body := "GET", ""
	head := fmt.Sprintf("Host: a\r\nX-Id: %d-%d\r\n", s.name, s.sent)
	switch s.random.IntN(8) {
	case 0:
		method, body = "POST", strings.Repeat("x", s.random.IntN(3000))
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	case 1:
		method, body = "PUT", strings.Repeat("x", 1+s.random.IntN(100_000))
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	case 3:
		if s.random.IntN(20) == 0 { // by way of a pipe
			method, body = "PUT", strings.Repeat("x", splicedBody+s.random.IntN(1<<20))
			head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
		}
	case 2:
		head += "Cookie: " + strings.Repeat("c", s.random.IntN(7000)) + "\r\n"
	}
	answer = fmt.Sprintf("%d-%d %s %s %d", s.name, s.sent, method, path, len(body))
	return fmt.Sprintf("%s %s HTTP/1.1\r\n%s\r\n%s", method, path, head, body), answer
}

// round sends one or more requests on a connection in one of the ways in which clients do, and
// checks every answer.
func (s *stressor) round() bool {
	if s.conn == nil {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			s.Error(err)
			return false
		}
		conn.SetDeadline(time.Now().Add(60 * time.Second))
		s.conn, s.in = conn, bufio.NewReader(conn)
	}
	request, answer := s.order()
	answers := []string{answer}
	how := s.random.IntN(12)
	if how == 0 { // pipelined
		more, another := s.order()
		request, answers = request+more, append(answers, another)
	}
	pieces := [][]byte{[]byte(request)}
	if how == 1 { // with a pause somewhere
		cut := s.random.IntN(len(request))
		pieces = [][]byte{[]byte(request[:cut]), []byte(request[cut:])}
	}
	if how == 2 { // and gone
		s.conn.Write(pieces[0][:s.random.IntN(len(request))+1])
		s.hangUp()
		return true
	}
	failed := make(chan error, 1)
	go func() { failed <- s.send(pieces, how == 3) }()
	good := s.check(answers)
	if err := <-failed; err != nil && good {
		s.Error(err)
		return false
	}
	if how == 3 {
		s.hangUp()
	}
	return good
}

func (s *stressor) send(pieces [][]byte, last bool) error {
	for i, piece := range pieces {
		if i > 0 {
			pause := time.NewTimer(time.Duration(s.random.IntN(3)) * time.Millisecond)
			<-pause.C
		}
		if _, err := s.conn.Write(piece); err != nil {
			return err
		}
	}
	if last {
		return s.conn.(*net.TCPConn).CloseWrite()
	}
	return nil
}

func (s *stressor) check(answers []string) bool {
	for _, want := range answers {
		res, err := http.ReadResponse(s.in, nil)
		for err == nil && res.StatusCode == 103 {
			res, err = http.ReadResponse(s.in, nil)
		}
		if err != nil {
			s.Errorf("%s: %v", want, err)
			return false
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 || !bytes.HasPrefix(got, []byte(want)) {
			s.Errorf("got %s %.80q (%v), want %q", res.Status, got, err, want)
			return false
		}
		if res.Close {
			s.hangUp()
			return len(answers) == 1
		}
	}
	return true
}

func (s *stressor) hangUp() {
	s.conn.Close()
	s.conn = nil
}

// TestStress sends requests of random shapes through holds and swaps, in which no process dies:
// every request must get its own complete answer, unless its client leaves. It pins the assumptions
// of the event loop about kernel and runtime.
func TestStress(t *testing.T) {
	r := newHarness(t, gate.Settings{Limit: 1000, Timeout: time.Minute}, Settings{AllowHalfClose: true})
	next := func() *testApp {
		return r.newTestApp(gate.TargetOptions{Concurrency: 4, Peer: gate.PeerProxyLine}, shapes)
	}
	serving := next()
	r.gate.Swap(serving.Target)
	var left atomic.Int64
	left.Store(int64(*stressed))
	var clients sync.WaitGroup
	for i := range 24 {
		clients.Go(func() {
			s := &stressor{harness: r, name: i, random: rand.New(rand.NewPCG(uint64(i), uint64(*stressed)))}
			for left.Add(-1) >= 0 && !t.Failed() && s.round() {
			}
			if s.conn != nil {
				s.hangUp()
			}
		})
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-done:
			t.Logf("%+v", r.server.Counters())
			return
		case <-tick.C:
		}
		switch n % 8 {
		case 0, 4:
			r.gate.Hold("stress")
		case 1, 5:
			r.gate.Release("stress")
		case 7:
			fresh := next()
			r.gate.Swap(fresh.Target)
			if err := serving.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			serving.Retire()
			serving.kill()
			serving.Abandon()
			serving = fresh
		}
	}
}

// An end of the stream that comes together with the request uses up its edge: it must be found all
// the same, and the connection must end. A client that counts as having left gets its answer all
// the same when it comes at once.
func TestEndThatComesWithTheRequest(t *testing.T) {
	for _, half := range []bool{false, true} {
		t.Run(fmt.Sprint("serve half-closed: ", half), func(t *testing.T) {
			r := newHarness(t, patient, Settings{AllowHalfClose: half})
			r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
			for range 100 {
				c := r.dial().get("/")
				c.Conn.(*net.TCPConn).CloseWrite()
				all, err := io.ReadAll(c.in)
				if whole := bytes.Contains(all, []byte("GET / ")); err != nil || !whole && (half || len(all) > 0) {
					t.Fatalf("%q, %v", all, err)
				}
			}
			r.counted("all ended", func(c Counters) bool { return c.Answered+c.ClientLeft == 100 && (!half || c.Answered == 100) })
		})
	}
}
