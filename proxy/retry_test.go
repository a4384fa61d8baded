package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tideover/proxy/gate"
)

// TestLedger walks through every combination of what can be known of a lost delivery, and holds the
// decision against design's words.
func TestLedger(t *testing.T) {
	flags := 0
	for bits := range 1 << 6 {
		is := func(i int) bool { return bits>>i&1 == 1 }
		for _, state := range []progress{notConnected, connected, requestSent, responseStarted} {
			for _, ran := range []time.Duration{0, workerTimeout - 1, workerTimeout} {
				for fed := range 3 {
					l := failedAttempt{progress: state, idempotent: is(0), noBody: is(1), replayable: is(2), reset: is(3), neverAccepted: is(4), workerDied: is(5), elapsed: ran, attempts: fed}
					if got, want := l.retryable(), byTheBook(l); got != want {
						t.Errorf("%+v: resendable is %v, want %v", l, got, want)
					}
					if l.cause() == "" {
						t.Errorf("%+v: no cause", l)
					}
					flags++
				}
			}
		}
	}
	t.Logf("%d combinations", flags)
}

// byTheBook is the rule as design has it, one sentence after the other.
func byTheBook(l failedAttempt) bool {
	may := false
	again := l.attempts < 2                              // a request is sent to two children at most
	killer := l.workerDied && l.elapsed >= 5*time.Second // a worker timeout would kill the next one too
	switch l.progress {
	case notConnected, connected: // any request may be sent again
		may = true
	case requestSent: // an idempotent one, or one the dead child provably never read
		neverRead := l.neverAccepted || l.reset && l.noBody && again
		may = neverRead || l.idempotent && again && !killer
	case responseStarted: // an idempotent one: the client has seen nothing of the response
		may = l.neverAccepted || l.idempotent && again && !killer
	}
	return may && l.replayable // kept whole or not resent
}

// TestResending is the ledger as a client meets it.
func TestResending(t *testing.T) {
	get, post := "GET / HTTP/1.1\nHost: a\n\n", "POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi"
	bare := "POST / HTTP/1.1\nHost: a\n\n"
	keyed := "POST / HTTP/1.1\nHost: a\nIdempotency-Key: 7\nContent-Length: 2\n\nhi"
	put := "PUT / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n"
	large := "PUT / HTTP/1.1\nHost: a\nContent-Length: 100\n\n" + strings.Repeat("x", 100)
	unread := func(k *appConn) { k.Read(make([]byte, 1)) } // leaves a reset
	marked := func(k *appConn) { k.request(); io.WriteString(k, "marker") }
	part := func(k *appConn) { k.request(); io.WriteString(k, "H") }
	headOnly := func(k *appConn) { k.request(); k.say("HTTP/1.1 200 OK\nContent-Length: 5\n\n") }
	for _, c := range []struct {
		name    string
		set     Settings
		request string
		first   func(*appConn)
		want    int
		resent  uint64
	}{
		{"read, idempotent", Settings{}, get, readAndDie, 200, 1},
		{"read, idempotent with a body", Settings{}, put, readAndDie, 200, 1},
		{"read, not idempotent", Settings{}, post, readAndDie, 502, 0},
		{"read, not idempotent, without a body", Settings{}, bare, readAndDie, 502, 0},
		{"read, a key that counts", Settings{IdempotencyKey: true}, keyed, readAndDie, 200, 1},
		{"read, a key that does not", Settings{}, keyed, readAndDie, 502, 0},
		{"read, no key where one counts", Settings{IdempotencyKey: true}, post, readAndDie, 502, 0},
		{"read, idempotent, not kept whole", Settings{Buffer: 10}, large, readAndDie, 502, 0},
		{"read, idempotent, kept nothing", Settings{Buffer: -1}, put, readAndDie, 502, 0},
		{"read, idempotent, never resent", Settings{NoResend: true}, get, readAndDie, 502, 0},
		{"not read, without a body", Settings{}, bare, unread, 200, 1},
		{"not read, with a body", Settings{}, post, unread, 502, 0},
		{"not read, without a body, never resent", Settings{NoResend: true}, bare, unread, 502, 0},
		{"not accepted", Settings{}, post, marked, 200, 0},
		{"not accepted, never resent", Settings{NoResend: true}, post, marked, 200, 0},
		{"begun, idempotent", Settings{}, get, part, 200, 1},
		{"begun, idempotent, never resent", Settings{NoResend: true}, get, part, 502, 0},
		{"begun, not idempotent", Settings{}, post, part, 502, 0},
		{"head only", Settings{}, get, headOnly, 200, 1},
		{"head only, not idempotent", Settings{}, bare, headOnly, 502, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newHarness(t, patient, c.set)
			r.gate.Swap(r.newTestApp(gate.TargetOptions{Marker: []byte("marker")}, onceThenEcho(c.first)).Target)
			r.dial().say(c.request).want(c.want, "")
			r.counted("resent", func(n Counters) bool { return n.Resent == c.resent && n.Answered+n.BadGateway == 1 })
		})
	}
}

