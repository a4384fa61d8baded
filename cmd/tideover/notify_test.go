package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
)

// fakeKept is a supervisor that stands as the test wants.
type fakeKept struct {
	mu        sync.Mutex
	state     api.State
	begun     bool
	stuck     bool
	leaving   chan struct{}
	accepting int // asked so often
}

func (k *fakeKept) Status(...string) (api.Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return api.Status{Apps: []api.AppStatus{{Name: "shop", State: k.state, Held: 12}, {Name: "worker", State: api.Running}}}, nil
}

func (k *fakeKept) Begun() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.begun
}

func (k *fakeKept) Accepting(ctx context.Context) error {
	k.mu.Lock()
	stuck := k.stuck
	k.accepting++
	k.mu.Unlock()
	if !stuck {
		return nil
	}
	<-ctx.Done()
	return errors.New("nothing is accepted on 127.0.0.1:8000")
}

func (k *fakeKept) Leaving() <-chan struct{} { return k.leaving }

func (k *fakeKept) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

// told is what systemd heard.
type told struct {
	mu       sync.Mutex
	messages []string
}

func (h *told) hear(m string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages = append(h.messages, m)
	return nil
}

// heard returns what came since it was asked last.
func (h *told) heard() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.messages
	h.messages = nil
	return m
}

func has(messages []string, what string) bool {
	return slices.ContainsFunc(messages, func(m string) bool { return strings.Contains(m, what) })
}

// notified runs a notifier in a bubble until the test is over.
func notified(t *testing.T, test func(n *notifier, k *fakeKept, h *told)) {
	synctest.Test(t, func(t *testing.T) {
		k, h := &fakeKept{state: api.Starting, leaving: make(chan struct{})}, &told{}
		n := &notifier{sup: k, logger: hclog.NewNullLogger(), send: h.hear, patience: time.Minute, watchdog: 40 * time.Second}
		over, end := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.run(over)
		}()
		synctest.Wait()
		test(n, k, h)
		end()
		<-done
	})
}

func TestReadyIsSaidWhenTheAppsHaveBegun(t *testing.T) {
	notified(t, func(n *notifier, k *fakeKept, h *told) {
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if m := h.heard(); has(m, "READY") || has(m, "WATCHDOG") || !has(m, "EXTEND_TIMEOUT_USEC=15000000") || !has(m, "2 apps: 1 running, 1 starting; 12 requests held") {
			t.Errorf("before: %q", m)
		}
		k.set(func() { k.begun, k.state = true, api.Backoff })
		time.Sleep(time.Second)
		synctest.Wait()
		m := h.heard()
		if len(m) < 2 || !strings.HasPrefix(m[0], "READY=1\nMAINPID=") || !strings.HasSuffix(m[0], "\nSTATUS=2 apps: 1 backoff, 1 running; 12 requests held") || m[1] != "WATCHDOG=1" {
			t.Errorf("then: %q", m)
		}
	})
}

func TestReadyDoesNotWaitForEver(t *testing.T) {
	notified(t, func(n *notifier, k *fakeKept, h *told) {
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		if m := h.heard(); has(m, "READY") {
			t.Errorf("too early: %q", m)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if m := h.heard(); !has(m, "READY=1") {
			t.Errorf("never: %q", m)
		}
	})
}

func TestWatchdogIsNotABlindTimer(t *testing.T) {
	notified(t, func(n *notifier, k *fakeKept, h *told) {
		k.set(func() { k.begun = true })
		time.Sleep(40 * time.Second)
		synctest.Wait()
		beats := 0
		for _, m := range h.heard() {
			if m == "WATCHDOG=1" {
				beats++
			}
		}
		if beats < 4 || beats > k.accepting {
			t.Errorf("%d beats in a patience, for %d proofs", beats, k.accepting)
		}
		k.set(func() { k.stuck = true })
		time.Sleep(10 * time.Second)
		h.heard()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if m := h.heard(); has(m, "WATCHDOG") {
			t.Errorf("a daemon that accepts nothing says it lives: %q", m)
		}
		k.set(func() { k.stuck = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if m := h.heard(); !has(m, "WATCHDOG=1") {
			t.Errorf("it has come round, and says nothing: %q", m)
		}
	})
}

func TestReloadsAreTold(t *testing.T) {
	notified(t, func(n *notifier, k *fakeKept, h *told) {
		n.during(func() {})
		if m := h.heard(); has(m, "READY") || has(m, "RELOADING") {
			t.Errorf("before READY: %q", m)
		}
		k.set(func() { k.begun = true })
		time.Sleep(time.Second)
		synctest.Wait()
		h.heard()
		n.during(func() {
			if m := h.heard(); len(m) != 1 || !strings.HasPrefix(m[0], "RELOADING=1\nMONOTONIC_USEC=") {
				t.Errorf("told %q", m)
			}
			n.during(func() { h.heard() })
			if m := h.heard(); len(m) != 0 {
				t.Errorf("one of two is over: %q", m)
			}
		})
		if m := h.heard(); len(m) != 1 || m[0] != "READY=1" {
			t.Errorf("told %q", m)
		}
		close(k.leaving)
		synctest.Wait()
		h.heard()
		n.during(func() {})
		if m := h.heard(); len(m) != 0 {
			t.Errorf("while stopping: %q", m)
		}
	})
}

func TestStoppingAsksForTimeWhileTheDoorsAnswer(t *testing.T) {
	notified(t, func(n *notifier, k *fakeKept, h *told) {
		close(k.leaving) // in the middle of the start
		synctest.Wait()
		m := h.heard()
		if last := m[len(m)-1]; !strings.HasPrefix(last, "STOPPING=1\nSTATUS=") || !strings.HasSuffix(last, "\nEXTEND_TIMEOUT_USEC=15000000") || has(m, "READY") {
			t.Errorf("told %q", m)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if m := h.heard(); len(m) < 11 || !has(m, "EXTEND_TIMEOUT_USEC") {
			t.Errorf("told %q", m)
		}
		k.set(func() { k.stuck = true })
		time.Sleep(time.Minute)
		h.heard()
		time.Sleep(time.Minute)
		synctest.Wait()
		if m := h.heard(); len(m) > 0 {
			t.Errorf("a daemon that hangs asks for time: %q", m)
		}
	})
}

func TestNobodyListens(t *testing.T) {
	var n *notifier
	n.run(t.Context())
	called := false
	n.during(func() { called = true })
	if !called {
		t.Error("the reload was not done")
	}
}
