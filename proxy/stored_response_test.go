package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/spool"
)

// newNarrowHarness is newHarness with connections whose kernel keeps little, so that a client that
// does not read is noticed after some kilobytes.
func newNarrowHarness(t *testing.T, s Settings) *harness {
	t.Helper()
	narrow := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10)
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10)
		})
	}}
	l, err := narrow.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newHarnessOn(t, l, patient, s)
}

// dialNarrow is dial, by a client whose kernel keeps little.
func (r *harness) dialNarrow() *testClient {
	r.Helper()
	c := r.dial()
	c.Conn.(*net.TCPConn).SetReadBuffer(128 << 10)
	return c
}

// A responder is an app that answers every request with a body, in a framing.
type responder struct {
	framing string // "length", "chunked", "close"
	body    []byte
	written atomic.Int64 // responses that were written completely
}

func (a *responder) serve(k *appConn) {
	for req := k.request(); req != nil; req = k.request() {
		if req.URL.Path == "/quick" {
			k.answer(200, "quick")
			continue
		}
		text := a.body
		switch a.framing {
		case "length":
			k.say(fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d\n\n", len(a.body)))
		case "chunked":
			k.say("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n")
			var b bytes.Buffer
			chunks(&b, a.body)
			text = b.Bytes()
		default:
			k.say("HTTP/1.1 200 OK\n\n")
		}
		if _, err := k.Write(text); err != nil {
			return
		}
		a.written.Add(1)
		if a.framing == "close" {
			return
		}
	}
}

var responseFramings = []string{"length", "chunked", "close"}

// wantBody reads a response and compares its body.
func (c *testClient) wantBody(body []byte) {
	c.Helper()
	if res, got := c.hear(); res.StatusCode != 200 || got != string(body) {
		c.Errorf("%s, %d bytes, want %d; equal up to %d", res.Status, len(got), len(body), equalUpTo([]byte(got), body))
	}
}

func equalUpTo(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// While clients do not read their responses the app's only worker answers others. Then they get
// every byte.
func TestASlowReaderOccupiesNoWorker(t *testing.T) {
	for _, minor := range []int{0, 1} {
		for _, framing := range responseFramings {
			for _, size := range []int{600_000, 3 << 20} {
				t.Run(fmt.Sprint(framing, size, " to HTTP/1.", minor), func(t *testing.T) {
					r := newNarrowHarness(t, buffering)
					app := &responder{framing: framing, body: randomBytes(size)}
					child := r.newTestApp(gate.TargetOptions{}, app.serve)
					r.gate.Swap(child.Target)
					var slow []*testClient
					for range 5 {
						slow = append(slow, r.dialNarrow().say(fmt.Sprintf("GET / HTTP/1.%d\nHost: a\n\n", minor)))
					}
					r.eventually("written", func() bool { return app.written.Load() == 5 && child.InFlight() == 0 })
					if c := r.server.Counters(); c.Answered != 0 {
						t.Fatalf("%d are answered: the kernel has it all", c.Answered)
					}
					r.dial().get("/quick").want(200, "quick")
					for _, c := range slow {
						c.wantBody(app.body)
						if minor == 0 {
							c.ended()
						} else {
							c.get("/quick").want(200, "quick")
						}
					}
					r.counted("answered", func(c Counters) bool { return c.Answered == c.Requests && c.Blocked == 0 })
				})
			}
		}
	}
}

// The connection to the app is used again while its response is sent.
func TestTheConnectionOfAStoredResponseIsUsedAgain(t *testing.T) {
	r := newNarrowHarness(t, buffering)
	app := &responder{framing: "length", body: randomBytes(1 << 20)}
	child := r.newTestApp(gate.TargetOptions{}, app.serve)
	r.gate.Swap(child.Target)
	var slow []*testClient
	for i := range 5 {
		slow = append(slow, r.dialNarrow().get("/"))
		r.eventually("written", func() bool { return app.written.Load() == int64(i+1) && child.InFlight() == 0 })
		loop := r.server.startedLoop()
		r.eventually("the connection is idle", func() (idle bool) {
			loop.call(func() { idle = loop.idleUpstreams.Front() != nil })
			return idle
		})
	}
	if n := child.accepted.Load(); n != 1 {
		t.Errorf("%d connections for 5 requests", n)
	}
	for _, c := range slow {
		c.wantBody(app.body)
	}
}

// Bytes that are there are sent at once: the app writes an event only when the client has the former
// one. A response that was stored for a while goes on so.
func TestAnEventIsNotDelayed(t *testing.T) {
	r := newNarrowHarness(t, buffering)
	taken, body := make(chan struct{}), randomBytes(1<<20)
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.say("HTTP/1.1 200 OK\nContent-Type: text/event-stream\n\n")
		for range 20 {
			k.say("data: event\n\n")
			<-taken
		}
		k.Write(body)
		<-taken
		for range 20 {
			k.say("data: event\n\n")
			<-taken
		}
	}).Target)
	c := r.dialNarrow().get("/")
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	events := func() {
		for range 20 {
			if _, err := io.ReadFull(res.Body, make([]byte, len("data: event\r\n\r\n"))); err != nil {
				t.Fatal(err)
			}
			taken <- struct{}{}
		}
	}
	events()
	r.eventually("stored", func() bool { return r.spool.Used() > 0 })
	got := make([]byte, len(body))
	if _, err := io.ReadFull(res.Body, got); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%v, equal up to %d", err, equalUpTo(got, body))
	}
	taken <- struct{}{}
	events()
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Errorf("%d bytes more, %v", len(rest), err)
	}
}

