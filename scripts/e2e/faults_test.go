//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// classes are the worker classes of a row: one at the quick size, at full size all.
func classes(quick string) map[string]testenv.Gunicorn {
	all := map[string]testenv.Gunicorn{
		"sync":    {Workers: 3},
		"gthread": {Class: "gthread", Workers: 3},
		"gevent":  {Class: "gevent", Workers: 3},
		"uvicorn": testenv.UvicornWorker("latest"),
	}
	if *full {
		return all
	}
	return map[string]testenv.Gunicorn{quick: all[quick]}
}

// fullTimes returns quick, or at full size the other.
func fullTimes(quick, whole int) int {
	if *full {
		return whole
	}
	return quick
}

// finishLossy ends the load of a row in which requests in flight may be lost: at most max, and
// only by a 502 or a response that is visibly cut.
func (s *fixture) finishLossy(limit int) {
	s.Helper()
	tally := s.load.Stop()
	s.report(tally)
	s.checkNothingTwice(s.app)
	if other := tally.Lost() - tally.Statuses[502] - tally.Losses[loadgen.Truncated]; other > 0 || tally.Lost() > limit {
		s.Errorf("%d of %d requests lost, at most %d are in flight: %s\n%s", tally.Lost(), tally.Ended, limit, tally.Ways(), strings.Join(tally.Examples, "\n"))
	}
}

// The workers of a sync or gthread gunicorn finish what they have; those of the others may end
// with their master. What comes later waits for the next generation.
func TestFaultMasterKilled(t *testing.T) {
	t.Parallel()
	for class, gunicorn := range classes("gthread") {
		t.Run(class, func(t *testing.T) {
			s := newFixture(begin(t), setup{gunicorn: gunicorn, release: testenv.Release{Number: 1, Import: 1}, flags: loadFlags()})
			s.startLoad(60)
			kills := fullTimes(1, 4)
			for range kills {
				s.waitWorkers()
				before, err := s.daemon.Status(s.timeout(10 * time.Second))
				s.must(err)
				s.must(syscall.Kill(before.Pid, syscall.SIGKILL))
				s.waitGeneration(before.Generation + 1)
				s.events++
				s.resetBackoff()
			}
			if class == "sync" || class == "gthread" {
				s.finish()
			} else {
				s.finishLossy(6 * kills)
			}
			s.shutdown()
		})
	}
}

// With a worker only what it works on ends, and a request that may be sent again does not.
func TestFaultWorkersKilled(t *testing.T) {
	t.Parallel()
	for class, gunicorn := range classes("sync") {
		t.Run(class, func(t *testing.T) {
			s := newFixture(begin(t), setup{gunicorn: gunicorn, release: testenv.Release{Number: 1}, flags: loadFlags()})
			s.startLoad(60)
			kills := fullTimes(4, 15)
			for range kills {
				s.killOneWorker()
				s.events++
				pause(s.row, time.Second)
			}
			s.finishLossy(4 * kills)
			s.shutdown()
		})
	}
}

// usage is what the processes of tideover have of the machine.
type usage struct{ descriptors, kilobytes int }

func (s *fixture) usage() (u usage) {
	s.Helper()
	for _, pid := range s.daemon.Processes() {
		u.descriptors += s.descriptors(pid)
		u.kilobytes += s.memory(pid)
	}
	return u
}

// descriptors is the number of open descriptors of a process.
func (s *fixture) descriptors(pid int) int {
	s.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	s.must(err)
	return len(fds)
}

// usageWithoutClients is usage once no connection of a client is left.
func (s *fixture) usageWithoutClients() (u usage) {
	s.Helper()
	s.client.Close()
	s.must(testenv.Poll(s.timeout(20*time.Second), 500*time.Millisecond, func() error {
		before := u
		if u = s.usage(); u.descriptors != before.descriptors {
			return fmt.Errorf("%d descriptors, %d a moment before", u.descriptors, before.descriptors)
		}
		return nil
	}))
	return u
}

