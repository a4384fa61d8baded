package proxy

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
)

// quiesce quiesces the server, which must come about.
func (r *harness) quiesce() []Connection {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), never)
	defer cancel()
	all := r.server.Quiesce(ctx)
	if ctx.Err() != nil {
		r.Fatal(ctx.Err())
	}
	return all
}

// smallBufferRig is newRig with a buffer that holds only short bodies.
func smallBufferRig(t *testing.T) *harness {
	return newHarness(t, gate.Settings{Limit: 100, Timeout: time.Minute}, Settings{Buffer: 16})
}

// successor is another server, with the connections of r's that stands still; what it has are
// duplicates, as after an exec.
func (r *harness) successor(all []Connection, script func(*appConn)) *harness {
	r.Helper()
	return r.successorTo(all, gate.TargetOptions{}, script)
}

// successorTo is successor for a target with these options.
func (r *harness) successorTo(all []Connection, o gate.TargetOptions, script func(*appConn)) *harness {
	r.Helper()
	next := smallBufferRig(r.T)
	child := next.newTestApp(o, script)
	for i := range all {
		fd, err := unix.FcntlInt(uintptr(all[i].FD), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			r.Fatal(err)
		}
		all[i].FD = fd
	}
	if err := next.server.Restore(all); err != nil {
		r.Fatal(err)
	}
	next.gate.Swap(child.Target)
	return next
}

// over ends the test for the clients before the first server looks at what is not its own any more.
func (r *harness) over(callers ...*testClient) {
	for _, c := range callers {
		c.Close()
	}
	r.server.Resume()
}

func TestConnectionsGoToTheNextProgram(t *testing.T) {
	r := smallBufferRig(t)
	first := r.newTestApp(gate.TargetOptions{}, echo)
	r.gate.Swap(first.Target)
	used, fresh := r.dial(), r.dial()
	used.get("/before").want(200, "GET /before")
	r.gate.Swap(nil)
	first.kill()

	var callers []*testClient
	hold := func(text string) *testClient {
		c := r.dial().say(text)
		callers = append(callers, c)
		r.held(len(callers))
		return c
	}
	plain := hold("GET /plain HTTP/1.1\nHost: shop.test\n\n")
	two := hold("GET /one HTTP/1.1\nHost: shop.test\n\nGET /two HTTP/1.1\nHost: shop.test\n\n")
	fixed := hold("POST /fixed HTTP/1.1\nHost: shop.test\nContent-Length: 10\n\n01234")
	chunked := hold("POST /chunked HTTP/1.1\nHost: shop.test\nTransfer-Encoding: chunked\n\n3\nabc\n")
	asking := hold("POST /asking HTTP/1.1\nHost: shop.test\nExpect: 100-continue\nContent-Length: 4\n\n")
	if res, _ := asking.hearTo(&http.Request{Method: "HEAD"}); res.StatusCode != 100 {
		t.Fatalf("got %s, want 100", res.Status)
	}

	all := r.quiesce()
	var begun []string
	for _, known := range all {
		if line, _, ok := strings.Cut(string(known.Unanswered), " HTTP/1.1\r\n"); ok {
			begun = append(begun, line)
		}
	}
	if want := []string{"GET /plain", "GET /one", "POST /fixed", "POST /chunked", "POST /asking"}; len(all) != 7 || !slices.Equal(begun, want) {
		t.Fatalf("%d connections, with %q; want 7, with %q", len(all), begun, want)
	}
	if c := r.server.Counters(); c.Requests != 1 || c.Held != 0 {
		t.Errorf("the requests still count: %+v", c)
	}
	late := r.dial().get("/late") // stays in the backlog
	next := r.successor(all, echo)
	fixed.say("56789")
	chunked.say("0\n\n")
	asking.say("body")
	used.get("/after").want(200, "GET /after")
	fresh.get("/fresh").want(200, "GET /fresh")
	plain.want(200, "GET /plain")
	two.want(200, "GET /one")
	two.want(200, "GET /two")
	fixed.want(200, "POST /fixed 0123456789")
	chunked.want(200, "POST /chunked abc")
	if res := asking.want(200, "POST /asking body"); !strings.HasPrefix(res.Header.Get("Server-Timing"), "hold;dur=") {
		t.Errorf("Server-Timing %q", res.Header.Get("Server-Timing"))
	}
	next.counted("all", func(c Counters) bool { return c.Answered == 8 && c.Requests == 8 && c.Held >= 5 })
	r.over(append(callers, used, fresh, late)...)
}

func TestSuspendedServerGoesOn(t *testing.T) {
	const n = 50
	r := smallBufferRig(t)
	callers := r.queueUp(n)
	left := r.dial().get("/left")
	r.held(n + 1)
	if all := r.quiesce(); len(all) != n+1 {
		t.Fatalf("%d connections, want %d", len(all), n+1)
	}
	left.Close()
	late := r.dial().get("/late")
	r.server.Resume()
	r.gate.Swap(r.newTestApp(gate.TargetOptions{Concurrency: 4}, echo).Target)
	for i, c := range callers {
		c.want(200, fmt.Sprintf("/%d ", i))
	}
	late.want(200, "/late")
	r.counted("all", func(c Counters) bool { return c.Requests == n+2 && c.Answered == n+1 && c.ClientLeft == 1 })
}

