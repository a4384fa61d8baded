package process

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStop(t *testing.T) {
	reap(t)
	const short = 150 * time.Millisecond
	for _, c := range []struct {
		name    string
		args    []string
		grace   time.Duration
		killed  int
		outcome string
	}{
		{"exit-on-term", []string{"exit-on-term"}, waitLimit, 0, "exit status 0"},
		{"killed by the signal", []string{"sleep"}, waitLimit, 0, "killed by SIGTERM"},
		{"frozen", []string{"frozen"}, waitLimit, 0, "killed by SIGTERM"},
		{"blocked on its output", []string{"flood"}, waitLimit, 0, "killed by SIGTERM"},
		{"deaf", []string{"deaf"}, short, 1, "killed by SIGKILL"},
		{"helpers follow", []string{"master", "helper", "helper"}, waitLimit, 0, "exit status 0"},
		{"workers do not follow", []string{"master", "deaf", "sleep", "masked"}, waitLimit, 3, "exit status 0"},
		{"left the session", []string{"leave-session"}, waitLimit, 1, "killed by SIGTERM"},
		{"left the session, no environment", []string{"leave-session", "bare"}, waitLimit, 1, "killed by SIGTERM"},
		{"left the cgroup", []string{"leave-cgroup"}, waitLimit, 0, "killed by SIGTERM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			withAndWithoutCgroup(t, func(t *testing.T, cgroups func(string) *cgroup) {
				k := launch(t, cgroups, Spec{}, c.args...)
				var others []int
				if c.args[0] == "flood" {
					k.line(t)
				} else {
					others = k.readyPids(t)
				}
				if c.args[0] == "frozen" {
					awaitStopped(t, k.Pid())
				}
				began := time.Now()
				report := k.Stop(t.Context(), syscall.SIGTERM, c.grace)
				if report.Killed != c.killed || !report.Empty() || report.Took > time.Since(began) {
					t.Errorf("%+v, want %d killed", report, c.killed)
				}
				if c.grace == short && report.Took < short {
					t.Errorf("killed after %v of %v grace", report.Took, short)
				}
				if got := k.Outcome().String(); got != c.outcome {
					t.Errorf("%s, want %s", got, c.outcome)
				}
				if left := slices.DeleteFunc(others, func(pid int) bool { return !lives(pid) }); len(left) > 0 {
					t.Errorf("alive: %v", left)
				}
				if k.State() != Gone || !k.Empty() || k.WaitEmpty(t.Context()) != nil || len(k.Members()) > 0 {
					t.Errorf("%v, members %v", k.State(), k.Members())
				}
			})
		})
	}
}

// TestStopGivesUpItsGrace when its context ends.
// A shell dies of the signal and does not pass it on: with StopTree its children
// get SIGTERM, too, and the whole grace.
func TestStopTree(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		grace  time.Duration
		killed int
	}{
		{"all go by themselves", []string{"master", "exit-on-term", "sleep", "frozen"}, waitLimit, 0},
		{"one does not", []string{"master", "exit-on-term", "deaf"}, 300 * time.Millisecond, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			withAndWithoutCgroup(t, func(t *testing.T, cgroups func(string) *cgroup) {
				k := launch(t, cgroups, Spec{}, c.args...)
				others := k.readyPids(t)
				for i, program := range c.args[1:] {
					if program == "frozen" {
						awaitStopped(t, others[i])
					}
				}
				report := k.StopTree(t.Context(), syscall.SIGTERM, c.grace)
				if report.Killed != c.killed || !report.Empty() {
					t.Errorf("%+v, want %d killed", report, c.killed)
				}
				if left := slices.DeleteFunc(others, func(pid int) bool { return !lives(pid) }); len(left) > 0 {
					t.Errorf("alive: %v", left)
				}
			})
		})
	}
}

func TestStopGivesUpItsGrace(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, cgroups func(string) *cgroup) {
		k := launch(t, cgroups, Spec{}, "master", "deaf", "deaf")
		k.readyPids(t)
		launched := k.Members()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r := k.Stop(ctx, syscall.SIGCONT, time.Hour); r.Killed != 3 || !r.Empty() || len(launched) != 3 {
			t.Errorf("%+v of %v", r, launched)
		}
		if r := k.Stop(t.Context(), syscall.SIGTERM, time.Hour); r.Killed != 0 || !r.Empty() {
			t.Errorf("stopping what is gone: %+v", r)
		}
	})
}

