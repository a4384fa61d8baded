//go:build e2e

package e2e

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// tideover does not run for longer than hold.timeout in the middle of a restart (SIGSTOP, a frozen
// machine). No generation could be started in that time, so no request expires for it.
func TestStoppedDaemonExpiresNoRequest(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{release: testenv.Release{Number: 1, Import: 1}, flags: flags("--hold-timeout", "6s", "--hold-limit", "4000")})
	s.startLoad(50)
	restarted := make(chan testenv.Outcome, 1)
	go func() {
		_, outcome, _ := s.daemon.Operate(s.timeout(operationTimeout), "restart")
		restarted <- outcome
	}()
	q := newQueue(s)
	s.must(testenv.Poll(s.timeout(20*time.Second), 5*time.Millisecond, func() error { return q.some() }))
	s.must(s.daemon.Signal(syscall.SIGSTOP))
	<-time.After(8 * time.Second)
	s.must(s.daemon.Signal(syscall.SIGCONT))
	if outcome := <-restarted; outcome.Exit != 0 {
		s.Errorf("restart: %v", outcome)
	}
	s.events++
	if tally := s.finish(); tally.Longest < 8*time.Second {
		s.Errorf("no request waited for longer than %v", tally.Longest)
	}
}

// some fails while no request is held.
func (q *queue) some() error {
	if q.held() == 0 {
		return errors.New("no request is held")
	}
	return nil
}
