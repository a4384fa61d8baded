package proxy

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// faultRun is an app that appends the id of each request to a file before it answers. It dies at
// random.
type faultRun struct {
	*harness
	journal *os.File
	calm    atomic.Bool
	tally   [600]atomic.Int64 // what clients that waited for it got, by status; 0: the connection ended visibly
	aborted atomic.Int64      // clients that did not wait
}

func newFaultRun(t *testing.T, s Settings) *faultRun {
	journal, err := os.OpenFile(filepath.Join(t.TempDir(), "journal"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { journal.Close() })
	return &faultRun{harness: newHarness(t, gate.Settings{Limit: 1000, Timeout: 10 * time.Second}, s), journal: journal}
}

// executed counts the journal's lines.
func (a *faultRun) executed() map[string]int {
	all, err := os.ReadFile(a.journal.Name())
	if err != nil {
		a.Fatal(err)
	}
	counts := map[string]int{}
	for line := range strings.Lines(string(all)) {
		counts[line]++
	}
	return counts
}

// app answers with the id, method and digest of what it got; now and then it dies before, in the
// middle of, or after that.
func (a *faultRun) app(k *appConn) {
	k.skipLine()
	for req := k.request(); req != nil; req = k.request() {
		fate := rand.IntN(60)
		if a.calm.Load() {
			fate = 59
		}
		switch {
		case fate == 0:
			return
		case req.Header.Get("Upgrade") != "":
			k.say("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: upgrade\n\n")
			io.Copy(k.Conn, k.in)
			return
		case req.URL.Path == "/early":
			k.answer(413, "early")
			return
		}
		h := sha256.New()
		if _, err := io.Copy(h, req.Body); err != nil {
			return
		}
		id := req.Header.Get("X-Id")
		fmt.Fprintf(a.journal, "%s %s\n", req.Method, id)
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
		case 5:
			k.say("HTTP/1.1 200 OK\n\n" + body)
			return
		default:
			k.answer(200, body)
		}
	}
}

// operate does what operators and accidents do, at random, then leaves a calm app behind.
func (a *faultRun) operate(steps int, random *rand.Rand) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var serving *testApp
	for step := range steps {
		<-tick.C
		switch random.IntN(12) {
		case 0, 1, 2: // a reload: the new one serves, the old one drains
			next := a.newTestApp(gate.TargetOptions{Name: fmt.Sprint("shop.", step), Concurrency: 2, Peer: gate.PeerPassing(step % 3)}, a.app)
			a.gate.Swap(next.Target)
			if serving != nil {
				a.drain(serving)
			}
			serving = next
		case 3, 4: // a crash: all of it dies at once
			if serving != nil {
				serving.kill()
				a.gate.Swap(nil)
				serving.Abandon()
				serving = nil
			}
		case 5:
			a.gate.Hold("migration")
		case 6, 7:
			a.gate.Release("migration")
		case 8:
			a.gate.Refuse(&gate.Refusal{Cause: "stopped"})
		case 9, 10:
			a.gate.Refuse(nil)
		case 11:
			a.server.Configure(Settings{Buffer: []int64{-1, 1 << 10, 1 << 20}[random.IntN(3)], FinishOnDisconnect: random.IntN(2) == 0,
				AllowHalfClose: random.IntN(4) == 0, PassUnderscores: random.IntN(2) == 0})
		}
	}
	a.calm.Store(true)
	a.gate.Refuse(nil)
	a.gate.Release("migration")
	a.gate.Swap(a.newTestApp(gate.TargetOptions{Name: "shop.last"}, a.app).Target)
	if serving != nil {
		a.drain(serving)
	}
	a.eventually("nothing held", func() bool { return a.gate.Snapshot().Held == 0 })
}

// drain waits until nothing is out on a child and stops it.
func (a *faultRun) drain(c *testApp) {
	if err := c.Wait(a.Context()); err != nil {
		a.Error(err)
	}
	c.Retire()
	c.CloseTunnels()
	if err := c.WaitTunnels(a.Context()); err != nil {
		a.Error(err)
	}
	c.kill()
	c.Abandon()
}

