//go:build e2e

package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// Front-ends keep idle connections to tideover, each for a time of its own, and
// then send a POST on one. tideover never closes first.
func TestIdleConnectionsStayOpen(t *testing.T) {
	waits := []time.Duration{2 * time.Second, 16 * time.Second}
	if *full {
		waits = append(waits, 61*time.Second, 121*time.Second)
	}
	r := begin(t)
	s := newFixture(r, setup{release: testenv.Release{Number: 1}})
	by := poolingFronts()
	by["apache"] = apache(testenv.Apache{})
	by["caddy"] = strictFronts(r.unusedAddress())["caddy"]
	clients := s.startFronts(by)
	requests := 0
	for _, wait := range waits {
		pause(r, wait)
		for name, answers := range sendAll(clients, []loadgen.Kind{{Name: "post", Body: 300}}) {
			requests++
			if a := answers[0]; a.Loss != "" {
				s.Errorf("%s after %v idle: %s %s", name, wait, a.Loss, a.Cause)
			}
		}
	}
	lost := s.raceLoop(clients)
	s.addNumbers("requests=%d waits=%v race_lost=%d", requests, waits, lost)
}

// raceLoop sends POSTs with pauses around the short idle timeouts that servers
// have: half a second to three seconds.
func (s *fixture) raceLoop(clients map[string]*loadgen.Client) int {
	s.Helper()
	lost := 0
	for i := range size(6, 120) {
		pause(s.row, time.Duration(500+i*97%2500)*time.Millisecond)
		for name, answers := range sendAll(clients, []loadgen.Kind{{Name: "post", Body: 300}, {Name: "get"}}) {
			for _, a := range answers {
				if a.Loss != "" {
					lost++
					s.Errorf("%s: %s %s", name, a.Loss, a.Cause)
				}
			}
		}
	}
	return lost
}

// While the daemon exits, each keep-alive client behind an Apache with pooled
// connections gets an answer, and none a 502 or a closed connection.
func TestExitAnswersEveryClient(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1}})
	s.startLoad(50, loadgen.Kind{Name: "get", Keep: true}, loadgen.Kind{Name: "post", Body: 300, Keep: true})
	rounds := 1
	if *full {
		rounds = 10
	}
	for range rounds {
		pause(r, 2*time.Second)
		s.must(s.daemon.Signal(syscall.SIGTERM))
		select {
		case <-s.daemon.Exited():
		case <-s.timeout(operationTimeout).Done():
			s.Fatal("the daemon does not end")
		}
		s.checkNoneLeft()
		s.must(s.daemon.StartAgain())
		s.waitRelease(30*time.Second, 1)
		s.events++
	}
	tally := s.load.Stop()
	s.report(tally)
	if tally.Lost() != tally.Statuses[503] {
		s.Errorf("only a 503 is right while the daemon is away: %s\n%s", tally.Ways(), strings.Join(tally.Examples, "\n"))
	}
	if tally.Right == 0 || tally.Lost() == 0 {
		s.Errorf("the load did not see the exit: %v", tally)
	}
}