// A spool that takes nothing, or no more, makes the app wait for the client. Every byte arrives.
func TestAResponseForWhichThereIsNoSpoolIsStreamed(t *testing.T) {
	for name, options := range failingSpools {
		for _, framing := range responseFramings {
			for _, budget := range []int64{64 << 20, 1} {
				t.Run(fmt.Sprint(name, framing, budget), func(t *testing.T) {
					set := buffering
					set.BufferTotal = budget
					r := newNarrowHarness(t, set)
					r.server.app.spool = spool.New(options(t))
					app := &responder{framing: framing, body: randomBytes(2 << 20)}
					child := r.newTestApp(gate.TargetOptions{}, app.serve)
					r.gate.Swap(child.Target)
					c := r.dialNarrow().get("/")
					r.counted("blocked", func(c Counters) bool { return c.Blocked == 1 })
					if n := child.InFlight(); n != 1 {
						t.Errorf("%d in flight", n)
					}
					c.wantBody(app.body)
					c.get("/quick").want(200, "quick")
					r.counted("answered", func(c Counters) bool { return c.Answered == 2 && c.Blocked == 1 })
				})
			}
		}
	}
}

// One response takes at most a quarter of the spool, and as its client reads on it takes more.
func TestALongResponseLeavesRoomInTheSpool(t *testing.T) {
	r := newNarrowHarness(t, buffering) // of 64 MiB
	app := &responder{framing: "length", body: randomBytes(24 << 20)}
	child := r.newTestApp(gate.TargetOptions{}, app.serve)
	r.gate.Swap(child.Target)
	c := r.dialNarrow().get("/")
	r.counted("blocked", func(c Counters) bool { return c.Blocked == 1 })
	if n := r.spool.Used(); n > 16<<20 || n < 15<<20 {
		t.Errorf("%d bytes in the spool", n)
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 12<<20)
	if _, err := io.ReadFull(res.Body, got); err != nil {
		t.Fatal(err)
	}
	r.eventually("the worker is free", func() bool { return child.InFlight() == 0 })
	rest, err := io.ReadAll(res.Body)
	if got = append(got, rest...); err != nil || !bytes.Equal(got, app.body) {
		t.Errorf("%v, equal up to %d", err, equalUpTo(got, app.body))
	}
}

