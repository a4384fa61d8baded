//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// soon are settings with which a dead generation is found within 3 s.
const soon = "live.interval = \"1s\"\nlive.timeout = \"500ms\"\nlive.failures = 3\n"

// shutsListener is the app with a path that shuts the listening socket of the process down, which
// is that of all its processes: connections are refused although all of them live.
const shutsListener = `
import os, socket
from shop import app as shop

def app(environ, start_response):
    if environ["PATH_INFO"] == "/shut":
        for fd in os.listdir("/proc/self/fd"):
            try:
                s = socket.socket(fileno=os.dup(int(fd)))
                if s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
    return shop(environ, start_response)
`

// closesListener is a configuration of gunicorn with which every process closes the listening socket
// when there is a file "close", the master last, and says so by a file. No worker goes on after it: one
// that finds no socket would end, and gunicorn with it.
const closesListener = `
import glob, os, signal, threading, time

def close(sockets):
    for s in sockets:
        os.close(s.sock.detach())
    open("closed.%d" % os.getpid(), "w").close()

def when_ready(server):
    def watch():
        while len(glob.glob("closed.*")) < 2:
            time.sleep(0.02)
        close(server.LISTENERS)
    threading.Thread(target=watch, daemon=True).start()

def post_worker_init(worker):
    def look(*_):
        if os.path.exists("close"):
            signal.setitimer(signal.ITIMER_REAL, 0) # or it would close them again
            close(worker.sockets)
            while True:
                time.sleep(3600)
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)

def worker_exit(server, worker):
    signal.setitimer(signal.ITIMER_REAL, 0)
`

// masterHangs is a configuration of gunicorn whose master hangs when a worker has died.
const masterHangs = `
import time

def child_exit(server, worker):
    time.sleep(3600)
`

// The main process lives, and no request is answered any more. Without a path nothing is looked at
// until a request waits; with one an idle app is looked at, too.
func TestADeadGenerationIsReplaced(t *testing.T) {
	t.Parallel()
	kill := func(signal syscall.Signal, workersOnly bool) func(*fixture) {
		return func(s *fixture) {
			now, err := s.daemon.Status(s.timeout(10 * time.Second))
			s.must(err)
			for _, pid := range s.appPids() {
				if pid != now.Pid || !workersOnly {
					syscall.Kill(pid, signal)
				}
			}
		}
	}
	shut := func(s *fixture) {
		s.client.Do(context.Background(), loadgen.Kind{Path: "/shut", Plain: true})
	}
	closeAll := func(s *fixture) {
		s.must(os.WriteFile(filepath.Join(s.app.Dir, "close"), nil, 0o644))
		var closed []string
		s.must(testenv.Poll(s.timeout(20*time.Second), 20*time.Millisecond, func() (err error) {
			closed, err = filepath.Glob(filepath.Join(s.app.Dir, "closed.*"))
			if err == nil && len(closed) != 3 {
				err = fmt.Errorf("closed by %v", closed)
			}
			return err
		}))
		for _, name := range append(closed, filepath.Join(s.app.Dir, "close")) { // the next generation is not to close it
			s.must(os.Remove(name))
		}
	}
	for name, c := range map[string]struct {
		setup  setup
		die    func(*fixture)
		cause  string
		idle   bool // no request is sent before the next generation is there
		longer bool // at full size only
	}{
		"stopped":            {setup{gunicorn: testenv.Gunicorn{Workers: 2}}, kill(syscall.SIGSTOP, false), "all of its processes are stopped", false, false},
		"stopped while idle": {setup{gunicorn: testenv.Gunicorn{Workers: 2}, config: "live.path = \"/live\"\n"}, kill(syscall.SIGSTOP, false), "all of its processes are stopped", true, true},
		"stopped unix":       {setup{gunicorn: testenv.Gunicorn{Workers: 2}, unix: true}, kill(syscall.SIGSTOP, false), "all of its processes are stopped", false, true},
		"listener shut":      {setup{gunicorn: testenv.Gunicorn{Workers: 2, App: "shuts:app"}, files: map[string]string{"shuts.py": shutsListener}}, shut, "none of its processes listens", false, false},
		"listener shut unix": {setup{gunicorn: testenv.Gunicorn{Workers: 2, App: "shuts:app"}, files: map[string]string{"shuts.py": shutsListener}, unix: true}, shut, "none of its processes listens", false, true},
		"listener closed":    {setup{gunicorn: testenv.Gunicorn{Workers: 2, Args: []string{"-c", "closes.py"}}, files: map[string]string{"closes.py": closesListener}}, closeAll, "none of its processes listens", false, false},
		"master hangs": {setup{gunicorn: testenv.Gunicorn{Workers: 2, Args: []string{"-c", "hangs.py"}}, files: map[string]string{"hangs.py": masterHangs}, config: "stop.timeout = \"1s\"\n"},
			kill(syscall.SIGKILL, true), "accept nothing, send nothing and use no CPU", false, false},
		"master hangs unix": {setup{gunicorn: testenv.Gunicorn{Workers: 2, Args: []string{"-c", "hangs.py"}}, files: map[string]string{"hangs.py": masterHangs}, config: "stop.timeout = \"1s\"\n", unix: true},
			kill(syscall.SIGKILL, true), "accept nothing, send nothing and use no CPU", false, true},
	} {
		if c.longer && !*full {
			continue
		}
		t.Run(name, func(t *testing.T) {
			c.setup.release = testenv.Release{Number: 1}
			c.setup.config += soon
			s := newFixture(begin(t), c.setup)
			s.waitWorkers()
			c.die(s)
			died := time.Now()
			if c.idle {
				s.waitGeneration(2)
			}
			s.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: 20, Mix: []loadgen.Kind{{Name: "get"}, {Name: "post", Body: 100}}})
			s.waitGeneration(2)
			took := time.Since(died)
			s.events++
			s.finish()
			boot := s.longestStart()
			if s.addNumbers("after=%.1fs boot=%.1fs", took.Seconds(), boot.Seconds()); took > 6*time.Second+boot {
				s.Errorf("the next generation was ready after %v, the longest start took %v", took, boot)
			}
			outcome, err := s.daemon.Call(s.timeout(10*time.Second), "status", s.daemon.App)
			s.must(err)
			if !strings.Contains(outcome.Stdout, c.cause) || !strings.Contains(outcome.Stdout, "last crash") {
				s.Errorf("status does not say %q:\n%s", c.cause, outcome.Stdout)
			}
			s.shutdown()
		})
	}
}

