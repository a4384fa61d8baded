package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
)

// fakeSupervisor is in the state that the test sets.
type fakeSupervisor struct {
	mu        sync.Mutex
	state     api.State
	begun     bool
	stuck     bool
	leaving   chan struct{}
	accepting int // number of calls
}

func (s *fakeSupervisor) Status(...string) (api.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return api.Status{Apps: []api.AppStatus{{Name: "shop", State: s.state, Held: 12}, {Name: "worker", State: api.Running}}}, nil
}

func (s *fakeSupervisor) StartupComplete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

func (s *fakeSupervisor) CheckAlive(ctx context.Context) error {
	s.mu.Lock()
	stuck := s.stuck
	s.accepting++
	s.mu.Unlock()
	if !stuck {
		return nil
	}
	<-ctx.Done()
	return errors.New("nothing is accepted on 127.0.0.1:8000")
}

func (s *fakeSupervisor) ShuttingDown() <-chan struct{} { return s.leaving }

func (s *fakeSupervisor) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// sentMessages are the messages that the notifier sent.
type sentMessages struct {
	mu       sync.Mutex
	messages []string
}

func (m *sentMessages) send(message string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages = append(m.messages, message)
	return nil
}

// take returns the messages since the last call.
func (m *sentMessages) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	messages := m.messages
	m.messages = nil
	return messages
}

func has(messages []string, what string) bool {
	return slices.ContainsFunc(messages, func(m string) bool { return strings.Contains(m, what) })
}

// withNotifier runs a notifier in a bubble until the test is over.
func withNotifier(t *testing.T, test func(n *notifier, s *fakeSupervisor, sent *sentMessages)) {
	synctest.Test(t, func(t *testing.T) {
		s, sent := &fakeSupervisor{state: api.Starting, leaving: make(chan struct{})}, &sentMessages{}
		n := &notifier{sup: s, logger: hclog.NewNullLogger(), send: sent.send, readyTimeout: time.Minute, watchdog: 40 * time.Second}
		ended, end := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.run(ended)
		}()
		synctest.Wait()
		test(n, s, sent)
		end()
		<-done
	})
}

func TestReadyIsSaidWhenTheAppsHaveBegun(t *testing.T) {
	withNotifier(t, func(n *notifier, s *fakeSupervisor, sent *sentMessages) {
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if m := sent.take(); has(m, "READY") || has(m, "WATCHDOG") || !has(m, "EXTEND_TIMEOUT_USEC=15000000") || !has(m, "2 apps: 1 running, 1 starting; 12 requests held") {
			t.Errorf("before: %q", m)
		}
		s.set(func() { s.begun, s.state = true, api.Backoff })
		time.Sleep(time.Second)
		synctest.Wait()
		m := sent.take()
		if len(m) < 2 || !strings.HasPrefix(m[0], "READY=1\nMAINPID=") || !strings.HasSuffix(m[0], "\nSTATUS=2 apps: 1 backoff, 1 running; 12 requests held") || m[1] != "WATCHDOG=1" {
			t.Errorf("then: %q", m)
		}
	})
}

func TestReadyDoesNotWaitForEver(t *testing.T) {
	withNotifier(t, func(n *notifier, s *fakeSupervisor, sent *sentMessages) {
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		if m := sent.take(); has(m, "READY") {
			t.Errorf("too early: %q", m)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if m := sent.take(); !has(m, "READY=1") {
			t.Errorf("never: %q", m)
		}
	})
}

func TestWatchdogIsNotABlindTimer(t *testing.T) {
	withNotifier(t, func(n *notifier, s *fakeSupervisor, sent *sentMessages) {
		s.set(func() { s.begun = true })
		time.Sleep(40 * time.Second)
		synctest.Wait()
		beats := 0
		for _, m := range sent.take() {
			if m == "WATCHDOG=1" {
				beats++
			}
		}
		if beats < 4 || beats > s.accepting {
			t.Errorf("%d beats in a patience, for %d proofs", beats, s.accepting)
		}
		s.set(func() { s.stuck = true })
		time.Sleep(10 * time.Second)
		sent.take()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if m := sent.take(); has(m, "WATCHDOG") {
			t.Errorf("a daemon that accepts nothing says it lives: %q", m)
		}
		s.set(func() { s.stuck = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if m := sent.take(); !has(m, "WATCHDOG=1") {
			t.Errorf("it accepts again, and sends nothing: %q", m)
		}
	})
}

func TestReloadsAreTold(t *testing.T) {
	withNotifier(t, func(n *notifier, s *fakeSupervisor, sent *sentMessages) {
		n.reloading(func() {})
		if m := sent.take(); has(m, "READY") || has(m, "RELOADING") {
			t.Errorf("before READY: %q", m)
		}
		s.set(func() { s.begun = true })
		time.Sleep(time.Second)
		synctest.Wait()
		sent.take()
		n.reloading(func() {
			if m := sent.take(); len(m) != 1 || !strings.HasPrefix(m[0], "RELOADING=1\nMONOTONIC_USEC=") {
				t.Errorf("told %q", m)
			}
			n.reloading(func() { sent.take() })
			if m := sent.take(); len(m) != 0 {
				t.Errorf("one of two is over: %q", m)
			}
		})
		if m := sent.take(); len(m) != 1 || m[0] != "READY=1" {
			t.Errorf("told %q", m)
		}
		close(s.leaving)
		synctest.Wait()
		sent.take()
		n.reloading(func() {})
		if m := sent.take(); len(m) != 0 {
			t.Errorf("while stopping: %q", m)
		}
	})
}

func TestStoppingAsksForTimeWhileTheDoorsAnswer(t *testing.T) {
	withNotifier(t, func(n *notifier, s *fakeSupervisor, sent *sentMessages) {
		close(s.leaving) // in the middle of the start
		synctest.Wait()
		m := sent.take()
		if last := m[len(m)-1]; !strings.HasPrefix(last, "STOPPING=1\nSTATUS=") || !strings.HasSuffix(last, "\nEXTEND_TIMEOUT_USEC=15000000") || has(m, "READY") {
			t.Errorf("told %q", m)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if m := sent.take(); len(m) < 11 || !has(m, "EXTEND_TIMEOUT_USEC") {
			t.Errorf("told %q", m)
		}
		s.set(func() { s.stuck = true })
		time.Sleep(time.Minute)
		sent.take()
		time.Sleep(time.Minute)
		synctest.Wait()
		if m := sent.take(); len(m) > 0 {
			t.Errorf("a daemon that hangs asks for time: %q", m)
		}
	})
}

func TestNilNotifier(t *testing.T) {
	var n *notifier
	n.run(t.Context())
	called := false
	n.reloading(func() { called = true })
	if !called {
		t.Error("the reload was not done")
	}
}

// A manager that does not read its messages delays one by a second, and nothing for ever.
func TestAFullNotifySocketDoesNotBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	for range 10000 {
		if err = sdNotify("STATUS=1"); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a full queue: %v", err)
	}
}