// TestKeepWorking: the app may finish for a client that has left, where that is wished.
func TestKeepWorking(t *testing.T) {
	for _, keep := range []bool{true, false} {
		r := newHarness(t, patient, Settings{FinishOnDisconnect: keep})
		finish, finished := make(chan struct{}), make(chan bool, 1)
		r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
			k.request()
			<-finish
			_, err := io.WriteString(k, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			finished <- err == nil
		}).Target)
		c := r.dial().get("/")
		r.eventually("in flight", func() bool { return r.gate.Snapshot().InFlight == 1 })
		c.Close()
		if keep {
			noticed := time.NewTimer(10 * disconnectCheckDelay)
			<-noticed.C
		} else {
			r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
		}
		close(finish)
		if done := <-finished; done != keep {
			t.Errorf("keep working %v: the app could answer: %v", keep, done)
		}
		r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
	}
}

// TestEndOfAResponseThatEndsWithItsConnection: it is the end only if the app did not die with it
// (http1.RuleCloseDelimitedResponse).
func TestEndOfAResponseThatEndsWithItsConnection(t *testing.T) {
	whole := func(*harness, *testApp) {}
	for _, c := range []struct {
		name  string
		after func(*harness, *testApp)
		cut   bool
	}{
		{"a live target", whole, false},
		{"a replaced target", func(r *harness, c *testApp) { r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target) }, false},
		{"a shut gate, the target lives", func(r *harness, c *testApp) { r.gate.Swap(nil) }, false},
		{"the news of the death is a moment late", func(r *harness, c *testApp) { r.gate.Swap(nil); r.eventually("ended", c.idle); c.Abandon() }, true},
	} {
		for _, minor := range []int{0, 1} {
			t.Run(fmt.Sprint(c.name, " 1.", minor), func(t *testing.T) {
				r := newHarness(t, patient, Settings{})
				end := make(chan struct{})
				child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) { k.request(); k.say("HTTP/1.1 200 OK\n\nabc"); <-end })
				r.gate.Swap(child.Target)
				caller := r.dial().say(fmt.Sprintf("GET / HTTP/1.%d\nHost: a\n\n", minor))
				res, err := http.ReadResponse(caller.in, nil)
				if err != nil {
					t.Fatal(err)
				}
				close(end)
				c.after(r, child)
				body, err := io.ReadAll(res.Body)
				if cut := err != nil; cut != c.cut || !cut && string(body) != "abc" {
					t.Errorf("%q, %v", body, err)
				}
			})
		}
	}
}

// idle reports whether all the child's connections have ended.
func (c *testApp) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) == 0
}

