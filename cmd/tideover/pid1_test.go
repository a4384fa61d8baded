package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// container is a tideover that is the first process of a pid namespace.
type container struct {
	log   *watchedLog
	pid   int // seen from outside
	ended chan error
}

// startContainer runs `tideover run ARGS...` as process 1 and waits until shop is ready.
func startContainer(t *testing.T, dir, controlSocket string, args ...string) container {
	t.Helper()
	command := exec.Command("unshare", append([]string{"--pid", "--fork", "--kill-child", "--mount-proc", "tideover", "run"}, args...)...)
	command.Dir = dir
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"), "PWD=" + dir,
		"TIDEOVER_SOCKET=" + controlSocket, "TIDEOVER_LOG_LEVEL=debug", "TIDEOVER_LOG_FORMAT=text"}
	c := container{log: newWatchedLog(), ended: make(chan error, 1)}
	command.Stdout, command.Stderr = c.log, c.log
	must(t, command.Start())
	go func() {
		err := command.Wait()
		c.log.close()
		c.ended <- err
	}()
	t.Cleanup(func() { command.Process.Kill() }) // and with it what it started
	if !c.log.await("ready: app=shop") {
		t.Fatalf("unshare needs root:\n%s", c.log)
	}
	c.pid = childOf(t, command.Process.Pid)
	return c
}

// awaitEnd waits for the end of the container, with exit code 0.
func (c container) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case err := <-c.ended:
		if err != nil {
			t.Errorf("it ended with %v:\n%s", err, c.log)
		}
	case <-time.After(patience):
		t.Fatalf("TERM did not end it:\n%s", c.log)
	}
}

// shopDir returns a directory with a release of webapp, and a directory for sockets, whose
// paths must be short.
func shopDir(t *testing.T) (dir, run string) {
	t.Helper()
	run, err := os.MkdirTemp("", "tp")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(run) })
	dir = t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "release"), []byte("one"), 0o600))
	return dir, run
}

// TestAsPid1 runs tideover as the first process of a container: it becomes the
// parent of orphans and reaps them; SIGTERM ends every process.
func TestAsPid1(t *testing.T) {
	t.Parallel()
	dir, run := shopDir(t)
	socket := filepath.Join(run, "shop")
	c := startContainer(t, dir, filepath.Join(run, "control.sock"), "--name", "shop", "--listen", "unix:"+socket, "--", "webapp")
	if got, err := request(socket, "/"); err != nil || got != "200 release one\n" {
		t.Errorf("the app answers %q, %v", got, err)
	}
	for range 3 { // as `docker exec` does: from outside, and not from any app
		out, err := exec.Command("nsenter", "-t", strconv.Itoa(c.pid), "-p", "-m", "sh", "-c", "sleep 0.2 & sleep 0.3 & setsid sleep 0.1 &").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	awaitChildren(t, c.pid, 3) // the supervisor, the relay and the app
	must(t, syscall.Kill(c.pid, syscall.SIGTERM))
	c.awaitEnd(t)
}

// A container that gets TERM serves on for daemon.linger, while its readiness says no, so that
// no client is lost that comes before the front-end has noticed. Then it stops within
// daemon.stop_timeout, although a request hangs.
func TestAContainerServesUntilItsReadinessIsNoticedAndStopsInTime(t *testing.T) {
	t.Parallel()
	dir, run := shopDir(t)
	socket, control := filepath.Join(run, "shop"), filepath.Join(run, "control.sock")
	must(t, os.WriteFile(filepath.Join(dir, "tideover.toml"), []byte(`
[daemon]
linger       = "2s"
stop_timeout = "8s"

[app.shop]
command    = "webapp"
listen     = "unix:`+socket+`"
hold.alive = "/-/alive"
`), 0o600))
	c := startContainer(t, dir, control)
	health := func(want string, exit int) {
		t.Helper()
		if got, err := request(socket, "/-/alive"); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("hold.alive answers %q, %v, want %s", got, err, want)
		}
		if code := exitOf(control, "status", "--check", "shop"); code != exit {
			t.Errorf("status --check exits with %d, want %d", code, exit)
		}
	}
	health("200", 0)
	slow := make(chan string, 1)
	go func() { // hangs until it is cut
		answer, _ := request(socket, "/slow")
		slow <- answer
	}()
	if !c.log.await("slow request begun") {
		t.Fatalf("%s", c.log)
	}
	began := time.Now()
	must(t, syscall.Kill(c.pid, syscall.SIGTERM))
	if !c.log.await("shutdown announced") {
		t.Fatalf("%s", c.log)
	}
	health("503", 3)
	served := 0
	for ; !strings.Contains(c.log.String(), "shutdown started"); served++ {
		got, err := request(socket, "/")
		if (err != nil || got != "200 release one\n") && !strings.Contains(c.log.String(), "shutdown started") {
			t.Fatalf("a client during the linger gets %q, %v", got, err)
		}
	}
	c.awaitEnd(t)
	took := time.Since(began)
	if took > 20*time.Second { // less than drain.timeout, which would cut the request else
		t.Errorf("TERM to the end took %v", took)
	}
	if got := <-slow; strings.HasPrefix(got, "200") {
		t.Errorf("the request that hangs got %q", got)
	}
	t.Logf("%d clients served during the linger; TERM to the end: %v", served, took)
}

// exitOf is the exit code of a command.
func exitOf(socket string, args ...string) int {
	command := exec.Command("tideover", append([]string{"-S", socket}, args...)...)
	command.Run()
	return command.ProcessState.ExitCode()
}

// children are the pids of a process's children, zombies among them.
func children(t *testing.T, pid int) []string {
	t.Helper()
	var all []string
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	must(t, err)
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may have ended
		all = append(all, strings.Fields(string(text))...)
	}
	return all
}

func childOf(t *testing.T, pid int) int {
	t.Helper()
	all := children(t, pid)
	if len(all) != 1 {
		t.Fatalf("%d has the children %v, want one", pid, all)
	}
	n, err := strconv.Atoi(all[0])
	must(t, err)
	return n
}

// awaitChildren waits until a process has as many children.
func awaitChildren(t *testing.T, pid, want int) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		all := children(t, pid)
		if len(all) == want {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			for _, child := range all {
				state, _ := os.ReadFile("/proc/" + child + "/stat")
				t.Logf("%s", state)
			}
			t.Fatalf("it has the children %v, want %d", all, want)
		}
	}
}
