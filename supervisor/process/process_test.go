package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		code int
		want string
	}{{0, "exit status 0"}, {3, "exit status 3"}, {255, "exit status 255"}} {
		k := launch(t, newCgroup, Spec{}, "exit", strconv.Itoa(c.code))
		o := k.awaitExit(t)
		if o.Code != c.code || o.Signal != 0 || o.String() != c.want || o.Runtime <= 0 {
			t.Errorf("exit %d: %+v, %q", c.code, o, o)
		}
		if err := k.Signal(syscall.SIGTERM); !errors.Is(err, ErrGone) {
			t.Errorf("a signal after the exit: %v", err)
		}
	}
	k := launch(t, newCgroup, Spec{}, "sleep")
	k.line(t)
	if o := k.Outcome(); o != (Outcome{}) {
		t.Errorf("an outcome before the exit: %v", o)
	}
	if err := k.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if o := k.awaitExit(t); o.Signal != syscall.SIGKILL || o.Code != -1 || o.String() != "killed by SIGKILL" {
		t.Errorf("killed: %+v, %q", o, o)
	}
	if core := (Outcome{Code: -1, Signal: syscall.SIGSEGV, CoreDump: true}).String(); core != "killed by SIGSEGV, core dumped" {
		t.Error(core)
	}
	if s := outcomeOf(0, syscall.ECHILD, 1).String(); s != "exit status unknown" {
		t.Error(s)
	}
}

func TestStates(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, cgroups func(string) *cgroup) {
		k := launch(t, cgroups, Spec{}, "master", "sleep")
		workers := k.readyPids(t)
		if s := k.State(); s != Running {
			t.Errorf("started: %v", s)
		}
		if got := k.Members(); len(got) != 2 || got[0] != k.Pid() || got[1] != workers[0] {
			t.Errorf("members %v, want %d and %d", got, k.Pid(), workers[0])
		}
		if err := k.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		k.awaitExit(t)
		if s := k.State(); s != Exited || k.Empty() || !lives(workers[0]) {
			t.Errorf("main has exited: %v, empty %v, worker lives %v", s, k.Empty(), lives(workers[0]))
		}
		soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := k.WaitEmpty(soon); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for a tree with a worker: %v", err)
		}
		waited := make(chan error, 1)
		go func() { waited <- k.WaitEmpty(t.Context()) }()
		unix.Kill(workers[0], unix.SIGKILL)
		if err := <-waited; err != nil || !k.Empty() || k.State() != Gone {
			t.Errorf("empty at last: %v, %v", err, k.State())
		}
	})
}