// A client that leaves gives its space back, whether or not the app has written everything. In the
// latter case the app sees the end of its connection.
func TestAClientThatLeavesWhileItsResponseIsStored(t *testing.T) {
	for _, whole := range []bool{true, false} {
		t.Run(fmt.Sprint("whole: ", whole), func(t *testing.T) {
			r := newNarrowHarness(t, buffering)
			over := make(chan error, 1)
			child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
				k.request()
				k.say("HTTP/1.1 200 OK\nContent-Length: 2000000\n\n")
				if k.Write(make([]byte, 1_900_000)); whole {
					k.Write(make([]byte, 100_000))
				}
				_, err := k.in.ReadByte()
				over <- err
			})
			r.gate.Swap(child.Target)
			c := r.dialNarrow().get("/")
			r.eventually("stored", func() bool { return r.spool.Used() > 1_000_000 && (!whole || child.InFlight() == 0) })
			c.Close()
			if err := <-over; err == nil {
				t.Error("the app's connection goes on")
			}
			r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
			r.eventually("given back", func() bool { return r.spool.Used() == 0 && r.server.app.buffered.Load() == 0 })
		})
	}
}

// An app that dies in the middle of a stored response leaves a truncated one: a prefix of its bytes,
// and an error. It is counted as cut when the app is gone, and not when the client has read so far.
func TestAStoredResponseThatBrokeOffIsTruncated(t *testing.T) {
	for _, framing := range responseFramings {
		t.Run(framing, func(t *testing.T) {
			r := newNarrowHarness(t, buffering)
			body, die := randomBytes(2<<20), make(chan struct{})
			child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
				k.request()
				k.say(map[string]string{"length": "HTTP/1.1 200 OK\nContent-Length: 3000000\n\n",
					"chunked": "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n300000\n", "close": "HTTP/1.1 200 OK\n\n"}[framing])
				k.Write(body)
				<-die
			})
			r.gate.Swap(child.Target)
			c := r.dialNarrow().get("/")
			r.eventually("stored", func() bool { return r.spool.Used() >= 1_500_000 })
			r.gate.Swap(nil)
			close(die)
			if framing == "close" { // only the death of the app's processes tells it from an end
				child.Abandon()
			}
			r.counted("cut", func(c Counters) bool { return c.Cut == 1 })
			r.eventually("none in flight", func() bool { return child.InFlight() == 0 }) // counted first
			res, err := http.ReadResponse(c.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			if err == nil || !bytes.HasPrefix(body, got) || len(got) < 1_500_000 {
				t.Errorf("%d bytes, equal up to %d: %v", len(got), equalUpTo(got, body), err)
			}
			r.counted("once", func(c Counters) bool { return c.Cut == 1 && c.Requests == 1 })
		})
	}
}

// A disk that does not give back what was written truncates the response.
func TestAStoredResponseThatCannotBeReadIsTruncated(t *testing.T) {
	r := newNarrowHarness(t, buffering)
	var file *os.File
	r.server.app.spool = spool.New(spool.Options{Limit: 1 << 30, Open: func() (_ *os.File, err error) {
		file, err = spool.OpenIn(t.TempDir())
		return file, err
	}})
	app := &responder{framing: "chunked", body: randomBytes(1 << 20)}
	child := r.newTestApp(gate.TargetOptions{}, app.serve)
	r.gate.Swap(child.Target)
	c := r.dialNarrow().get("/")
	r.eventually("stored", func() bool { return app.written.Load() == 1 && child.InFlight() == 0 })
	file.Truncate(0)
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(res.Body); err == nil || !bytes.HasPrefix(app.body, got) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	r.counted("cut", func(c Counters) bool { return c.Cut == 1 })
	if log := r.log.String(); !strings.Contains(log, "the spool cannot be read") {
		t.Error(log)
	}
}

// A client that takes next to nothing of a stored response is disconnected as one of any other.
func TestAReaderOfAStoredResponseBelowTheRateIsCut(t *testing.T) {
	set := buffering
	set.WriteTimeout, set.MinRate = 400*time.Millisecond, 1<<20
	r := newNarrowHarness(t, set)
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, (&responder{framing: "length", body: randomBytes(1 << 20)}).serve).Target)
	start := time.Now()
	r.dialNarrow().get("/")
	r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
	between(t, start, 400*time.Millisecond, 2*later)
}

