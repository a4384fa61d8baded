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

// TestAsPid1 runs tideover as the first process of a container: it becomes the
// parent of orphans and reaps them; SIGTERM ends every process.
func TestAsPid1(t *testing.T) {
	t.Parallel()
	run, err := os.MkdirTemp("", "tp")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(run) })
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "release"), []byte("one"), 0o600))
	socket := filepath.Join(run, "shop")
	container := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
		"tideover", "run", "--name", "shop", "--listen", "unix:"+socket, "--", "webapp")
	container.Dir = dir
	container.Env = []string{"PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"), "PWD=" + dir,
		"TIDEOVER_SOCKET=" + filepath.Join(run, "control.sock"), "TIDEOVER_LOG_LEVEL=debug"}
	log := newWatchedLog()
	container.Stdout, container.Stderr = log, log
	must(t, container.Start())
	ended := make(chan error, 1)
	go func() {
		ended <- container.Wait()
		log.close()
	}()
	defer container.Process.Kill() // and with it what it started
	if !log.await("ready: app=shop") {
		t.Fatalf("unshare needs root:\n%s", log)
	}
	first := childOf(t, container.Process.Pid)
	if got, err := request(socket, "/"); err != nil || got != "200 release one\n" {
		t.Errorf("the app answers %q, %v", got, err)
	}
	for range 3 { // as `docker exec` does: from outside, and not from any app
		out, err := exec.Command("nsenter", "-t", strconv.Itoa(first), "-p", "-m", "sh", "-c", "sleep 0.2 & sleep 0.3 & setsid sleep 0.1 &").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	awaitChildren(t, first, 1)
	must(t, syscall.Kill(first, syscall.SIGTERM))
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v:\n%s", err, log)
		}
	case <-time.After(patience):
		t.Fatalf("TERM did not end it:\n%s", log)
	}
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
