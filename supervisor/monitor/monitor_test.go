package monitor

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait of the tests, and is never reached.
const patience = 30 * time.Second

// testMonitor is a monitor with testSupervisor.
type testMonitor struct {
	*testing.T
	cmd     *exec.Cmd
	in      io.Writer
	lines   chan string
	spawned []int
}

func startMonitor(t *testing.T, change func(*exec.Cmd)) *testMonitor {
	t.Helper()
	m := &testMonitor{T: t, cmd: exec.Command("/proc/self/exe", "monitor"), lines: make(chan string, 100)}
	m.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	m.cmd.Stderr = os.Stderr
	if change != nil {
		change(m.cmd)
	}
	in, err := m.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe() // not StdoutPipe, which Wait closes
	if err != nil {
		t.Fatal(err)
	}
	m.in, m.cmd.Stdout = in, w
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			m.lines <- s.Text()
		}
		close(m.lines)
	}()
	t.Cleanup(func() {
		in.Close()
		m.cmd.Process.Kill()
		m.cmd.Wait()
		for _, pid := range m.spawned {
			syscall.Kill(pid, unix.SIGKILL)
		}
		for range m.lines { // the supervisor ends with its channel or its input
		}
		<-read
		out.Close()
	})
	m.next("begun")
	return m
}

// line returns the next line of the supervisor.
func (m *testMonitor) line() string {
	m.Helper()
	select {
	case line, ok := <-m.lines:
		if !ok {
			m.Fatal("the output has ended")
		}
		return line
	case <-time.After(patience):
		m.Fatal("no answer")
	}
	return ""
}

func (m *testMonitor) next(want string) {
	m.Helper()
	if got := m.line(); got != want {
		m.Fatalf("%q, want %q", got, want)
	}
}

// do sends the supervisor a command and returns the answer.
func (m *testMonitor) do(format string, args ...any) string {
	m.Helper()
	fmt.Fprintf(m.in, format+"\n", args...)
	return m.line()
}

func (m *testMonitor) expect(command, want string) {
	m.Helper()
	if got := m.do("%s", command); got != want {
		m.Fatalf("%s: %q, want %q", command, got, want)
	}
}

// spawn spawns a child and returns its pid. It is killed at the end of the test.
func (m *testMonitor) spawn(token, do string) int {
	m.Helper()
	pid := m.number("spawn " + token + " " + do)
	m.spawned = append(m.spawned, pid)
	return pid
}

func (m *testMonitor) number(command string) int {
	m.Helper()
	answer := m.do("%s", command)
	n, err := strconv.Atoi(strings.Fields(answer)[0])
	if err != nil {
		m.Fatalf("%s: %s", command, answer)
	}
	return n
}

// kill kills the supervisor.
func (m *testMonitor) kill(sig syscall.Signal) {
	m.Helper()
	if err := syscall.Kill(m.number("pids"), sig); err != nil {
		m.Fatal(err)
	}
}

// exits waits for the end of the monitor.
func (m *testMonitor) exits(code int) {
	m.Helper()
	ended := make(chan struct{})
	go func() {
		m.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		m.Fatal("the monitor does not end")
	}
	if got := m.cmd.ProcessState.ExitCode(); got != code {
		m.Fatalf("exit code %d, want %d", got, code)
	}
}

// collects waits until the status of a child can be collected.
func (m *testMonitor) collects(token, want string) {
	m.Helper()
	got := ""
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if got = m.do("collect %s", token); !strings.HasPrefix(got, "error: resource temporarily") {
			break
		}
	}
	if got != want {
		m.Fatalf("%s: %q, want %q", token, got, want)
	}
}

// state is the letter of ps(1) for a process, or "gone".
func state(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "gone"
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))[0]
}

func awaitState(t *testing.T, pid int, want string) {
	t.Helper()
	for until := time.Now().Add(patience); state(pid) != want; <-time.After(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d is %s, want %s", pid, state(pid), want)
		}
	}
}

