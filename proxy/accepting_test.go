package proxy

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// sleepy is a listener that does not come back from an Accept while it is told
// to sleep.
type sleepy struct {
	*net.TCPListener
	asleep atomic.Bool
	wake   chan struct{}
}

func (l *sleepy) Accept() (net.Conn, error) {
	conn, err := l.TCPListener.Accept()
	if l.asleep.Load() {
		<-l.wake
	}
	return conn, err
}

func TestAccepting(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &sleepy{TCPListener: tcp.(*net.TCPListener), wake: make(chan struct{})}
	r := newRigOn(t, l, patient, Settings{})
	r.gate.Swap(r.newChild(TargetOptions{}, echo).Target)
	r.dial().get("/").want(200, "GET /")
	asking := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return r.server.Accepting(ctx)
	}
	for i := range 20 {
		if err := asking(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 { // it goes on accepting
			r.dial().get("/").want(200, "GET /")
		}
	}
	l.asleep.Store(true)
	if err := asking(50 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), r.addr) {
		t.Errorf("a stuck loop: %v", err)
	}
	l.asleep.Store(false)
	l.wake <- struct{}{}
	if err := asking(10 * time.Second); err != nil {
		t.Error(err)
	}
	if log := r.log.String(); strings.Contains(log, "cannot accept") {
		t.Errorf("log: %s", log)
	}
	r.end()
	r.served <- <-r.served
	if err := asking(10 * time.Second); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// Questions under load cost no connection, and the end is not lost between
// them.
func TestAcceptingUnderLoadAndAtTheEnd(t *testing.T) {
	for range 20 {
		r := newRig(t, patient, Settings{})
		r.gate.Swap(r.newChild(TargetOptions{}, echo).Target)
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			for range 200 {
				if err := r.server.Accepting(t.Context()); err != nil {
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
