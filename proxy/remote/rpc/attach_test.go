package rpc

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tideover/proxy/remote"
	"tideover/proxy/remote/channel"
)

// attachable is a recorder whose supervisors come and go. What a supervisor closes at its death is the
// channel alone; attach is the monitor's.
type attachable struct {
	*recorder
	t      *testing.T
	page   *remote.Page
	attach *os.File
	epoch  uint64
	served chan error // what Serve has returned
}

func newAttachable(t *testing.T) (*attachable, *Client) {
	r := &recorder{blocked: make(chan struct{}), provers: map[remote.ID]remote.Prover{}}
	ours, theirs, err := channel.Pair()
	if err != nil {
		t.Fatal(err)
	}
	attach, attached, err := channel.Pair()
	if err != nil {
		t.Fatal(err)
	}
	a := &attachable{recorder: r, t: t, page: newPage(t), attach: attach, epoch: 1, served: make(chan error, 1)}
	var serving sync.WaitGroup
	serving.Go(func() {
		a.served <- Serve(theirs, attached, func(s Start) (Process, any, error) { return r, none{}, nil })
	})
	t.Cleanup(func() {
		attach.Close()
		serving.Wait()
	})
	c, err := NewClient(ours, 1, a.page)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Start(t.Context(), none{}, &none{}); err != nil {
		t.Fatal(err)
	}
	return a, c
}

// takeOver attaches another supervisor.
func (a *attachable) takeOver() *Client {
	a.t.Helper()
	a.epoch++
	c, err := Attach(a.attach, a.epoch, a.page)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(c.Close)
	return c
}

func TestARelayOutlivesItsSupervisors(t *testing.T) {
	a, c := newAttachable(t)
	a.with(func() { a.description = filled[remote.Description]() })
	for range 20 {
		waiting := make(chan error, 1)
		go func() { waiting <- c.Await(context.Background(), remote.Await{What: remote.Finished}) }()
		if _, err := c.Mark(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		c.Close()
		<-waiting
		c = a.takeOver()
		if d, err := c.Describe(t.Context()); err != nil || len(d.Apps) != 2 {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	takenOver := 0
	a.with(func() {
		for _, question := range a.asked {
			if question == "taken over" {
				takenOver++
			}
		}
	})
	if takenOver != 20 {
		t.Errorf("the relay was taken over %d times", takenOver)
	}
}

// What a supervisor has sent before its death is executed before what its successor sends.
func TestASuccessorFindsWhatItsPredecessorHasSent(t *testing.T) {
	a, c := newAttachable(t)
	for range 20 {
		for range 5 {
			go c.Set(context.Background(), remote.Set{App: 1})
		}
		if _, err := c.Set(t.Context(), remote.Set{App: 2}); err != nil {
			t.Fatal(err)
		}
		c.Close()
		next := a.takeOver()
		if _, err := next.Set(t.Context(), remote.Set{App: 3}); err != nil {
			t.Fatal(err)
		}
		before := 0
		a.with(func() {
			before = len(a.asked)
			if s, ok := a.asked[before-1].(remote.Set); !ok || s.App != 3 {
				t.Errorf("the last call is %v", a.asked[before-1])
			}
		})
		if _, err := next.Describe(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.with(func() {
			if len(a.asked) != before {
				t.Errorf("%v has come later", a.asked[before:])
			}
		})
		c = next
	}
}

// A supervisor that has stopped, and not ended, is given up when its successor attaches.
func TestASupervisorThatHangsIsGivenUp(t *testing.T) {
	a, c := newAttachable(t)
	next := a.takeOver()
	if _, err := next.Set(t.Context(), remote.Set{App: 3}); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if _, err := c.Set(t.Context(), remote.Set{App: 1}); !errors.Is(err, remote.ErrEnded) {
		t.Errorf("a call of the former one: %v", err)
	}
	late, err := channel.Attach(a.attach, 1) // of a supervisor before that
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if _, err := next.Set(t.Context(), remote.Set{App: 4}); err != nil {
		t.Errorf("an attachment of a lower epoch: %v", err)
	}
}

func TestARelayEndsWhenNoSupervisorCanCome(t *testing.T) {
	a, c := newAttachable(t)
	a.attach.Close()
	if _, err := c.Set(t.Context(), remote.Set{App: 1}); err != nil {
		t.Errorf("the supervisor lives: %v", err)
	}
	c.Close()
	if err := <-a.served; !errors.Is(err, channel.ErrEnded) {
		t.Error(err)
	}
}

// The request for a replacement outlives the supervisor that has not heard it.
func TestASuccessorIsAskedForAReplacement(t *testing.T) {
	ours, theirs, err := channel.Pair()
	if err != nil {
		t.Fatal(err)
	}
	attach, attached, err := channel.Pair()
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{blocked: make(chan struct{}), provers: map[remote.ID]remote.Prover{}}
	asks := make(chan *Supervisor, 1)
	var serving sync.WaitGroup
	serving.Go(func() {
		Serve(theirs, attached, func(s Start) (Process, any, error) {
			asks <- s.Supervisor
			return r, none{}, nil
		})
	})
	defer serving.Wait()
	defer attach.Close()
	page := newPage(t)
	c, err := NewClient(ours, 1, page)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context(), none{}, &none{}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	relay := <-asks
	relay.Replace()
	relay.Replace()
	if _, err := relay.SpoolFile(); err == nil {
		t.Error("a file without a supervisor")
	}
	for epoch := uint64(2); epoch < 4; epoch++ {
		next, err := Attach(attach, epoch, page)
		if err != nil {
			t.Fatal(err)
		}
		<-next.Replace()
		next.Close()
	}
}

func TestARelayServesForAMinuteWithoutASupervisor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, _ := channelThatHasEnded(t)
		s := &server{}
		began := time.Now()
		next, err := s.awaitNext(ended, make(chan *os.File))
		if next != nil || !errors.Is(err, channel.ErrEnded) || time.Since(began) != orphanTimeout {
			t.Errorf("%v, %v after %v", next, err, time.Since(began))
		}
		later := make(chan *os.File, 1)
		later <- os.Stderr
		if next, _ := s.awaitNext(ended, later); next != os.Stderr {
			t.Errorf("%v", next)
		}
	})
}

// channelThatHasEnded is a channel without goroutines.
func channelThatHasEnded(t *testing.T) (*channel.Channel, error) {
	ours, theirs, err := channel.Pair()
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	c, err := channel.New(ours, channel.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	return c, c.Err()
}