// TestMainDiesByItself: what is left of a crashed tree is known, waited for and killed, wherever it has gone.
func TestMainDiesByItself(t *testing.T) {
	reap(t)
	for _, args := range [][]string{{"master", "deaf", "masked"}, {"leave-session"}, {"leave-session", "bare"}, {"master", "sleep"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			withAndWithoutCgroup(t, func(t *testing.T, cgroups func(string) *cgroup) {
				k := launch(t, cgroups, Spec{}, args...)
				others := k.readyPids(t)
				if err := k.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				k.awaitExit(t)
				if got := k.Members(); !slices.Equal(got, others) || k.Empty() || k.State() != Exited {
					t.Errorf("members %v, want %v; %v", got, others, k.State())
				}
				if n, err := k.Memory(); err != nil || n < 100<<10 {
					t.Errorf("memory of those left: %d, %v", n, err)
				}
				report := k.Kill(t.Context())
				if report.Killed != len(others) || !report.Empty() || k.State() != Gone {
					t.Errorf("%+v, %v", report, k.State())
				}
			})
		})
	}
}

// TestTheOneWhoEscaped: a daemon that a command has forked off at once, without environment, is still its own.
func TestTheOneWhoEscaped(t *testing.T) {
	reap(t)
	withAndWithoutCgroup(t, func(t *testing.T, cgroups func(string) *cgroup) {
		k := launch(t, cgroups, Spec{}, "leave-session", "bare", "exit")
		others := k.readyPids(t)
		k.awaitExit(t)
		if k.Empty() || !slices.Equal(k.Members(), others) {
			t.Errorf("members %v, want %v", k.Members(), others)
		}
		if r := k.Stop(t.Context(), syscall.SIGTERM, waitLimit); r.Killed != 1 || !r.Empty() || lives(others[0]) {
			t.Errorf("%+v", r)
		}
	})
}

func TestManyKillsAreOne(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, cgroups func(string) *cgroup) {
		k := launch(t, cgroups, Spec{}, "master", "deaf", "deaf", "deaf")
		k.readyPids(t)
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				var r StopReport
				if i%2 == 0 {
					r = k.Kill(t.Context())
				} else {
					r = k.Stop(t.Context(), syscall.SIGTERM, 20*time.Millisecond)
				}
				if !r.Empty() || !k.Empty() {
					t.Errorf("%+v", r)
				}
			})
		}
		all.Wait()
	})
}

// TestOurOwnSession: a process in the daemon's session is no member of a tree, also with the token
// of one.
func TestOurOwnSession(t *testing.T) {
	cmd := exec.Command("/bin/cat")
	cmd.Env = []string{treeVariable + "=" + t.Name()}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if _, err := in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // not before its exec is over, which Start does not wait for, it has its environment
		t.Fatal(err)
	}
	if tokens, err := readTokens(cmd.Process.Pid, uint32(os.Getuid())); !slices.Contains(tokens, t.Name()) || err != nil {
		t.Fatalf("tokens %q, %v", tokens, err)
	}
	if found, err := (&tree{token: t.Name(), uid: uint32(os.Getuid())}).members(); len(found) > 0 || err != nil {
		t.Errorf("%v, %v", found, err)
	}
}

// TestWithoutDescriptors: without a free descriptor for /proc a tree is not reported as empty.
func TestWithoutDescriptors(t *testing.T) {
	k := launch(t, newCgroup, Spec{}, "no-descriptors")
	if got := k.line(t); got != "false true <nil> killed by SIGKILL" && got != "false false <nil> killed by SIGKILL" {
		t.Error(got)
	}
}

// TestNeverAReusedPid: a process is only signalled as the one that was meant.
func TestNeverAReusedPid(t *testing.T) {
	k := launch(t, newCgroup, Spec{}, "sleep")
	k.line(t)
	s, err := readStat(k.Pid())
	if err != nil {
		t.Fatal(err)
	}
	for _, start := range []uint64{s.start - 1, s.start + 1, 0} {
		other := stat{pid: s.pid, start: start}
		if err := signalPidfd(other, unix.SIGKILL); err != unix.ESRCH {
			t.Errorf("start %d instead of %d: %v", start, s.start, err)
		}
		if err := awaitExit(t.Context(), other); err != nil {
			t.Errorf("waiting for who is gone: %v", err)
		}
		if err := pollExit(t.Context(), other); err != nil {
			t.Errorf("polling for who is gone: %v", err)
		}
	}
	if !lives(k.Pid()) {
		t.Error("killed")
	}
	if err := signalPidfd(s, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if err := pollExit(t.Context(), s); err != nil {
		t.Error(err)
	}
}
