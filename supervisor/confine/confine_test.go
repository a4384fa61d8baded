package confine

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inside is what the roles of the tests do, once they are confined.
var inside = map[string]func(*report, []string){
	"nothing":        func(*report, []string) {},
	"attack":         attack,
	"runtime":        useRuntime,
	"grow":           growThreads,
	"relay":          relayRequests,
	"serve received": serveReceived,
}

// attack tries what a role must not be able to do. args: an 0666 socket elsewhere, the pid of
// another process, a socket in the jail, the descriptor numbers of inherited files.
func attack(r *report, args []string) {
	elsewhere, pid, own := args[0], number(args[1]), args[2]
	try := func(what string, f func() error) { r.note(what, f()) }
	open := func(path string, flags int) func() error {
		return func() error {
			fd, err := unix.Open(path, flags, 0o600)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
	}
	try("open /etc/passwd", open("/etc/passwd", unix.O_RDONLY))
	try("open ../../../etc/passwd", open("../../../etc/passwd", unix.O_RDONLY))
	try("open .", open(".", unix.O_RDONLY|unix.O_DIRECTORY))
	try("open O_PATH", open("/", unix.O_PATH))
	try("open O_TMPFILE", open("/tmp", unix.O_TMPFILE|unix.O_RDWR))
	for fd := range 64 {
		try("openat "+strconv.Itoa(fd), func() error {
			_, err := unix.Openat(fd, "../../../../../../etc/passwd", unix.O_RDONLY, 0)
			return err
		})
		try("openat2 "+strconv.Itoa(fd), func() error {
			_, err := unix.Openat2(fd, "../../../../../../etc/passwd", &unix.OpenHow{})
			return err
		})
		try("open_by_handle_at "+strconv.Itoa(fd), func() error {
			_, err := unix.OpenByHandleAt(fd, unix.NewFileHandle(1, make([]byte, 8)), unix.O_RDONLY)
			return err
		})
	}
	try("creat", open("x", unix.O_CREAT|unix.O_WRONLY))
	try("mkdir", func() error { return unix.Mkdir("y", 0o700) })
	try("rename", func() error { return unix.Rename(own, "z") })
	try("unlink", func() error { return unix.Unlink(own) })
	try("symlink", func() error { return unix.Symlink("/etc", "e") })
	try("chmod", func() error { return unix.Chmod(own, 0o777) })
	try("chroot", func() error { return unix.Chroot(".") })
	try("chdir ..", func() error { return unix.Chdir("..") })
	try("stat", func() error { return unix.Stat("/etc/passwd", new(unix.Stat_t)) })
	try("execve", func() error { return unix.Exec("/bin/sh", []string{"sh"}, nil) })
	try("execve of itself", func() error { return unix.Exec("/proc/self/exe", []string{"x"}, nil) })
	try("fork", func() error {
		child, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno == 0 && child == 0 {
			unix.Exit(0)
		}
		return asError(errno)
	})
	try("clone3", func() error {
		_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
		return asError(errno)
	})
	try("unshare", func() error { return unix.Unshare(unix.CLONE_NEWUSER) })
	try("ptrace", func() error { return unix.PtraceAttach(pid) })
	try("process_vm_readv", func() error {
		b := make([]byte, 8)
		_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: 8}}, []unix.RemoteIovec{{Base: 4096, Len: 8}}, 0)
		return err
	})
	try("kill of another process", func() error { return unix.Kill(pid, 0) })
	try("kill of all", func() error { return unix.Kill(-1, 0) })
	try("tgkill of another process", func() error { return unix.Tgkill(pid, pid, 0) })
	try("pidfd_open", func() error { _, err := unix.PidfdOpen(pid, 0); return err })
	try("prlimit of another process", func() error { return unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, new(unix.Rlimit)) })
	try("setrlimit", func() error { return unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 9, Max: 9}, nil) })
	try("mount", func() error { return unix.Mount("none", "/", "tmpfs", 0, "") })
	try("bpf", func() error { _, _, errno := unix.RawSyscall(unix.SYS_BPF, 0, 0, 0); return asError(errno) })
	try("io_uring", func() error { _, _, errno := unix.RawSyscall(unix.SYS_IO_URING_SETUP, 1, 0, 0); return asError(errno) })
	try("userfaultfd", func() error { _, _, errno := unix.RawSyscall(unix.SYS_USERFAULTFD, 0, 0, 0); return asError(errno) })
	try("perf_event_open", func() error { _, _, errno := unix.RawSyscall(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0); return asError(errno) })
	try("keyctl", func() error { _, _, errno := unix.RawSyscall(unix.SYS_KEYCTL, 0, 0, 0); return asError(errno) })
	try("memfd_create", func() error { _, err := unix.MemfdCreate("x", 0); return err })
	try("setuid 0", func() error { _, _, errno := unix.RawSyscall(unix.SYS_SETUID, 0, 0, 0); return asError(errno) })
	try("be dumpable", func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) })
	try("executable memory", func() error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
		return err
	})
	for name, s := range map[string][3]int{
		"AF_NETLINK": {unix.AF_NETLINK, unix.SOCK_RAW, 0}, "AF_PACKET": {unix.AF_PACKET, unix.SOCK_RAW, 0},
		"AF_VSOCK": {unix.AF_VSOCK, unix.SOCK_STREAM, 0}, "AF_ALG": {unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		"UDP": {unix.AF_INET, unix.SOCK_DGRAM, 0}, "raw": {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
		"MPTCP": {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, "SCTP": {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP},
		"unix datagrams": {unix.AF_UNIX, unix.SOCK_DGRAM, 0},
	} {
		try("socket "+name, func() error { _, err := unix.Socket(s[0], s[1], s[2]); return err })
	}
	try("connect to 0666 socket elsewhere", func() error { return connect(elsewhere) })
	try("connect to 0666 socket elsewhere by ..", func() error { return connect("../../../.." + elsewhere) })
	try("connect to abstract socket", func() error { return connect("@" + elsewhere) })
	try("bind", func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{})
	})
	try("TIOCSTI", func() error {
		c := byte('x')
		_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&c)))
		return asError(errno)
	})
	try("connect in the jail", func() error { return connect(own) })
}

