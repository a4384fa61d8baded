//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// A configuration that has lost its apps, by a full disk or an interrupted copy, changes nothing
// under load: apply says exit 5, HUP goes on with what is there.
func TestFaultEmptyConfiguration(t *testing.T) {
	t.Parallel()
	all := map[string]string{"empty": "", "comment": "# to be filled\n", "daemon": "[daemon]\nlog_level = \"info\"\n"}
	for name, text := range all {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1},
				config: "hold.timeout = \"30s\"\n"})
			path := filepath.Join(r.env.Dir, "tideover.toml")
			before, err := os.ReadFile(path)
			r.must(err)
			was := s.daemonStatus()
			s.startLoad(30)
			for range fullTimes(1, 3) {
				r.must(os.WriteFile(path, []byte(text), 0o600))
				outcome, err := s.daemon.Call(s.timeout(operationTimeout), "apply")
				r.must(err)
				if outcome.Exit != 5 {
					s.Errorf("apply: want exit 5: %v", outcome)
				}
				told := strings.Count(s.daemon.Tail(10_000), "signal")
				r.must(s.daemon.Signal(syscall.SIGHUP))
				r.must(testenv.Poll(s.timeout(10*time.Second), 20*time.Millisecond, func() error {
					if strings.Count(s.daemon.Tail(10_000), "signal") == told {
						return os.ErrDeadlineExceeded
					}
					return nil
				}))
				pause(r, 500*time.Millisecond)
				s.events += 2
			}
			if now := s.daemonStatus(); now.Pid != was.Pid || now.State != "running" {
				s.Errorf("%s with pid %d, want running with %d", now.State, now.Pid, was.Pid)
			}
			r.must(os.WriteFile(path, before, 0o600))
			s.finish()
			s.shutdown()
		})
	}
}