func TestASupervisorThatIsKilledIsStartedAgainWithChildrenAndDescriptors(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	m.expect("hello", `[1,"none",null]`)
	m.expect("up", "ok")
	child := m.spawn("one", "wait")
	m.spawn("two", "exit 3")
	m.expect("put a first", "ok")
	m.expect("put a second", "ok")
	m.expect("put b other", "ok")
	m.expect("drop b nothing", "ok")
	for range 3 {
		m.kill(unix.SIGKILL)
		m.next("begun")
	}
	m.expect("hello", `[4,"killed",["fd:a","one","two"]]`)
	m.expect("up", "ok")
	m.expect("take a", "second")
	m.collects("two", "3 -1")
	m.expect("collect two", "error: no such process")
	m.expect("collect one", "error: resource temporarily unavailable")
	if err := syscall.Kill(child, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.collects("one", "-1 15")
	fmt.Fprintln(m.in, "done 4")
	m.exits(4)
}

func TestTheEndOfASupervisorThatWasNotUpIsFinal(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	fmt.Fprintln(m.in, "exit 5")
	m.exits(5)
}

func TestDoneEndsTheMonitorWithItsCode(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	m.do("hello")
	m.do("up")
	fmt.Fprintln(m.in, "done 7")
	m.exits(7)
}

func TestAnExitWithoutDoneIsACrash(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	m.do("hello")
	m.do("up")
	fmt.Fprintln(m.in, "exit 0")
	m.next("begun")
	fmt.Fprintln(m.in, "exit 1") // before it was up: one was
	m.next("begun")
}

func TestTheStatusOfAChildIsKeptWithoutItsZombie(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	m.do("hello")
	m.do("up")
	pid := m.spawn("x", "exit 9")
	awaitState(t, pid, "gone")
	m.kill(unix.SIGKILL)
	m.next("begun")
	m.expect("hello", `[2,"killed",["x=9"]]`)
	m.expect("collect x", "9 -1")
}

func TestASignalThatEndsTideoverReachesEachLaterSupervisor(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	m.do("hello")
	m.do("up")
	m.kill(unix.SIGKILL)
	m.next("begun")
	m.cmd.Process.Signal(unix.SIGTERM) // it has not said hello
	m.cmd.Process.Signal(unix.SIGUSR1)
	fmt.Fprintln(m.in, "hello")
	got := map[string]bool{m.line(): true, m.line(): true, m.line(): true}
	for _, want := range []string{`[2,"killed",null]`, "signal SIGTERM", "signal SIGUSR1"} {
		if !got[want] {
			t.Fatalf("%v", got)
		}
	}
	m.do("up")
	m.kill(unix.SIGKILL)
	m.next("begun")
	fmt.Fprintln(m.in, "hello")
	if got := map[string]bool{m.line(): true, m.line(): true}; !got["signal SIGTERM"] {
		t.Fatalf("%v", got)
	}
}

func TestASignalIsHandledOnceAlsoIfItsSupervisorIsKilled(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	m.do("hello")
	m.do("up")
	m.cmd.Process.Signal(unix.SIGUSR2)
	m.next("signal SIGUSR2")
	m.expect("put a b", "ok") // the monitor knows that the signal was taken
	supervisor := m.number("pids")
	syscall.Kill(supervisor, unix.SIGSTOP)
	awaitState(t, supervisor, "T")
	for range 3 {
		m.cmd.Process.Signal(unix.SIGHUP)
		m.cmd.Process.Signal(unix.SIGUSR1)
	}
	syscall.Kill(supervisor, unix.SIGKILL)
	m.next("begun")
	fmt.Fprintln(m.in, "hello")
	fmt.Fprintln(m.in, "put a b")
	got := map[string]int{}
	for line := ""; line != "ok"; got[line]++ {
		line = m.line()
	}
	if got["signal SIGHUP"] == 0 || got["signal SIGUSR1"] == 0 || got["signal SIGUSR2"] > 0 {
		t.Fatal(got)
	}
}

func TestASupervisorThatDoesNotTakeATermIsReplacedSoon(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	m.do("hello")
	m.do("up")
	supervisor := m.number("pids")
	syscall.Kill(supervisor, unix.SIGSTOP)
	awaitState(t, supervisor, "T")
	m.cmd.Process.Signal(unix.SIGTERM) // and not when two beats of 15 s have not come
	m.next("begun")
	fmt.Fprintln(m.in, "hello")
	if got := map[string]bool{m.line(): true, m.line(): true}; !got["signal SIGTERM"] {
		t.Fatal(got)
	}
}

func TestWithoutASupervisorATermEndsTheChildren(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	m.do("hello")
	m.do("up")
	child := m.spawn("one", "wait")
	m.kill(unix.SIGKILL)
	m.next("begun") // and it never says hello
	m.cmd.Process.Signal(unix.SIGTERM)
	m.exits(1)
	awaitState(t, child, "gone")
}

func TestASupervisorThatDoesNotRunIsReplaced(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, func(c *exec.Cmd) { c.Env = append(c.Env, "WATCHDOG_USEC=4000000") })
	m.do("hello")
	m.do("up")
	m.kill(unix.SIGSTOP)
	m.next("begun")
	m.expect("hello", `[2,"killed",null]`)
}

func TestOrphansAreReapedButNotWhileTheSupervisorLooksForThem(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	m.do("hello")
	m.do("up")
	m.expect("hold", "ok")
	file := filepath.Join(t.TempDir(), "end")
	answers := []string{m.do("spawn x orphan %s", file), m.line()}
	orphan := 0
	for _, a := range answers {
		if words := strings.Fields(a); words[0] == "orphan" {
			orphan, _ = strconv.Atoi(words[1])
		}
	}
	m.collects("x", "0 -1")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	awaitState(t, orphan, "Z")
	for range 3 {
		if m.expect("collect none", "error: no such process"); state(orphan) != "Z" {
			t.Fatal("it was reaped")
		}
	}
	m.expect("release", "ok")
	awaitState(t, orphan, "gone")
}

