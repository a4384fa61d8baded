package listener

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary, called with "testprogram NAME", runs one of the test programs. One that no test
// uses fails a whole run.
func TestMain(m *testing.M) {
	Helper()
	if len(os.Args) > 2 && os.Args[1] == "testprogram" {
		testPrograms[os.Args[2]]()
		unix.Exit(0)
	}
	code := m.Run()
	for name := range testPrograms {
		if _, used := usedPrograms.Load(name); !used && code == 0 && !selected() {
			fmt.Println("FAIL: no test uses the test program", name)
			code = 1
		}
	}
	os.Exit(code)
}

// selected says that only some of the tests were asked for.
func selected() bool {
	for _, arg := range os.Args {
		if strings.HasPrefix(arg, "-test.run") || strings.HasPrefix(arg, "-test.fuzz") {
			return true
		}
	}
	return false
}

var usedPrograms sync.Map

var testPrograms = map[string]func(){
	"hold":       hold,
	"serve one":  serveOne,
	"inherit":    inherit,
	"listen":     listenProgram,
	"duplicate":  duplicateProgram,
	"swap paths": swapPaths,
}

// hold has the socket on fd 3 and never accepts.
func hold() {
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

// serveOne accepts one connection, says its pid, reads what there is, and goes on holding the socket.
func serveOne() {
	unix.SetNonblock(3, false)
	fd, _, err := unix.Accept(3)
	if err != nil {
		panic(err)
	}
	conn := os.NewFile(uintptr(fd), "connection")
	fmt.Fprint(conn, os.Getpid())
	unix.Shutdown(fd, unix.SHUT_WR)
	io.Copy(io.Discard, conn)
	conn.Close()
	hold()
}

// inherited is what the program "inherit" reports.
type inherited struct {
	Counts  map[string]int
	Cloexec bool
	Env     []string
	Err     string
	Adopted []string
}

// inherit takes what it was passed, and does so under its own pid where LISTEN_PID says "self".
func inherit() {
	if os.Getenv("LISTEN_PID") == "self" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	files, err := SystemdSockets()
	r := inherited{Counts: map[string]int{}, Cloexec: true}
	if err != nil {
		r.Err = err.Error()
	}
	for name, list := range maps.All(files) {
		r.Counts[name] = len(list)
		for _, f := range list {
			flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
			r.Cloexec = r.Cloexec && err == nil && flags&unix.FD_CLOEXEC != 0
			if p, err := FromFile(f); err == nil {
				r.Adopted = append(r.Adopted, p.Address().String())
				p.Close()
			} else {
				r.Err += err.Error()
			}
		}
	}
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "LISTEN_") {
			r.Env = append(r.Env, entry)
		}
	}
	json.NewEncoder(os.Stdout).Encode(r)
}

// testChild is a started test program.
type testChild struct {
	*exec.Cmd
	out   *bufio.Reader
	stdin io.Closer
}

// launch starts a test program with these files from fd 3 on. It is killed at the end of the test at the latest.
func launch(t *testing.T, env []string, files []*os.File, program string) *testChild {
	t.Helper()
	usedPrograms.Store(program, true)
	cmd := exec.Command("/proc/self/exe", "testprogram", program)
	cmd.Env, cmd.ExtraFiles, cmd.Stderr = env, files, os.Stderr
	return startChild(t, cmd)
}

func startChild(t *testing.T, cmd *exec.Cmd) *testChild {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &testChild{cmd, bufio.NewReader(out), stdin}
	t.Cleanup(c.kill)
	return c
}

// kill is SIGKILL, and waits.
func (c *testChild) kill() {
	c.Process.Kill()
	c.Wait()
}

func (c *testChild) line(t *testing.T) string {
	t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
