package process

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is the uid of an unprivileged user on every system, also under other names.
const nobody = 65534

// factsOf is what a child says of itself.
func factsOf(t *testing.T, s Spec, args ...string) Facts {
	t.Helper()
	k := launch(t, newCgroup, s, append([]string{"facts"}, args...)...)
	var f Facts
	if err := json.Unmarshal([]byte(k.line(t)), &f); err != nil {
		t.Fatal(err)
	}
	if f.Pid != k.Pid() || f.Session != k.Pid() {
		t.Errorf("pid %d in session %d, want %d in its own", f.Pid, f.Session, k.Pid())
	}
	return f
}

// output runs a command to its end and returns what it wrote.
func output(t *testing.T, s Spec, argv ...string) string {
	t.Helper()
	s.Argv = argv
	k, err := tryLaunch(t, newCgroup, s)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(k.out)
	if err != nil {
		t.Fatal(err)
	}
	if o := k.awaitExit(t); o.Code != 0 {
		t.Fatalf("%v: %v: %s", argv, o, text)
	}
	return strings.TrimSpace(string(text))
}

func TestEverythingSet(t *testing.T) {
	dir := t.TempDir()
	umask, nice, oom := 0o027, 7, 123
	odd := "ODD=\xff\xfe not UTF-8"
	f := factsOf(t, Spec{
		Dir: dir, Env: []string{"A=1", odd, "LISTEN_PID=1", "LISTEN_FDS=3", "TIDEOVER_TREE=another"}, Token: "token-1",
		Umask: &umask, Nice: &nice, OOMScoreAdj: &oom, NoNewPrivs: true,
		Limits: map[string][2]uint64{"core": {1000, Unlimited}},
	}, "", "two words", "\xff")
	if f.Cwd != dir || f.Umask != umask || f.Nice != nice || f.OOM != "123" || f.NoNewPrivs != 1 {
		t.Errorf("%+v", f)
	}
	if want := (syscall.Rlimit{Cur: 1000, Max: Unlimited}); f.Core != want {
		t.Errorf("core limit %+v, want %+v", f.Core, want)
	}
	// Facts come as JSON, which repairs what is not UTF-8, so that is asked of the shell below.
	if want := []string{"", "two words", "\ufffd"}; !slices.Equal(f.Args[3:], want) {
		t.Errorf("arguments %q", f.Args)
	}
	if want := []string{"A=1", "ODD=\ufffd\ufffd not UTF-8", "TIDEOVER_TREE=token-1"}; !slices.Equal(f.Env, want) {
		t.Errorf("environment %q", f.Env)
	}
	if got := output(t, Spec{Env: []string{odd}}, "/bin/sh", "-c", `printf '%s|%s' "$ODD" "$0"`, "\xff\x80"); got != odd[4:]+"|\xff\x80" {
		t.Errorf("raw bytes: %q", got)
	}
}

func TestNothingSet(t *testing.T) {
	now := unix.Umask(0)
	unix.Umask(now)
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	f := factsOf(t, Spec{})
	if f.Umask != now || f.Cwd != cwd || f.UID != os.Getuid() || f.NoNewPrivs != 0 || len(f.Args) != 3 {
		t.Errorf("%+v", f)
	}
	if len(f.Env) != 1 || !strings.HasPrefix(f.Env[0], "TIDEOVER_TREE=TestNothingSet-") {
		t.Errorf("environment %q", f.Env)
	}
}

func TestUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	f := factsOf(t, Spec{User: &User{UID: nobody, GID: nobody, Groups: []uint32{nobody, 33, 4}}})
	slices.Sort(f.Groups)
	if f.UID != nobody || f.GID != nobody || !slices.Equal(f.Groups, []int{4, 33, nobody}) {
		t.Errorf("%+v", f)
	}
	if f := factsOf(t, Spec{User: &User{UID: 4711, GID: 4712}}); f.UID != 4711 || !slices.Equal(f.Groups, []int{4712}) {
		t.Errorf("an id without an entry: %+v", f)
	}
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := tryLaunch(t, newCgroup, Spec{Argv: []string{"/bin/true"}, Dir: closed, User: &User{UID: nobody, GID: nobody}})
	if err == nil || !strings.HasPrefix(err.Error(), "directory "+closed+": permission denied") {
		t.Errorf("the directory is entered as the user: %v", err)
	}
}

