package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
)

// listenAs opens addresses in a test program of another user and returns its pid. The program never accepts.
func listenAs(t *testing.T, uid uint32, arguments ...string) *testChild {
	t.Helper()
	return startListening(t, uid, "/", arguments)
}

// listenIn is listenAs in a directory, for relative paths.
func listenIn(t *testing.T, dir, path string) *testChild {
	t.Helper()
	return startListening(t, otherUser(), dir, []string{"unix " + path})
}

func startListening(t *testing.T, uid uint32, dir string, arguments []string) *testChild {
	t.Helper()
	usedPrograms.Store("listen", true)
	cmd := exec.Command("/proc/self/exe", append([]string{"testprogram", "listen"}, arguments...)...)
	cmd.Stderr, cmd.Dir = os.Stderr, dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	c := startChild(t, cmd)
	if line := c.line(t); line != "ready" {
		t.Fatal(line)
	}
	return c
}

// listenProgram listens on its arguments: an address, a path, "unix PATH" for a relative path, or "reuseport ADDRESS"
// for two sockets. It ends as
// gunicorn does: it closes the sockets and removes their paths. Then it says after how many milliseconds another
// socket is at a path, which it waits for as long as missingLimit.
func listenProgram() {
	var all []net.Listener
	for _, argument := range os.Args[3:] {
		address, twice := strings.CutPrefix(argument, "reuseport ")
		config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				if twice {
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
				}
			})
		}}
		network, path := "tcp", address
		if address, relative := strings.CutPrefix(address, "unix "); relative || filepath.IsAbs(address) {
			network, path = "unix", address
		}
		for range map[bool]int{false: 1, true: 2}[twice] {
			l, err := config.Listen(context.Background(), network, path)
			if err != nil {
				panic(err)
			}
			all = append(all, l)
		}
	}
	hold()
	for _, l := range all {
		l.Close()
	}
	removed := time.Now()
	for _, path := range os.Args[3:] {
		_, err := os.Lstat(path)
		for filepath.IsAbs(path) && err != nil && time.Since(removed) < missingLimit {
			unix.Nanosleep(&unix.Timespec{Nsec: 50_000}, nil)
			_, err = os.Lstat(path)
		}
	}
	fmt.Println(time.Since(removed).Milliseconds())
}

// missingLimit bounds the time in which listenProgram waits for another socket at its path.
const missingLimit = 2 * time.Second

// end has the program close its sockets and waits until it is gone.
func (c *testChild) end(t *testing.T) {
	t.Helper()
	c.stdin.Close()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

func duplicate(t *testing.T, a Address, pid int) []*Public {
	t.Helper()
	all, err := Duplicate(a, Options{}, []int{pid})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		t.Cleanup(func() { p.Close() })
	}
	return all
}

func freeAddress(t *testing.T) Address {
	t.Helper()
	address, err := testenv.Address()
	if err != nil {
		t.Fatal(err)
	}
	return Address{"tcp", address}
}

// otherUser is another user than root, or else this one.
func otherUser() uint32 {
	if os.Geteuid() == 0 {
		return 33
	}
	return uint32(os.Geteuid())
}

func TestAConnectionInTheBacklogOutlivesTheProcessThatListened(t *testing.T) {
	a := freeAddress(t)
	old := listenAs(t, otherUser(), a.Address)
	waiting := dial(t, "tcp", a.Address)
	all := duplicate(t, a, old.Process.Pid)
	if len(all) != 1 {
		t.Fatalf("%d sockets", len(all))
	}
	old.end(t)
	later := dial(t, "tcp", a.Address)
	for _, client := range []net.Conn{waiting, later} {
		conn, err := accept(t, all[0])
		if err != nil {
			t.Fatal(err)
		}
		if got, want := conn.RemoteAddr().String(), client.LocalAddr().String(); got != want {
			t.Errorf("accepted %s, want %s", got, want)
		}
		conn.Close()
	}
}

func TestEverySocketOfAReusedPortIsDuplicated(t *testing.T) {
	a := freeAddress(t)
	old := listenAs(t, otherUser(), "reuseport "+a.Address)
	all := duplicate(t, a, old.Process.Pid)
	if len(all) != 2 {
		t.Errorf("%d sockets", len(all))
	}
	var clients []net.Conn
	for range 20 { // the kernel spreads them by their ports
		clients = append(clients, dial(t, "tcp", a.Address))
	}
	old.end(t)
	for _, p := range all {
		for p.Pending() {
			conn, err := accept(t, p)
			if err != nil {
				t.Fatal(err)
			}
			conn.Write([]byte("x"))
			conn.Close()
		}
	}
	for _, c := range clients {
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
	}
}

