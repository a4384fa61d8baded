//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
)

// diskProgram answers a body on /sum with its SHA-256, /big with 4 MiB, and everything else as shop.py.
const diskProgram = `
import hashlib
from shop import app as shop
BIG = bytes(range(256)) * (4 << 12)
def app(environ, start_response):
    if environ["PATH_INFO"] == "/big":
        body = BIG
    elif environ["PATH_INFO"] == "/sum":
        body = hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()
    else:
        return shop(environ, start_response)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
`

// A disk is what the spool lies on in a row.
type disk struct {
	mount  func(r *row, dir string) (binary string) // of the daemon; empty: it cannot be mounted. nil: dir is on the disk of the row
	faults []string                                 // of system calls of the relay, of which its spool alone makes these
	fails  bool                                     // so that the log must say it
}

var disks = map[string]disk{
	// 2 MiB. Where none can be mounted, most writes fail.
	"full": {mount: smallDisk, faults: []string{"pwrite64:error=ENOSPC:when=2+2"}, fails: true},
	// 20 ms for each write and each read.
	"slow": {faults: []string{"pwrite64,pread64:delay_exit=20ms"}},
	// 3 s for some writes and reads.
	"hanging": {faults: []string{"pwrite64:delay_exit=3s:when=5+10", "pread64:delay_exit=3s:when=7+20"}, fails: true},
	// Errors in some writes.
	"failing": {faults: []string{"pwrite64:error=EIO:when=3+5"}, fails: true},
	// The directory is removed when the daemon has started.
	"missing": {fails: true},
}

// Slow uploads and downloads that do not fit into memory, while the disk of the spool is full, slow,
// broken, or not there: every body arrives as it was sent.
func TestADiskOfTheSpoolCostsNoRequest(t *testing.T) {
	t.Parallel()
	for name, d := range disks {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			dir := r.env.Path("spool")
			r.must(os.Mkdir(dir, 0o700))
			binary := ""
			if d.mount != nil {
				binary = d.mount(r, dir)
			}
			if binary != "" {
				d.faults = nil
			} else {
				binary = testenv.Binary(r.env.Root)
			}
			s := newFixture(r, setup{gunicorn: testenv.Gunicorn{Workers: 2, App: "disk:app"}, files: map[string]string{"disk.py": diskProgram},
				binary: binary, config: "[daemon]\nspool_dir = \"" + dir + "\"\nspool = \"64MiB\"\n"})
			missing := name == "missing"
			if len(d.faults) > 0 && !s.injectFaults(d.faults) {
				s.addNumbers("%s=impossible_here,missing_instead", name)
				missing = true
			}
			if missing { // for a relay that has files of it, nothing is missing
				r.must(os.Remove(dir))
				s.replaceRelay()
			}
			before := s.daemonStatus().Counters
			s.checkBodies(time.Duration(fullTimes(8, 60)) * time.Second)
			after := s.daemonStatus().Counters
			for _, name := range []string{"cut", "bad_gateway", "bad_request", "timed_out", "client_left", "evicted"} {
				if n := after[name] - before[name]; n != 0 {
					s.Errorf("%s=%d", name, n)
				}
			}
			s.addNumbers("streamed=%d blocked=%d", after["streamed"], after["blocked"])
			if d.fails {
				s.checkLogged(s.daemon, "spool failed")
			}
			s.shutdownTraced()
		})
	}
}

// shutdownTraced is shutdown, and waits for strace, which ends after the processes that it traces.
func (s *fixture) shutdownTraced() {
	s.Helper()
	outcome, err := s.daemon.Call(s.timeout(90*time.Second), "shutdown")
	s.must(err)
	if outcome.Exit != 0 {
		s.Errorf("shutdown: %v", outcome)
	}
	s.must(testenv.Poll(s.timeout(60*time.Second), 20*time.Millisecond, func() error {
		if left := s.env.AppProcesses(); len(left) > 0 {
			return fmt.Errorf("%q are left", left)
		}
		return nil
	}))
}

// checkBodies sends uploads and downloads for a time, at least two by each client, and compares every
// byte.
func (s *fixture) checkBodies(d time.Duration) {
	s.Helper()
	var all sync.WaitGroup
	var uploads, downloads, failures atomic.Int64
	until := time.Now().Add(d)
	repeat := func(n *atomic.Int64, exchange func() error) {
		all.Go(func() {
			for i := 0; i < 2 || time.Now().Before(until); i++ { // on a slow machine it takes longer
				n.Add(1)
				if err := exchange(); err != nil && failures.Add(1) < 5 {
					s.Error(err)
				}
			}
		})
	}
	for i := range byte(6) {
		repeat(&uploads, func() error { return s.uploadSlowly(i, 1<<20) })
		repeat(&downloads, s.downloadSlowly)
	}
	all.Wait()
	s.addNumbers("uploads=%d downloads=%d failed=%d", uploads.Load(), downloads.Load(), failures.Load())
}