// brokenCommands makes a directory of commands that cannot be run.
func brokenCommands(t *testing.T) (dir string) {
	dir = t.TempDir()
	for name, f := range map[string]struct {
		text string
		mode os.FileMode
	}{"plain": {"text", 0o644}, "gunicorn": {"#!/old/venv/bin/python\n", 0o755}, "garbage": {"no program", 0o755}} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(f.text), f.mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/nowhere/at/all", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestStartErrors: each says what and where, matches its errno, and leaves nothing behind.
func TestStartErrors(t *testing.T) {
	dir := brokenCommands(t)
	plain, venv, garbage, dangling := dir+"/plain", dir+"/gunicorn", dir+"/garbage", dir+"/dangling"
	bad := 4711
	before, fds := leaves(t), openDescriptors(t)
	for _, c := range []struct {
		name       string
		spec       Spec
		step, path string
		errno      error
		words      string
	}{
		{"nothing", Spec{}, "exec", "", nil, "empty"},
		{"not in PATH", Spec{Argv: []string{"no-such-program"}, Env: []string{"PATH=/bin:" + dir}}, "exec", "no-such-program", unix.ENOENT, "not found in PATH"},
		{"missing", Spec{Argv: []string{dir + "/none"}}, "exec", dir + "/none", unix.ENOENT, "no such file"},
		{"missing, relative", Spec{Argv: []string{"./none"}, Dir: dir}, "exec", "./none", unix.ENOENT, "no such file"},
		{"not executable", Spec{Argv: []string{plain}}, "exec", plain, unix.EACCES, "not executable"},
		{"not executable in PATH", Spec{Argv: []string{"plain"}, Env: []string{"PATH=" + dir}}, "exec", plain, unix.EACCES, "not executable"},
		{"directory", Spec{Argv: []string{dir}}, "exec", dir, unix.EACCES, "a directory"},
		{"moved venv", Spec{Argv: []string{venv}}, "exec", venv, unix.ENOENT, "/old/venv/bin/python, does not exist"},
		{"moved venv in PATH", Spec{Argv: []string{"gunicorn"}, Env: []string{"PATH=" + dir}}, "exec", venv, unix.ENOENT, "/old/venv/bin/python"},
		{"no program", Spec{Argv: []string{garbage}}, "exec", garbage, unix.ENOEXEC, "#!"},
		{"dangling", Spec{Argv: []string{dangling}}, "exec", dangling, unix.ENOENT, "symlink to nothing"},
		{"no directory", Spec{Argv: []string{"true"}, Dir: dir + "/none"}, "directory", dir + "/none", unix.ENOENT, ""},
		{"a file for a directory", Spec{Argv: []string{"true"}, Dir: plain}, "directory", plain, unix.ENOTDIR, ""},
		{"unknown limit", Spec{Argv: []string{"true"}, Limits: map[string][2]uint64{"wishes": {3, 3}}}, "limits", "wishes", unix.EINVAL, ""},
		{"soft above hard", Spec{Argv: []string{"true"}, Limits: map[string][2]uint64{"core": {2, 1}}}, "limits", "core=2:1", unix.EINVAL, ""},
		{"oom", Spec{Argv: []string{"true"}, OOMScoreAdj: &bad}, "oom_score_adj", "/proc/self/oom_score_adj", unix.EINVAL, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.spec.Argv == nil {
				c.spec.Argv = []string{}
			}
			_, err := tryLaunch(t, newCgroup, c.spec)
			var e *StartError
			if !errors.As(err, &e) || e.Step != c.step || e.Path != c.path || !strings.Contains(err.Error(), c.words) {
				t.Fatalf("%v (%+v)", err, e)
			}
			if c.errno != nil && !errors.Is(err, c.errno) {
				t.Errorf("%v is not %v", err, c.errno)
			}
			t.Log(err)
		})
	}
	if now := leaves(t); now != before {
		t.Errorf("%d cgroups before, %d after", before, now)
	}
	if now := openDescriptors(t); now > fds+2 { // the poller's own
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
}

// leaves counts cgroups that this process has made.
func leaves(t *testing.T) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(ownCgroup(), cgroupPrefix+strconv.Itoa(os.Getpid())+"-*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestCgroupWhereAllowed: a leaf is made exactly where the kernel lets us, is known to be joined, and goes with its tree.
func TestCgroupWhereAllowed(t *testing.T) {
	probe := filepath.Join(ownCgroup(), "probe-"+strconv.Itoa(os.Getpid()))
	allowed := ownCgroup() != "" && os.Mkdir(probe, 0o755) == nil
	if allowed {
		os.Remove(probe)
	}
	k := launch(t, newCgroup, Spec{Name: "a/b c.7"}, "sleep")
	k.line(t)
	path := k.Record().Cgroup
	if (path != "") != allowed {
		t.Fatalf("cgroup %q, allowed %v", path, allowed)
	}
	if !allowed {
		return
	}
	if base := filepath.Base(path); base != cgroupPrefix+strconv.Itoa(os.Getpid())+"-a_b_c.7" {
		t.Error(base)
	}
	twin := launch(t, newCgroup, Spec{Name: "a/b c.7"}, "sleep")
	if twin.Record().Cgroup == path {
		t.Error("two trees in one cgroup")
	}
	if procs, err := (&cgroup{path}).procs(); err != nil || len(procs) != 1 || procs[0] != k.Pid() {
		t.Errorf("in the cgroup: %v, %v, want %d", procs, err, k.Pid())
	}
	k.Kill(t.Context())
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cgroup is still there: %v", err)
	}
}

// TestManyAtOnce starts and kills 100 trees in parallel, each with a worker, and loses none.
func TestManyAtOnce(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, cgroups func(string) *cgroup) {
		const trees = 100
		var all sync.WaitGroup
		slots := make(chan struct{}, 25)
		for i := range trees {
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				kinds := []string{"sleep"}
				if i%5 == 0 {
					kinds = []string{"master", "deaf"}
				}
				k, err := tryLaunch(t, cgroups, Spec{Argv: append([]string{"/proc/self/exe", "testprogram"}, kinds...)})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := k.out.ReadString('\n'); err != nil {
					t.Errorf("%d: no line: %v", i, err)
				}
				var report StopReport
				if i%2 == 0 {
					report = k.Kill(t.Context())
				} else {
					report = k.Stop(t.Context(), syscall.SIGTERM, waitLimit)
				}
				<-k.Exited()
				if !report.Empty() || !k.Empty() || k.State() != Gone {
					t.Errorf("%d: %+v, %v", i, report, k.State())
				}
				want := "killed by SIGKILL"
				if i%2 != 0 {
					want = map[string]string{"sleep": "killed by SIGTERM", "master": "exit status 0"}[kinds[0]]
				}
				if got := k.Outcome().String(); got != want {
					t.Errorf("%d: %s, want %s", i, got, want)
				}
			})
		}
		all.Wait()
		if n := leaves(t); n != 0 {
			t.Errorf("%d cgroups are left", n)
		}
	})
}
