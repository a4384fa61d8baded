//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// waitWarning checks that a failed reload says what still serves and what endangers
// it.
func (s *fixture) waitWarning(message string) {
	s.Helper()
	message = strings.Join(strings.Fields(message), " ") // it is wrapped
	for _, word := range []string{"worker", "in place"} {
		if !strings.Contains(message, word) {
			s.Errorf("exit 7 in place, and the message does not speak of %q:\n%s", word, message)
		}
	}
}

// killOneWorker kills a worker of the serving generation.
func (s *fixture) killOneWorker() {
	s.Helper()
	a := s.client.Do(s.Context(), loadgen.Kind{Name: "which worker"})
	var pid int
	if _, err := fmt.Sscan(a.Echo["pid"], &pid); err != nil {
		s.Fatalf("%s %s: %v", a.Loss, a.Cause, err)
	}
	s.must(syscall.Kill(pid, syscall.SIGKILL))
}

// workersExit sees the old generation end by its broken worker: requests are
// held and then refused by us, and status never calls the app running.
func (s *fixture) workersExit() {
	s.Helper()
	down := func() error {
		now, err := s.daemon.Status(s.timeout(10 * time.Second))
		if err == nil && (now.State == "running" || now.State == "reloading") {
			err = fmt.Errorf("status says %s", now.State)
		}
		return err
	}
	s.must(testenv.Poll(s.timeout(20*time.Second), 50*time.Millisecond, down))
	for range 3 {
		a := s.client.Do(s.Context(), loadgen.Kind{})
		if a.Status != 503 || a.Header.Get("Retry-After") == "" || a.Waited > 5500*time.Millisecond {
			s.Errorf("while nothing serves: %d %s %s after %v", a.Status, a.Loss, a.Cause, a.Waited)
		}
		s.must(down())
	}
}

// The app cannot be imported any more and its processes are killed: held requests
// get tideover's 503 after hold.timeout, the front-end never disables the
// back-end, and after a good start the app answers within a second.
func TestCrashLoopAnswers503(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{
		front: apache(testenv.Apache{Params: "status=-I"}), release: testenv.Release{Number: 1, Import: 0.2},
		flags: flags("--hold-timeout", "3s"),
	})
	s.waitWorkers()
	good := s.app.Release()
	s.must(s.app.DeployBroken("raise"))
	before, err := s.daemon.Status(s.timeout(10 * time.Second))
	s.must(err)
	s.must(syscall.Kill(before.Pid, syscall.SIGKILL))
	s.workersExit()
	s.startLoad(20)
	pause(r, 6*time.Second)
	loop := s.load.Stop()
	if loop.Lost() != loop.Statuses[503] || loop.Longest > 4500*time.Millisecond {
		s.Errorf("in a crash loop only our 503 is right: %v", loop)
	}
	s.must(s.app.Deploy(good))
	_, outcome, err := s.daemon.Operate(s.timeout(operationTimeout), "reload")
	s.must(err)
	if outcome.Exit != 0 {
		s.Errorf("reload of the good release: %v", outcome)
	}
	begun := time.Now()
	s.waitRelease(10*time.Second, good.Number)
	s.addNumbers("crash_loop: %v recovered_after=%.2fs", loop, time.Since(begun).Seconds())
	if time.Since(begun) > time.Second {
		s.Errorf("recovered %v after the good start", time.Since(begun))
	}
	if errors := s.front.Errors(); strings.Contains(errors, "AH00959") || strings.Contains(errors, "AH00940") {
		s.Errorf("Apache disabled its worker:\n%s", errors)
	}
}
