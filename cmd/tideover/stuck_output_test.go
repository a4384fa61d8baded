package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// outputDaemon is a daemon with one web app whose output goes where the test says.
type outputDaemon struct {
	*testing.T
	dir, socket string
	process     *exec.Cmd
	ended       chan error
}

// startWithOutput starts a daemon with standard output and standard error on the file.
func startWithOutput(t *testing.T, output *os.File, release string, flags ...string) *outputDaemon {
	t.Helper()
	d := &outputDaemon{T: t, dir: runtimeDir(t), ended: make(chan error, 1)}
	d.socket = filepath.Join(d.dir, "shop")
	must(t, os.WriteFile(filepath.Join(d.dir, "release"), []byte(release), 0o600))
	args := append([]string{"run", "-v", "-S", filepath.Join(d.dir, "control.sock"), "--name", "shop", "--listen", "unix:" + d.socket}, flags...)
	d.process = exec.Command("tideover", append(args, "--", "webapp")...)
	d.process.Dir = d.dir
	d.process.Stdout, d.process.Stderr = output, output
	must(t, d.process.Start())
	go func() { d.ended <- d.process.Wait() }()
	t.Cleanup(func() { d.process.Process.Kill() })
	return d
}

// up waits until the daemon accepts connections for the app: its output does not tell.
func (d *outputDaemon) up() {
	d.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	late := time.After(patience)
	for {
		if conn, err := net.Dial("unix", d.socket); err == nil {
			conn.Close()
			return
		}
		select {
		case <-ticker.C:
		case <-late:
			d.Fatal("the daemon does not listen")
		}
	}
}

// tideover runs a command and returns its output, which must not take longer than patience.
func (d *outputDaemon) tideover(args ...string) string {
	d.Helper()
	client := exec.Command("tideover", append([]string{"-S", filepath.Join(d.dir, "control.sock"), "--timeout", patience.String()}, args...)...)
	out, err := client.CombinedOutput()
	if err != nil {
		d.Fatalf("tideover %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (d *outputDaemon) get(want string) {
	d.Helper()
	if got, err := request(d.socket, "/"); err != nil || !strings.HasPrefix(got, want) {
		d.Fatalf("GET: %q, %v; want %q", got, err, want)
	}
}

// badRequest sends what tideover itself must refuse.
func (d *outputDaemon) badRequest() {
	d.Helper()
	conn, err := net.Dial("unix", d.socket)
	must(d.T, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(conn, "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n")
	must(d.T, err)
	if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 400 ") {
		d.Errorf("a bad request: %q, %v", line, err)
	}
}

// crash kills the app and waits until the next generation answers.
func (d *outputDaemon) crash() {
	d.Helper()
	before := d.tideover("pid", "shop")
	d.tideover("signal", "shop", "KILL")
	d.get("200 ")
	if after := d.tideover("pid", "shop"); after == before {
		d.Errorf("pid %s answers after its death", after)
	}
}

// endsBy sends a signal and demands the end, with exit code 0, within a time.
func (d *outputDaemon) endsBy(s syscall.Signal, within time.Duration) {
	d.Helper()
	must(d.T, d.process.Process.Signal(s))
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case err := <-d.ended:
		if err != nil {
			d.Errorf("%v: %v", s, err)
		}
	case <-late.C:
		d.Fatalf("%v has not ended it within %v", s, within)
	}
}

// fullPipe is a pipe that is not read and that is full. The daemon gets w.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	must(t, unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	for err := error(nil); err == nil; {
		_, err = unix.Write(fds[1], []byte(strings.Repeat("full\n", 100)))
	}
	for err := error(nil); err == nil; {
		_, err = unix.Write(fds[1], []byte("\n"))
	}
	must(t, unix.SetNonblock(fds[1], false))
	r, w = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	t.Cleanup(func() { r.Close() })
	return r, w
}

// Nothing that tideover does depends on the reader of its output.
func TestTheReaderOfTheOutputMayStopReading(t *testing.T) {
	t.Parallel()
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		t.Run(unix.SignalName(end), func(t *testing.T) {
			t.Parallel()
			_, w := fullPipe(t)
			d := startWithOutput(t, w, "one")
			w.Close()
			d.up()
			d.get("200 release one")
			must(t, os.WriteFile(filepath.Join(d.dir, "release"), []byte("two"), 0o600))
			d.tideover("reload", "shop")
			d.get("200 release two")
			d.badRequest()
			d.crash()
			if log := d.tideover("logs", "--daemon", "-n", "1000"); !strings.Contains(log, "error response") || !strings.Contains(log, "process exited") {
				t.Errorf("logs --daemon:\n%s", log)
			}
			d.endsBy(end, 10*time.Second)
		})
	}
}

// A reader that comes back finds every line, in order, to the last one.
func TestAReaderThatComesBackFindsTheLines(t *testing.T) {
	t.Parallel()
	r, w := fullPipe(t)
	d := startWithOutput(t, w, "one")
	w.Close()
	d.up()
	d.get("200 release one")
	d.tideover("reload", "shop")
	must(t, r.SetDeadline(time.Now().Add(2*patience)))
	text := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(r)
		text <- string(all)
	}()
	d.endsBy(syscall.SIGTERM, patience)
	got, at := <-text, 0
	for _, want := range []string{"control socket opened", "verb=reload result=ok", "signal received: signal=TERM", "shutdown started"} {
		i := strings.Index(got[at:], want)
		if i < 0 {
			t.Fatalf("no %q, or not in order:\n%s", want, got)
		}
		at += i
	}
}

// A terminal that does not take output, as after Ctrl-S, delays nothing either: the first
// screen and the log go there.
func TestATerminalMayStopTakingOutput(t *testing.T) {
	t.Parallel()
	master, tty := pseudoTerminal(t)
	defer master.Close()
	fd := int(tty.Fd()) // each call of Fd makes the descriptor blocking
	must(t, unix.SetNonblock(fd, true))
	for err := error(nil); err == nil; {
		_, err = unix.Write(fd, []byte("full\n"))
	}
	must(t, unix.SetNonblock(fd, false))
	d := startWithOutput(t, tty, "one")
	tty.Close()
	d.up()
	d.get("200 release one")
	d.tideover("reload", "shop")
	d.crash()
	d.endsBy(syscall.SIGTERM, 10*time.Second)
}

// A reader that has gone costs lines and nothing else.
func TestTheReaderOfTheOutputMayGo(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	must(t, err)
	r.Close()
	d := startWithOutput(t, w, "one")
	w.Close()
	d.up()
	d.get("200 release one")
	d.tideover("reload", "shop")
	d.badRequest()
	d.crash()
	d.endsBy(syscall.SIGTERM, 10*time.Second)
}

// What ends a start is said on standard error, also when it is a slow reader's.
func TestAnErrorAtTheStartIsSeen(t *testing.T) {
	t.Parallel()
	r, w := fullPipe(t)
	d := startWithOutput(t, w, "one", "--pidfile", "/dev/null/pid")
	w.Close()
	must(t, r.SetDeadline(time.Now().Add(patience)))
	text, err := io.ReadAll(r)
	if !strings.Contains(string(text), "cannot write --pidfile") {
		t.Errorf("%v:\n%s", err, text)
	}
	if err := <-d.ended; err == nil {
		t.Error("exit code 0")
	}
}
