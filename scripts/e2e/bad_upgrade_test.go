//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// badProgram begins the names of copies of the test binary that pass the checks of an upgrade, and fail in
// the place of the supervisor. The program that they stand for lies beside them.
const badProgram = "bad-upgrade-"

// runBadProgram is such a program, if this process is one. It does not return then.
func runBadProgram() {
	exe, _ := os.Executable()
	kind, isOne := strings.CutPrefix(filepath.Base(exe), badProgram)
	if !isOne {
		return
	}
	if os.Args[0] != "tideover: supervisor" {
		err := syscall.Exec(filepath.Join(filepath.Dir(exe), "tideover"), os.Args, os.Environ())
		panic(err)
	}
	switch kind {
	case "exits":
		os.Exit(9)
	case "crashes":
		panic("a fault of the new program")
	case "hangs":
		<-time.After(time.Hour)
	}
}

// A new tideover that is none, or ends, crashes or hangs when it is to take over: the one before goes on, the
// caller is told why, and no client notices. The same holds while the log of the app cannot be opened.
func TestFaultBadUpgrade(t *testing.T) {
	r := begin(t)
	binary := r.env.Path("tideover")
	r.must(install(r, binary))
	s := newFixture(r, setup{binary: binary, release: testenv.Release{Number: 1}, config: "log.file = \"log/shop.log\"\n"})
	bad := map[string]string{"none": "is not a tideover", "exits": "ended before it had taken over: exit status 9", "crashes": "ended before it had taken over: exit status 2"}
	if *full {
		bad["hangs"] = "ended before it had taken over: killed by SIGKILL"
	}
	r.must(os.WriteFile(r.env.Path(badProgram+"none"), []byte("#!/bin/sh\necho no\n"), 0o755))
	exe, err := os.Executable()
	r.must(err)
	s.startLoad(60)
	before, err := s.daemon.Status(s.timeout(10 * time.Second))
	r.must(err)
	for kind, reason := range bad {
		path := r.env.Path(badProgram + kind)
		if kind != "none" {
			out, err := exec.Command("cp", exe, path).CombinedOutput()
			if err != nil {
				r.Fatalf("%v: %s", err, out)
			}
		}
		s.event("an upgrade to what "+kind, func() {
			outcome, err := s.daemon.Call(s.timeout(2*time.Minute), "upgrade", path)
			r.must(err)
			if outcome.Exit != 7 || !strings.Contains(outcome.Stderr, reason) {
				s.Errorf("an upgrade to what %s: %s", kind, outcome)
			}
		})
	}
	r.must(os.Rename(filepath.Join(s.app.Dir, "log"), filepath.Join(s.app.Dir, "log.former")))
	r.must(os.WriteFile(filepath.Join(s.app.Dir, "log"), nil, 0o600))
	s.event("an upgrade while the log cannot be opened", func() {
		outcome, err := s.daemon.Call(s.timeout(time.Minute), "upgrade")
		r.must(err)
		if outcome.Exit != 7 || !strings.Contains(outcome.Stderr, "not a directory") {
			s.Errorf("an upgrade while the log cannot be opened: %s", outcome)
		}
	})
	s.event("a kill -9 of the supervisor while the log cannot be opened", func() {
		r.must(s.daemon.KillSupervisor(s.timeout(30 * time.Second)))
	})
	r.must(os.RemoveAll(filepath.Join(s.app.Dir, "log")))
	r.must(os.Rename(filepath.Join(s.app.Dir, "log.former"), filepath.Join(s.app.Dir, "log")))
	s.event("an upgrade", func() {
		outcome, err := s.daemon.Call(s.timeout(time.Minute), "upgrade")
		r.must(err)
		if outcome.Exit != 0 {
			s.Errorf("an upgrade: %s", outcome)
		}
	})
	after, err := s.daemon.Status(s.timeout(10 * time.Second))
	r.must(err)
	if after.Pid != before.Pid || after.State != "running" || after.Generation != before.Generation {
		s.Errorf("%s, pid %d, generation %d; before: pid %d, generation %d", after.State, after.Pid, after.Generation, before.Pid, before.Generation)
	}
	s.finish()
	s.shutdown()
}
