//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// A deploy hook may rely on reload: when it says 0, the new code answers. The
// hook is a shell script, as users have it.
func TestDeployScript(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1, Import: 1}})
	s.startLoad(60)
	for range times(2) {
		next := s.app.Release()
		next.Number++
		script := fmt.Sprintf("set -e\ncat > release <<'END'\n%sEND\n%s -S %s reload %s\ncurl -sS --fail http://%s/echo\n",
			next, testenv.Binary(s.env.Root), s.daemon.Socket, s.daemon.App, s.front.Address)
		cmd := exec.CommandContext(s.timeout(operationTimeout), "sh", "-c", script)
		cmd.Dir = s.app.Dir
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("release=%d ", next.Number)) {
			s.Errorf("the hook for release %d: %v\n%s", next.Number, err, out)
		}
		s.must(s.app.Deploy(next))
		s.events++
	}
	s.finish()
}

// kill -HUP on the daemon reloads the app.
func TestHangup(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1, Import: 1}})
	s.startLoad(60)
	for range times(2) {
		s.event("HUP", func() {
			next, err := s.app.DeployNext()
			s.must(err)
			s.must(s.daemon.Signal(syscall.SIGHUP))
			s.waitRelease(20*time.Second, next.Number)
		})
	}
	s.finish()
	s.shutdown()
}

// The one-line migration: hold, run a command while nothing is in flight,
// release also after a failure, exit with the command's code.
func TestHeldMigration(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1}})
	s.startLoad(60)
	for i := range times(2) {
		code := i * 3
		s.event("migration", func() {
			migration := fmt.Sprintf("wc -l < requests.log > before; sleep 2; wc -l < requests.log > after; exit %d", code)
			outcome, err := s.daemon.Call(s.timeout(operationTimeout), "hold", s.daemon.App, "--for", "20s", "--",
				"sh", "-c", "cd "+s.app.Dir+" && "+migration)
			s.must(err)
			if outcome.Exit != code {
				s.Errorf("want the command's exit %d: %v", code, outcome)
			}
		})
		cmd := exec.Command("cmp", "before", "after")
		cmd.Dir = s.app.Dir
		if out, err := cmd.CombinedOutput(); err != nil {
			s.Errorf("a request was in the app during the migration: %s", out)
		}
	}
	s.finish()
}

// An operation that finds another one running is queued or, when told so, says
// that it is busy; two reloads at once are both told the truth.
func TestReloadsAtOnce(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1, Import: 1}})
	s.startLoad(60)
	for range times(1) {
		s.sendInFlight()
		before, err := s.daemon.Status(s.timeout(10 * time.Second))
		s.must(err)
		next, err := s.app.DeployNext()
		s.must(err)
		exits := make(chan testenv.Outcome, 5)
		for range 5 {
			go func() {
				outcome, _ := s.daemon.Call(s.timeout(operationTimeout), "reload", s.daemon.App)
				exits <- outcome
			}()
		}
		for range 5 {
			if outcome := <-exits; outcome.Exit != 0 {
				s.Errorf("one of five reloads: %v", outcome)
			}
		}
		if err := s.isRelease(next.Number); err != nil {
			s.Error(err)
		}
		now, err := s.daemon.Status(s.timeout(10 * time.Second))
		s.must(err)
		if made := now.Generation - before.Generation; made > 3 {
			s.Errorf("five reloads at once made %d generations", made)
		}
		s.events++
	}
	s.finish()
	s.shutdown()
}
