//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// The cases in which supervisord lost requests. The quick ones run again under
// supervisord beside tideover, and must lose requests again.
func TestSupervisordFailures(t *testing.T) {
	t.Parallel()
	for _, trial := range []struct {
		name string
		run  func(*row)
	}{
		{"SlowRequest", trySlowRequest},
		{"BrokenDeploy", tryBrokenDeploy},
		{"SymlinkedRelease", trySymlinkedRelease},
		{"ClientKilled", tryClientKilled},
		{"ParallelRestarts", tryParallelRestarts},
		{"StuckLogReader", tryStuckLogReader},
		{"DaemonKilled", tryDaemonKilled},
	} {
		t.Run(trial.name, func(t *testing.T) { trial.run(begin(t)) })
	}
}

// A restart with default settings, during a request that takes longer than
// supervisord's ten seconds: it is answered, and so are all that arrive
// meanwhile. Under supervisord the site was down for fourteen seconds.
func trySlowRequest(r *row) {
	s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1, Import: 0.3}})
	slow := s.send(loadgen.Kind{Name: "slow", Query: "s=14"})
	s.startLoad(10)
	next, err := s.app.DeployNext()
	s.must(err)
	result, outcome, err := s.daemon.Operate(s.timeout(90*time.Second), "restart")
	s.must(err)
	if a := <-slow.done; outcome.Exit != 0 || a.Loss != "" {
		s.Errorf("%v\nthe slow request: %s %s", outcome, a.Loss, a.Cause)
	}
	s.must(s.isRelease(next.Number))
	s.addNumbers("held=%d held_max=%.1fs", result.Requests.Held, result.Requests.HeldMaxS)
	s.finish()
	s.shutdown()
}

// New code that fails after two seconds of import, when supervisord has called
// it running already.
func tryBrokenDeploy(r *row) {
	s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1, Import: 2}})
	s.startLoad(20)
	s.failedReload("raise")
	s.finish()
	s.shutdown()

	control, client := startSupervised(r, testenv.Release{Number: 1, Import: 2})
	r.must(control.shop.DeployBroken("raise"))
	out, err := control.Ctl("restart", "shop")
	status, statusErr := control.Ctl("status", "shop")
	a := client.Do(r.Context(), loadgen.Kind{})
	r.addNumbers("| supervisord: restart_said=%q status=%q client=%q", firstWords(out, 4), firstWords(status, 2), a.Loss)
	if err != nil || statusErr != nil || a.Loss == "" {
		r.Errorf("the control group is honest: %v, %v, %s", err, statusErr, a.Loss)
	}
}

func firstWords(text string, n int) string {
	words := strings.Fields(text)
	return strings.Join(words[:min(n, len(words))], " ")
}

// control is supervisord with the shop.
type control struct {
	*testenv.Supervisord
	shop *testenv.App
}

// startSupervised starts the shop under supervisord and waits until it answers.
func startSupervised(r *row, release testenv.Release) (control, *loadgen.Client) {
	r.Helper()
	shop, err := r.env.NewApp("control", release)
	r.must(err)
	address, err := testenv.Address()
	r.must(err)
	supervisord, err := r.env.Supervisord(shop, testenv.Gunicorn{Bind: address, Workers: 1}.Argv(r.env))
	r.must(err)
	client := &loadgen.Client{Address: address, Prefix: "c"}
	r.must(waitAnswer(r, client))
	return control{supervisord, shop}, client
}