// A client for which a worker waits must read at a rate of its own; one for which none waits need not.
func TestAReaderForWhichAWorkerWaitsHasARateOfItsOwn(t *testing.T) {
	for _, waits := range []bool{true, false} {
		t.Run(fmt.Sprint(waits), func(t *testing.T) {
			set := buffering
			set.WriteTimeout, set.MinRate, set.WorkerMinRate = 1200*time.Millisecond, 1, 4<<20
			r := newHarness(t, patient, set)
			if waits {
				r.server.app.spool = nil
			}
			r.gate.Swap(r.newTestApp(gate.TargetOptions{}, (&responder{framing: "length", body: randomBytes(14 << 20)}).serve).Target)
			c := r.dial()
			c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			c.get("/")
			c.sips(8000, 1_000_000, 20*time.Millisecond)
			if waits {
				r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
			} else if n := r.server.Counters().ClientLeft; n != 0 {
				t.Error("it was disconnected")
			}
			c.Close()
			r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
		})
	}
}

// When the spool is full, the client that would keep its space longest is disconnected, and the
// workers stay free.
func TestTheSlowestReaderLeavesAFullSpool(t *testing.T) {
	r := newNarrowHarness(t, buffering)
	r.server.app.spool = spool.New(spool.Options{Dir: t.TempDir(), Limit: 80 << 20})
	t.Cleanup(func() { r.spool = r.server.app.spool })
	app := &responder{framing: "length", body: randomBytes(19 << 20)}
	child := r.newTestApp(gate.TargetOptions{}, app.serve)
	r.gate.Swap(child.Target)
	var slow []*testClient
	for i := range 4 {
		slow = append(slow, r.dialNarrow().get("/"))
		r.eventually("stored", func() bool { return app.written.Load() == int64(i+1) })
	}
	stop := make(chan struct{})
	var reading sync.WaitGroup
	readers := map[*testClient]*bytes.Buffer{}
	read := func(c *testClient) { // at about 4 MB a second, until stop is closed
		got := &bytes.Buffer{}
		readers[c] = got
		reading.Go(func() {
			res, err := http.ReadResponse(c.in, nil)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for end := stop; err == nil; {
				select {
				case <-end:
					end = nil
					tick.Reset(time.Microsecond)
				case <-tick.C:
				}
				_, err = io.CopyN(got, res.Body, 4<<10)
			}
		})
	}
	read(slow[1])
	read(r.dialNarrow().get("/"))
	r.eventually("the last one is written too", func() bool { return app.written.Load() == 5 && child.InFlight() == 0 })
	close(stop)
	reading.Wait()
	r.counted("one evicted", func(c Counters) bool { return c.ClientLeft == 1 && c.Evicted == 1 })
	if !strings.Contains(r.log.String(), "the spool was full") {
		t.Error(r.log)
	}
	for _, got := range readers {
		if !bytes.Equal(got.Bytes(), app.body) {
			t.Errorf("one that reads was disconnected after %d bytes", got.Len())
		}
	}
}

// Many clients that read nothing ask for more than the spool can keep. Workers get free as soon as it
// is known that those clients are slow; clients that read at a good pace get every byte.
func TestABurstOfSlowReadersTakesNeitherWorkersNorPlacesFromOthers(t *testing.T) {
	r := newNarrowHarness(t, buffering)
	r.server.app.spool = spool.New(spool.Options{Dir: t.TempDir(), Limit: 24 << 20})
	t.Cleanup(func() { r.spool = r.server.app.spool })
	app := &responder{framing: "length", body: randomBytes(3 << 20)}
	child := r.newTestApp(gate.TargetOptions{}, app.serve)
	r.gate.Swap(child.Target)
	var reading sync.WaitGroup
	read := func() { // at about 800 kB/s
		c := r.dialNarrow().get("/")
		reading.Go(func() {
			got, p := bytes.Buffer{}, make([]byte, 16<<10)
			res, err := http.ReadResponse(c.in, nil)
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for err == nil {
				<-tick.C
				var n int
				n, err = res.Body.Read(p)
				got.Write(p[:n])
			}
			if err != io.EOF || !bytes.Equal(got.Bytes(), app.body) {
				t.Errorf("%d bytes, %v", got.Len(), err)
			}
		})
	}
	for i := range 40 {
		if r.dialNarrow().get("/"); i%10 == 0 {
			read()
		}
	}
	r.eventually("no worker waits", func() bool { return child.InFlight() == 0 })
	read()
	reading.Wait()
	if c := r.server.Counters(); c.Evicted == 0 || c.Evicted != c.ClientLeft || c.Cut != 0 {
		t.Errorf("%+v", c)
	}
}