// checkResults compares the results of clients, app and counters. A client that did not wait has no
// result; its request must have ended exactly once.
func (a *faultRun) checkResults() {
	var all int64
	var words []string
	for status := range a.tally {
		if n := a.tally[status].Load(); n > 0 {
			all += n
			words = append(words, fmt.Sprintf("%d: %d", status, n))
		}
	}
	aborted := a.aborted.Load()
	a.Logf("%d requests and %d aborted, by status %s", all, aborted, strings.Join(words, ", "))
	got := func(statuses ...int) (n int64) {
		for _, status := range statuses {
			n += a.tally[status].Load()
		}
		return n
	}
	agree := func(counted uint64, seen int64) bool { return int64(counted) >= seen && int64(counted) <= seen+aborted }
	a.counted("what the clients saw", func(c Counters) bool {
		return agree(c.Requests, all) && agree(c.Answered, got(200, 413, 101)) && agree(c.BadGateway, got(502)) && agree(c.Cut, got(0)) &&
			agree(c.Refused+c.Expired+c.Overflowed, got(503)) && agree(c.ClientLeft+c.BadRequest, 0) && agree(c.Tunnels, got(101))
	})
	a.Logf("%+v", a.server.Counters())
	resent := uint64(0)
	for id, n := range a.executed() {
		if n > 2 || n > 1 && strings.HasPrefix(id, "POST") {
			a.Errorf("%q was executed %d times", id, n)
		}
		resent += uint64(n - 1)
	}
	if c := a.server.Counters(); resent > c.Resent {
		a.Errorf("%d were executed twice, %d sent twice", resent, c.Resent)
	}
}

// TestEveryRequestGetsExactlyOneAnswer drives all kinds of clients through swaps, holds, refusals,
// settings that change, worker deaths and whole targets dying.
func TestEveryRequestGetsExactlyOneAnswer(t *testing.T) {
	a := newFaultRun(t, Settings{})
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 12 {
		clients.Go(func() { (&randomClient{faultRun: a, name: i, random: rand.New(rand.NewPCG(uint64(i), 7))}).visit(stop) })
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	a.operate(120, rand.New(rand.NewPCG(seed, 3)))
	close(stop)
	clients.Wait()
	a.checkResults()
}

// TestNothingTwice kills workers and whole apps at once under every request, and counts in the
// app's own journal.
func TestNothingTwice(t *testing.T) {
	a := newFaultRun(t, Settings{IdempotencyKey: true})
	var serving *testApp
	start := func() {
		serving = a.newTestApp(gate.TargetOptions{Concurrency: 4}, a.app)
		a.gate.Swap(serving.Target)
	}
	start()
	for round := range 30 {
		var clients sync.WaitGroup
		var done atomic.Int64
		for i := range 8 {
			clients.Go(func() {
				defer done.Add(1)
				v := &randomClient{faultRun: a, name: round*100 + i, random: rand.New(rand.NewPCG(uint64(round), uint64(i)))}
				v.connect()
				for n := 0; v.conn != nil && n < 3; n++ {
					v.ask(fmt.Sprintf("%d-%d", v.name, n))
				}
				v.hangUp()
			})
		}
		a.eventually("something is out", func() bool {
			return a.gate.Snapshot().InFlight > 0 || done.Load() == 8
		})
		serving.kill()
		a.gate.Swap(nil)
		serving.Abandon()
		start()
		clients.Wait()
	}
	a.checkResults()
}

// A randomClient is a client that sends request after request with a nonce each and checks what comes
// back.
type randomClient struct {
	*faultRun
	name   int
	random *rand.Rand
	conn   net.Conn
	in     *bufio.Reader
}

// visit goes on until it is told to stop.
func (v *randomClient) visit(stop <-chan struct{}) {
	defer v.hangUp()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		if v.conn == nil && !v.connect() {
			return
		}
		id := fmt.Sprintf("%d-%d", v.name, n)
		switch v.random.IntN(12) {
		case 0:
			v.upgrade()
		case 1:
			v.early(id)
		case 2, 3:
			v.abort(id)
		default:
			v.ask(id)
		}
	}
}