// A release is a symlink that is switched: a reload, and the new one answers.
// gunicorn's own HUP, which is what one has under supervisord, stays in the old
// directory.
func trySymlinkedRelease(r *row) {
	address, err := testenv.Address()
	r.must(err)
	for number := 1; number <= 2; number++ {
		_, err := r.env.NewApp(fmt.Sprintf("releases/%d", number), testenv.Release{Number: number})
		r.must(err)
	}
	current := r.env.Path("current")
	r.must(os.Symlink("releases/1", current))
	shop := &testenv.App{Dir: current}
	s := &fixture{row: r, app: shop, workers: 2, client: &loadgen.Client{Address: address, Prefix: "n"}}
	path, err := r.env.Write("tideover.toml", fmt.Sprintf("[app.shop-trial]\ncommand = %s\nlisten = %q\ndirectory = %q\n",
		tomlArray(testenv.Gunicorn{Workers: 2}.Argv(r.env)), address, current))
	r.must(err)
	s.daemon, err = r.env.Tideover(shop, testenv.RunOptions{Name: "shop-trial", Flags: []string{"-c", path}})
	r.must(err)
	s.waitRelease(30*time.Second, 1)

	direct, err := testenv.Address()
	r.must(err)
	supervisord, err := r.env.Supervisord(shop, testenv.Gunicorn{Bind: direct, Workers: 1}.Argv(r.env))
	r.must(err)
	old := &loadgen.Client{Address: direct, Prefix: "c"}
	r.must(waitAnswer(r, old))

	r.must(os.Symlink("releases/2", current+".new"))
	r.must(os.Rename(current+".new", current))
	if _, outcome, err := s.daemon.Operate(s.timeout(60*time.Second), "reload"); err != nil || outcome.Exit != 0 {
		r.Errorf("%v: %v", err, outcome)
	}
	r.must(s.isRelease(2))
	if out, err := supervisord.Ctl("signal", "HUP", "shop"); err != nil {
		r.Fatal(out, err)
	}
	r.must(testenv.Poll(r.timeout(30*time.Second), 50*time.Millisecond, func() error {
		if text := logOf(r, "shop.log"); !strings.Contains(text, "Hang up: Master") {
			return fmt.Errorf("gunicorn has not seen the HUP: %s", text)
		}
		return waitAnswer(r, old)
	}))
	r.addNumbers("release=2 | gunicorn HUP: release=%s", old.Do(r.Context(), loadgen.Kind{}).Echo["release"])
	s.shutdownBeside(supervisord)
}

func logOf(r *row, name string) string {
	text, _ := os.ReadFile(r.env.Path(name))
	return string(text)
}

// shutdownBeside ends both; nothing is left.
func (s *fixture) shutdownBeside(supervisord *testenv.Supervisord) {
	s.Helper()
	s.must(supervisord.Stop(syscall.SIGTERM, 40*time.Second))
	s.shutdown()
}

// The client that asked for a restart is killed while the restart runs: it goes
// on, because the daemon does it.
func tryClientKilled(r *row) {
	s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1, Import: 1}})
	s.startLoad(20)
	for range times(1) {
		before, err := s.daemon.Status(s.timeout(10 * time.Second))
		s.must(err)
		s.event("restart whose client is killed", func() {
			next, err := s.app.DeployNext()
			s.must(err)
			client := exec.Command(testenv.Binary(s.env.Root), "-S", s.daemon.Socket, "restart", s.daemon.App)
			s.must(client.Start())
			s.must(testenv.Poll(s.timeout(20*time.Second), 5*time.Millisecond, func() error {
				now, err := s.daemon.Status(s.timeout(10 * time.Second))
				if err == nil && now.State == "running" {
					err = fmt.Errorf("it is still %s", now.State)
				}
				return err
			}))
			s.must(client.Process.Kill())
			client.Wait()
			s.waitGeneration(before.Generation + 1)
			s.must(s.isRelease(next.Number))
		})
	}
	s.finish()
	s.shutdown()
}

// Three restarts at once: each client gets the right result, and no request is lost.
func tryParallelRestarts(r *row) {
	s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1, Import: 0.5}})
	s.startLoad(20)
	next, err := s.app.DeployNext()
	s.must(err)
	outcomes := make(chan testenv.Outcome, 3)
	for range 3 {
		go func() {
			outcome, _ := s.daemon.Call(s.timeout(operationTimeout), "restart", s.daemon.App)
			outcomes <- outcome
		}()
	}
	for range 3 {
		if outcome := <-outcomes; outcome.Exit != 0 {
			s.Errorf("one of three restarts: %v", outcome)
		}
	}
	s.must(s.isRelease(next.Number))
	now, err := s.daemon.Status(s.timeout(10 * time.Second))
	s.must(err)
	s.addNumbers("generation=%d", now.Generation)
	s.finish()
	s.shutdown()
}

