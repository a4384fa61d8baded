//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// The gunicorn master is killed again and again. The app answers after each start, so no
// pause between the starts grows: no request waits longer than a start and 2 s, and none is
// lost. The quick size has more kills in a minute than cost no pause.
func TestFrequentCrashesLoseNothing(t *testing.T) {
	t.Parallel()
	type crashes struct {
		every time.Duration
		kills int
	}
	all := []crashes{{1500 * time.Millisecond, 13}}
	if *full {
		all = []crashes{{4 * time.Second, 60}, {12 * time.Second, 20}} // 4 minutes each
	}
	for _, c := range all {
		t.Run(fmt.Sprint("every-", c.every), func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{release: testenv.Release{Number: 1, Import: 0.3}, gunicorn: testenv.Gunicorn{Workers: 2}})
			s.startLoad(20)
			for range c.kills {
				next := time.Now().Add(c.every)
				s.waitGeneration(s.killRunningMaster() + 1)
				pause(r, max(minLife, time.Until(next)))
			}
			tally := s.finish()
			boot := s.longestStart()
			s.addNumbers("boot=%.1fs", boot.Seconds())
			if tally.Longest > boot+2*time.Second {
				s.Errorf("a request waited %v, the longest start took %v", tally.Longest, boot)
			}
			s.shutdown()
		})
	}
}

// minLife is how long the app answers at least between two kills, also on a machine on which
// a start takes longer than the time between them: the held requests are answered meanwhile.
const minLife = 700 * time.Millisecond

// killRunningMaster kills gunicorn's main process and returns its generation.
func (s *fixture) killRunningMaster() int {
	s.Helper()
	s.waitGeneration(1)
	now, err := s.daemon.Status(s.timeout(10 * time.Second))
	s.must(err)
	s.must(syscall.Kill(now.Pid, syscall.SIGKILL))
	s.events++
	return now.Generation
}

var readyAfter = regexp.MustCompile(`after_s"?[=:]([0-9.]+)`)

// longestStart returns the longest time that a generation took until it was ready, as the
// daemon has logged it.
func (s *fixture) longestStart() time.Duration {
	s.Helper()
	longest := 0.0
	for _, m := range readyAfter.FindAllStringSubmatch(s.daemon.Tail(1_000_000), -1) {
		seconds, err := strconv.ParseFloat(m[1], 64)
		s.must(err)
		longest = max(longest, seconds)
	}
	if longest == 0 {
		s.Error("the daemon has logged no start")
	}
	return time.Duration(longest * float64(time.Second))
}