func (v *randomClient) connect() bool {
	conn, err := net.Dial("tcp", v.addr)
	if err != nil {
		v.Errorf("a client was refused: %v", err)
		return false
	}
	conn.SetDeadline(time.Now().Add(never))
	v.conn, v.in = conn, bufio.NewReader(conn)
	return true
}

func (v *randomClient) hangUp() {
	if v.conn != nil {
		v.conn.Close()
		v.conn = nil
	}
}

// exchange sends something while it reads a response; nil: the connection ended visibly.
func (v *randomClient) exchange(send func(w io.Writer)) (*http.Response, string) {
	conn := v.conn
	conn.SetDeadline(time.Now().Add(never))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send(conn)
	}()
	res, err := http.ReadResponse(v.in, nil)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(res.Body)
	}
	if err != nil || res.Close {
		v.hangUp()
	}
	<-sent
	if err != nil {
		v.tally[0].Add(1)
		return nil, ""
	}
	v.tally[res.StatusCode].Add(1)
	return res, string(body)
}

// ask sends one request of any kind and waits for its answer.
func (v *randomClient) ask(id string) {
	method := []string{"GET", "POST", "PUT"}[v.random.IntN(3)]
	var body []byte
	if method != "GET" {
		body = randomBytes([]int{1, 1000, 70000, 300000}[v.random.IntN(4)])
	}
	minor := min(1, v.random.IntN(8))
	res, got := v.exchange(func(w io.Writer) {
		if method == "PUT" && minor == 1 {
			fmt.Fprintf(w, "PUT / HTTP/1.1\r\nHost: a\r\nX-Id: %s\r\nTransfer-Encoding: chunked\r\n\r\n", id)
			chunks(w, body)
			return
		}
		fmt.Fprintf(w, "%s / HTTP/1.%d\r\nHost: a\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", method, minor, id, len(body), body)
	})
	switch want := fmt.Sprintf("%s %s %x", id, method, sha256.Sum256(body)); {
	case res == nil || res.StatusCode == 502 || res.StatusCode == 503:
	case res.StatusCode != 200 || got != want:
		v.Errorf("%s %s of %d bytes got %s %q", method, id, len(body), res.Status, got)
	}
}

// early uploads more than the app cares to read.
func (v *randomClient) early(id string) {
	res, got := v.exchange(func(w io.Writer) {
		fmt.Fprintf(w, "POST /early HTTP/1.1\r\nHost: a\r\nX-Id: %s\r\nContent-Length: 300000\r\n\r\n", id)
		w.Write(make([]byte, 300000))
	})
	if res != nil && res.StatusCode != 502 && res.StatusCode != 503 && (res.StatusCode != 413 || got != "early") {
		v.Errorf("early %s got %s %q", id, res.Status, got)
	}
}

// upgrade opens a tunnel and uses it for a while; it may be cut at any time.
func (v *randomClient) upgrade() {
	res, _ := v.exchange(func(w io.Writer) { io.WriteString(w, strings.ReplaceAll(handshake, "\n", "\r\n")) })
	defer v.hangUp()
	if res == nil || res.StatusCode != 101 {
		return
	}
	for range v.random.IntN(20) {
		sent := randomBytes(1 + v.random.IntN(2000))
		got := make([]byte, len(sent))
		if _, err := v.conn.Write(sent); err != nil {
			return
		}
		n, err := io.ReadFull(v.in, got)
		if string(got[:n]) != string(sent[:n]) {
			v.Error("a tunnel changed bytes")
		}
		if err != nil {
			return
		}
	}
}

// abort leaves before the end, in one of the ways in which clients do.
func (v *randomClient) abort(id string) {
	v.aborted.Add(1)
	request := fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nX-Id: %s\r\nContent-Length: 100000\r\n\r\n%s", id, make([]byte, 100000))
	how := v.random.IntN(4)
	switch how {
	case 0:
		request = request[:1+v.random.IntN(60)]
	case 1:
		request = request[:200+v.random.IntN(90000)]
	}
	io.WriteString(v.conn, request)
	if how == 3 {
		v.in.Peek(1)
	}
	if v.random.IntN(2) == 0 {
		v.conn.(*net.TCPConn).SetLinger(0)
	}
	v.hangUp()
}