// uploadSlowly sends a body of n bytes, at 10 MB a second.
func (s *fixture) uploadSlowly(seed byte, n int) error {
	c, err := s.slowConn("POST /sum HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", n)
	if err != nil {
		return err
	}
	defer c.Close()
	body := bytes.Repeat([]byte{seed, 1, 2, 3}, n/4)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for rest := body; len(rest) > 0; rest = rest[min(len(rest), 50_000):] {
		<-tick.C
		if _, err := c.Write(rest[:min(len(rest), 50_000)]); err != nil {
			return fmt.Errorf("upload: %w", err)
		}
	}
	got, err := readPaced(c, n, nil)
	if want := fmt.Sprintf("%x", sha256.Sum256(body)); err != nil || string(got) != want {
		return fmt.Errorf("upload: %q, %w", got, err)
	}
	return nil
}

// downloadSlowly reads a response of 4 MiB, at 10 MB a second.
func (s *fixture) downloadSlowly() error {
	c, err := s.slowConn("GET /big HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	got, err := readPaced(c, 50_000, tick)
	if err != nil || !bytes.Equal(got, bytes.Repeat(every, 4<<12)) {
		return fmt.Errorf("download: %d bytes, %w", len(got), err)
	}
	return nil
}

// slowConn opens a connection whose kernel keeps little, and sends a head.
func (s *fixture) slowConn(head string, args ...any) (net.Conn, error) {
	c, err := net.Dial("tcp", s.client.Address)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	c.(*net.TCPConn).SetReadBuffer(64 << 10)
	_, err = fmt.Fprintf(c, head, args...)
	return c, err
}

// readPaced reads the body of a response, up to n bytes at each tick (nil: without a pause).
func readPaced(c net.Conn, n int, tick *time.Ticker) (body []byte, err error) {
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != 200 {
		return nil, fmt.Errorf("%s", res.Status)
	}
	for p := make([]byte, n); err == nil; {
		if tick != nil {
			<-tick.C
		}
		var m int
		m, err = io.ReadFull(res.Body, p)
		body = append(body, p[:m]...)
	}
	if err != io.EOF && err != io.ErrUnexpectedEOF || int64(len(body)) != res.ContentLength {
		return body, fmt.Errorf("%w of %d", err, res.ContentLength)
	}
	return body, nil
}

// smallDisk is a tmpfs of 2 MiB in a mount namespace of its own, which ends with the row.
func smallDisk(r *row, dir string) string {
	mounted, end := make(chan error), make(chan struct{})
	var namespace string
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m,mode=700")
		}
		namespace = fmt.Sprintf("/proc/%d/task/%d/ns/mnt", os.Getpid(), unix.Gettid())
		mounted <- err
		<-end
	}()
	r.Cleanup(func() { close(end) })
	if err := <-mounted; err != nil {
		r.addNumbers("tmpfs=%q", err)
		return ""
	}
	r.addNumbers("tmpfs=2MiB")
	return wrapper(r, `exec nsenter --mount=`+namespace+` sh -c 'cd "$0" && exec "$@"' "$PWD"`)
}

// replaceRelay kills the process that relays and returns when there is another one.
func (s *fixture) replaceRelay() {
	s.Helper()
	former := s.daemon.RelayPid()
	if former == s.daemon.Pid() {
		return // the daemon relays itself
	}
	s.must(unix.Kill(former, unix.SIGKILL))
	ctx := s.timeout(60 * time.Second)
	for pid := former; pid == former || pid == s.daemon.Pid(); pid = s.daemon.RelayPid() {
		select {
		case <-ctx.Done():
			s.Fatal("no other relay was started")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// injectFaults has strace inject errors and delays into system calls of the relay until that ends. It reports
// false where the machine does not let it.
func (s *fixture) injectFaults(faults []string) bool {
	s.Helper()
	argv := []string{"-f", "-o", "/dev/null", "-p", strconv.Itoa(s.daemon.RelayPid()), "-e", "trace=pwrite64,pread64"}
	for _, f := range faults {
		argv = append(argv, "-e", "inject="+f)
	}
	strace := exec.Command("strace", argv...)
	said, err := strace.StderrPipe()
	s.must(err)
	s.must(strace.Start())
	line, _ := bufio.NewReader(said).ReadString('\n')
	s.Cleanup(func() {
		strace.Process.Kill()
		strace.Wait()
	})
	if !strings.Contains(line, "attached") {
		s.addNumbers("strace=%q", line)
		return false
	}
	return true
}

// wrapper is a script that executes the program under test by a command.
func wrapper(r *row, command string) string {
	path, err := r.env.Write("daemon", "#!/bin/sh\n"+command+" "+testenv.Binary(r.env.Root)+" \"$@\"\n")
	r.must(err)
	r.must(os.Chmod(path, 0o755))
	return path
}
