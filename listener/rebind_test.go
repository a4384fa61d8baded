package listener

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rebind calls Rebind and wants a new socket.
func rebind(t *testing.T, p *Public) *Public {
	t.Helper()
	fresh, err := p.Rebind()
	if err != nil || fresh == nil {
		t.Fatalf("Rebind: %v, %v", fresh, err)
	}
	t.Cleanup(func() { fresh.Close() })
	return fresh
}

// wantRefused wants an error of Rebind that contains text.
func wantRefused(t *testing.T, p *Public, text string) {
	t.Helper()
	fresh, err := p.Rebind()
	var failed *OpenError
	if fresh != nil || !errors.As(err, &failed) || !strings.Contains(err.Error(), text) {
		t.Fatalf("Rebind: %v, %v; want an *OpenError with %q", fresh, err, text)
	}
}

// probeRivalNow makes the next Rebind connect to another socket at the path.
func (p *Public) probeRivalNow() { p.rival.next = time.Now() }

func statOf(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func TestARemovedPublicSocketIsBoundAgainWithItsModeAndOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.sock")
	p := open(t, Address{"unix", path}, Options{Mode: 0o600})
	if fresh, err := p.Rebind(); fresh != nil || err != nil {
		t.Fatalf("the file is there: %v, %v", fresh, err)
	}
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 33, 1000
	}
	if err := errors.Join(os.Chmod(path, 0o620), os.Lchown(path, uid, gid)); err != nil {
		t.Fatal(err)
	}
	waiting := dial(t, "unix", path)
	defer waiting.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	fresh := rebind(t, p)
	if st := statOf(t, path); st.Mode&0o7777 != 0o620 || int(st.Uid) != uid || int(st.Gid) != gid {
		t.Errorf("mode %o, owner %d:%d; want 620, %d:%d", st.Mode&0o7777, st.Uid, st.Gid, uid, gid)
	}
	if !p.Pending() || fresh.Pending() {
		t.Errorf("connections wait: former %v, new %v; want only in the former", p.Pending(), fresh.Pending())
	}
	conn, err := accept(t, p)
	if err != nil || p.Pending() {
		t.Fatalf("accept from the former socket: %v, pending %v", err, p.Pending())
	}
	conn.Close()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	later := dial(t, "unix", path) // closing the former has not removed the file of the new one
	defer later.Close()
	if fresh, err := fresh.Rebind(); fresh != nil || err != nil {
		t.Errorf("the new file is there: %v, %v", fresh, err)
	}
}

func TestRebindTakesNothingAwayFromAnotherProcess(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"socket": func(path string) error {
			l, err := net.Listen("unix", path)
			if err == nil {
				l.(*net.UnixListener).SetUnlinkOnClose(false)
				t.Cleanup(func() { l.Close() })
			}
			return err
		},
		"regular file": func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"directory":    func(path string) error { return os.Mkdir(path, 0o700) },
		"FIFO":         func(path string) error { return unix.Mkfifo(path, 0o600) },
		"symlink":      func(path string) error { return os.Symlink("elsewhere", path) },
		"symlink to a dead socket": func(path string) error {
			return errors.Join(os.Rename(path+".old", path+".dead"), os.Symlink(path+".dead", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "shop.sock")
			p := open(t, Address{"unix", path}, Options{})
			if err := errors.Join(os.Rename(path, path+".old"), put(path)); err != nil {
				t.Fatal(err)
			}
			before := statOf(t, path)
			for range 3 {
				if fresh, err := p.Rebind(); fresh != nil || err == nil {
					t.Fatalf("Rebind: %v, %v", fresh, err)
				}
				p.probeRivalNow()
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if after := statOf(t, path); after.Ino != before.Ino {
				t.Error("it was removed")
			}
		})
	}
}

// A process binds a socket a moment before it listens on it; until then connect says
// ECONNREFUSED, as it does for a dead socket.
func TestASocketThatDoesNotListenYetIsNotReplacedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.sock")
	p := open(t, Address{"unix", path}, Options{})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	fd, err := newSocket(unix.AF_UNIX)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, p, "replaced by another socket")
	wantRefused(t, p, "replaced by another socket")
	p.probeRivalNow()
	rebind(t, p)
}

// Connects to the socket of another process are requests without content to it.
func TestALiveSocketAtThePathIsConnectedToRarely(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.sock")
	p := open(t, Address{"unix", path}, Options{})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := open(t, Address{"unix", path}, Options{})
	wantRefused(t, p, "replaced by another socket")
	p.probeRivalNow()
	for range 3 {
		wantRefused(t, p, "another process is serving there")
	}
	connects := 0
	for other.Pending() {
		conn, err := accept(t, other)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		connects++
	}
	if connects != 1 {
		t.Errorf("%d connects, want 1", connects)
	}
	other.Close() // its file goes with it
	rebind(t, p)
}

func TestASocketIsBoundAgainWhenItsDirectoryIsBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := open(t, Address{"unix", filepath.Join(dir, "shop.sock")}, Options{})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, p, "create the directory")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	rebind(t, p)
}

// Another process binds and unbinds the path all the time. A socket on which it listens
// is there until it removes it.
func TestRebindInARaceNeverRemovesALiveSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.sock")
	p := open(t, Address{"unix", path}, Options{})
	os.Remove(path)
	stop := make(chan struct{})
	var rival sync.WaitGroup
	rival.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			l, err := net.Listen("unix", path)
			if err != nil {
				continue // Rebind was faster
			}
			mine, err := statSocket(path)
			if err != nil {
				t.Error(err)
			}
			for range 20 {
				if at, err := statSocket(path); err != nil || at != mine {
					t.Errorf("the path has %v, want %v: %v", at, mine, err)
				}
			}
			l.Close()
		}
	})
	rebinds := 0
	for began := time.Now(); time.Since(began) < 300*time.Millisecond || rebinds == 0; {
		fresh, err := p.Rebind()
		if err == nil && fresh != nil {
			rebinds++
			fresh.Close()
		}
	}
	close(stop)
	rival.Wait()
}

func TestAPrivateSocketIsReachedWithoutItsFile(t *testing.T) {
	dir := t.TempDir()
	p, err := OpenPrivate(PrivateOptions{Family: "unix", Dir: dir, Name: "shop", Generation: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { p.Close() }()
	l, err := net.FileListener(p.File())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := func(what string) {
		t.Helper()
		conn := dial(t, "unix", p.DialAddress())
		defer conn.Close()
		l.(*net.UnixListener).SetDeadline(time.Now().Add(time.Minute))
		server, err := l.Accept()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		server.Close()
	}
	accepted("with the file")
	os.Remove(p.Address())
	accepted("without the file")
	other, err := net.Listen("unix", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	accepted("with the file of another process")

	duplicate := func(f *os.File) *os.File { // as the next supervisor gets it
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), "duplicate")
	}
	restored, err := RestorePrivate(duplicate(p.File()), "unix", p.Address(), duplicate(p.PathFile()))
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	p = restored
	accepted("after an upgrade")
	p.Close()
	if _, err := os.Lstat(p.Address()); err != nil {
		t.Errorf("Close has removed the file of another process: %v", err)
	}
}
