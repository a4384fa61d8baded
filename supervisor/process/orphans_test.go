package process

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startRole starts the test program "role" by a command, and returns when it has its name.
func startRole(t *testing.T, argv ...string) (pid int) {
	t.Helper()
	usedPrograms.Store("role", true)
	usedPrograms.Store("sleep", true)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(r)
	first, err := lines.ReadString('\n')
	ready, rerr := lines.ReadString('\n')
	if err := errors.Join(err, rerr); err != nil {
		t.Fatal(err, first, ready)
	}
	pid = number1([]string{strings.TrimSpace(first)})
	t.Cleanup(func() {
		unix.Kill(pid, unix.SIGKILL)
		cmd.Wait()
	})
	return pid
}

func TestProcessesOfADaemonThatHasDiedAreAwaited(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	own := startRole(t, self, "testprogram", "role")
	left := startRole(t, "/bin/sh", "-c", `"$0" testprogram role & wait`, self) // no daemon is its parent
	all := orphans()
	if found := pids(all); !slices.Contains(found, left) || slices.Contains(found, own) {
		t.Errorf("orphans %v; %d has no daemon, %d has one", found, left, own)
	}

	all = slices.DeleteFunc(all, func(s stat) bool { return s.pid != left }) // the machine may have others
	ended := func() bool { return hasEnded(all[0]) }
	ctx, cancel := context.WithCancel(t.Context())
	if !awaitOrphans(ctx, all, func([]int) { cancel() }) || ended() {
		t.Error("it goes on, and the wait ends with its context")
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if !awaitOrphans(ctx, all, func(pids []int) { unix.Kill(pids[0], unix.SIGKILL) }) || !ended() {
		t.Error("the wait ends before the process")
	}
	if awaitOrphans(ctx, nil, nil) {
		t.Error("there is none, and it counts as one that has ended")
	}
}