// A client that takes nothing keeps its worker while there is no room, and not longer: the worker does
// not wait for the piece that is being sent to the client meanwhile.
func TestAWorkerIsFreeAsSoonAsThereIsRoom(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	set := Settings{Buffering: true, Buffer: -1}
	u, c := r.roundTrip("GET / HTTP/1.1\r\nHost: a\r\n\r\n", set, func(k *appConn) { io.Copy(io.Discard, k) })
	full := spool.New(spool.Options{Dir: t.TempDir(), Limit: 32 << 20})
	r.server.app.spool = full
	others := full.NewFile()
	if n, err := others.Append(make([]byte, 32<<20)); err != nil {
		t.Fatal(n, err)
	}
	s, body, written := &u.stored, randomBytes(8<<20), make(chan error, 1)
	s.begin(u.client, u, u.client.exchange.settings)
	go func() { written <- s.write(body) }()
	taken, since := int64(0), time.Now()
	r.eventually("the client takes nothing", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.lentTaken || s.taken != taken {
			taken, since = s.taken, time.Now()
		}
		return time.Since(since) > 300*time.Millisecond
	})
	others.Release()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(body))
	if n, err := io.ReadFull(c.Conn, got); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := s.wait(); err != nil {
		t.Error(err)
	}
}

// Responses leave half of the app's budget for memory to requests.
func TestStoredResponsesLeaveMemoryToRequests(t *testing.T) {
	set := Settings{Buffering: true, Buffer: 64 << 10, BufferTotal: 1 << 20}
	r := newNarrowHarness(t, set)
	app := &responder{framing: "length", body: randomBytes(400_000)}
	child := r.newTestApp(gate.TargetOptions{}, app.serve)
	r.gate.Swap(child.Target)
	var slow []*testClient
	for range 40 {
		slow = append(slow, r.dialNarrow().get("/"))
	}
	most := int64(0) // it falls again, where the kernel takes more for a client
	r.eventually("written", func() bool {
		most = max(most, r.server.app.buffered.Load())
		return app.written.Load() == 40 && child.InFlight() == 0
	})
	if most > 512<<10 || most < 256<<10 {
		t.Errorf("%d bytes are kept in memory", most)
	}
	for _, c := range slow {
		c.wantBody(app.body)
	}
	r.eventually("given back", func() bool { return r.server.app.buffered.Load() == 0 })
}

// WaitSent waits for responses whose app has finished.
func TestWaitSentWaitsForStoredResponses(t *testing.T) {
	r := newNarrowHarness(t, buffering)
	app := &responder{framing: "length", body: randomBytes(1 << 20)}
	child := r.newTestApp(gate.TargetOptions{}, app.serve)
	r.gate.Swap(child.Target)
	r.server.WaitSent(t.Context())
	c := r.dialNarrow().get("/")
	r.eventually("written", func() bool { return app.written.Load() == 1 && r.server.app.unsent.number() == 1 })
	soon, cancel := context.WithTimeout(t.Context(), shortly)
	defer cancel()
	r.server.WaitSent(soon)
	if soon.Err() == nil {
		t.Error("it did not wait")
	}
	sent := make(chan struct{})
	go func() {
		r.server.WaitSent(t.Context())
		close(sent)
	}()
	c.wantBody(app.body)
	<-sent
	if n := r.server.Counters().Answered; n != 1 {
		t.Errorf("%d answered", n)
	}
}

