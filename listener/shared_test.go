package listener

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fixedPort returns an address of 127.0.0.1 with a port that is written, not chosen by bind(2).
func fixedPort(t *testing.T) Address {
	t.Helper()
	p := open(t, Address{"tcp", "127.0.0.1:0"}, Options{})
	defer p.Close()
	return Address{"tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Addr().(*net.TCPAddr).Port))}
}

func isNonblocking(t *testing.T, p *Public) bool {
	t.Helper()
	flags := 0
	err := withFD(p, func(fd int) (err error) {
		flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return flags&unix.O_NONBLOCK != 0
}

// TestASharedSocketIsBlockingAndAcceptsAgainLater: a child that calls accept(2) without poll(2)
// does not expect EAGAIN, and the relay does not expect to wait.
func TestASharedSocketIsBlockingAndAcceptsAgainLater(t *testing.T) {
	for _, a := range []Address{{"tcp", "127.0.0.1:0"}, {"unix", filepath.Join(t.TempDir(), "a.sock")}} {
		p := open(t, a, Options{})
		conn := dial(t, p.Addr().Network(), p.Addr().String())
		defer conn.Close()
		for range 2 {
			if err := p.Share(); err != nil || isNonblocking(t, p) {
				t.Fatalf("%v: shared, non-blocking %v, %v", a, isNonblocking(t, p), err)
			}
			if !p.Pending() || !p.IsListening() {
				t.Errorf("%v: the connection of the backlog is lost", a)
			}
		}
		accepted, err := accept(t, p)
		if err != nil || !isNonblocking(t, p) {
			t.Errorf("%v: %v, non-blocking %v", a, err, isNonblocking(t, p))
		}
		accepted.Close()
		if at, err := boundAddress(p); err != nil || at.String() != p.Addr().String() || at.Network() != p.Addr().Network() {
			t.Errorf("%v: bound to %v, want %v; %v", a, at, p.Addr(), err)
		}
	}
}

// TestAnInheritedSocketKeepsItsFlags: a child that was started before the daemon's upgrade may be
// about to call accept(2).
func TestAnInheritedSocketKeepsItsFlags(t *testing.T) {
	a := fixedPort(t)
	for _, nonblock := range []bool{true, false} {
		p := open(t, a, Options{})
		if err := p.Share(); err != nil {
			t.Fatal(err)
		}
		f, err := p.File()
		if err != nil {
			t.Fatal(err)
		}
		if err := withFD(f, func(fd int) error { return unix.SetNonblock(fd, nonblock) }); err != nil {
			t.Fatal(err)
		}
		restored, err := Restore(f, a, Options{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := restored.Share(); err != nil || isNonblocking(t, restored) != nonblock {
			t.Errorf("non-blocking %v, want %v; %v", isNonblocking(t, restored), nonblock, err)
		}
		f.Close()
		restored.Close()
		p.Close()
	}
}

// shutDown does what a child may do.
func shutDown(t *testing.T, p *Public, how int) {
	t.Helper()
	f, err := p.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := withFD(f, func(fd int) error { return unix.Shutdown(fd, how) }); err != nil {
		t.Fatal(err)
	}
}

// awaitShutdown calls AwaitShutdown until the test ends, with the result of ListenAgain.
func awaitShutdown(t *testing.T, p *Public) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	found, ended := make(chan error, 10), make(chan error, 1)
	go func() { ended <- p.AwaitShutdown(ctx, func() { found <- p.ListenAgain() }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return found
}

// TestAShutdownOfAChildClosesThePortForAMomentOnly: shutdown(2) acts on the socket, not on the
// descriptor.
func TestAShutdownOfAChildClosesThePortForAMomentOnly(t *testing.T) {
	p := open(t, fixedPort(t), Options{})
	if err := p.Share(); err != nil {
		t.Fatal(err)
	}
	found := awaitShutdown(t, p)
	for _, how := range []int{unix.SHUT_RD, unix.SHUT_RDWR, unix.SHUT_RD} {
		conn := dial(t, "tcp", p.Addr().String()) // a connection is no event
		conn.Close()
		shutDown(t, p, how)
		if err := <-found; err != nil || !p.IsListening() {
			t.Fatalf("shutdown %d: %v, listening %v", how, err, p.IsListening())
		}
		dial(t, "tcp", p.Addr().String()).Close()
	}
	select {
	case err := <-found:
		t.Errorf("found a shutdown that was none: %v", err)
	default:
	}
}

// TestAUnixSocketThatWasShutDownIsReplaced: listen(2) does not help there.
func TestAUnixSocketThatWasShutDownIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	p := open(t, Address{"unix", path}, Options{Mode: 0o640})
	if err := p.Share(); err != nil {
		t.Fatal(err)
	}
	found := awaitShutdown(t, p)
	shutDown(t, p, unix.SHUT_RD)
	if err := <-found; !errors.Is(err, ErrShutDown) {
		t.Fatal(err)
	}
	fresh, err := p.Replace()
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	p.Close() // its path is that of the other one
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 || !fresh.IsListening() {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestASharedSocketWakesNoPoller: the daemon costs nothing where the app's processes accept.
func TestASharedSocketWakesNoPoller(t *testing.T) {
	p := open(t, fixedPort(t), Options{})
	if err := p.Share(); err != nil {
		t.Fatal(err)
	}
	awaitShutdown(t, p)
	var inode unix.Stat_t
	if err := withFD(p, func(fd int) error { return unix.Fstat(fd, &inode) }); err != nil {
		t.Fatal(err)
	}
	for fd, events := range registered(t, inode.Ino) {
		if events&unix.EPOLLIN != 0 {
			t.Errorf("epoll set %s waits for connections: events %#x", fd, events)
		}
	}
}

// registered returns the events for which a socket is in epoll sets of this process, by set.
func registered(t *testing.T, inode uint64) map[string]uint64 {
	t.Helper()
	found := map[string]uint64{}
	sets, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range sets {
		text, _ := os.ReadFile(set)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line) // tfd: 7 events: 19 data: 7 pos:0 ino:3d sdev:9
			if len(f) < 7 || f[0] != "tfd:" {
				continue
			}
			for _, word := range f {
				if text, ok := strings.CutPrefix(word, "ino:"); ok {
					if n, err := strconv.ParseUint(text, 16, 64); err == nil && n == inode {
						events, _ := strconv.ParseUint(f[3], 16, 64)
						found[filepath.Base(set)] = events
					}
				}
			}
		}
	}
	return found
}
