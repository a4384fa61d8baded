package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The users of these tests: of the app, and another one.
const (
	appUser   = 33
	otherUser = 1000
)

// testDaemon is a process that reaps and starts trees, the program "supervise".
type testDaemon struct {
	t   *testing.T
	in  *json.Encoder
	out *json.Decoder

	namespaces bool // it has namespaces of its own
}

// startDaemon starts it with a cgroup of its own (args "cgroup") or with other arguments.
func startDaemon(t *testing.T, namespaces uintptr, args ...string) *testDaemon {
	t.Helper()
	asRoot(t)
	usedPrograms.Store("supervise", true)
	cmd := exec.Command("/proc/self/exe", append([]string{"testprogram", "supervise"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); errors.Is(err, unix.EPERM) && namespaces != 0 {
		t.Log("root may not make namespaces here")
		return startDaemon(t, 0)
	} else if err != nil {
		t.Fatal(err)
	}
	d := &testDaemon{t: t, in: json.NewEncoder(in), out: json.NewDecoder(out), namespaces: namespaces != 0}
	t.Cleanup(func() {
		d.do(superviseRequest{Do: "quit"})
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// asRoot skips a test without root, which cannot start processes of other users.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root has processes of other users")
	}
}

func (d *testDaemon) do(r superviseRequest) superviseReply {
	d.t.Helper()
	var reply superviseReply
	if err := d.in.Encode(r); err != nil {
		d.t.Fatal(err)
	}
	if err := d.out.Decode(&reply); err != nil || reply.Err != "" {
		d.t.Fatal(r.Do, r.Name, err, reply.Err)
	}
	return reply
}

// testTree is a tree of a testDaemon.
type testTree struct {
	*testDaemon
	name, token string
	main        int
	others      []int
	cgroup      string
}

// start starts a test program as a user, in a session of its own, without a cgroup.
func (d *testDaemon) start(name string, uid uint32, args ...string) *testTree {
	d.t.Helper()
	return d.startWith(superviseRequest{Name: name, UID: &uid, Sweep: true}, args...)
}

func (d *testDaemon) startWith(r superviseRequest, args ...string) *testTree {
	d.t.Helper()
	useWords(args)
	r.Do, r.Argv = "start", append([]string{"/proc/self/exe", "testprogram"}, args...)
	reply := d.do(r)
	tree := &testTree{d, r.Name, reply.Token, reply.Pid, nil, reply.Cgroup}
	words := strings.Fields(reply.Line)
	if len(words) == 0 || words[0] != "ready" {
		d.t.Fatalf("%q", reply.Line)
	}
	tree.others = numbers(d.t, words[1:])
	cleanUp(d.t, append([]int{tree.main}, tree.others...))
	return tree
}

// useWords notes the test programs that stand in arguments.
func useWords(args []string) {
	for _, arg := range args {
		words := strings.Split(arg, "/")
		program, _, _ := strings.Cut(words[len(words)-1], ":")
		usedPrograms.Store(program, true)
		usedPrograms.Store("between", true)
	}
}

func numbers(t *testing.T, words []string) []int {
	t.Helper()
	var list []int
	for _, word := range words {
		n, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}

// cleanUp kills what a failed test has left.
func cleanUp(t *testing.T, pids []int) {
	for _, pid := range pids {
		if s, err := readStat(pid); err == nil {
			t.Cleanup(func() { signalPidfd(s, unix.SIGKILL) })
		}
	}
}

func (tree *testTree) members() []int {
	tree.t.Helper()
	return tree.do(superviseRequest{Do: "members", Name: tree.name}).Members
}

// stop stops trees at once, and returns the number of processes that were killed.
func (d *testDaemon) stop(trees ...*testTree) int {
	d.t.Helper()
	var names []string
	for _, tree := range trees {
		names = append(names, tree.name)
	}
	reply := d.do(superviseRequest{Do: "stop", Name: strings.Join(names, " ")})
	if len(reply.Left) > 0 {
		d.t.Errorf("left: %v", reply.Left)
	}
	return reply.Killed
}

// outside starts a test program that is no descendant of a testDaemon, as root, in a session of its own. It
// returns its pid and those that it reports.
func outside(t *testing.T, args ...string) []int {
	t.Helper()
	useWords(args)
	cmd, line := startProgram(&syscall.SysProcAttr{Setsid: true}, os.Environ(), nil, args...)
	pids := append([]int{cmd.Process.Pid}, numbers(t, strings.Fields(line)[1:])...)
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	cleanUp(t, pids)
	return pids
}

// living returns those of the processes that live.
func living(pids []int) []int {
	return slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { return !lives(pid) })
}

// TestForgedMarksHarmNoProcessOfRoot: a process of the app's user in a session of root has the token of
// the app and the limit that was its mark in an earlier version.
func TestForgedMarksHarmNoProcessOfRoot(t *testing.T) {
	d := startDaemon(t, 0)
	app := d.start("shop", appUser, "descendants", "deaf")
	forged := "33/token=" + app.token
	for name, session := range map[string][]string{
		"worker under root":         {"descendants", forged + "/deaf", "deaf"},
		"orphan under root":         {"descendants", "deaf", forged + "/orphan/deaf"},
		"orphan with its session":   {"descendants", "deaf", forged + "/orphan/session/deaf"},
		"name like a line of /proc": {"descendants", forged + "/name=a) S 1 1 (b/orphan/deaf", forged + "/name=) Z 1 \n 1/deaf", "deaf"},
		"session of the user":       {"descendants", forged + "/session/deaf", "deaf"},
	} {
		t.Run(name, func(t *testing.T) {
			victims := outside(t, session...)
			for _, pid := range victims[1:] { // as the attacker may, on its own process
				exec.Command("prlimit", "--pid", strconv.Itoa(pid), "--locks=4711:").Run()
			}
			if got := app.members(); len(got) != 2 {
				t.Errorf("members %v, want %d and %d", got, app.main, app.others)
			}
			if left := living(victims); len(left) != len(victims) {
				t.Errorf("of %v live %v", victims, left)
			}
		})
	}
	victims := outside(t, "descendants", forged+"/deaf", forged+"/orphan/deaf", forged+"/orphan/session/deaf", "deaf", "session/deaf")
	if killed := d.stop(app); killed != 1 {
		t.Errorf("%d killed, want the deaf worker", killed)
	}
	if left := living(victims); len(left) != len(victims) {
		t.Errorf("of %v live %v", victims, left)
	}
	if left := living(app.others); len(left) > 0 {
		t.Errorf("alive: %v", left)
	}
}

// TestForgedMarksHarmNoProcessOfRootAfterACrash is the same for the next daemon. The forged orphan itself is a
// process of the app's user with the app's token, and is ended.
func TestForgedMarksHarmNoProcessOfRootAfterACrash(t *testing.T) {
	asRoot(t)
	uid := uint32(appUser)
	token := fmt.Sprint(t.Name(), os.Getpid())
	forged := "33/token=" + token
	session := outside(t, "descendants", forged+"/orphan/deaf", forged+"/orphan/session/deaf", "deaf", "session/deaf", "1000/token="+token+"/orphan/deaf", "0/token="+token+"/orphan/deaf")
	report, err := EndStale(brief(t), Record{Name: "shop.1", Token: token, UID: uid})
	if err != nil || report.Killed != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	if left, want := living(session), slices.Delete(slices.Clone(session), 1, 3); !slices.Equal(left, want) {
		t.Errorf("alive %v, want %v", left, want)
	}
}

// TestAnotherUserNeitherDiesNorDelaysTheStop: processes of another user with the token.
func TestAnotherUserNeitherDiesNorDelaysTheStop(t *testing.T) {
	d := startDaemon(t, 0)
	app := d.start("shop", appUser, "descendants", "sleep")
	forged := "1000/token=" + app.token
	victims := outside(t, "descendants", forged+"/orphan/session/deaf", forged+"/orphan/deaf", forged+"/session/deaf", forged+"/deaf")
	if killed := d.stop(app); killed != 1 {
		t.Errorf("%d killed, want the worker", killed)
	}
	if left := living(victims); len(left) != len(victims) {
		t.Errorf("of %v live %v", victims, left)
	}
}

// TestAProcessOfAnotherUserIsNeverKilledAsAStray: also an orphan of the app, with its token. What is proven
// to be of the tree is ended, of any user.
func TestAProcessOfAnotherUserIsNeverKilledAsAStray(t *testing.T) {
	d := startDaemon(t, 0)
	app := d.start("shop", 0, "descendants", "33/orphan/session/deaf", "33/orphan/deaf", "orphan/session/bare/deaf", "33/session/deaf")
	if killed := d.stop(app); killed != 3 {
		t.Errorf("%d killed, want 3", killed)
	}
	if left := living(app.others); !slices.Equal(left, app.others[:1]) {
		t.Errorf("alive %v of %v", left, app.others)
	}
}

// TestAnAppThatDropsPrivilegesIsStoppedWhole: a main process of root with workers of another user, some in a
// session of their own.
func TestAnAppThatDropsPrivilegesIsStoppedWhole(t *testing.T) {
	for _, c := range []string{"stop", "main is killed", "main is killed after a scan"} {
		t.Run(c, func(t *testing.T) {
			d := startDaemon(t, 0)
			workers := []string{"33/deaf", "33/orphan/deaf", "33/bare/deaf"}
			if c != "main is killed" {
				workers = append(workers, "33/session/deaf", "33/session/bare/deaf")
			}
			app := d.start("shop", 0, append([]string{"descendants"}, workers...)...)
			if c == "main is killed after a scan" {
				app.members()
			}
			if c != "stop" {
				d.do(superviseRequest{Do: "kill-main", Name: app.name})
			}
			if killed := d.stop(app); killed != len(workers) {
				t.Errorf("%d killed, want %d", killed, len(workers))
			}
			if left := living(app.others); len(left) > 0 {
				t.Errorf("alive: %v of %v", left, app.others)
			}
		})
	}
}

// TestADoubleForkedProcessWithoutEnvironmentIsEndedWithItsApp: nothing else can have started it.
func TestADoubleForkedProcessWithoutEnvironmentIsEndedWithItsApp(t *testing.T) {
	d := startDaemon(t, 0)
	shop := d.start("shop", appUser, "descendants", "orphan/session/bare/deaf")
	blog := d.start("blog", otherUser, "descendants", "orphan/session/bare/deaf")
	for i, app := range []*testTree{shop, blog} {
		want := append([]int{app.main}, app.others...)
		slices.Sort(want) // a child's pid can be less than its parent's
		if got := app.members(); !slices.Equal(got, want) {
			t.Errorf("%d: members %v, want %v", i, got, want)
		}
	}
	d.stop(shop)
	if left := living(append(shop.others, blog.others...)); !slices.Equal(left, blog.others) {
		t.Errorf("alive %v, want %v", left, blog.others)
	}
	d.stop(blog)
	if left := living(blog.others); len(left) > 0 {
		t.Errorf("alive: %v", left)
	}
}

// TestATreeEndsNoOrphanOfOneThatIsNotAdoptedYet: what a supervisor ends while it restores may have the user of
// an app that it does not know yet.
func TestATreeEndsNoOrphanOfOneThatIsNotAdoptedYet(t *testing.T) {
	d := startDaemon(t, 0)
	shop := d.start("shop", appUser, "descendants", "orphan/session/bare/deaf", "orphan/session/deaf")
	d.do(superviseRequest{Do: "await-adoption", Name: "shop"})
	foreign, own := shop.others[0], shop.others[1]
	if got := shop.members(); !slices.Contains(got, own) || slices.Contains(got, foreign) {
		t.Errorf("members %v, want %d and not %d", got, own, foreign)
	}
	d.stop(shop)
	if left := living(shop.others); !slices.Equal(left, []int{foreign}) {
		t.Errorf("alive %v, want %d", left, foreign)
	}
	unix.Kill(foreign, unix.SIGKILL)
}

// TestOfSeveralAppsOfAUserTheLastEndsWhatAllCanHaveStarted, also if they are stopped at once.
func TestOfSeveralAppsOfAUserTheLastEndsWhatAllCanHaveStarted(t *testing.T) {
	d := startDaemon(t, 0)
	first := d.start("first", appUser, "descendants", "sleep")
	second := d.start("second", appUser, "descendants", "orphan/session/bare/deaf", "orphan/session/deaf")
	undecided, own := second.others[0], second.others[1]
	<-time.After(20 * time.Millisecond)                                      // start times are in ticks of 10 ms
	later := d.start("later", appUser, "descendants", "orphan/session/deaf") // too young for the undecided one
	if got := second.members(); !slices.Contains(got, own) || slices.Contains(got, undecided) {
		t.Errorf("members %v, want %d and not %d", got, own, undecided)
	}
	d.stop(second)
	if lives(own) || !lives(undecided) {
		t.Errorf("%d lives: %v, want not; %d lives: %v", own, lives(own), undecided, lives(undecided))
	}
	d.stop(first)
	if lives(undecided) || !lives(later.others[0]) {
		t.Errorf("%d lives: %v, want not; %d lives: %v", undecided, lives(undecided), later.others[0], lives(later.others[0]))
	}
	d.stop(later)
	for range 10 {
		a := d.start("a", appUser, "descendants", "orphan/session/bare/deaf")
		b := d.start("b", appUser, "descendants", "orphan/session/bare/deaf")
		c := d.start("c", appUser, "descendants", "orphan/session/bare/deaf")
		d.stop(a, b, c)
		if left := living(slices.Concat(a.others, b.others, c.others)); len(left) > 0 {
			t.Fatalf("alive: %v", left)
		}
	}
}

// TestAProcessThatForksIntoNewSessionsWhileItIsStopped: each process of a chain forks once, in a session of
// its own, and exits.
func TestAProcessThatForksIntoNewSessionsWhileItIsStopped(t *testing.T) {
	d := startDaemon(t, 0)
	for range 5 {
		app := d.start("shop", appUser, "hop", "1000")
		d.stop(app)
		d.do(superviseRequest{Do: "read-output", Name: app.name}) // a list of processes could miss the chain
		if left := withToken(t, app.token); len(left) > 0 {
			t.Fatalf("alive: %v", left)
		}
	}
}

// withToken returns the processes with this token.
func withToken(t *testing.T, token string) []int {
	t.Helper()
	all, err := listProcesses()
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, s := range all {
		tokens, err := readTokens(s.pid, appUser)
		if err != nil {
			t.Fatal(err)
		}
		if s.alive() && slices.Contains(tokens, token) {
			found = append(found, s.pid)
		}
	}
	return found
}

// TestAProcessWhoseFirstThreadHasExitedLives: /proc shows it as a zombie.
func TestAProcessWhoseFirstThreadHasExitedLives(t *testing.T) {
	d := startDaemon(t, 0)
	app := d.start("shop", appUser, "descendants", "threads", "orphan/session/threads", "orphan/session/bare/threads")
	for _, pid := range app.others {
		if s, err := readStat(pid); err != nil || s.state != 'Z' {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if killed := d.stop(app); killed != 3 {
		t.Errorf("%d killed, want 3", killed)
	}
	if left := living(app.others); len(left) > 0 {
		t.Errorf("alive: %v", left)
	}
}

// TestAReusedPidIsNoMember: another process has the pid of a member, or of the main process, and a session
// of that number.
func TestAReusedPidIsNoMember(t *testing.T) {
	d := startDaemon(t, 0)
	app := d.start("shop", appUser, "descendants", "session/deaf", "session/sleep")
	if got := app.members(); len(got) != 3 {
		t.Fatal(got)
	}
	gone, err := readStat(app.others[1])
	if err != nil {
		t.Fatal(err)
	}
	d.do(superviseRequest{Do: "kill-main", Name: app.name}) // its child is reaped by the daemon now
	if err := signalPidfd(gone, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	foreign := []int{gone.pid, app.main}
	for _, pid := range slices.Clone(foreign) {
		for end := time.Now().Add(waitLimit); lives(pid) || !free(pid); {
			if time.Now().After(end) {
				t.Fatalf("pid %d is not reaped", pid)
			}
		}
		usedPrograms.Store("take-pid", true)
		outside(t, "take-pid", strconv.Itoa(pid))
		cleanUp(t, []int{pid})
		if !lives(pid) {
			t.Logf("root may not choose the pid %d of a process here", pid)
			foreign = nil
		}
	}
	if got := app.members(); !slices.Equal(got, app.others[:1]) {
		t.Errorf("members %v, want %v", got, app.others[:1])
	}
	d.stop(app)
	if left := living(foreign); !slices.Equal(left, foreign) || lives(app.others[0]) {
		t.Errorf("of the foreign ones %v live %v; the member: %v", foreign, left, lives(app.others[0]))
	}
}

// free reports whether no process, and no zombie, has this pid.
func free(pid int) bool {
	_, err := readStat(pid)
	return err != nil
}

// TestProcess1EndsNoOrphanWithoutToken: processes that enter the namespace become children of process 1.
func TestProcess1EndsNoOrphanWithoutToken(t *testing.T) {
	d := startDaemon(t, unix.CLONE_NEWPID|unix.CLONE_NEWNS, "proc")
	reply := d.do(superviseRequest{Do: "start", Name: "shop", UID: new(uint32), Sweep: true,
		Argv: []string{"/proc/self/exe", "testprogram", "descendants", "orphan/session/bare/deaf", "orphan/session/deaf"}})
	pids := numbers(t, strings.Fields(reply.Line)[1:]) // of the namespace
	want := []int{reply.Pid, pids[1]}
	if !d.namespaces { // it is not process 1, so it ends both
		cleanUp(t, pids)
		want = []int{reply.Pid, pids[0], pids[1]}
	}
	if got := d.do(superviseRequest{Do: "members", Name: "shop"}).Members; !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
	d.do(superviseRequest{Do: "stop", Name: "shop"})
}

// TestATreeIsEmptyOnlyIfNoOtherHasEndedMeanwhile: of two trees that end at once, each one has seen the other
// when it left an orphan undecided; the second one must look again.
func TestATreeIsEmptyOnlyIfNoOtherHasEndedMeanwhile(t *testing.T) {
	first, second := newTree(appUser, "first"), newTree(appUser, "second")
	defer ownTrees.remove(second)
	_, ended := ownTrees.others(second)
	others, before := ownTrees.others(first)
	if !slices.ContainsFunc(others, func(e extent) bool { return e.token == "second" }) {
		t.Error("the second tree is not among the others")
	}
	if !ownTrees.removeUnless(first, before) || ownTrees.removeUnless(second, ended) {
		t.Error("both have ended by what they had seen of each other")
	}
	if _, ended = ownTrees.others(second); !ownTrees.removeUnless(second, ended) {
		t.Error("the second tree cannot end")
	}
}

// TestRootInAContainerReadsTheTokenOfAnotherUser: it has no CAP_SYS_PTRACE there.
func TestRootInAContainerReadsTheTokenOfAnotherUser(t *testing.T) {
	d := startDaemon(t, 0, "no-ptrace")
	first := d.start("first", appUser, "descendants", "orphan/session/deaf", "orphan/session/bare/deaf")
	second := d.start("second", appUser, "descendants", "orphan/session/deaf")
	d.stop(second)
	if left := living(slices.Concat(first.others, second.others)); !slices.Equal(left, first.others) {
		t.Errorf("alive %v, want %v", left, first.others)
	}
	d.stop(first)
	if left := living(first.others); len(left) > 0 {
		t.Errorf("alive: %v", left)
	}
}

// TestACgroupAloneSaysWhatIsOurs: members of any user, wherever they are; none that has left it, or that
// only looks like one.
func TestACgroupAloneSaysWhatIsOurs(t *testing.T) {
	d := startDaemon(t, unix.CLONE_NEWNS, "cgroup", t.TempDir())
	app := d.startWith(superviseRequest{Name: "shop"}, "descendants", "33/orphan/session/bare/deaf", "1000/orphan/session/deaf", "deaf", "session/deaf")
	if app.cgroup == "" {
		t.Log("no cgroup of version 2 is possible here; without one, processes of other users that have left the session are not ended")
		if killed := d.stop(app); killed != 2 || len(living(app.others[:2])) != 2 || len(living(app.others[2:])) > 0 {
			t.Errorf("%d killed, alive %v of %v", killed, living(app.others), app.others)
		}
		return
	}
	victims := outside(t, "descendants", "token="+app.token+"/orphan/deaf", "33/token="+app.token+"/deaf")
	moved := app.others[3]
	pid := []byte(strconv.Itoa(moved))
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root%s/../../cgroup.procs", app.main, app.cgroup), pid, 0); err != nil {
		t.Fatal(err)
	}
	if got := app.members(); !slices.Equal(got, append([]int{app.main}, app.others[:3]...)) {
		t.Errorf("members %v, want %d and %v", got, app.main, app.others[:3])
	}
	if killed := d.stop(app); killed != 3 {
		t.Errorf("%d killed, want 3", killed)
	}
	if left := living(app.others); !slices.Equal(left, []int{moved}) {
		t.Errorf("alive %v, want %d", left, moved)
	}
	if left := living(victims); len(left) != len(victims) {
		t.Errorf("of %v live %v", victims, left)
	}
}

// TestACgroupEndsProcessesThatForkFasterThanTheyAreListed: chains that fork for ever.
func TestACgroupEndsProcessesThatForkFasterThanTheyAreListed(t *testing.T) {
	d := startDaemon(t, unix.CLONE_NEWNS, "cgroup", t.TempDir())
	uid := uint32(appUser)
	hop := "hop:0"
	app := d.startWith(superviseRequest{Name: "shop", UID: &uid}, "hop", "1")
	if app.cgroup == "" {
		t.Log("no cgroup of version 2 is possible here; a chain that ends is killed without one, too")
		hop = "hop:1000"
	}
	d.stop(app)
	app = d.startWith(superviseRequest{Name: "shop", UID: &uid}, "descendants", hop, hop, hop, hop, hop)
	d.stop(app)
	if left := withToken(t, app.token); len(left) > 0 {
		t.Errorf("alive: %v", left)
	}
}