// TestUserOfAnOrdinaryDaemon: a daemon that is not root can start as itself and as no other user.
func TestUserOfAnOrdinaryDaemon(t *testing.T) {
	self, root, other := uint32(nobody), uint32(0), uint32(4711)
	for _, c := range []struct {
		uid  *uint32
		want string
	}{{nil, strconv.Itoa(nobody)}, {&self, strconv.Itoa(nobody)}, {&root, "user 0: setgroups: operation not permitted"}, {&other, "user 4711: "}} {
		_, r := daemonWith(t, Spec{User: &User{UID: nobody, GID: nobody}}, daemonOrder{Argv: []string{"/usr/bin/id", "-u"}, UID: c.uid, Sweep: true})
		if got := strings.TrimSpace(r.Line) + r.Err; !strings.HasPrefix(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// daemonWith starts the test program "daemon" and returns its report.
func daemonWith(t *testing.T, s Spec, o daemonOrder) (*testChild, daemonReport) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if s.Argv != nil { // a command in front of it
		s.Argv = append(s.Argv, "/proc/self/exe", "testprogram", "daemon", string(text))
	}
	usedPrograms.Store(o.program(), true)
	k := launch(t, noCgroup, s, "daemon", string(text))
	var r daemonReport
	if err := json.Unmarshal([]byte(k.line(t)), &r); err != nil {
		t.Fatal(err)
	}
	return k, r
}

// TestNofile: Go raises its own limit, and a command gets the one its daemon was started with, or the one it was promised.
func TestNofile(t *testing.T) {
	low := Spec{Limits: map[string][2]uint64{"nofile": {777, 5000}}}
	_, r := daemonWith(t, low, daemonOrder{Argv: []string{"/bin/sh", "-c", "echo $(ulimit -Sn) $(ulimit -Hn)"}, Sweep: true})
	if got := strings.TrimSpace(r.Line); got != "777 5000" {
		t.Errorf("inherited: %s %s", got, r.Err)
	}
	if got := output(t, Spec{Nofile: 4096}, "/bin/sh", "-c", "ulimit -Sn"); got != "4096" {
		t.Errorf("promised: %s", got)
	}
}

// TestSignals: what a daemon was started with, ignored as by nohup or blocked, does not reach its children.
func TestSignals(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	status := []string{"/bin/sh", "-c", "echo $(grep -E 'Sig(Blk|Ign)' /proc/self/status)"}
	if got := output(t, Spec{}, "/usr/bin/env", "--ignore-signal=HUP", "--block-signal=USR1", "grep", "-E", "SigBlk|SigIgn", "/proc/self/status"); !strings.Contains(got, "200") || !strings.Contains(got, "0000001") {
		t.Fatalf("env does not do what this test needs: %s", got)
	}
	order, err := json.Marshal(daemonOrder{Argv: status, Sweep: true})
	if err != nil {
		t.Fatal(err)
	}
	usedPrograms.Store("daemon", true)
	k, err := tryLaunch(t, noCgroup, Spec{Env: os.Environ(), Argv: []string{"/usr/bin/env", "--ignore-signal=HUP", "--block-signal=USR1", self, "testprogram", "daemon", string(order)}})
	if err != nil {
		t.Fatal(err)
	}
	var r daemonReport
	if err := json.Unmarshal([]byte(k.line(t)), &r); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(r.Line); got != "SigBlk: 0000000000000000 SigIgn: 0000000000000000" {
		t.Errorf("%s %s", got, r.Err)
	}
}

// descriptors lists what the shell has open; what it opened itself, to make the list, is closed by then.
const descriptors = `for f in /proc/$$/fd/*; do
	if [ -S $f ]; then echo ${f##*/} socket; elif [ $f -ef /dev/null ]; then echo ${f##*/} null; elif [ -h $f ]; then echo ${f##*/}; fi
done`

// TestDescriptors: a child has 0, 1, 2 and its own listener, though the daemon has others and was even handed some that no
// exec closes.
func TestDescriptors(t *testing.T) {
	leak, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0) // not close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	high, err := unix.FcntlInt(uintptr(leak), unix.F_DUPFD, 900)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	l := listenerFile(t)
	for _, c := range []struct {
		listen []*os.File
		want   []string
	}{
		{nil, []string{"0 null", "1", "2"}},
		{[]*os.File{l}, []string{"0 null", "1", "2", "3 socket"}},
		{[]*os.File{l, l, l, l}, []string{"0 null", "1", "2", "3 socket", "4 socket", "5 socket", "6 socket"}},
	} {
		lines := strings.Split(output(t, Spec{Listen: c.listen}, "/bin/sh", "-c", descriptors), "\n")
		if !slices.Equal(lines, c.want) {
			t.Errorf("open: %q, want %q", lines, c.want)
		}
	}
}

func listenerFile(t *testing.T) *os.File {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestListen(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "a b.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	conn, err := net.Dial("unix", l.Addr().String()) // before the child runs
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	k := launch(t, newCgroup, Spec{Listen: []*os.File{f}, Name: "shop.12"}, "accept")
	answer, err := io.ReadAll(conn)
	if err != nil || string(answer) != strconv.Itoa(k.Pid()) {
		t.Errorf("answer %q, %v; pid %d", answer, err, k.Pid())
	}
	held, err := k.Listening()
	if err != nil || len(held) != 1 || held[0].Network != "unix" || held[0].Address != l.Addr().String() || held[0].PID != k.Pid() {
		t.Errorf("listening: %+v, %v", held, err)
	}
	variables := `echo $LISTEN_FDS $(( LISTEN_PID == $$ )) $LISTEN_FDNAMES`
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{Listen: []*os.File{f}, Name: "shop.12"}, "1 1 shop.12"},
		{Spec{Listen: []*os.File{f}, Name: "a:b"}, "1 1 a_b"},
		{Spec{Listen: []*os.File{f}, Env: []string{"LISTEN_FDNAMES=http"}}, "1 1 http"},
		{Spec{Listen: []*os.File{f, f, f}, Name: "shop.12"}, "3 1 shop.12:shop.12:shop.12"},
		{Spec{Listen: []*os.File{f, f}, Env: []string{"LISTEN_FDNAMES=http:https"}}, "2 1 http:https"},
	} {
		if got := output(t, c.spec, "/bin/sh", "-c", variables); got != c.want {
			t.Errorf("LISTEN_*: %q, want %q", got, c.want)
		}
	}
}