// A container's tini -p asks for a signal at the death of its parent, which the kernel takes for the
// thread that has forked it.
func TestAChildWithAParentDeathSignalSurvivesTheSupervisor(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	m.do("hello")
	m.do("up")
	m.spawn("one", "wait pdeathsig")
	m.kill(unix.SIGKILL)
	m.next("begun")
	m.expect("hello", `[2,"killed",["one"]]`)
	m.expect("collect one", "error: resource temporarily unavailable")
}

func TestForkAtThePidsLimitFailsAndNothingElse(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("not root: the limit would be that of all processes of this user")
		return
	}
	other := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 59117, Gid: 59117}}
	m := startMonitor(t, func(c *exec.Cmd) { c.SysProcAttr = other })
	m.do("hello")
	m.do("up")
	limit := func(n int) {
		t.Helper()
		c := exec.Command("/proc/self/exe", "limit", strconv.Itoa(m.cmd.Process.Pid), strconv.Itoa(n))
		c.SysProcAttr = other
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	limit(2)
	for i := range 100 {
		m.expect(fmt.Sprint("spawn t", i, " wait"), "error: resource temporarily unavailable")
	}
	m.kill(unix.SIGKILL)
	<-time.After(300 * time.Millisecond) // tries to start a supervisor meanwhile
	limit(1000)
	m.next("begun")
	m.expect("hello", `[2,"killed",null]`)
	m.spawn("t", "wait")
}

func TestMessagesForSystemdComeFromTheMonitor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	fd, err := socket.SyscallConn()
	if err == nil {
		err = fd.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	}
	if err != nil {
		t.Fatal(err)
	}
	m := startMonitor(t, func(c *exec.Cmd) { c.Env = append(c.Env, "NOTIFY_SOCKET="+path) })
	m.do("hello")
	m.expect("notify READY=1", "ok")
	text, control := make([]byte, 100), make([]byte, 100)
	socket.SetReadDeadline(time.Now().Add(patience))
	n, nc, _, _, err := socket.ReadMsgUnix(text, control)
	if err != nil || string(text[:n]) != "READY=1" {
		t.Fatalf("%q, %v", text[:n], err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:nc])
	if err != nil || len(messages) != 1 {
		t.Fatal(err, len(messages))
	}
	sender, err := unix.ParseUnixCredentials(&messages[0])
	if err != nil || int(sender.Pid) != m.cmd.Process.Pid {
		t.Fatalf("sent by %+v, %v", sender, err)
	}
	var failed error
	for range 10000 { // until the queue is full
		if answer := m.do("notify STATUS=1"); answer != "ok" {
			failed = errors.New(answer)
			break
		}
	}
	if failed == nil || failed.Error() != "error: resource temporarily unavailable" {
		t.Error(failed)
	}
}

func TestEachSupervisorInheritsThePassedSockets(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.WriteString("12")
	w.Close()
	m := startMonitor(t, func(c *exec.Cmd) {
		c.Path, c.Args = "/bin/sh", []string{"sh", "-c", "LISTEN_PID=$$ WATCHDOG_PID=$$ exec " + testBinary(t) + " monitor"}
		c.ExtraFiles = []*os.File{r}
	})
	m.do("hello")
	m.do("up")
	m.expect("environ LISTEN_PID", "true")
	m.expect("environ WATCHDOG_PID", "true")
	m.expect("inherited 3", "1")
	m.kill(unix.SIGKILL)
	m.next("begun")
	m.expect("environ LISTEN_PID", "true")
	m.expect("inherited 3", "2")
}

func testBinary(t *testing.T) string {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// An upgrade: what is started next is another executable. One that ends before it is up is tried once.
func TestAnotherProgramTakesThePlaceOfTheSupervisor(t *testing.T) {
	t.Parallel()
	m := startMonitor(t, nil)
	m.do("hello")
	m.do("up")
	m.spawn("one", "wait")
	m.expect("replace "+testBinary(t), "begun")
	m.expect("hello", `[2,"0",["one"]]`)
	m.expect("up", "ok")
	m.expect("replace /bin/false", "begun")
	m.expect("hello", `[4,"1",["one"]]`)
	m.expect("up", "ok")
	m.expect("replace /etc/passwd", "begun") // which is no program
	m.expect("hello", `[5,"0",["one"]]`)
}

func TestAMonitorRefusesToBeStartedByASupervisor(t *testing.T) {
	t.Parallel()
	if _, err := Run(Options{Getenv: func(string) string { return "3" }}); err == nil {
		t.Error("processes without end")
	}
}