// A body that was read ahead goes with its request, as far as it can be made again.
func TestKeptBodiesAreRecalled(t *testing.T) {
	r := smallBufferRig(t)
	child := r.newTestApp(gate.TargetOptions{}, echo)
	r.gate.Swap(child.Target)
	slow := func(n int, head, rest string) *testClient {
		c := r.dial().say(head)
		r.eventually("its head was read", func() bool { return r.server.Counters().Requests == uint64(n) && r.server.app.buffered.Load() > 0 })
		r.gate.Hold("deploy")
		c.say(rest)
		r.held(n)
		r.gate.Release("nobody")
		return c
	}
	fixed := slow(1, "POST /fixed HTTP/1.1\nHost: shop.test\nContent-Length: 6\n\nabc", "def")
	r.gate.Hold("deploy")
	chunked := r.dial().say("POST /large HTTP/1.1\nHost: shop.test\nTransfer-Encoding: chunked\n\n20\n0123456789")
	r.held(2)
	next := r.successor(r.quiesce(), echo)
	fixed.want(200, "POST /fixed abcdef")
	chunked.say("0123456789012345678901\n0\n\n").want(200, "POST /large 01234567890123456789012345678901")
	next.counted("all", func(c Counters) bool { return c.Answered == 2 })
	r.over(fixed, chunked)
}

// What was lost before counts on: no request is sent to a third child.
func TestRecalledRequestsRememberTheirLosses(t *testing.T) {
	r := smallBufferRig(t)
	got := make(chan struct{})
	dying := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		close(got)
		k.request()
	})
	r.gate.Swap(dying.Target)
	c := r.dial().get("/twice")
	<-got
	r.gate.Swap(nil)
	dying.Abandon()
	dying.kill()
	r.held(1)
	all := r.quiesce()
	if len(all) != 1 || all[0].Lost != 1 {
		t.Fatalf("%+v", all)
	}
	next := r.successor(all, func(k *appConn) { k.request() })
	c.want(502, "twice")
	next.counted("all", func(c Counters) bool { return c.BadGateway == 1 })
	r.over(c)
}

// yields calls Yield, which must return that many connections.
func (r *harness) yields(n int) []Connection {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), never)
	defer cancel()
	all := r.server.Yield(ctx)
	if len(all) != n || ctx.Err() != nil {
		r.Fatalf("%d connections were given away, want %d; %v", len(all), n, ctx.Err())
	}
	return all
}

func TestIdleConnectionsAreGivenAwayAndBusyOnesWhenTheyAreIdle(t *testing.T) {
	r := smallBufferRig(t)
	answer := make(chan struct{})
	app := r.newTestApp(gate.TargetOptions{}, func(c *appConn) {
		<-answer
		echo(c)
	})
	r.gate.Swap(app.Target)
	idle, busy, partial := r.dial(), r.dial(), r.dial()
	busy.get("/busy")
	partial.say("GET /partial HTTP/1.1\nHost:")
	for r.server.Counters().Requests != 2 || r.server.Counters().Connections != 3 {
		runtime.Gosched()
	}
	next := smallBufferRig(t)
	next.gate.Swap(next.newTestApp(gate.TargetOptions{}, echo).Target)
	if err := next.server.Restore(r.yields(1)); err != nil {
		t.Fatal(err)
	}
	idle.get("/idle").want(200, "GET /idle")

	close(answer)
	busy.want(200, "GET /busy")
	partial.say(" shop.test\n\n").want(200, "GET /partial")
	for got := 0; got < 2; {
		given := r.server.Yield(t.Context())
		if len(given) == 0 {
			t.Fatalf("%d of 2 were given away", got)
		}
		got += len(given)
		if err := next.server.Restore(given); err != nil {
			t.Fatal(err)
		}
	}
	r.yields(0) // none is left
	for _, c := range []*testClient{idle, busy, partial} {
		c.get("/after").want(200, "GET /after")
		c.Close()
	}
	next.eventually("the next one has counted them", func() bool { // a client has its answer before it is counted
		c := next.server.Counters()
		return c.Requests == 4 && c.Answered == 4
	})
}

func TestTheWaitForAConnectionToGiveAwayEnds(t *testing.T) {
	r := smallBufferRig(t)
	app := r.newTestApp(gate.TargetOptions{}, func(c *appConn) { <-t.Context().Done() })
	r.gate.Swap(app.Target)
	busy := r.dial().get("/busy")
	for r.server.Counters().Requests != 1 {
		runtime.Gosched()
	}
	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan []Connection)
	go func() { given <- r.server.Yield(ctx) }()
	cancel()
	if all := <-given; len(all) != 0 {
		t.Errorf("%+v was given away", all)
	}
	go func() { given <- r.server.Yield(t.Context()) }()
	busy.Close()
	if all := <-given; len(all) != 0 {
		t.Errorf("%+v was given away", all)
	}
}
