package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// families opens a private socket of every family and runs a test with it.
func families(t *testing.T, test func(t *testing.T, p *Private)) {
	for _, family := range []string{"unix", "tcp", "tcp6"} {
		t.Run(family, func(t *testing.T) { test(t, private(t, PrivateOptions{Family: family})) })
	}
}

func private(t *testing.T, o PrivateOptions) *Private {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Name == "" {
		o.Name = "shop"
	}
	p, err := OpenPrivate(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestOpenPrivate(t *testing.T) {
	families(t, func(t *testing.T, p *Private) {
		flags, err := unix.FcntlInt(p.File().Fd(), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %x, %v", flags, err)
		}
		if link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", p.File().Fd())); link != fmt.Sprintf("socket:[%d]", p.Inode()) {
			t.Errorf("%s, %v; inode %d", link, err, p.Inode())
		}
		dial(t, p.Network(), p.Address())
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Errorf("closing twice: %v", err)
		}
		if conn, err := net.Dial(p.Network(), p.Address()); err == nil {
			t.Error("still there")
			conn.Close()
		}
	})
}

func TestPrivateUnix(t *testing.T) {
	dir := t.TempDir()
	o := PrivateOptions{Family: "unix", Dir: dir, Name: "shop", Generation: 12}
	p := private(t, o)
	if p.Address() != filepath.Join(dir, "shop.12.sock") || p.Network() != "unix" {
		t.Error(p.Network(), p.Address())
	}
	info, err := os.Lstat(p.Address())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := OpenPrivate(o); !errors.Is(err, errInUse) || !strings.Contains(err.Error(), "shop#12") {
		t.Errorf("a live one: %v", err)
	}
	p.file.Close() // as a daemon does that dies
	private(t, o)
	if _, err := os.Lstat(p.Address()); err != nil {
		t.Errorf("the dead one was not replaced: %v", err)
	}
	o.Dir = filepath.Join(dir, longName(100))
	if _, err := OpenPrivate(o); err == nil || !strings.Contains(err.Error(), "shorter directory") {
		t.Error(err)
	}
	if _, err := OpenPrivate(PrivateOptions{Family: "sctp", Name: "shop"}); err == nil || !strings.Contains(err.Error(), `"sctp"`) {
		t.Error(err)
	}
}

// TestPortHint: the app sees the public port, on another loopback address in every generation.
func TestPortHint(t *testing.T) {
	public := open(t, Address{"tcp", "127.0.0.1:0"}, Options{})
	port := public.Addr().(*net.TCPAddr).Port
	seen := map[string]bool{}
	for generation := range 5 {
		p := private(t, PrivateOptions{Family: "tcp", Generation: generation, PortHint: port})
		host, got, err := net.SplitHostPort(p.Address())
		if err != nil || got != strconv.Itoa(port) || seen[host] || host == "127.0.0.1" || !strings.HasPrefix(host, "127.0.0.") {
			t.Errorf("%d: %s, %v", generation, p.Address(), err)
		}
		seen[host] = true
	}
	twin := private(t, PrivateOptions{Family: "tcp", Generation: 0, PortHint: port})
	if host, got, _ := net.SplitHostPort(twin.Address()); seen[host] || got != strconv.Itoa(port) {
		t.Errorf("in use, so the next one: %s", twin.Address())
	}
	last := private(t, PrivateOptions{Family: "tcp", Generation: 252, PortHint: port})
	next := private(t, PrivateOptions{Family: "tcp", Generation: 253*7 + 252, PortHint: port})
	if !strings.HasPrefix(last.Address(), "127.0.0.254:") || strings.HasPrefix(next.Address(), "127.0.0.1:") {
		t.Error(last.Address(), next.Address())
	}
	dial(t, twin.Network(), twin.Address())

	everywhere := open(t, Address{"tcp", "0.0.0.0:0"}, Options{})
	taken := everywhere.Addr().(*net.TCPAddr).Port
	p := private(t, PrivateOptions{Family: "tcp", Generation: 3, PortHint: taken})
	if host, got, _ := net.SplitHostPort(p.Address()); host != "127.0.0.1" || got == strconv.Itoa(taken) {
		t.Errorf("nothing was free: %s", p.Address())
	}
}

