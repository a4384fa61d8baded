//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// One of three workers is stopped, as by a debugger, and gunicorn kills it after its --timeout.
// The requests that it has accepted end with it; no other one does.
func TestFaultWorkerStopped(t *testing.T) {
	s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 3, Args: []string{"--timeout", "3"}}, release: testenv.Release{Number: 1}, flags: loadFlags()})
	s.startLoad(30)
	stops := fullTimes(1, 5)
	for range stops {
		s.waitWorkers()
		pid := s.someWorker()
		s.must(syscall.Kill(pid, syscall.SIGSTOP))
		s.must(testenv.Poll(s.timeout(15*time.Second), 50*time.Millisecond, func() error {
			if syscall.Kill(pid, 0) == nil {
				return fmt.Errorf("worker %d lives", pid)
			}
			return nil
		}))
		s.events++
	}
	s.finishLossy(2 * stops)
	s.shutdown()
}

// someWorker returns the pid of a child of gunicorn's main process.
func (s *fixture) someWorker() int {
	s.Helper()
	main := strconv.Itoa(s.daemonStatus().Pid)
	children, err := os.ReadFile(filepath.Join("/proc", main, "task", main, "children"))
	s.must(err)
	pids := strings.Fields(string(children))
	if len(pids) == 0 {
		s.Fatal("gunicorn has no worker")
	}
	pid, err := strconv.Atoi(pids[0])
	s.must(err)
	return pid
}

// Each worker class closes connections that were idle for a second, while clients that keep
// theirs send on them.
func TestFaultKeepAliveEnds(t *testing.T) {
	t.Parallel()
	for class, gunicorn := range classes("gthread") {
		t.Run(class, func(t *testing.T) {
			if class == "uvicorn" {
				gunicorn.Args = append(gunicorn.Args, "--keep-alive", "1")
			} else {
				gunicorn.Args = append(gunicorn.Args, "--keep-alive=1")
			}
			s := newFixture(begin(t), setup{gunicorn: gunicorn, release: testenv.Release{Number: 1}, flags: loadFlags()})
			s.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: 3, Mix: []loadgen.Kind{ // each upstream connection is idle for about as long
				{Name: "get, kept", Keep: true}, {Name: "post, kept", Body: 300, Keep: true}}})
			pause(s.row, time.Duration(fullTimes(5, 60))*time.Second)
			s.finish()
			s.shutdown()
		})
	}
}

// Clients of HTTP/1.0 and clients that keep their connection, over reloads, a restart and a
// kill -9 of the master.
func TestFaultOldProtocol(t *testing.T) {
	s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}, flags: loadFlags()})
	s.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: 40, Mix: []loadgen.Kind{
		{Name: "get 1.0", HTTP10: true}, {Name: "post 1.0", HTTP10: true, Body: 300}, {Name: "get, kept", Keep: true}, {Name: "post", Body: 900, Chunked: true}}})
	for range fullTimes(1, 4) {
		s.reload()
		s.operate("restart")
		s.waitWorkers()
		s.killMaster()
		s.resetBackoff()
	}
	s.finish()
	s.shutdown()
}

// The symlink of the release is replaced all the time while generations start from it.
func TestFaultReleaseSwapped(t *testing.T) {
	s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}, flags: loadFlags()})
	release := filepath.Join(s.app.Dir, "release")
	for _, name := range []string{"a", "b"} {
		s.must(os.WriteFile(release+"."+name, []byte(s.app.Release().String()), 0o644))
	}
	var swaps atomic.Int64
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				ended <- nil
				return
			case <-time.After(time.Millisecond):
			}
			next := release + ".next"
			if err := os.Symlink(release+"."+[]string{"a", "b"}[i%2], next); err != nil {
				ended <- err
				return
			}
			if err := os.Rename(next, release); err != nil {
				ended <- err
				return
			}
			swaps.Add(1)
		}
	}()
	s.startLoad(30)
	for range fullTimes(2, 8) {
		s.resetBackoff() // a reload
		s.events++
	}
	close(stop)
	s.must(<-ended)
	s.addNumbers("swaps=%d", swaps.Load())
	s.finish()
	s.shutdown()
}

// The release that runs is deleted: a reload fails, and the old generation serves on. When the
// release is there again a reload succeeds.
func TestFaultReleaseDeleted(t *testing.T) {
	s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}, flags: loadFlags()})
	s.waitWorkers()
	s.startLoad(30)
	for range fullTimes(1, 4) {
		program := filepath.Join(s.app.Dir, "shop.py")
		s.must(os.Rename(program, program+".deleted"))
		s.must(os.RemoveAll(filepath.Join(s.app.Dir, "__pycache__")))
		_, outcome, err := s.daemon.Operate(s.timeout(operationTimeout), "reload")
		s.must(err)
		if outcome.Exit != 7 {
			s.Errorf("want exit 7: %v", outcome)
		}
		s.must(s.isRelease(s.app.Release().Number))
		s.must(os.Rename(program+".deleted", program))
		s.reload()
		s.waitWorkers()
	}
	s.finish()
	s.shutdown()
}

// Uploads are held at once: those that fit into hold.buffer_total are answered by the next
// generation, and the others refused at once; those of clients that leave never reach the app.
func TestFaultUploadsHeld(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		body int
	}{{"1MB", 1 << 20}, {"60kB", 60_000}} {
		t.Run(c.name, func(t *testing.T) {
			s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1},
				config: "[app.shop.hold]\nlimit = 4000\ntimeout = \"60s\"\n"})
			n := fullTimes(50, 500)
			before := s.usage()
			s.hold(4 * time.Second)
			s.client.Timeout = 2 * time.Minute
			kinds := make([]loadgen.Kind, n)
			for i := range kinds {
				kinds[i] = loadgen.Kind{Name: "upload", Body: c.body}
			}
			var tally loadgen.Tally
			for _, a := range sendAll(map[string]*loadgen.Client{"": s.client}, kinds)[""] {
				tally.Ended++
				if a.Loss == "" {
					tally.Right++
				} else {
					s.Errorf("%d %s: %s", a.Status, a.Loss, a.Cause)
				}
				tally.Longest = max(tally.Longest, a.Waited)
			}
			s.measure(tally)
			s.checkNothingTwice(s.app)
			s.addNumbers("uploads=%d rss=%d->%dk", n, before.kilobytes, s.usage().kilobytes)
			s.shutdown()
		})
	}
}