func asError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

func number(s string) int { n, _ := strconv.Atoi(s); return n }

func connect(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// listenWorld listens on a socket that every user may connect to, at a path and as an abstract
// one.
func listenWorld(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "w")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	for _, name := range []string{path, "@" + path} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	os.Chmod(dir, 0o755)
	os.Chmod(path, 0o666)
	return path
}

// listenIn listens on a socket in the jail that the roles' user may connect to.
func listenIn(t *testing.T, dir string) (net.Listener, string) {
	t.Helper()
	path := filepath.Join(dir, "app.1.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if u := rolesUser(); u != nil {
		os.Chown(path, 0, u.GID)
		os.Chmod(path, 0o660)
	}
	return l, "app.1.sock"
}

// From inside everything is refused that is not needed, and the measures hold one by one: what
// seccomp refuses is EPERM, whichever user it is.
func TestARoleReachesNothingThatItWasNotGiven(t *testing.T) {
	for _, sockets := range []Sockets{NoSockets, UnixSockets, UnixAndTCP} {
		t.Run("sockets "+string(sockets), func(t *testing.T) { testAttack(t, sockets, rolesUser()) })
	}
	t.Run("without root", func(t *testing.T) { testAttack(t, UnixAndTCP, nil) })
}

func testAttack(t *testing.T, sockets Sockets, user *User) {
	dir := jail(t)
	_, name := listenIn(t, dir)
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Process.Kill(); other.Wait() })
	o := Options{User: user, Root: dir, Sockets: sockets}
	p := start(t, testRole{Options: o, Do: "attack", Args: []string{listenWorld(t), strconv.Itoa(other.Process.Pid), name}}, as(user))
	r := p.report(t)
	if r.Err != "" {
		t.Fatal(r.Err)
	}
	for _, m := range Missing(r.Measures) {
		if user != nil || m.Name == "seccomp" || m.Name == "no_new_privs" || m.Name == "no core dumps" {
			t.Errorf("%s does not hold: %s", m.Name, m.Reason)
		}
	}
	if err := Verify(p.cmd.Process.Pid, o); err != nil {
		t.Errorf("the supervisor refuses it: %v", err)
	}
	for what, refusal := range r.Found {
		switch {
		case what == "connect in the jail" && sockets != NoSockets:
			if refusal != "" {
				t.Errorf("%s: %s", what, refusal)
			}
		case user == nil && strings.HasPrefix(what, "connect to 0666"):
			// Only a chroot refuses it, or Landlock from ABI 9 on.
		case refusal == "":
			t.Errorf("%s is not refused", what)
		case what == "clone3":
			if refusal != unix.ENOSYS.Error() {
				t.Errorf("%s: %s", what, refusal)
			}
		case strings.HasPrefix(what, "connect to 0666"), what == "connect to abstract socket":
		case refusal != unix.EPERM.Error():
			t.Errorf("%s is refused by %s, not by the seccomp filter", what, refusal)
		}
	}
}

// as runs a command as the owner of nothing if the role keeps its user and this process is root.
func as(user *User) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		if user == nil && os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(unprivileged.UID), Gid: uint32(unprivileged.GID)}}
		}
	}
}

