package process

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// testChild is a started test program and its standard output.
type testChild struct {
	*Process
	out *bufio.Reader
	end *os.File
}

// waitLimit bounds every wait of the tests, and is never reached.
const waitLimit = time.Minute

// launch starts a test program. At the end of the test its tree is killed and must be empty.
func launch(t testing.TB, cgroups func(string) *cgroup, s Spec, args ...string) *testChild {
	t.Helper()
	for _, word := range args { // programs are started by programs, too
		usedPrograms.Store(word, true)
	}
	if s.Argv == nil {
		s.Argv = append([]string{"/proc/self/exe", "testprogram"}, args...)
	}
	k, err := tryLaunch(t, cgroups, s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func tryLaunch(t testing.TB, cgroups func(string) *cgroup, s Spec) (*testChild, error) {
	if s.Stderr == nil {
		s.Stderr = os.Stderr
	}
	if s.Name == "" {
		s.Name = "test.1"
	}
	if s.Token == "" {
		s.Token = fmt.Sprintf("%s-%d-%d", t.Name(), os.Getpid(), time.Now().UnixNano())
	}
	k, err := startWithOutput(s, cgroups)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if report := k.Kill(context.Background()); !report.Empty() {
			t.Errorf("left behind: %v", report.Left)
		}
		k.end.Close()
	})
	return k, nil
}

// startWithOutput starts a process with its standard output in a pipe.
func startWithOutput(s Spec, cgroups func(string) *cgroup) (*testChild, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r.SetReadDeadline(time.Now().Add(waitLimit))
	s.Stdout = w
	p, err := start(s, cgroups)
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	return &testChild{Process: p, out: bufio.NewReader(r), end: r}, nil
}

// line reads one line of output.
func (k *testChild) line(t testing.TB) string {
	t.Helper()
	line, err := k.out.ReadString('\n')
	if err != nil {
		t.Fatalf("no line from the child: %v (%q so far, %v)", err, line, k.State())
	}
	return strings.TrimSpace(line)
}

// readyPids reads "ready PID PID".
func (k *testChild) readyPids(t testing.TB) []int {
	t.Helper()
	words := strings.Fields(k.line(t))
	if len(words) == 0 || words[0] != "ready" {
		t.Fatalf("not ready: %q", words)
	}
	var list []int
	for _, w := range words[1:] {
		n, err := strconv.Atoi(w)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}

func (k *testChild) awaitExit(t testing.TB) Outcome {
	t.Helper()
	select {
	case <-k.Exited():
	case <-time.After(waitLimit):
		t.Fatalf("pid %d does not exit", k.Pid())
	}
	return k.Outcome()
}

// awaitStopped waits until a process has stopped itself with SIGSTOP. A signal that it handles in
// this moment, and a SIGCONT, would come too early.
func awaitStopped(t testing.TB, pid int) {
	t.Helper()
	for end := time.Now().Add(waitLimit); ; runtime.Gosched() {
		s, err := readStat(pid)
		if err != nil || time.Now().After(end) {
			t.Fatalf("pid %d has not stopped: %+v, %v", pid, s, err)
		}
		if s.state == 'T' {
			return
		}
	}
}

// withAndWithoutCgroup runs a test with a cgroup, where the machine has them, and without.
func withAndWithoutCgroup(t *testing.T, test func(t *testing.T, cgroups func(string) *cgroup)) {
	t.Run("cgroup", func(t *testing.T) { test(t, newCgroup) })
	t.Run("sweep", func(t *testing.T) { test(t, noCgroup) })
}

// reap runs Reap until the end of the test, as the daemon does.
func reap(t testing.TB) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Reap(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for !ownChildren.isSubreaper() {
		runtime.Gosched()
	}
}

func noCgroup(string) *cgroup { return nil }
