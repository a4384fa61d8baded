package process

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// brief is a context that cuts the grace of what is deaf.
func brief(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// TestEndStale: a daemon starts a tree and is killed; what is left of the tree is found by its record and
// ended. Without a cgroup, a process without a token whose parent and session leader have exited is not found.
func TestEndStale(t *testing.T) {
	for _, c := range []struct {
		name     string
		args     []string
		killMain bool
		killed   int
		deaf     bool // the processes ignore SIGTERM
		unknown  int  // number of those that are only found by a cgroup
	}{
		{"it obeys", []string{"exit-on-term"}, false, 0, false, 0},
		{"deaf", []string{"deaf"}, false, 1, true, 0},
		{"frozen", []string{"frozen"}, false, 0, false, 0},
		{"main and workers", []string{"master", "deaf", "sleep"}, false, 2, false, 0},
		{"main and masked workers", []string{"master", "masked", "sleep"}, false, 2, false, 0},
		{"workers without main", []string{"master", "sleep", "sleep"}, true, 0, false, 0},
		{"masked workers without main", []string{"master", "masked", "deaf"}, true, 2, true, 1},
		{"another session", []string{"leave-session"}, false, 1, false, 0},
		{"another session without main", []string{"leave-session"}, true, 1, true, 0},
		{"another session, no environment, no main", []string{"leave-session", "bare"}, true, 1, true, 1},
		{"nobody", []string{"sleep"}, true, 0, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, sweep := range []bool{false, true} {
				r, others := orphan(t, sweep, c.killMain, c.args...)
				if sweep != (r.Cgroup == "") {
					t.Logf("cgroup %q", r.Cgroup) // a machine without
				}
				killed, unknown := c.killed, 0
				if r.Cgroup == "" {
					killed, unknown = c.killed-c.unknown, c.unknown
				}
				ctx := t.Context()
				if c.deaf {
					ctx = brief(t)
				}
				report, err := EndStale(ctx, r)
				if err != nil || report.Killed != killed || !report.Empty() || r.Cgroup != "" && (report.Found == 0) != (c.name == "nobody") {
					t.Errorf("sweep %v: %+v, %v; want %d killed", sweep, report, err, killed)
				}
				if left := slices.DeleteFunc(append(others, r.Pid), func(pid int) bool { return !lives(pid) }); len(left) != unknown {
					t.Errorf("sweep %v: alive: %v, want %d", sweep, left, unknown)
				}
				if _, err := os.Stat(r.Cgroup); err == nil {
					t.Errorf("%s is still there", r.Cgroup)
				}
				if report, err := EndStale(t.Context(), r); err != nil || report.Found != 0 || report.Killed != 0 {
					t.Errorf("again: %+v, %v", report, err)
				}
			}
		})
	}
}

// orphan returns the record of a tree after its daemon was killed, encoded to JSON and decoded again,
// and the pids of its members beside the main process.
func orphan(t *testing.T, sweep, killMain bool, args ...string) (Record, []int) {
	t.Helper()
	for _, word := range args {
		usedPrograms.Store(word, true)
	}
	// The orphans become children of the test, which reaps them at once.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	token := strings.ReplaceAll(t.Name(), " ", "-") + strconv.FormatInt(time.Now().UnixNano(), 10)
	order := daemonOrder{Argv: append([]string{"/proc/self/exe", "testprogram"}, args...), Sweep: sweep, Token: token}
	d, told := daemonWith(t, Spec{}, order)
	t.Cleanup(func() { EndStale(context.Background(), told.Record) })
	if err := d.Signal(unix.SIGKILL); err != nil || told.Err != "" {
		t.Fatal(err, told.Err)
	}
	d.awaitExit(t)
	if slices.Contains(args, "frozen") {
		awaitStopped(t, told.Record.Pid)
	}
	if !lives(told.Record.Pid) {
		t.Fatal("the tree did not outlive its daemon")
	}
	if killMain {
		main, err := readStat(told.Record.Pid)
		if err == nil {
			err = signalPidfd(main, unix.SIGKILL)
		}
		if err == nil {
			err = awaitExit(t.Context(), main)
		}
		if err != nil {
			t.Fatal(err)
		}
		if pid, err := unix.Wait4(main.pid, nil, 0, nil); pid != main.pid {
			t.Fatal(pid, err)
		}
	}
	var others []int
	for _, word := range strings.Fields(told.Line)[1:] {
		pid, err := strconv.Atoi(word)
		if err != nil || !lives(pid) {
			t.Fatalf("%q: %v", told.Line, err)
		}
		others = append(others, pid)
		s, err := readStat(pid)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { signalPidfd(s, unix.SIGKILL) })
	}
	text, err := json.Marshal(told.Record)
	if err != nil {
		t.Fatal(err)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil || r != told.Record {
		t.Fatalf("%+v, %+v, %v", r, told.Record, err)
	}
	return r, others
}

// TestEndStaleByTokenAlone: the daemon died before it could note more.
func TestEndStaleByTokenAlone(t *testing.T) {
	r, others := orphan(t, true, false, "master", "sleep")
	report, err := EndStale(brief(t), Record{Token: r.Token, Name: r.Name})
	if err != nil || !report.Empty() || lives(r.Pid) || lives(others[0]) {
		t.Errorf("%+v, %v", report, err)
	}
}