// TestPassing: a child accepts on the same socket, and the flags of the shared description
// (O_NONBLOCK) are right in both processes.
func TestPassing(t *testing.T) {
	families(t, func(t *testing.T, p *Private) {
		waiting := dial(t, p.Network(), p.Address())
		c := launch(t, nil, []*os.File{p.File()}, "serve one")
		answer, err := io.ReadAll(waiting)
		if err != nil || string(answer) != strconv.Itoa(c.Process.Pid) {
			t.Errorf("%q, %v; pid %d", answer, err, c.Process.Pid)
		}
		if flags, err := unix.FcntlInt(p.File().Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("the child made the description blocking: %x, %v", flags, err)
		}
		if err := p.SetNonblock(); err != nil {
			t.Error(err)
		}
		if flags, err := unix.FcntlInt(p.File().Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("and we did not make it non-blocking: %x, %v", flags, err)
		}
	})
}

// TestKeptByUsAlone: the descriptor stays open as long as the Private, also after a garbage collection.
func TestKeptByUsAlone(t *testing.T) {
	families(t, func(t *testing.T, p *Private) {
		c := launch(t, nil, []*os.File{p.File()}, "hold")
		c.line(t)
		for range 3 {
			runtime.GC()
		}
		c.kill()
		dial(t, p.Network(), p.Address())
	})
}

// TestBacklogSurvivesTheChild: what waits when the child is killed is neither reset nor lost, takes more, and goes to the next
// child on the same socket.
func TestBacklogSurvivesTheChild(t *testing.T) {
	families(t, func(t *testing.T, p *Private) {
		c := launch(t, nil, []*os.File{p.File()}, "hold")
		c.line(t)
		before := dial(t, p.Network(), p.Address())
		fmt.Fprint(before, "GET / HTTP/1.1\r\n\r\n")
		c.kill()
		fmt.Fprint(before, "more of the same")
		after := dial(t, p.Network(), p.Address())
		quiet := []net.Conn{before, after}
		for _, conn := range quiet {
			conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read %d, %v: not waiting any more", n, err)
			}
			conn.SetReadDeadline(time.Time{})
		}
		next := launch(t, nil, []*os.File{p.File()}, "serve one")
		if answer, err := io.ReadAll(before); err != nil || string(answer) != strconv.Itoa(next.Process.Pid) {
			t.Errorf("%q, %v; pid %d", answer, err, next.Process.Pid)
		}
		before.Close()
		next.line(t)
	})
}