// A server that is closed cuts a stored response visibly, and counts it.
func TestCutEndsAStoredResponse(t *testing.T) {
	r := newNarrowHarness(t, buffering)
	app := &responder{framing: "close", body: randomBytes(1 << 20)}
	child := r.newTestApp(gate.TargetOptions{}, app.serve)
	r.gate.Swap(child.Target)
	c := r.dialNarrow().say("GET / HTTP/1.0\n\n")
	r.eventually("written", func() bool { return app.written.Load() == 1 && child.InFlight() == 0 })
	r.server.Cut()
	r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
	if n, err := io.Copy(io.Discard, c.in); err == nil {
		t.Errorf("it looks whole, with %d bytes", n)
	}
}

// A response that is early, to a request whose body is still sent, is stored like any other, and so
// are those of HEAD and behind interim ones.
func TestStoredResponsesOfAllKinds(t *testing.T) {
	r := newNarrowHarness(t, buffering)
	body := randomBytes(500_000)
	child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		for req := k.request(); req != nil; req = k.request() {
			k.say("HTTP/1.1 103 Early Hints\nLink: </a>\n\n")
			k.say(fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d\n\n", len(body)))
			if req.Method != "HEAD" {
				k.Write(body)
			}
			if req.Method == "POST" {
				return
			}
		}
	})
	r.gate.Swap(child.Target)
	for _, method := range []string{"GET", "HEAD", "PUT", "POST"} {
		c := r.dialNarrow()
		upload := 0
		if method == "PUT" || method == "POST" {
			upload = 200_000
		}
		c.say(fmt.Sprintf("%s / HTTP/1.1\nHost: a\nContent-Length: %d\n\n", method, upload))
		c.Write(make([]byte, upload))
		r.eventually("written", func() bool { return r.server.Counters().Requests > 0 && child.InFlight() == 0 })
		req := &http.Request{Method: method}
		res, got := c.hearTo(req)
		if res.StatusCode == 103 {
			res, got = c.hearTo(req)
		}
		if res.StatusCode != 200 || method != "HEAD" && got != string(body) {
			t.Errorf("%s: %s, %d bytes", method, res.Status, len(got))
		}
	}
	r.counted("answered", func(c Counters) bool { return c.Answered == 4 })
}

// TestStoredResponsesAgainstAModel sends responses of random pieces to clients of random speeds,
// through spools of all kinds, with apps that die and clients that leave. A client that reads to
// the end gets every byte, or a prefix and an error where its app has died.
func TestStoredResponsesAgainstAModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	spools := []string{"good", "good", "short", "full disk", "none", "slow"}
	for round := range 12 {
		random := rand.New(rand.NewPCG(seed, uint64(round)))
		kind := spools[round%len(spools)]
		t.Run(fmt.Sprint(round, kind), func(t *testing.T) {
			set := Settings{Buffering: true, Buffer: []int64{-1, 100, 10_000, 1 << 20}[random.IntN(4)], BufferTotal: []int64{1, 50_000, 64 << 20}[random.IntN(3)]}
			r := newNarrowHarness(t, set)
			switch kind {
			case "good":
			case "slow":
				var n atomic.Int64
				r.server.app.spool = spool.New(spool.Options{Limit: 1 << 30, Open: func() (*os.File, error) {
					if n.Add(1)%2 == 1 {
						timer := time.NewTimer(1500 * time.Millisecond)
						<-timer.C
					}
					return spool.OpenIn(t.TempDir())
				}})
			default:
				r.server.app.spool = spool.New(failingSpools[kind](t))
			}
			model := &responseModel{t: t, body: randomBytes(2 << 20)}
			child := r.newTestApp(gate.TargetOptions{}, model.app)
			r.gate.Swap(child.Target)
			var clients sync.WaitGroup
			for i := range 12 {
				random := rand.New(rand.NewPCG(random.Uint64(), uint64(i)))
				clients.Go(func() {
					for range 3 {
						model.client(r.dialNarrow(), random)
					}
				})
			}
			clients.Wait()
			r.counted("as the clients saw", func(c Counters) bool {
				return c.Requests == 36 && c.Answered+c.Cut+c.ClientLeft+c.BadGateway == 36 && int64(c.Answered) >= model.whole.Load() &&
					int64(c.Cut+c.BadGateway) >= model.broken.Load() && child.InFlight() == 0
			})
			t.Logf("%+v: %d whole, %d broken, %d left; %d blocked", set.Buffer, model.whole.Load(), model.broken.Load(), model.left.Load(), r.server.Counters().Blocked)
			r.eventually("given back", func() bool { return r.server.app.spool.Used() == 0 })
		})
	}
}