func TestOnlyTheNamedAddressOfTheNamedProcessIsDuplicated(t *testing.T) {
	_, port, _ := net.SplitHostPort(freeAddress(t).Address)
	here := Address{"tcp", "127.0.0.1:" + port}
	other := freeAddress(t)
	path := filepath.Join(openDirectory(t), "app.sock")
	old := listenAs(t, otherUser(), here.Address, path)
	stranger := listenAs(t, otherUser(), other.Address)
	for _, c := range []struct {
		name string
		a    Address
		pid  int
	}{
		{"every interface", Address{"tcp", ":" + port}, old.Process.Pid},
		{"every IPv4 interface", Address{"tcp", "0.0.0.0:" + port}, old.Process.Pid},
		{"another loopback address", Address{"tcp", "127.0.0.2:" + port}, old.Process.Pid},
		{"a socket of another process", other, old.Process.Pid},
		{"another process", here, stranger.Process.Pid},
		{"another path", Address{"unix", path + "x"}, old.Process.Pid},
		{"a process that is gone", here, 1 << 22},
	} {
		if all, err := Duplicate(c.a, Options{}, []int{c.pid}); err == nil {
			t.Errorf("%s: %d sockets", c.name, len(all))
		}
	}
	duplicate(t, here, old.Process.Pid)
	duplicate(t, Address{"unix", path}, old.Process.Pid)
}

func TestTheSocketIsFoundInOneOfSeveralProcesses(t *testing.T) {
	a := freeAddress(t)
	first, second := listenAs(t, otherUser(), freeAddress(t).Address), listenAs(t, otherUser(), a.Address)
	all, err := Duplicate(a, Options{}, []int{1 << 22, first.Process.Pid, second.Process.Pid})
	if err != nil || len(all) != 1 {
		t.Fatalf("%d sockets, %v", len(all), err)
	}
	all[0].Close()
}

// gunicorn -b unix:app.sock binds a relative path. The name of the socket is "app.sock" then.
func TestASocketThatIsBoundToARelativePathIsFoundInTheDirectoryOfItsProcess(t *testing.T) {
	dir, other := openDirectory(t), openDirectory(t)
	for _, name := range []string{"app.sock", "./beside.sock", "my app.sock"} {
		a := Address{"unix", filepath.Join(dir, name)}
		old := listenIn(t, dir, name)
		listenIn(t, other, name)
		for _, p := range duplicate(t, a, old.Process.Pid) {
			p.LeavePath()
		}
		if got := portOwner(a); !strings.HasPrefix(got, fmt.Sprintf("pid %d ", old.Process.Pid)) && os.Geteuid() == 0 {
			t.Errorf("held by %q", got)
		}
		opened := make(chan error)
		go func() {
			p, err := OpenWhenFree(t.Context(), a, Options{})
			if err == nil {
				p.Close()
			}
			opened <- err
		}()
		select {
		case err := <-opened:
			t.Fatalf("%v: opened while it is in use: %v", a, err)
		case <-time.After(20 * time.Millisecond):
		}
		old.end(t)
		if err := <-opened; err != nil {
			t.Error(err)
		}
	}
}

// A process without the right to trace the other one gets an error that names the system call, and nothing is
// changed.
func TestWithoutPtracePermissionTheErrorNamesTheSystemCall(t *testing.T) {
	a := freeAddress(t)
	if os.Geteuid() != 0 {
		_, err := Duplicate(a, Options{}, []int{1})
		if err == nil {
			t.Error("a socket of pid 1")
		}
		return
	}
	old := listenAs(t, 33, a.Address)
	usedPrograms.Store("duplicate", true)
	cmd := exec.Command("/proc/self/exe", "testprogram", "duplicate", a.Address, fmt.Sprint(old.Process.Pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "cannot duplicate the listening socket") {
		t.Errorf("%v: %s", err, out)
	}
	dial(t, "tcp", a.Address)
}

// duplicateProgram prints the error of Duplicate.
func duplicateProgram() {
	var pid int
	fmt.Sscan(os.Args[4], &pid)
	_, err := Duplicate(Address{"tcp", os.Args[3]}, Options{}, []int{pid})
	fmt.Println(err)
}

// openDirectory is a directory in which every user may make files.
func openDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "listener")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestThePathThatTheOldProcessRemovesIsTakenAtOnce(t *testing.T) {
	path := filepath.Join(openDirectory(t), "app.sock")
	a := Address{"unix", path}
	old := listenAs(t, otherUser(), path)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	all := duplicate(t, a, old.Process.Pid)
	waiting := dial(t, "unix", path)
	fresh, failed, armed := make(chan *Public, 1), make(chan error, 1), make(chan struct{})
	go func() {
		p, err := all[0].TakePath(t.Context(), func() { close(armed) })
		fresh <- p
		failed <- err
	}()
	<-armed
	old.end(t)
	p := <-fresh
	if err := <-failed; err != nil || p == nil {
		t.Fatalf("%v, %v", p, err)
	}
	defer p.Close()
	later := dial(t, "unix", path)
	for _, c := range []struct {
		at     *Public
		client net.Conn
	}{{all[0], waiting}, {p, later}} {
		conn, err := accept(t, c.at)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte("x"))
		if _, err := c.client.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
	after, err := os.Stat(path)
	if err != nil || after.Mode() != before.Mode() || after.Sys().(*syscall.Stat_t).Uid != before.Sys().(*syscall.Stat_t).Uid {
		t.Errorf("%v before, %v after: %v", before.Mode(), after, err)
	}
	if _, err := os.Lstat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Error("the other name of the socket is left:", err)
	}
	if again, err := p.Rebind(); again != nil || err != nil {
		t.Errorf("bound again although it is there: %v, %v", again, err)
	}
	p.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("Close leaves the path:", err)
	}
}

