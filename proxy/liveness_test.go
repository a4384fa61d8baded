package proxy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/netpoll"
)

// asking asks the server whether it accepts, and waits for the answer for at most timeout.
func (r *harness) asking(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	return r.server.CheckAlive(ctx)
}

func TestAccepting(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	r.dial().get("/").want(200, "GET /")
	for i := range 20 {
		if err := r.asking(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 { // it goes on accepting
			r.dial().get("/").want(200, "GET /")
		}
	}
	if log := r.log.String(); strings.Contains(log, "accepting failed") {
		t.Errorf("log: %s", log)
	}
	r.end()
	r.served <- <-r.served
	if err := r.asking(10 * time.Second); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// An event loop that is stuck in one connection's turn serves no other one, and accepts none.
func TestStuckEventLoopIsNoticed(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	r.dial().get("/").want(200, "GET /")
	stuck, release := make(chan struct{}), make(chan struct{})
	r.server.startedLoop().tasks.Post(netpoll.TaskFunc(func() {
		close(stuck)
		<-release
	}))
	<-stuck
	waiting := r.dial().get("/waiting")
	if err := r.asking(50 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), r.addr) {
		t.Errorf("a stuck loop: %v", err)
	}
	close(release)
	if err := r.asking(10 * time.Second); err != nil {
		t.Errorf("a loop that is not stuck any more: %v", err)
	}
	waiting.want(200, "GET /waiting")
}

// Questions under load cost no connection, and the end is not lost between
// them.
func TestAcceptingUnderLoadAndAtTheEnd(t *testing.T) {
	for range 20 {
		r := newHarness(t, patient, Settings{})
		r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			for range 200 {
				if err := r.server.CheckAlive(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}()
		for range 5 {
			r.dial().get("/").want(200, "GET /")
		}
		r.end()
		r.served <- <-r.served
		<-asked
	}
}