// TestResetIsNoEnd: a response without a length that ends in ECONNRESET is not complete, whether
// the target lives or not.
func TestResetIsNoEnd(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan struct{})
	r.gate.Swap(r.newTestAppOn(l, gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.say("HTTP/1.1 200 OK\n\nabc")
		<-seen
		k.Conn.(*net.TCPConn).SetLinger(0)
	}).Target)
	c := r.dial().get("/")
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	close(seen)
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%q looks whole", body)
	}
	r.counted("cut", func(c Counters) bool { return c.Cut == 1 })
}

// TestWorkerTimeout: a request that had run for 5 s when its worker alone died is not fed to the
// next one; if all of the app died, it was not to blame.
func TestWorkerTimeout(t *testing.T) {
	for _, c := range []struct {
		name  string
		ran   time.Duration
		dies  func(*gate.Gate, *gate.Target)
		alone bool
	}{
		{"a worker, at once", 0, func(*gate.Gate, *gate.Target) {}, false},
		{"a worker, just before", workerTimeout - time.Millisecond, func(*gate.Gate, *gate.Target) {}, false},
		{"a worker, after 5 s", workerTimeout, func(*gate.Gate, *gate.Target) {}, true},
		{"a worker of a target that the gate got once more", workerTimeout, func(g *gate.Gate, t *gate.Target) { g.Swap(t) }, true},
		{"a worker of a target that came back", workerTimeout, func(g *gate.Gate, t *gate.Target) { g.Swap(nil); g.Swap(t) }, true},
		{"all of it, after 5 s", workerTimeout, func(g *gate.Gate, _ *gate.Target) { g.Swap(nil) }, false},
		{"all of it, known by its sockets first", workerTimeout, func(_ *gate.Gate, t *gate.Target) { t.Abandon() }, false},
		{"all of it, the news too late", workerTimeout, func(g *gate.Gate, _ *gate.Target) { <-time.After(2 * exitGrace); g.Swap(nil) }, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			g, target := gate.New(patient), gate.NewTarget(gate.TargetOptions{})
			g.Swap(target)
			rt := roundTrip{x: &exchange{settings: &Settings{}}, target: target, startedAt: time.Now()}
			time.Sleep(c.ran)
			go c.dies(g, target)
			synctest.Wait()
			if f := rt.classify(requestSent, io.EOF); f.workerDied != c.alone || f.elapsed != c.ran || f.attempts != 1 {
				t.Errorf("%s: %+v", c.name, f)
			}
			time.Sleep(time.Second)
		})
	}
}

// The 5 s begin when a worker has the request, not when it was written into the app's backlog.
func TestTimeInTheBacklogIsNoTimeInAWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, target := gate.New(patient), gate.NewTarget(gate.TargetOptions{Concurrency: 1, Bounded: true})
		g.Swap(target)
		c := &clientConn{}
		g.Enter(new(gate.Waiter)) // the only worker works on this one
		g.Enter(&c.waiter)
		rt := roundTrip{target: target}
		rt.x = &exchange{settings: &Settings{}, client: c}
		rt.startedAt, rt.turn = time.Now(), c.waiter.Turn()
		time.Sleep(10 * time.Second)
		g.Done(target, true)
		time.Sleep(time.Second)
		if f := rt.classify(requestSent, io.EOF); f.workerDied || f.elapsed != time.Second {
			t.Errorf("%+v", f)
		}
		time.Sleep(5 * time.Second)
		if f := rt.classify(requestSent, io.EOF); !f.workerDied || f.elapsed != 6*time.Second {
			t.Errorf("%+v", f)
		}
	})
}

