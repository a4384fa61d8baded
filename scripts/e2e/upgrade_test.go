//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// Another build of tideover takes the place of the one that runs, with all that
// it has: the same gunicorn goes on, and no client notices.
func TestUpgrade(t *testing.T) {
	variants := map[string]setup{
		"apache": {front: apache(testenv.Apache{}), gunicorn: testenv.Gunicorn{Class: "gthread", Args: []string{"--threads", "4"}}},
		"unix":   {unix: true, config: "upstream = \"unix\""},
		"socket": {},
		"port":   {},
	}
	servers := map[string]string{"socket": "uvicorn-socket", "port": "waitress-port"} // that open their socket themselves
	if *full {
		variants["nginx"] = setup{front: func(r *testenv.Env, back testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Nginx(back, testenv.ProxyConfig{})
		}}
		variants["direct"] = setup{}
	}
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			o.binary = r.env.Path("tideover")
			r.must(install(r, o.binary))
			o.release = testenv.Release{Number: 1, Import: 1}
			if server, ok := servers[name]; ok {
				o.command = r.serverCommand(server)
			}
			s := newFixture(r, o)
			s.startLoad(60)
			longest := time.Duration(0)
			for range times(2) {
				longest = max(longest, s.upgrade(o.binary))
			}
			s.reload()
			s.upgrade(o.binary)
			if len(o.command) == 0 { // a server of one process loses what it works on
				s.killMaster()
				s.upgrade(o.binary)
			}
			s.addNumbers("longest_upgrade=%.2fs", longest.Seconds())
			s.finish()
			s.shutdown()
		})
	}
}

// upgrade installs a binary and sends USR2. It returns how long that took, the
// requests of a second that were in flight included.
func (s *fixture) upgrade(binary string) (took time.Duration) {
	s.Helper()
	before, err := s.daemon.Status(s.timeout(10 * time.Second))
	s.must(err)
	s.event("upgrade", func() {
		s.must(install(s.row, binary))
		began := time.Now()
		s.must(s.daemon.Signal(syscall.SIGUSR2))
		s.must(testenv.Poll(s.timeout(30*time.Second), 10*time.Millisecond, func() error { return s.runsFrom(binary) }))
		took = time.Since(began)
		s.must(testenv.Poll(s.timeout(10*time.Second), 10*time.Millisecond, func() error {
			after, err := s.daemon.Status(s.timeout(10 * time.Second))
			if err == nil && (after.State != "running" || after.Pid != before.Pid || after.Generation != before.Generation) {
				err = fmt.Errorf("%s in generation %d with pid %d, not running in %d with %d", after.State, after.Generation, after.Pid, before.Generation, before.Pid)
			}
			return err
		}))
		if after := s.counter("answered"); after < before.Counters["answered"] {
			s.Errorf("%d answered, and %d before the upgrade", after, before.Counters["answered"])
		}
	})
	return took
}

// runsFrom is nil when the daemon is a process of what is installed now.
func (s *fixture) runsFrom(binary string) error {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", s.daemon.RolePid("supervisor")))
	if err == nil && exe != binary {
		err = errors.New("the daemon runs from " + exe)
	}
	return err
}

// install puts the binary that is tried at a path, in one step. Were it written here, a child started meanwhile by another row would
// have it open for writing for a moment, in which the kernel runs it not ("text file busy").
func install(r *row, path string) error {
	if out, err := exec.Command("cp", testenv.Binary(r.env.Root), path+".new").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return os.Rename(path+".new", path)
}

// An upgrade that finds the app down waits until it is up again, while requests
// are held.
func TestUpgradeWhileHeld(t *testing.T) {
	r := begin(t)
	binary := r.env.Path("tideover")
	r.must(install(r, binary))
	s := newFixture(r, setup{binary: binary, flags: loadFlags(), release: testenv.Release{Number: 1, Import: 3}})
	s.startLoad(60)
	for range times(2) {
		before, err := s.daemon.Status(s.timeout(10 * time.Second))
		s.must(err)
		s.event("kill -9 of the master, and an upgrade at once", func() {
			s.must(syscall.Kill(before.Pid, syscall.SIGKILL))
			s.must(install(r, binary))
			s.must(s.daemon.Signal(syscall.SIGUSR2))
			s.must(testenv.Poll(s.timeout(60*time.Second), 10*time.Millisecond, func() error { return s.runsFrom(binary) }))
			s.waitGeneration(before.Generation + 1)
		})
		s.resetBackoff()
	}
	s.finish()
	s.shutdown()
}

// An upgrade holds no request and closes no connection: idle ones and those with a request
// are used again, by the relay of the next build.
func TestUpgradeKeepsConnections(t *testing.T) {
	r := begin(t)
	binary := r.env.Path("tideover")
	r.must(install(r, binary))
	s := newFixture(r, setup{binary: binary, flags: loadFlags(), release: testenv.Release{Number: 1}, gunicorn: testenv.Gunicorn{Class: "gthread", Args: []string{"--threads", "8"}}})
	const idle = 1000
	busy := times(200)
	all := make([]*kept, idle+busy)
	for i := range all {
		c, err := keep(r.Context(), string(s.back))
		r.must(err)
		r.must(c.SetDeadline(time.Now().Add(2 * time.Minute)))
		t.Cleanup(func() { c.Close() })
		all[i] = c
	}
	for _, c := range all {
		r.must(asks(c, "/?before"))
	}
	s.startLoad(20)
	before, err := s.daemon.Status(s.timeout(10 * time.Second))
	r.must(err)
	r.must(install(r, binary))
	s.sendInFlight() // for a second
	r.must(s.daemon.Signal(syscall.SIGUSR2))
	for _, c := range all[idle:] {
		r.must(c.ask("/?during"))
	}
	r.must(testenv.Poll(s.timeout(30*time.Second), 10*time.Millisecond, func() error { return s.runsFrom(binary) }))
	for _, c := range all[idle:] {
		_, err := c.answer()
		r.must(err)
	}
	for _, c := range all {
		r.must(asks(c, "/?after"))
	}
	if said := s.daemon.Tail(1000); !strings.Contains(said, "upgrade started") || strings.Index(said, "ready") > strings.Index(said, "upgrade started") {
		t.Errorf("the log from before the upgrade is not whole:\n%s", said)
	}
	if held := s.counter("held") - before.Counters["held"]; held != 0 {
		t.Errorf("%d requests were held by an upgrade", held)
	}
	r.addNumbers("connections=%d held=0 closed=0", len(all))
	s.finish()
	s.shutdown()
}

// asks is one request on a kept connection, to its end.
func asks(c *kept, path string) error {
	if err := c.ask(path); err != nil {
		return err
	}
	_, err := c.answer()
	return err
}