type responseModel struct {
	t                   *testing.T
	body                []byte
	whole, broken, left atomic.Int64
}

// app answers a request for /FRAMING/SIZE/PIECE/DIES with a part of the body in such pieces, and
// dies in the middle.
func (m *responseModel) app(k *appConn) {
	for req := k.request(); req != nil; req = k.request() {
		var framing string
		var size, piece, dies int
		fmt.Sscanf(strings.ReplaceAll(req.URL.Path, "/", " "), "%s %d %d %d", &framing, &size, &piece, &dies)
		switch framing {
		case "length":
			k.say(fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d\n\n", size))
		case "chunked":
			k.say("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n")
		default:
			k.say("HTTP/1.1 200 OK\n\n")
		}
		for p := range slices.Chunk(m.body[:size], piece) {
			if dies > 0 && len(p) == piece {
				if dies--; dies == 0 {
					return
				}
			}
			if framing == "chunked" {
				fmt.Fprintf(k, "%x\r\n", len(p))
			}
			if _, err := k.Write(p); err != nil {
				return
			}
			if framing == "chunked" {
				k.say("\n")
			}
		}
		switch framing {
		case "chunked":
			k.say("0\n\n")
		case "close":
			return
		}
	}
}

// client asks for something and reads it at a random speed.
func (m *responseModel) client(c *testClient, random *rand.Rand) {
	framing := responseFramings[random.IntN(3)]
	size := []int{0, 1, 70_000, 300_000, 2 << 20}[random.IntN(5)]
	piece := 1 + random.IntN(max(1, min(size, 200_000)))
	dies := 0
	if framing != "close" && random.IntN(4) == 0 {
		dies = 1 + random.IntN(4)
	}
	leaves := -1
	if random.IntN(5) == 0 {
		leaves = random.IntN(size + 1)
	}
	c.SetDeadline(time.Now().Add(2 * time.Minute)) // under the race detector, on a busy machine
	c.get(fmt.Sprintf("/%s/%d/%d/%d", framing, size, piece, dies))
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		if dies == 0 {
			m.t.Errorf("no response: %v", err)
		}
		m.broken.Add(1)
		return
	}
	if res.StatusCode != 200 {
		m.broken.Add(1)
		return
	}
	got, want := 0, m.body[:size]
	sip := make([]byte, 1+max(size/200, random.IntN(100_000)))
	for random.IntN(3) == 0 { // it does not read at first
		timer := time.NewTimer(time.Duration(random.IntN(100)) * time.Millisecond)
		<-timer.C
	}
	for {
		n, err := res.Body.Read(sip)
		if !bytes.HasPrefix(want[got:], sip[:n]) {
			m.t.Errorf("%s of %d in pieces of %d: another byte behind %d", framing, size, piece, got)
			return
		}
		got += n
		switch {
		case leaves >= 0 && got >= leaves:
			m.left.Add(1)
			c.Close()
			return
		case err == io.EOF && got == size:
			m.whole.Add(1)
			c.Close()
			return
		case err != nil:
			if dies == 0 || errors.Is(err, io.EOF) {
				m.t.Errorf("%s of %d in pieces of %d: %v after %d", framing, size, piece, err, got)
			}
			m.broken.Add(1)
			c.Close()
			return
		}
		if random.IntN(20) == 0 {
			timer := time.NewTimer(time.Duration(random.IntN(30)) * time.Millisecond)
			<-timer.C
		}
	}
}