// A child that writes without end, a log file that is a pipe without a reader,
// and a `logs -f` that is stopped: the child is never blocked.
func tryStuckLogReader(r *row) {
	pipe := r.env.Path("stuck")
	r.must(unix.Mkfifo(pipe, 0o644))
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0) // open, so that a writer may open it, and never read
	r.must(err)
	defer reader.Close()
	count := r.env.Path("count")
	path, err := r.env.Write("tideover.toml", fmt.Sprintf("[app.chatter]\ncommand = [\"python3\", \"-S\", \"-c\", %q]\nlog.file = %q\n",
		"import os\nline, n = b'x' * 1000 + b'\\n', 0\nwhile True:\n    os.write(1, line)\n    n += 1\n    if n % 100 == 0: open('"+count+"', 'w').write(str(n))\n", pipe))
	r.must(err)
	daemon, err := r.env.Tideover(&testenv.App{Dir: r.env.Dir}, testenv.RunOptions{Flags: []string{"-c", path}})
	r.must(err)
	r.must(testenv.Poll(r.timeout(20*time.Second), 20*time.Millisecond, func() error { return atLeast(count, 1000) }))
	follower, err := r.env.Start(testenv.Command{Name: "follower", Argv: []string{testenv.Binary(r.env.Root), "-S", daemon.Socket, "logs", "-f"}})
	r.must(err)
	r.must(follower.Signal(syscall.SIGSTOP))
	before := numberIn(count)
	r.must(testenv.Poll(r.timeout(30*time.Second), 20*time.Millisecond, func() error { return atLeast(count, before+20_000) })) // 20 MB: no pipe holds that
	r.addNumbers("lines=%d", numberIn(count)-before)
	r.must(follower.Signal(syscall.SIGCONT))
	r.must(daemon.Stop(syscall.SIGTERM, 40*time.Second))
	r.checkNoneLeft()
}

func numberIn(path string) (n int) {
	text, err := os.ReadFile(path)
	if err == nil {
		fmt.Sscan(string(text), &n)
	}
	return n
}

func atLeast(path string, least int) error {
	if n := numberIn(path); n < least {
		return fmt.Errorf("%d lines, waiting for %d", n, least)
	}
	return nil
}

// kill -9 of the daemon, and a start: there is never a second copy of any app,
// neither of gunicorn nor of what has no port to collide on.
func tryDaemonKilled(r *row) {
	shop, err := r.env.NewApp("shop", testenv.Release{Number: 1})
	r.must(err)
	address, err := testenv.Address()
	r.must(err)
	standin, err := filepath.Abs("testdata/standin.py")
	r.must(err)
	path, err := r.env.Write("tideover.toml", fmt.Sprintf(
		"[app.shop-killed]\ncommand = %s\nlisten = %q\n[app.worker-killed]\ncommand = %s\ninstances = 2\n[defaults]\ndirectory = %q\n",
		tomlArray(testenv.Gunicorn{Workers: 1}.Argv(r.env)), address, tomlArray([]string{"python3", standin, "worker"}), shop.Dir))
	r.must(err)
	s := &fixture{row: r, app: shop, workers: 1, client: &loadgen.Client{Address: address, Prefix: "n"}}
	s.daemon, err = r.env.Tideover(shop, testenv.RunOptions{Name: "shop-killed", Flags: []string{"-c", path}})
	r.must(err)
	for range times(1) {
		s.waitRelease(30*time.Second, 1)
		s.must(testenv.Poll(s.timeout(20*time.Second), 20*time.Millisecond, func() error { return s.bothWorkers() }))
		relay := s.daemon.RelayPid()
		s.must(s.daemon.Kill())
		<-s.daemon.Exited()
		if left := s.env.AppProcesses(); len(left) < 4 { // a worker ends by itself when it writes
			s.Fatalf("nothing is left that could be a second copy: %v", left)
		}
		s.awaitExit(relay)
		s.must(s.daemon.StartAgain())
		s.events++
	}
	s.waitRelease(30*time.Second, 1)
	s.must(testenv.Poll(s.timeout(20*time.Second), 20*time.Millisecond, func() error { return s.bothWorkers() }))
	beside, err := shop.Log.Overlaps()
	s.must(err)
	if len(beside) > 0 {
		s.Errorf("two copies at once: %v", beside)
	}
	s.addNumbers("events=%d copies_beside=%d", s.events, len(beside))
	s.shutdown()
}

// bothWorkers wants the stand-in exactly twice.
func (s *fixture) bothWorkers() error {
	all := slices.DeleteFunc(s.env.AppProcesses(), func(line string) bool { return !strings.Contains(line, "standin.py worker") })
	if len(all) != 2 {
		return fmt.Errorf("%d workers: %v", len(all), all)
	}
	return nil
}
