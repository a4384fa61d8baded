//go:build e2e

package e2e

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
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
	s.must(s.daemon.SignalAll(syscall.SIGSTOP))
	<-time.After(8 * time.Second)
	s.must(s.daemon.SignalAll(syscall.SIGCONT))
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

// Neither tideover nor the app runs for longer than timeout, ready.timeout and drain.timeout, as on
// a suspended machine. tideover is the first that runs again. Nothing times out: an app could not
// have answered, started or finished in that time.
func TestSuspendedMachineTimesOutNothing(t *testing.T) {
	t.Parallel()
	for _, during := range []string{"response", "start", "drain", "stop"} {
		if !sampled(during == "response" || during == "drain") {
			continue
		}
		t.Run(during, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{release: testenv.Release{Number: 1, Import: 2}, gunicorn: testenv.Gunicorn{Workers: 2, Class: "gthread", Args: []string{"--threads", "16"}},
				config: "timeout = \"4s\"\ndrain.timeout = \"4s\"\nready.timeout = \"6s\"\nstop.timeout = \"5s\"\n"})
			s.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: 1, Mix: []loadgen.Kind{{Name: "get", Query: "s=2"}, {Name: "post", Body: 100, Query: "s=2"}}})
			s.must(s.app.Log.Wait(s.timeout(20*time.Second), "begin", s.load.Send(loadgen.Kind{Name: "long", Query: "s=3"})))
			operated := make(chan testenv.Outcome, 1)
			operate := func(verb string, args ...string) {
				_, err := s.app.DeployNext()
				s.must(err)
				go func() {
					_, outcome, _ := s.daemon.Operate(s.timeout(operationTimeout), verb, args...)
					operated <- outcome
				}()
			}
			switch during {
			case "response":
				operated <- testenv.Outcome{}
			case "start":
				operate("reload", "--wait-drain")
				s.must(s.app.Log.Wait(s.timeout(20*time.Second), "import", "2"))
			case "drain": // what the old generation has takes longer than the new one's start
				operate("reload", "--wait-drain")
				s.must(s.app.Log.Wait(s.timeout(20*time.Second), "import", "2"))
				s.must(s.app.Log.Wait(s.timeout(20*time.Second), "begin", s.load.Send(loadgen.Kind{Name: "long", Query: "s=3"})))
				s.waitGeneration(2)
			case "stop":
				operate("restart")
				q := newQueue(s)
				s.must(testenv.Poll(s.timeout(20*time.Second), 5*time.Millisecond, func() error { return q.some() }))
			}
			s.suspend(9 * time.Second)
			if outcome := <-operated; outcome.Exit != 0 {
				s.Errorf("%v", outcome)
			}
			s.events++
			s.finish()
			s.shutdown()
		})
	}
}

// suspend stops tideover and the processes of the app for that long.
func (s *fixture) suspend(d time.Duration) {
	s.Helper()
	s.must(s.daemon.SignalAll(syscall.SIGSTOP))
	var app []int
	for _, line := range s.env.AppProcesses() {
		pid, err := strconv.Atoi(strings.Fields(line)[0])
		s.must(err)
		syscall.Kill(pid, syscall.SIGSTOP)
		app = append(app, pid)
	}
	<-time.After(d)
	s.must(s.daemon.SignalAll(syscall.SIGCONT))
	<-time.After(200 * time.Millisecond)
	for _, pid := range app {
		syscall.Kill(pid, syscall.SIGCONT)
	}
}
