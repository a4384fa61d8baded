package generation

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/process"
	"tideover/supervisor/safepath"
)

// The test binary is also the shim and, with TESTPROGRAM in its environment, one of the test
// programs.
func TestMain(m *testing.M) {
	process.Shim()
	safepath.Helper()
	if name := os.Getenv("TESTPROGRAM"); name != "" {
		testPrograms[name](os.Args[1:])
		unix.Exit(0)
	}
	os.Exit(m.Run())
}

var testPrograms = map[string]func(args []string){
	"listen": listen,
	"inherit": func(args []string) { // a process that exits listens, and one that lives has inherited the socket
		run("listen and exit", args)
		forever()
	},
	"listen and exit": func(args []string) {
		l := open(args)
		f, err := l.(interface{ File() (*os.File, error) }).File()
		check(err)
		cmd := exec.Command("/bin/sleep", "1000")
		cmd.ExtraFiles = []*os.File{f}
		check(cmd.Start())
		fmt.Println("ready")
	},
	"swap":   swap,
	"rename": func(args []string) { check(os.Rename(args[0], args[1])); fmt.Println("renamed") },
}

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		unix.Exit(1)
	}
}

func run(name string, args []string) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env, cmd.Stdout = append(os.Environ(), "TESTPROGRAM="+name), os.Stdout
	check(cmd.Run())
}

func forever() {
	for {
		<-time.After(time.Hour)
	}
}

// open listens on NETWORK ADDRESS; "reuseport" behind them sets SO_REUSEPORT.
func open(args []string) net.Listener {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if len(args) > 2 {
			c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		}
		return err
	}}
	l, err := config.Listen(context.Background(), args[0], args[1])
	check(err)
	return l
}

// listen listens, closes its socket at SIGUSR1 and listens again at SIGUSR2. It says how many
// connections it has accepted, and how many bytes they brought.
func listen(args []string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM)
	l := open(args)
	accept := func() chan string {
		said := make(chan string, 1)
		go func() {
			connections, bytes := 0, int64(0)
			for {
				conn, err := l.Accept()
				if err != nil {
					said <- fmt.Sprint("accepted ", connections, " bytes ", bytes)
					return
				}
				connections++
				conn.SetDeadline(time.Now().Add(time.Second))
				n, _ := io.Copy(io.Discard, conn)
				bytes += n
				conn.Close()
			}
		}()
		return said
	}
	said := accept()
	fmt.Println("ready")
	for s := range signals {
		switch s {
		case unix.SIGUSR1:
			l.Close()
			fmt.Println(<-said)
		case unix.SIGUSR2:
			l = open(args)
			said = accept()
			fmt.Println("ready")
		default:
			return
		}
	}
}

// swap exchanges the file PATH for each of the others in turn, until it is killed. It says when it
// has done so N times.
func swap(args []string) {
	path, n, others := args[0], 0, args[2:]
	fmt.Sscan(args[1], &n)
	fmt.Println("ready")
	for i := 1; ; i++ {
		check(unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, others[i%len(others)], unix.RENAME_EXCHANGE))
		if i == n {
			fmt.Println("swapped", n)
		}
	}
}

// testProcess is a running test program.
type testProcess struct {
	*testing.T
	pid   int
	lines *bufio.Reader
}

// want reads lines until one has this prefix, and returns it.
func (p *testProcess) want(prefix string) string {
	p.Helper()
	line, err := p.lines.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, prefix) {
		p.Fatalf("pid %d says %q, %v; want %q", p.pid, line, err, prefix)
	}
	return strings.TrimSpace(line)
}

func (p *testProcess) signal(s syscall.Signal) *testProcess {
	p.Helper()
	if err := syscall.Kill(p.pid, s); err != nil {
		p.Fatal(err)
	}
	return p
}

const waitLimit = time.Minute // never reached

// startTree starts a test program as the child of a generation.
func startTree(t *testing.T, user *process.User, program string, args ...string) (*process.Process, *testProcess) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.SetReadDeadline(time.Now().Add(waitLimit))
	p, err := process.Start(process.Spec{
		Argv: append([]string{"/proc/self/exe"}, args...), Dir: "/", Env: append(os.Environ(), "TESTPROGRAM="+program),
		Stdout: w, Stderr: os.Stderr, User: user, Name: "test.1", Token: fmt.Sprint(t.Name(), time.Now().UnixNano()),
	})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill(context.Background())
		r.Close()
	})
	return p, &testProcess{t, p.Pid(), bufio.NewReader(r)}
}

// startStranger starts a test program that belongs to no generation.
func startStranger(t *testing.T, uid int, program string, args ...string) *testProcess {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env, cmd.Stderr, cmd.Dir = append(os.Environ(), "TESTPROGRAM="+program), os.Stderr, "/"
	if uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &testProcess{t, cmd.Process.Pid, bufio.NewReader(out)}
}

// otherUsers returns the app's user and the uid of a stranger. Only root can start processes of
// other users; else both are the user of the test.
func otherUsers() (app *process.User, stranger int) {
	if os.Geteuid() != 0 {
		return nil, os.Geteuid()
	}
	return &process.User{UID: 33, GID: 33, Name: "www-data"}, 1000
}
