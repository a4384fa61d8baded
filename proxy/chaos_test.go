package proxy

import (
	"bufio"
	"crypto/sha256"
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
)

// chaos is an app with a memory: it counts how often each request was executed, and dies at random.
type chaos struct {
	*rig
	mu       sync.Mutex
	executed map[string]int
	calm     atomic.Bool
	tally    [600]atomic.Int64 // answers by status; 0: the connection ended visibly
}

func (a *chaos) execute(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.executed[id]++
}

// app answers with the id, method and digest of what it got; now and then it dies before, in the middle of, or after that.
func (a *chaos) app(k *talk) {
	for req := k.request(); req != nil; req = k.request() {
		fate := rand.IntN(60)
		if a.calm.Load() {
			fate = 59
		}
		if fate == 0 {
			return
		}
		h := sha256.New()
		if _, err := io.Copy(h, req.Body); err != nil {
			return
		}
		id := req.Header.Get("X-Id")
		a.execute(req.Method + " " + id)
		body := fmt.Sprintf("%s %s %x", id, req.Method, h.Sum(nil))
		switch fate {
		case 1:
			return
		case 2:
			k.say(fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d\n\n%s", len(body), body[:10]))
			return
		case 3:
			k.say(fmt.Sprintf("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n%x\n%s\n0\n\n", len(body), body))
		case 4:
			k.say(fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d\nConnection: close\n\n%s", len(body), body))
			return
		default:
			k.answer(200, body)
		}
	}
}

// client sends requests with a nonce each until it is told to stop, and checks what comes back.
func (a *chaos) client(name int, stop <-chan struct{}) {
	random := rand.New(rand.NewPCG(uint64(name), 7))
	var conn net.Conn
	var in *bufio.Reader
	for n := 0; ; n++ {
		select {
		case <-stop:
			if conn != nil {
				conn.Close()
			}
			return
		default:
		}
		if conn == nil {
			var err error
			if conn, err = net.Dial("tcp", a.addr); err != nil {
				a.Errorf("a client was refused: %v", err)
				return
			}
			in = bufio.NewReader(conn)
		}
		if !a.ask(conn, in, fmt.Sprintf("%d-%d", name, n), random) {
			conn.Close()
			conn = nil
		}
	}
}

// ask sends one request and judges its answer; false when the connection is over.
func (a *chaos) ask(conn net.Conn, in *bufio.Reader, id string, random *rand.Rand) bool {
	method := []string{"GET", "POST", "PUT"}[random.IntN(3)]
	var body []byte
	if method != "GET" {
		body = randomBytes([]int{1, 1000, 70000, 300000}[random.IntN(4)])
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if method == "PUT" {
			fmt.Fprintf(conn, "PUT / HTTP/1.1\r\nHost: a\r\nX-Id: %s\r\nTransfer-Encoding: chunked\r\n\r\n", id)
			chunks(conn, body)
			return
		}
		fmt.Fprintf(conn, "%s / HTTP/1.1\r\nHost: a\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", method, id, len(body), body)
	}()
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		a.tally[0].Add(1)
		conn.Close()
		<-sent
		return false
	}
	got, err := io.ReadAll(res.Body)
	want := fmt.Sprintf("%s %s %x", id, method, sha256.Sum256(body))
	switch {
	case err != nil:
		a.tally[0].Add(1)
		conn.Close()
	case res.StatusCode == 200 && string(got) != want:
		a.Errorf("request %s got the answer %q, want %q", id, got, want)
	default:
		a.tally[res.StatusCode].Add(1)
		if res.StatusCode != 200 && res.StatusCode != 502 {
			a.Errorf("%s %s of %d bytes got %s: %s", method, id, len(body), res.Status, got)
		}
	}
	if res.Close || err != nil {
		conn.Close()
	}
	<-sent
	return err == nil && !res.Close
}

// TestEveryRequestGetsExactlyOneAnswer drives clients through swaps, holds, refusals, worker deaths and whole targets dying.
func TestEveryRequestGetsExactlyOneAnswer(t *testing.T) {
	a := &chaos{rig: newRig(t, GateSettings{Limit: 1000, Timeout: 10 * time.Second}, Settings{}), executed: map[string]int{}}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 12 {
		clients.Go(func() { a.client(i, stop) })
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	var serving *child
	for step := range 80 {
		<-tick.C
		switch random.IntN(5) {
		case 0, 1: // a reload: the new one serves, the old one drains
			next := a.newChild(TargetOptions{Name: fmt.Sprint("shop.", step), Concurrency: 2}, a.app)
			a.gate.Swap(next.Target)
			if serving != nil {
				a.drain(serving)
			}
			serving = next
		case 2: // a crash: all of it dies at once
			if serving != nil {
				serving.kill()
				a.gate.Swap(nil)
				serving.Abandon()
				serving = nil
			}
		case 3:
			a.gate.Hold("migration")
		case 4:
			a.gate.Release("migration")
		}
	}
	a.calm.Store(true)
	a.gate.Release("migration")
	a.gate.Swap(a.newChild(TargetOptions{Name: "shop.last"}, a.app).Target)
	a.eventually("nothing held", func() bool { return a.gate.Snapshot().Held == 0 })
	close(stop)
	clients.Wait()
	a.judge()
}

// drain waits until nothing is out on a child and stops it.
func (a *chaos) drain(c *child) {
	if err := c.Wait(a.Context()); err != nil {
		a.Error(err)
	}
	c.Retire()
	c.kill()
	c.Abandon()
}

// judge compares what clients, app and counters say.
func (a *chaos) judge() {
	var all int64
	var words []string
	for status := range a.tally {
		if n := a.tally[status].Load(); n > 0 {
			all += n
			words = append(words, fmt.Sprintf("%d: %d", status, n))
		}
	}
	a.counted("what the clients saw", func(c Counters) bool {
		return c.Requests == uint64(all) && c.Answered == uint64(a.tally[200].Load()) && c.BadGateway == uint64(a.tally[502].Load()) &&
			c.Cut == uint64(a.tally[0].Load())
	})
	a.Logf("%d requests, by status %s; %+v", all, strings.Join(words, ", "), a.server.Counters())
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, n := range a.executed {
		if n > 2 || n > 1 && strings.HasPrefix(id, "POST") {
			a.Errorf("%s was executed %d times", id, n)
		}
	}
}