// checkUsage fails the row when the daemon keeps more descriptors than before, or much more
// memory, after the load.
func (s *fixture) checkUsage(before usage) {
	s.Helper()
	s.client.Close()
	var after usage
	err := testenv.Poll(s.timeout(10*time.Second), 200*time.Millisecond, func() error {
		if after = s.usage(); after.descriptors > before.descriptors || after.kilobytes > before.kilobytes+(16<<10) {
			return fmt.Errorf("the daemon had %+v and has %+v", before, after)
		}
		return nil
	})
	s.addNumbers("fds=%d->%d rss=%d->%dk", before.descriptors, after.descriptors, before.kilobytes, after.kilobytes)
	if err != nil {
		s.Error(err)
	}
}

// The old generation serves on and nothing is left of the broken ones.
func TestFaultBrokenDeploys(t *testing.T) {
	s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}, flags: loadFlags()})
	s.waitWorkers()
	before, usage := s.daemonStatus(), s.usageWithoutClients()
	s.startLoad(40)
	for range fullTimes(3, 50) {
		s.failedReload("raise")
	}
	s.finish()
	if now := s.daemonStatus(); now.Pid != before.Pid || now.Generation != before.Generation {
		s.Errorf("pid %d, generation %d; want %d, %d", now.Pid, now.Generation, before.Pid, before.Generation)
	}
	s.checkUsage(usage)
	s.shutdown()
}

func (s *fixture) daemonStatus() testenv.AppStatus {
	s.Helper()
	now, err := s.daemon.Status(s.timeout(10 * time.Second))
	s.must(err)
	return now
}

func TestFaultManyReloads(t *testing.T) {
	s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}, flags: loadFlags()})
	s.resetBackoff() // a reload without a load
	usage := s.usageWithoutClients()
	s.startLoad(40)
	for range fullTimes(4, 120) {
		s.reload()
	}
	s.finish()
	s.checkUsage(usage)
	s.shutdown()
}

// removalRate is the load while files of sockets are removed, in requests a second.
const removalRate = 60

// startForRemoval starts a fixture and a load, for removeFiles.
func startForRemoval(t *testing.T, o setup) *fixture {
	o.gunicorn.Workers, o.release = 2, testenv.Release{Number: 1}
	s := newFixture(begin(t), o)
	s.startLoad(removalRate)
	return s
}

// removeFiles removes files of sockets under load until found succeeds again, several times, and
// wants at most this many refused requests for each time, and no other lost one.
func (s *fixture) removeFiles(lost int, files func() []string, found func() error) {
	s.Helper()
	before := s.daemonStatus()
	removals := times(2)
	for range removals {
		for _, file := range files() {
			if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
				s.Fatal(err)
			}
		}
		pause(s.row, 200*time.Millisecond)
		s.must(testenv.Poll(s.timeout(10*time.Second), 20*time.Millisecond, found))
		pause(s.row, 2*time.Second)
		s.events++
	}
	tally := s.load.Stop()
	s.report(tally)
	s.checkNothingTwice(s.app)
	if tally.Lost() != tally.Losses[loadgen.Refused] || tally.Lost() > lost*removals {
		s.Errorf("%d of %d requests lost, want at most %d refused ones: %s\n%s", tally.Lost(), tally.Ended, lost*removals, tally.Ways(), strings.Join(tally.Examples, "\n"))
	}
	if now := s.daemonStatus(); now.Generation != before.Generation {
		s.Errorf("generation %d serves, want %d", now.Generation, before.Generation)
	}
	s.resetBackoff()
	s.must(s.isRelease(1))
	s.shutdown()
}

// privateFiles are the files of private sockets.
func (s *fixture) privateFiles() []string {
	s.Helper()
	found, err := filepath.Glob(s.env.Path(s.daemon.App + ".*.sock"))
	s.must(err)
	return found
}

