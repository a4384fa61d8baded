package proxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
)

// full returns a listener on a unix socket with the smallest backlog, and fills it with connections
// without a request.
func full(t *testing.T) net.Listener {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		conn, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			return l
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
}

// worked returns how long the processor was busy for this process while do ran.
func worked(do func()) time.Duration {
	before := usage()
	do()
	return usage() - before
}

func usage() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestNotNow: a target that takes no connections keeps its requests waiting, quietly; none is lost
// when it takes them.
func TestNotNow(t *testing.T) {
	const n = 50
	for _, c := range []struct {
		name  string
		error syscall.Errno
		begin func(*testing.T) (target gate.TargetOptions, listener net.Listener)
	}{
		{"full backlog", syscall.EAGAIN, func(t *testing.T) (gate.TargetOptions, net.Listener) {
			l := full(t)
			return gate.TargetOptions{Network: "unix", Address: l.Addr().String()}, l
		}},
		{"nobody listens", syscall.ECONNREFUSED, func(t *testing.T) (gate.TargetOptions, net.Listener) {
			l := full(t)
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			l.Close()
			return gate.TargetOptions{Network: "unix", Address: l.Addr().String()}, nil
		}},
		{"no socket", syscall.ENOENT, func(t *testing.T) (gate.TargetOptions, net.Listener) {
			return gate.TargetOptions{Network: "unix", Address: filepath.Join(t.TempDir(), "none")}, nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, l := c.begin(t)
			if _, err := net.Dial(o.Network, o.Address); !errors.Is(err, c.error) {
				t.Fatalf("dial: %v, want %v", err, c.error)
			}
			r := newHarness(t, patient, Settings{})
			target := gate.NewTarget(o)
			r.gate.Swap(target)
			var all []*testClient
			for i := range n {
				all = append(all, r.dial().say(fmt.Sprintf("POST /%d HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi", i)))
			}
			r.counted("all came", func(c Counters) bool { return c.Requests == n && r.gate.Snapshot().Held >= n-1 })
			busy := worked(func() {
				wait := time.NewTimer(500 * time.Millisecond)
				<-wait.C
			})
			if busy > 100*time.Millisecond {
				t.Errorf("%v of work in 500ms of waiting", busy)
			}
			if l == nil {
				r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
			} else {
				r.newTestAppOn(l, gate.TargetOptions{}, echo)
			}
			for i, c := range all {
				c.want(200, fmt.Sprintf("POST /%d hi", i))
			}
			r.counted("all answered", func(c Counters) bool { return c.Answered == n && c.Resent == 0 })
			t.Logf("%v of work in 500ms of waiting", busy)
		})
	}
}

func TestNotNowForTooLong(t *testing.T) {
	const timeout = 400 * time.Millisecond
	r := newHarness(t, gate.Settings{Limit: 100, Timeout: timeout}, Settings{})
	l := full(t)
	defer l.Close()
	target := gate.NewTarget(gate.TargetOptions{Network: "unix", Address: l.Addr().String()})
	r.gate.Swap(target)
	start := time.Now()
	var all []*testClient
	for range 20 {
		all = append(all, r.dial().get("/"))
	}
	for _, c := range all {
		c.want(503, "held for as long")
	}
	between(t, start, timeout, later)
	r.counted("all expired", func(c Counters) bool { return c.Expired == 20 && target.InFlight() == 0 })
}

// TestOutOfDescriptors: at EMFILE new connections wait in the backlog, accepting does not spin, and
// all are served once there are descriptors.
func TestOutOfDescriptors(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) { // one that keeps no connections
		k.request()
		k.say("HTTP/1.1 200 OK\nConnection: close\nContent-Length: 0\n\n")
	})
	r.gate.Swap(child.Target)
	r.dial().get("/before").want(200, "")
	r.eventually("no connection to the app", func() bool { return child.idle() && child.InFlight() == 0 })
	fillers := exhaust(t)
	defer func() { release(fillers) }()
	release(fillers[:1])
	fillers = fillers[1:]
	c := r.dial().get("/during")
	r.eventually("an error", func() bool { return len(r.logged("accepting failed")) > 0 })
	busy := worked(func() {
		wait := time.NewTimer(300 * time.Millisecond)
		<-wait.C
	})
	if lines := len(r.logged("accepting failed")); lines != 1 || busy > 200*time.Millisecond { // a loop that does not wait works all the time
		t.Errorf("%d lines and %v of work in 300ms without descriptors", lines, busy)
	}
	release(fillers[:1]) // enough to accept, not to connect to the app
	fillers = fillers[1:]
	r.held(1)
	release(fillers)
	fillers = nil
	c.want(200, "")
	if n := len(r.logged("accepting resumed")); n != 1 {
		t.Errorf("said %d times that all is well again", n)
	}
}

// exhaust lowers the limit of descriptors for the test and takes all there are.
func exhaust(t *testing.T) (fillers []int) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) })
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 200, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	quiet := time.Now() // when a descriptor was last free: earlier tests may still close some
	for time.Since(quiet) < upstreamIdleTimeout+500*time.Millisecond {
		fd, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 0)
		switch err {
		case nil:
			fillers = append(fillers, fd)
			quiet = time.Now()
		case unix.EMFILE:
			runtime.GC()
		default:
			t.Fatal(err)
		}
	}
	return fillers
}

func release(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