// TestReclaim: hundreds of clients that have sent a request get exactly the marker, every byte that
// they have sent, and then EOF, also after a child with the socket was killed, and in the middle of
// large bodies.
func TestReclaim(t *testing.T) {
	const marker = "tideover: the app never saw this\n"
	families(t, func(t *testing.T, p *Private) {
		p.drainTimeout = time.Minute // no client here needs it
		c := launch(t, nil, []*os.File{p.File()}, "hold")
		c.line(t)
		const clients = 300
		var conns []net.Conn
		head := func(i int) string { return fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nX: %d\r\n\r\n", i) }
		for i := range clients {
			conn := dial(t, p.Network(), p.Address())
			io.WriteString(conn, head(i))
			conns = append(conns, conn)
		}
		c.kill()
		var good atomic.Int32
		var all sync.WaitGroup
		for i, conn := range conns {
			conn.SetDeadline(time.Now().Add(time.Minute))
			body := 0
			if i%50 == 0 { // still sends when it is taken back
				body = 4 << 20
			}
			all.Go(func() {
				io.Copy(conn, io.LimitReader(zeros{}, int64(body)))
				conn.(interface{ CloseWrite() error }).CloseWrite()
			})
			all.Go(func() {
				got, err := io.ReadAll(conn)
				if string(got) == marker+head(i)+strings.Repeat("\x00", body) && err == nil {
					good.Add(1)
				} else {
					t.Errorf("%d: %d bytes, %.100q, %v", i, len(got), got, err)
				}
				conn.Close()
			})
		}
		n, err := p.Reclaim(t.Context(), []byte(marker))
		all.Wait()
		if n != clients || err != nil || good.Load() != clients {
			t.Errorf("reclaimed %d, %v; %d of %d got the marker", n, err, good.Load(), clients)
		}
		if n, err := p.Reclaim(t.Context(), []byte(marker)); n != 0 || err != nil {
			t.Errorf("again: %d, %v", n, err)
		}
	})
}

func isFull(_ int, err error) bool { return err == nil }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestReclaimIsBounded: clients that never close, have disconnected, or would outlast the caller's
// context do not delay it.
func TestReclaimIsBounded(t *testing.T) {
	families(t, func(t *testing.T, p *Private) {
		stays := dial(t, p.Network(), p.Address())
		dial(t, p.Network(), p.Address()).Close()
		began := time.Now()
		n, err := p.Reclaim(t.Context(), []byte("marker"))
		if took := time.Since(began); n != 2 || err != nil || took < drainTimeout || took > 10*drainTimeout {
			t.Errorf("%d, %v after %v", n, err, took)
		}
		if got, err := io.ReadAll(stays); string(got) != "marker" || err != nil {
			t.Errorf("%q, %v", got, err)
		}

		p.drainTimeout = time.Minute
		leaves := dial(t, p.Network(), p.Address())
		var reading sync.WaitGroup
		reading.Go(func() { // it has the marker, and wants nothing of the rest
			defer leaves.Close()
			leaves.Write(make([]byte, 64<<10))
			if got := make([]byte, 6); !isFull(io.ReadFull(leaves, got)) || string(got) != "marker" {
				t.Errorf("%q", got)
			}
		})
		if n, err := p.Reclaim(t.Context(), []byte("marker")); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		reading.Wait()

		stays = dial(t, p.Network(), p.Address())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		if n, err := p.Reclaim(ctx, []byte("marker")); n != 1 || err != nil || time.Since(began) > 10*drainTimeout {
			t.Errorf("cancelled: %d, %v after %v", n, err, time.Since(began))
		}
		stays.Close()
		p.Close()
		if _, err := p.Reclaim(t.Context(), nil); err == nil {
			t.Error("reclaimed from a closed socket")
		}
	})
}

// A private socket with a group is reached by processes of that group, and by no others.
func TestAPrivateSocketIsReachedByItsGroupOnly(t *testing.T) {
	const group = 61020
	dir, err := os.MkdirTemp("", "private") // t.TempDir is below a directory of this user alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := private(t, PrivateOptions{Family: "unix", Dir: dir})
	d := &PrivateDir{Path: filepath.Join(dir, "x.relay"), Group: group}
	if os.Geteuid() != 0 { // there is no other user, and the group is the daemon's
		d.Group = 0
	}
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	name, err := p.Offer(d)
	if err != nil {
		t.Fatal(err)
	}
	offered := filepath.Join(d.Path, name)
	if os.Geteuid() != 0 {
		if err := connectAs(os.Geteuid(), os.Getegid(), offered); err != nil {
			t.Error(err)
		}
		return
	}
	if err := d.OpenForOthers(); err != nil { // as for a socket of {socket}
		t.Fatal(err)
	}
	for want, ids := range map[bool][][2]int{true: {{61021, group}, {0, 0}}, false: {{61021, 61021}, {33, 33}, {group, 61021}}} {
		for _, id := range ids {
			if err := connectAs(id[0], id[1], offered); (err == nil) != want {
				t.Errorf("uid %d, gid %d: %v", id[0], id[1], err)
			}
		}
	}
	info, err := os.Stat(offered)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// connectAs connects on a thread with the file system ids of another user.
func connectAs(uid, gid int, path string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
		unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
			unix.Close(fd)
		}
		done <- err
	}()
	return <-done
}