// A cleaner of temporary files removes the files of sockets on which servers still listen.
func TestFaultSocketRemoved(t *testing.T) {
	t.Parallel()
	t.Run("public", func(t *testing.T) {
		s := startForRemoval(t, setup{unix: true})
		s.removeFiles(2*removalRate, func() []string { return []string{string(s.back)} }, // inotify says it; a busy machine is slow
			func() error { return s.isRelease(1) })
	})
	t.Run("private", func(t *testing.T) {
		s := startForRemoval(t, setup{unix: true})
		if files := s.privateFiles(); len(files) != 1 {
			s.Fatalf("private sockets: %v", files)
		}
		s.removeFiles(0, s.privateFiles, func() error { return s.isRelease(1) })
	})
	t.Run("control", func(t *testing.T) {
		s := startForRemoval(t, setup{})
		s.removeFiles(0, func() []string { return []string{s.daemon.Socket, s.daemon.Socket + ".lock"} }, func() error {
			_, err := s.daemon.Status(s.timeout(10 * time.Second))
			return err
		})
	})
}

// An upgrade begins while the file of the private socket is missing, and those of the others
// were missing a moment before.
func TestFaultSocketRemovedBeforeAnUpgrade(t *testing.T) {
	r := begin(t)
	binary := r.env.Path("tideover")
	r.must(install(r, binary))
	s := newFixture(r, setup{unix: true, binary: binary, gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}})
	for range times(1) {
		for _, file := range append(s.privateFiles(), string(s.back), s.daemon.Socket, s.daemon.Socket+".lock") {
			if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
				s.Fatal(err)
			}
		}
		s.waitRelease(10*time.Second, 1)
		s.must(testenv.Poll(s.timeout(10*time.Second), 20*time.Millisecond, func() error {
			_, err := s.daemon.Status(s.timeout(10 * time.Second))
			return err
		}))
		s.startLoad(removalRate)
		s.upgrade(binary)
		s.finish()
	}
	s.resetBackoff()
	s.must(s.isRelease(1))
	s.shutdown()
}

// The state file cannot be replaced, as on a full disk, while generations start; then tideover
// is killed. The next one ends their processes before it starts its own.
func TestFaultStateCannotBeSaved(t *testing.T) {
	s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}})
	state := strings.TrimSuffix(s.daemon.Socket, ".sock") + ".json"
	s.must(os.Remove(state))
	s.must(os.MkdirAll(filepath.Join(state, "not empty"), 0o700))
	s.startLoad(40)
	for range times(2) {
		s.reload()
	}
	s.finish()
	old := s.env.AppProcesses()
	s.killDaemon()
	s.must(os.RemoveAll(state))
	s.must(s.daemon.StartAgain())
	s.waitRelease(40*time.Second, s.app.Release().Number)
	for _, process := range s.env.AppProcesses() {
		if slices.Contains(old, process) {
			s.Errorf("of the killed daemon's processes there is still %s", process)
		}
	}
	s.addNumbers("before=%d", len(old))
	s.shutdown()
}

// What is refused, held or in flight at that moment is lost; what comes later waits.
func TestFaultDaemonKilled(t *testing.T) {
	s := newFixture(begin(t), setup{release: testenv.Release{Number: 1, Import: 1}, flags: loadFlags()})
	s.startLoad(40)
	for range fullTimes(1, 5) {
		s.killDaemon()
		s.must(s.daemon.StartAgain())
		s.waitRelease(40*time.Second, 1)
		window := s.load.Open()
		pause(s.row, 2*time.Second)
		if tally := window.Close(); tally.Lost() > 0 {
			s.Errorf("after the start %d requests were lost: %s", tally.Lost(), tally.Ways())
		}
		s.events++
	}
	s.report(s.load.Stop())
	s.checkNothingTwice(s.app)
	s.shutdown()
}

// Workers that end by themselves take no request with them.
func TestFaultMaxRequests(t *testing.T) {
	t.Parallel()
	for class, gunicorn := range classes("sync") {
		t.Run(class, func(t *testing.T) {
			gunicorn.Args = append(gunicorn.Args, "--max-requests", "5")
			s := newFixture(begin(t), setup{gunicorn: gunicorn, release: testenv.Release{Number: 1}, flags: loadFlags()})
			s.startLoad(10) // two workers are started each second
			pause(s.row, time.Duration(fullTimes(5, 60))*time.Second)
			if class == "uvicorn" { // it closes connections with a request that it has not read
				s.finishLossy(10)
			} else {
				s.finish()
			}
			s.shutdown()
		})
	}
}