// appPids are the processes of the app.
func (s *fixture) appPids() (pids []int) {
	s.Helper()
	for _, line := range s.env.AppProcesses() {
		pid, err := strconv.Atoi(strings.Fields(line)[0])
		s.must(err)
		pids = append(pids, pid)
	}
	return pids
}

// Every worker is busy in a request for much longer than a death takes, clients wait in the backlog,
// and others have waited there and left. Nothing is replaced, and each that waited is answered.
func TestBusyWorkersAreLeftAlone(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"sync", "gthread"} {
		for _, path := range []string{"", "live.path = \"/live\"\n"} {
			if (class == "gthread" || path != "") && !*full {
				continue
			}
			name := class
			if path != "" {
				name += " path"
			}
			t.Run(name, func(t *testing.T) {
				seconds, busy := fullTimes(10, 60), 2
				g := testenv.Gunicorn{Workers: 2, Class: class, Args: []string{"--timeout", "300"}}
				if class == "gthread" { // of two workers one may take more than its threads work on
					g.Workers, busy = 1, 4
				}
				s := newFixture(begin(t), setup{gunicorn: g, release: testenv.Release{Number: 1}, config: soon + path})
				s.waitWorkers()
				s.client.Timeout = time.Duration(seconds+30) * time.Second
				s.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: 1, Mix: []loadgen.Kind{{Name: "get"}}})
				for range busy {
					nonce := s.load.Send(loadgen.Kind{Name: "long", Query: "s=" + strconv.Itoa(seconds)})
					s.must(s.app.Log.Wait(s.timeout(20*time.Second), "begin", nonce))
				}
				leaving, leave := context.WithTimeout(context.Background(), 2*time.Second)
				defer leave()
				for range 20 {
					go s.client.Do(leaving, loadgen.Kind{Name: "impatient"})
				}
				pause(s.row, time.Duration(seconds)*time.Second)
				s.finish()
				now, err := s.daemon.Status(s.timeout(10 * time.Second))
				s.must(err)
				if now.Generation != 1 {
					s.Errorf("generation %d serves: busy workers were not left alone", now.Generation)
				}
				s.shutdown()
			})
		}
	}
}
