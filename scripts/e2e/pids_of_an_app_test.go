//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// forkWithoutEnd is a program that has ever more children.
const forkWithoutEnd = `
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(1000)
            os._exit(0)
    except OSError:
        time.sleep(0.1)
`

// An app forks without end, in a cgroup that systemd has delegated to tideover: it is refused more while
// the service has room, and another app is reloaded and restarted beside it, also by the supervisor that
// takes the place of one that was killed. Where the kernel has no limits for the cgroups of apps it takes
// all that there is: then the reload is refused. No request is lost either way.
func TestFaultAppForksWithoutEnd(t *testing.T) {
	r := begin(t)
	limit := newPidsLimit(r)
	if limit.v2 {
		limit.delegate()
	}
	python := filepath.Join(filepath.Dir(testenv.Gunicorn{}.Argv(r.env)[0]), "python")
	s := newFixture(r, setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}, within: limit.enter(),
		config: fmt.Sprintf("[app.leak]\nautostart = false\ncommand = %s\n", tomlArray([]string{python, "-c", forkWithoutEnd}))})
	s.waitWorkers()
	s.startLoad(100)
	if limit.dir != "" {
		limit.write("400")
	}
	call := func(want int, args ...string) {
		t.Helper()
		outcome, err := s.daemon.Call(s.timeout(operationTimeout), args...)
		r.must(err)
		if outcome.Exit != want {
			t.Errorf("%s: %v, want exit %d", strings.Join(args, " "), outcome, want)
		}
		s.events++
	}
	call(0, "start", "leak")
	want := 0
	if limit.dir != "" {
		limit.awaitRefused()
		if !limit.v2 {
			want = 7
		}
	}
	call(want, "reload", s.daemon.App)
	if limit.v2 {
		call(0, "restart", s.daemon.App)
		r.must(s.daemon.KillSupervisor(s.timeout(30 * time.Second)))
		call(0, "reload", s.daemon.App)
	}
	call(0, "stop", "leak")
	call(0, "reload", s.daemon.App)
	r.addNumbers("limit_of_the_app=%v", limit.v2)
	s.finish()
	s.shutdown()
}

// awaitRefused waits until the kernel has refused an app a process.
func (p pidsLimit) awaitRefused() {
	p.Helper()
	pattern := filepath.Join(p.dir, "pids.events")
	if p.v2 {
		pattern = filepath.Join(p.dir, "tideover-*-leak.*", "pids.events")
	}
	p.must(testenv.Poll(p.timeout(30*time.Second), 10*time.Millisecond, func() error {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && !strings.HasPrefix(string(text), "max 0") {
				return nil
			}
		}
		return errors.New("the app has got every process that it wanted")
	}))
}
