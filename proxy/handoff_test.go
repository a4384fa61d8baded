package proxy

import (
	"context"
	"errors"
	"net"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
)

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

// yieldsTo gives that many connections to another server, each when it is idle.
func (r *harness) yieldsTo(next *harness, n int) {
	r.Helper()
	for got := 0; got < n; {
		given := r.server.Yield(r.Context())
		if len(given) == 0 {
			r.Fatalf("%d of %d were given away", got, n)
		}
		got += len(given)
		if err := next.server.Admit(given); err != nil {
			r.Fatal(err)
		}
	}
}

func TestIdleConnectionsAreGivenAwayAndBusyOnesWhenTheyAreIdle(t *testing.T) {
	r := newHarness(t, patient, Settings{})
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
	next := newHarness(t, patient, Settings{})
	next.gate.Swap(next.newTestApp(gate.TargetOptions{}, echo).Target)
	if err := next.server.Admit(r.yields(1)); err != nil {
		t.Fatal(err)
	}
	idle.get("/idle").want(200, "GET /idle")

	close(answer)
	busy.want(200, "GET /busy")
	partial.say(" shop.test\n\n").want(200, "GET /partial")
	r.yieldsTo(next, 2)
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
	r := newHarness(t, patient, Settings{})
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

func TestConnectionsAreNotTakenOverByAServerThatHasEnded(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.dial()
	given := r.yields(1)
	next := newHarness(t, patient, Settings{})
	next.dial()
	next.eventually("a client", func() bool { return next.server.Connections() == 1 })
	next.end()
	<-next.server.startedLoop().ended
	if err := next.server.Admit(given); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	unix.Close(given[0].FD)
}
