//go:build e2e

package e2e

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Every gunicorn that people run, with every worker class that people use.
func TestGunicorn(t *testing.T) {
	t.Parallel()
	quick := map[string]bool{"20.1.0-sync": true, "20.1.0-gevent": true, "23.0.0-gthread": true,
		"latest-sync": true, "latest-gthread": true, "latest-uvicorn": true}
	for _, version := range []string{"20.1.0", "23.0.0", "latest"} {
		for _, class := range []string{"sync", "gthread", "gevent", "uvicorn"} {
			if !sampled(quick[version+"-"+class]) {
				continue
			}
			t.Run(version+"-"+class, func(t *testing.T) {
				r := begin(t)
				g := testenv.Gunicorn{Version: version, Class: class, Workers: 3}
				if class == "uvicorn" {
					g = testenv.UvicornWorker(version)
				}
				s := newFixture(r, setup{front: apache(testenv.Apache{}), gunicorn: g, release: testenv.Release{Number: 1, Import: 1}})
				s.startLoad(60)
				for range times(2) {
					s.reload()
					s.restart()
				}
				s.finish()
				s.shutdown()
			})
		}
	}
}

// A gevent master takes the requests of its workers with it. What had been
// begun and may not be resent is a 502, and that alone; what came later waits
// and is answered.
func TestKillGeventMaster(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{
		front: apache(testenv.Apache{}), release: testenv.Release{Number: 1, Import: 0.3},
		gunicorn: testenv.Gunicorn{Class: "gevent", Workers: 2},
	})
	s.startLoad(60)
	posts := 0
	for range times(1) {
		before, err := s.daemon.Status(s.timeout(10 * time.Second))
		s.must(err)
		for range 3 {
			nonce := s.load.Send(loadgen.Kind{Name: "post in flight", Query: "s=2", Body: 300})
			s.must(s.app.Log.Wait(s.timeout(10*time.Second), "begin", nonce))
			posts++
		}
		s.must(syscall.Kill(before.Pid, syscall.SIGKILL))
		s.waitGeneration(before.Generation + 1)
		s.events++
		s.resetBackoff()
	}
	tally := s.load.Stop()
	s.report(tally)
	s.checkNothingTwice(s.app)
	s.addNumbers("posts_in_flight=%d", posts)
	if tally.Lost() != tally.Statuses[502] {
		s.Errorf("only a 502 is right for what was begun: %s\n%v", tally.Ways(), tally.Examples)
	}
	// The load's own POSTs of 0.1 s may be in flight too: six a second.
	if extra := tally.Lost() - posts; extra > 6*s.events {
		s.Errorf("%d requests lost, %d more than were in flight", tally.Lost(), extra)
	}
}