// useRuntime uses what Go's runtime does behind a program: collection, threads, timers, time
// zones, random numbers.
func useRuntime(r *report, _ []string) {
	var threads sync.WaitGroup
	for range 40 {
		threads.Go(func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			unix.Nanosleep(&unix.Timespec{Nsec: 20e6}, nil)
			garbage := make([][]byte, 200)
			for i := range garbage {
				garbage[i] = make([]byte, 32<<10)
			}
			runtime.KeepAlive(garbage)
		})
	}
	threads.Wait()
	for range 5 {
		runtime.GC()
	}
	fired := 0
	for range 20 {
		<-time.After(time.Millisecond)
		fired++
	}
	if fired != 20 {
		r.note("timers", errors.New("missing"))
	}
	if zone, _ := time.Now().Zone(); zone == "" {
		r.note("time zone", errors.New("missing"))
	}
	ended := make(chan bool)
	go func() { // preempted by signals
		for i := 0; ; i++ {
			select {
			case ended <- true:
				return
			default:
			}
		}
	}()
	runtime.GC()
	<-ended
	c := make([]byte, 1<<26)
	clear(c)
	runtime.KeepAlive(c)
	c = nil
	runtime.GC()
	<-time.After(1200 * time.Millisecond) // the runtime looks at the CPU limit each second
	r.note("done", nil)
}

func TestGarbageCollectionThreadsAndTimersWorkInside(t *testing.T) {
	p := start(t, testRole{Options: Options{User: rolesUser(), Root: jail(t)}, Do: "runtime"})
	r := p.report(t)
	if r.Err != "" || r.Found["done"] != "" || len(r.Found) != 1 {
		t.Errorf("%s %v", r.Err, r.Found)
	}
	if text := p.log.String(); text != "" {
		t.Error(text)
	}
}

// growThreads starts threads all the time.
func growThreads(r *report, _ []string) {
	for range 4 {
		go func() {
			for {
				var one sync.WaitGroup
				one.Go(func() { runtime.LockOSThread(); unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil) })
				one.Wait()
			}
		}()
	}
}

func TestTheSupervisorSeesThreadsThatComeAndGo(t *testing.T) {
	o := Options{User: rolesUser(), Root: jail(t)}
	p := start(t, testRole{Options: o, Do: "grow"})
	if r := p.report(t); r.Err != "" {
		t.Fatal(r.Err)
	}
	for range 50 {
		if err := Verify(p.cmd.Process.Pid, o); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheSupervisorRefusesAProcessThatIsNotConfined(t *testing.T) {
	dir := jail(t)
	o := Options{User: rolesUser(), Root: dir}
	cmd := exec.Command("sleep", "60")
	if o.User != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.User.UID), Gid: uint32(o.User.GID)}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if err := Verify(cmd.Process.Pid, o); err == nil {
		t.Error("a process that has only the right user is accepted")
	}
	if o.User != nil {
		p := start(t, testRole{Options: Options{User: o.User, Root: dir}, Do: "nothing"})
		p.report(t)
		for what, other := range map[string]Options{
			"another user":      {User: &User{61002, 61001}, Root: dir},
			"another group":     {User: &User{61001, 61002}, Root: dir},
			"another directory": {User: o.User, Root: os.TempDir()},
		} {
			if err := Verify(p.cmd.Process.Pid, other); err == nil {
				t.Errorf("a process with %s is accepted", what)
			}
		}
	}
	p := start(t, testRole{Options: o, Do: "nothing"}, as(o.User))
	p.report(t)
	p.in.Close()
	p.cmd.Wait()
	if err := Verify(p.cmd.Process.Pid, o); err == nil {
		t.Error("a process that has ended is accepted")
	}
}