// Every thread that could run Go code sleeps in a system call of which the scheduler of Go knows nothing, as on a
// machine that gives these threads no CPU.
func TestAPathIsTakenAtOnceWhileThisProcessGetsNoCPU(t *testing.T) {
	path := filepath.Join(openDirectory(t), "app.sock")
	old := listenAs(t, otherUser(), path)
	all := duplicate(t, Address{"unix", path}, old.Process.Pid)
	taken, armed := make(chan *Public), make(chan struct{})
	go func() {
		p, err := all[0].TakePath(t.Context(), func() { close(armed) })
		if err != nil {
			t.Error(err)
		}
		taken <- p
	}()
	<-armed
	withoutCPU(missingLimit/2, old.closeInputRaw(t))
	missing := old.line(t)
	if p := <-taken; p != nil {
		defer p.Close()
	}
	if n, err := strconv.Atoi(missing); err != nil || n > int(missingLimit.Milliseconds())/4 {
		t.Errorf("the path was missing for %s ms", missing)
	}
}

// closeInputRaw returns a function that closes the program's standard input without the scheduler of Go.
func (c *testChild) closeInputRaw(t *testing.T) func() {
	t.Helper()
	fd := -1
	err := withFD(c.stdin.(syscall.Conn), func(input int) (err error) {
		fd, err = unix.FcntlInt(uintptr(input), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c.stdin.Close()
	return func() { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }
}

// withoutCPU calls do and then lets no goroutine of this process run for some time: each processor of Go's scheduler
// is in a system call that the scheduler is not told of, on a thread that no signal interrupts.
func withoutCPU(d time.Duration, do func()) {
	n := int32(runtime.GOMAXPROCS(0))
	sleep := unix.NsecToTimespec(d.Nanoseconds())
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	var there atomic.Int32
	var sleeping sync.WaitGroup
	for i := range n {
		sleeping.Go(func() {
			runtime.LockOSThread() // and the thread ends with the goroutine
			for there.Add(1); there.Load() < n; {
			}
			unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil)
			if i == 0 {
				do()
			}
			unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&sleep)), 0, 0)
		})
	}
	sleeping.Wait()
}

func TestAPathThatStaysIsNotTaken(t *testing.T) {
	path := filepath.Join(openDirectory(t), "app.sock")
	old := listenAs(t, otherUser(), path)
	all := duplicate(t, Address{"unix", path}, old.Process.Pid)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if p, err := all[0].TakePath(ctx, func() {}); p != nil || err != nil {
		t.Errorf("%v, %v", p, err)
	}
	if _, err := os.Lstat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Error("the other name of the socket is left:", err)
	}
	all[0].LeavePath()
	all[0].Close()
	dial(t, "unix", path)
}

func TestOpenWhenFreeWaitsForTheProcessThatHasTheAddress(t *testing.T) {
	path := filepath.Join(openDirectory(t), "app.sock")
	for _, a := range []Address{freeAddress(t), {"unix", path}} {
		old := listenAs(t, otherUser(), a.Address)
		opened := make(chan error)
		go func() {
			p, err := OpenWhenFree(t.Context(), a, Options{})
			if err == nil {
				defer p.Close()
			}
			opened <- err
		}()
		select {
		case err := <-opened:
			t.Fatalf("%v: opened while it is in use: %v", a, err)
		case <-time.After(20 * time.Millisecond):
		}
		old.end(t)
		if err := <-opened; err != nil {
			t.Error(err)
		}
	}
	a := freeAddress(t)
	old := listenAs(t, otherUser(), a.Address)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenWhenFree(ctx, a, Options{}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(old.Process.Pid)) {
		t.Errorf("the error does not name the process: %v", err)
	}
}