// A daemon that was killed could not record a tree, as on a full disk.
func TestATreeThatWasNeverRecordedIsFoundByThePrefixOfItsToken(t *testing.T) {
	r, others := orphan(t, true, false, "master", "sleep")
	prefix := r.Token[:len(r.Token)-3]
	find := func(prefix string, known ...string) []Record {
		t.Helper()
		found, err := FindTrees(prefix, func(token string) bool { return slices.Contains(known, token) })
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if found := find(prefix, r.Token); len(found) != 0 {
		t.Errorf("one that is known: %+v", found)
	}
	if found := find("x" + prefix); len(found) != 0 {
		t.Errorf("another prefix: %+v", found)
	}
	found := find(prefix)
	if len(found) != 1 || found[0].Token != r.Token || found[0].UID != r.UID {
		t.Fatalf("found %+v, want %+v", found, r)
	}
	report, err := EndStale(brief(t), found[0])
	if err != nil || !report.Empty() || lives(r.Pid) || lives(others[0]) {
		t.Errorf("%+v, %v", report, err)
	}
	if found := find(prefix); len(found) != 0 {
		t.Errorf("after its end: %+v", found)
	}
}

// A user can write any token into the environment of a process of its own.
func TestATokenOfAnotherUserEndsOnlyItsOwnProcesses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root starts processes of other users")
	}
	r, _ := orphan(t, true, false, "master", "sleep")
	var theirs []int
	for _, uid := range []uint32{33, 1000} {
		other := exec.Command("/bin/sleep", "1000")
		other.Env = []string{treeVariable + "=" + r.Token}
		other.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			other.Process.Kill()
			other.Wait()
		})
		theirs = append(theirs, other.Process.Pid)
	}
	found, err := FindTrees(r.Token, func(string) bool { return false })
	if err != nil || len(found) != 3 {
		t.Fatalf("%+v, %v; want one record for each user", found, err)
	}
	for _, record := range found {
		if record.UID == 0 {
			if report, err := EndStale(brief(t), record); err != nil || !report.Empty() {
				t.Errorf("%+v, %v", report, err)
			}
		}
	}
	if lives(r.Pid) || !lives(theirs[0]) || !lives(theirs[1]) {
		t.Errorf("alive: %v, of others: %v, %v; want only those of the others", lives(r.Pid), lives(theirs[0]), lives(theirs[1]))
	}
}

// TestEndStaleSparesOthers: a process that only has a pid, a session or a cgroup path that was once
// the tree's gets no signal.
func TestEndStaleSparesOthers(t *testing.T) {
	innocent := launch(t, newCgroup, Spec{}, "master", "sleep")
	worker := innocent.readyPids(t)[0]
	now := innocent.Record()
	fake := func(change func(*Record)) Record {
		r := Record{Pid: now.Pid, StartTime: now.StartTime, Boot: now.Boot, Token: "of a tree long gone", Name: "shop.1"}
		change(&r)
		return r
	}
	cases := map[string]Record{
		"the pid has been given again": fake(func(r *Record) { r.StartTime -= 10 }),
		"another boot":                 fake(func(r *Record) { r.Boot = "another"; r.Cgroup = now.Cgroup }),
		"no start time":                fake(func(r *Record) { r.StartTime = 0 }),
		"no tree of ours":              fake(func(r *Record) { r.Pid = 0; r.Cgroup = filepath.Dir(now.Cgroup) }),
		"out of the tree":              fake(func(r *Record) { r.Pid = 0; r.Cgroup = now.Cgroup + "/../../../../../proc" }),
		"ourselves":                    {Pid: os.Getpid(), StartTime: 1, Boot: now.Boot},
		"the machine's first":          {Pid: 1, StartTime: 1, Token: "x"},
	}
	for name, r := range cases {
		if report, err := EndStale(brief(t), r); err != nil || report.Found != 0 || report.Killed != 0 {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
	innocent.Signal(unix.SIGKILL)
	innocent.awaitExit(t)
	leaderless := fake(func(r *Record) { r.StartTime -= 10 })
	if report, err := EndStale(brief(t), leaderless); err != nil || report.Killed != 0 || !lives(worker) {
		t.Errorf("a session whose number was the tree's: %+v, %v, lives %v", report, err, lives(worker))
	}
	for _, r := range []Record{{}, {Pid: 4711}, {StartTime: 7, Name: "shop.1"}, {Pid: 1, StartTime: 1}} {
		if _, err := EndStale(t.Context(), r); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
}

// TestLitter: a dead daemon's empty cgroup goes, one with members and a living daemon's stay.
func TestLitter(t *testing.T) {
	const nobodysPid = "1073741824-"
	live := newCgroup("x.1")
	if live == nil {
		t.Log("no cgroups can be made here")
		return
	}
	defer live.remove()
	gone := &cgroup{filepath.Join(filepath.Dir(live.path), cgroupPrefix+nobodysPid+"x.1")}
	inUse := &cgroup{filepath.Join(filepath.Dir(live.path), cgroupPrefix+nobodysPid+"x.2")}
	for _, c := range []*cgroup{gone, inUse} {
		if err := os.Mkdir(c.path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	k := launch(t, func(string) *cgroup { return inUse }, Spec{}, "sleep")
	k.line(t)
	removeStaleCgroups()
	for c, stays := range map[*cgroup]bool{gone: false, inUse: true, live: true} {
		if _, err := os.Stat(c.path); (err == nil) != stays {
			t.Errorf("%s stays: %v, want %v", c.path, err == nil, stays)
		}
	}
}

func TestReap(t *testing.T) {
	k := launch(t, newCgroup, Spec{Env: os.Environ()}, "reaper")
	if got := k.line(t); got != "ready 0" {
		t.Errorf("%s went wrong", got)
	}
}