// How long it is looked for news of a target's death.
func TestCollapsed(t *testing.T) {
	for _, c := range []struct {
		name   string
		happen func(*gate.Gate, *gate.Target)
		want   bool
		took   time.Duration
	}{
		{"the target lives", func(*gate.Gate, *gate.Target) {}, false, exitNotice},
		{"it is replaced, and lives", func(g *gate.Gate, t *gate.Target) { g.Swap(nil) }, false, exitGrace},
		{"it is gone", func(g *gate.Gate, t *gate.Target) { t.Abandon() }, true, 0},
		{"it is replaced, then gone", func(g *gate.Gate, t *gate.Target) { g.Swap(nil); time.Sleep(exitGrace / 2); t.Abandon() }, true, exitGrace / 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			g, target := gate.New(patient), gate.NewTarget(gate.TargetOptions{})
			g.Swap(target)
			go c.happen(g, target)
			synctest.Wait()
			start := time.Now()
			if got := targetDied(target); got != c.want || time.Since(start) != c.took {
				t.Errorf("%s: %v after %v", c.name, got, time.Since(start))
			}
			synctest.Wait()
		})
	}
}

func TestCauses(t *testing.T) {
	for _, c := range []struct {
		lost failedAttempt
		want string
	}{
		{failedAttempt{progress: responseStarted, replayable: true}, "the app's response broke off"},
		{failedAttempt{progress: requestSent}, "the body was too large to be kept"},
		{failedAttempt{progress: requestSent, replayable: true, attempts: 2}, "without an answer, twice"},
		{failedAttempt{progress: requestSent, replayable: true, attempts: 1, workerDied: true, elapsed: workerTimeout}, "after the request had run for 5s"},
		{failedAttempt{progress: requestSent, replayable: true, attempts: 1, workerDied: true}, "may have had an effect"},
		{failedAttempt{progress: requestSent, replayable: true, attempts: 1, elapsed: workerTimeout}, "may have had an effect"},
	} {
		if got := c.lost.cause(); !strings.Contains(got, c.want) {
			t.Errorf("%+v: %s", c.lost, got)
		}
	}
}

// A hint is shown once, though the request is sent twice.
func TestHintOfTheFirstTryOnly(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	hint := "HTTP/1.1 103 Early Hints\nLink: </a>\n\n"
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, inTurn(
		func(k *appConn) { k.request(); k.say(hint) },
		func(k *appConn) { k.request(); k.say(hint + ok + "Connection: close\n\nabc") },
	)).Target)
	c := r.dial().say("GET / HTTP/1.1\nHost: a\nConnection: close\n\n")
	if text, err := io.ReadAll(c.in); err != nil || strings.Count(string(text), " 103 ") != 1 || strings.Count(string(text), " 200 ") != 1 {
		t.Errorf("%q %v", text, err)
	}
}

// inTurn runs one script after the other, each on a connection of its own, and the last one on all
// that follow.
func inTurn(scripts ...func(*appConn)) func(*appConn) {
	turn := make(chan int, 1)
	turn <- 0
	return func(k *appConn) {
		i := <-turn
		turn <- min(i+1, len(scripts)-1)
		scripts[i](k)
	}
}

// Half a marker proves nothing; a whole one does not count as a try.
func TestMarkersThatAreHalfAndWhole(t *testing.T) {
	half := func(k *appConn) { k.request(); io.WriteString(k, "mar") }
	whole := func(k *appConn) { k.request(); io.WriteString(k, "marker") }
	for _, c := range []struct {
		name, method string
		scripts      []func(*appConn)
		want         int
	}{
		{"half, may be sent again", "GET", []func(*appConn){half, echo}, 200},
		{"half, may not", "POST", []func(*appConn){half, echo}, 502},
		{"whole, then it dies", "GET", []func(*appConn){whole, readAndDie, echo}, 200},
		{"it dies, then whole", "GET", []func(*appConn){readAndDie, whole, echo}, 200},
		{"it dies twice", "GET", []func(*appConn){readAndDie, whole, readAndDie, echo}, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newHarness(t, patient, Settings{})
			r.gate.Swap(r.newTestApp(gate.TargetOptions{Marker: []byte("marker")}, inTurn(c.scripts...)).Target)
			r.dial().say(c.method+" / HTTP/1.1\nHost: a\n\n").want(c.want, "")
		})
	}
}