func TestTheSupervisorLooksAtEachPropertyOfAThread(t *testing.T) {
	o := Options{User: rolesUser(), Root: jail(t)}
	p := start(t, testRole{Options: o, Do: "nothing"}, as(o.User))
	p.report(t)
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "status")
	verify := func(text string) error {
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := verifyThread(copied, nil, wanted(o))
		return err
	}
	if err := verify(string(text)); err != nil {
		t.Fatal(err)
	}
	for name := range wanted(o) {
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			if before, value, _ := strings.Cut(line, ":"); before == name {
				lines[i] = name + ":" + strings.TrimSpace(value) + "7"
			}
		}
		if err := verify(strings.Join(lines, "\n")); err == nil || !strings.Contains(err.Error(), name+" is") {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

// Each measure says whether it holds where the kernel, or a container, does not have it; the
// others still do.
func TestWithoutSeccompOrLandlockTheRestHolds(t *testing.T) {
	for call, lost := range map[string]string{"seccomp": "seccomp", "landlock_create_ruleset": "Landlock", "chroot": "chroot"} {
		t.Run(call, func(t *testing.T) {
			dir := jail(t)
			o := Options{User: rolesUser(), Root: dir}
			p := start(t, testRole{Options: o, Without: []string{call}, Do: "nothing"}, as(o.User))
			r := p.report(t)
			if r.Err != "" {
				t.Fatal(r.Err)
			}
			missing := map[string]string{}
			for _, m := range Missing(r.Measures) {
				missing[m.Name] = m.Reason
			}
			if missing[lost] == "" {
				t.Errorf("%s is said to hold:\n%s", lost, describe(r.Measures))
			}
			if delete(missing, lost); o.User != nil && len(missing) > 0 {
				t.Errorf("does not hold either: %v", missing)
			}
			want := wanted(o)
			delete(want, "Seccomp_filters")
			if err := verifyThreads(p.cmd.Process.Pid, want); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestARoleThatHasADirectoryDoesNotGoOn(t *testing.T) {
	for name, flags := range map[string]int{"O_RDONLY": unix.O_RDONLY, "O_PATH": unix.O_PATH} {
		t.Run(name, func(t *testing.T) {
			fd, err := unix.Open("/", flags|unix.O_DIRECTORY, 0)
			if err != nil {
				t.Fatal(err)
			}
			dir := os.NewFile(uintptr(fd), "/")
			defer dir.Close()
			p := start(t, testRole{Options: Options{User: rolesUser(), Root: jail(t)}, Do: "nothing"}, func(c *exec.Cmd) { c.ExtraFiles = []*os.File{dir} })
			if r := p.report(t); !strings.Contains(r.Err, errDirectory.Error()) {
				t.Errorf("Confine: %q, measures:\n%s", r.Err, describe(r.Measures))
			}
		})
	}
}

// A role that cannot become its user ends: it would be root.
func TestARoleThatCannotChangeItsUserDoesNotGoOn(t *testing.T) {
	if rolesUser() == nil {
		p := start(t, testRole{Options: Options{User: unprivileged, Root: jail(t)}, Do: "nothing"})
		if r := p.report(t); r.Err == "" {
			t.Error("goes on")
		}
		return
	}
	for what, u := range map[string]*User{"root": {0, 61001}, "group of root": {61001, 0}} {
		p := start(t, testRole{Options: Options{User: u, Root: jail(t)}, Do: "nothing"})
		if r := p.report(t); r.Err == "" {
			t.Errorf("%s goes on", what)
		}
	}
}

func TestTheUserOfTheRolesIsNeverRootNorNobody(t *testing.T) {
	u, err := FindUser("")
	if !mayChangeUser() {
		if u != nil || err != nil {
			t.Errorf("%v %v", u, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if u.UID <= 0 || u.GID <= 0 || u.UID == 65534 || u.GID == 65534 {
		t.Errorf("%+v", u)
	}
	if _, err := FindUser("root"); err == nil {
		t.Error("root is accepted")
	}
	if _, err := FindUser("no-such-user"); err == nil {
		t.Error("an unknown user is accepted")
	}
	if u, err := FindUser("61003"); err != nil || *u != (User{61003, 61003}) {
		t.Errorf("a number: %v %v", u, err)
	}
}

// An id that a process has is not free, although it has no account.
func TestAnIdThatAProcessHasIsNotTaken(t *testing.T) {
	if !mayChangeUser() {
		if taken, err := idsOfOthers(); err != nil || !taken[os.Getuid()] {
			t.Errorf("the user of this process is not seen: %v", err)
		}
		return
	}
	before, err := FindUser("")
	if err != nil {
		t.Fatal(err)
	}
	// Not a child: those are roles of the former program.
	cmd := exec.Command("sh", "-c", "setpriv --reuid "+strconv.Itoa(before.UID)+" --clear-groups sleep 30 & echo $!; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, _ := out.Read(line)
	child := number(strings.TrimSpace(string(line[:n])))
	t.Cleanup(func() { unix.Kill(child, unix.SIGKILL); cmd.Wait() })
	for range 500 {
		if uid := readStatus("/proc/"+strconv.Itoa(child)+"/status", nil, "Uid")["Uid"]; len(uid) > 0 && uid[0] == strconv.Itoa(before.UID) {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	after, err := FindUser("")
	if err != nil {
		t.Fatal(err)
	}
	if after.UID == before.UID {
		t.Errorf("uid %d is that of process %d", after.UID, child)
	}
}