// TestCommandLookup goes through the child's PATH, from the child's directory, as its user.
func TestCommandLookup(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"one/tool": 0o644, "two/tool": 0o755, "three/tool": 0o755} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, "#!/bin/sh\necho %s $0\n", name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path, dir, name, want string
	}{
		{"none:one:two:three", dir, "tool", "two/tool two/tool"},
		{"../three:two", dir + "/two", "tool", "three/tool ../three/tool"},
		{"", dir + "/two", "tool", "two/tool ./tool"},
		{dir + "/two", "", "tool", "two/tool " + dir + "/two/tool"},
		{"/nowhere", dir, "three/tool", "three/tool three/tool"},
		{"/nowhere", dir + "/two", "./tool", "two/tool ./tool"},
	} {
		if got := output(t, Spec{Dir: c.dir, Env: []string{"PATH=" + c.path}}, c.name); got != c.want {
			t.Errorf("%s by PATH=%s in %s: %q, want %q", c.name, c.path, c.dir, got, c.want)
		}
	}
	if got := output(t, Spec{}, "sh", "-c", "echo found"); got != "found" {
		t.Errorf("without a PATH: %q", got)
	}
}

// TestAPassedSocketStaysNonblockingForItsOtherProcesses: a worker of another generation may be
// between poll(2) and accept(2), and would wait in accept for the next client.
func TestAPassedSocketStaysNonblockingForItsOtherProcesses(t *testing.T) {
	for _, nonblock := range []bool{true, false} {
		fd, err := unix.FcntlInt(listenerFile(t).Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SetNonblock(fd, nonblock); err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "shared")
		defer f.Close()
		output(t, Spec{Listen: []*os.File{f, f}}, "/bin/true")
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK != 0 != nonblock {
			t.Errorf("O_NONBLOCK was %v; flags %#x, %v", nonblock, flags, err)
		}
	}
}
