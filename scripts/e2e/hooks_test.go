//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// A migration before every start, under load: while it runs the old code
// serves, or requests wait; when it fails, nothing has changed.
func TestHooks(t *testing.T) {
	r := begin(t)
	verdict := r.env.Path("verdict")
	r.must(os.WriteFile(verdict, []byte("0"), 0o644))
	hook := fmt.Sprintf(`echo "migrating for $TIDEOVER_REASON"; sleep 0.7; test $(cat %s) = 0 || { echo "no such table"; exit 1; }`, verdict)
	s := newFixture(r, setup{front: apache(testenv.Apache{}), gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1, Import: 0.5},
		config: fmt.Sprintf("ready.timeout = \"60s\"\nhold = { limit = 4000, timeout = \"60s\" }\n[app.shop.hooks]\nbefore_start = [\"sh\", \"-c\", %q]\nafter_reload = \"false\"", hook)})
	s.startLoad(50)
	for range times(2) {
		s.reload()
	}
	s.restart()
	s.killMaster()
	s.waitWorkers()
	s.event("reload with a migration that fails", func() {
		before := s.app.Release()
		_, err := s.app.DeployNext()
		s.must(err)
		s.must(os.WriteFile(verdict, []byte("1"), 0o644))
		result, outcome, err := s.daemon.Operate(s.timeout(operationTimeout), "reload")
		s.must(err)
		if outcome.Exit != 7 || strings.Join(result.ChildOutput, "|") != "migrating for reload|no such table" {
			s.Errorf("want exit 7 and the hook's last words: %v", outcome)
		}
		if err := s.isRelease(before.Number); err != nil {
			s.Errorf("after a migration that failed: %v", err)
		}
	})
	s.must(os.WriteFile(verdict, []byte("0"), 0o644))
	s.reload()
	s.finish()
	s.shutdown()
}

// As the first process of a container tideover reaps every orphan, and the
// container ends with the app that has failed; its name is in the log.
func TestFirstProcess(t *testing.T) {
	r := begin(t)
	worker := `for i in 1 2 3 4 5; do (setsid sleep 0.2 &); done; sleep 2; echo "zombies: $(cat /proc/[0-9]*/stat | awk '$3 == "Z"' | wc -l)"; exit 3`
	address, err := testenv.Address()
	r.must(err)
	config, err := r.env.Write("tideover.toml", fmt.Sprintf(`
[daemon]
exit_when = "failed"
[app.web]
command = %s
listen = %q
directory = %q
[app.worker]
command = ["sh", "-c", %q]
ready.after = "1s"
restart = "never"
`, tomlArray(testenv.Gunicorn{Workers: 1}.Argv(r.env)), address, r.shop("web").Dir, worker))
	r.must(err)
	p, err := r.env.Start(testenv.Command{Name: "container", App: true, Argv: []string{
		"unshare", "--pid", "--fork", "--mount-proc", testenv.Binary(r.env.Root), "-S", r.env.Path("control.sock"), "run", "-c", config}})
	r.must(err)
	began := time.Now()
	select {
	case <-p.Exited():
	case <-r.timeout(operationTimeout).Done():
		r.Fatalf("the container does not end: %s", p.Tail(20))
	}
	words := p.Tail(100)
	if p.Code() != 1 || !strings.Contains(words, "worker has failed: the main process ended: exit status 3") {
		r.Errorf("it ended with %d: %s", p.Code(), words)
	}
	if !strings.Contains(words, "zombies: 0\n") {
		r.Errorf("orphans were not collected: %s", words)
	}
	r.checkNoneLeft()
	r.addNumbers("exit=%d after=%.1fs", p.Code(), time.Since(began).Seconds())
}

// shop makes one, with the usual code.
func (r *row) shop(name string) *testenv.App {
	r.Helper()
	s, err := r.env.NewApp(name, testenv.Release{Number: 1})
	r.must(err)
	return s
}
