package listener

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, a Address, o Options) *Public {
	t.Helper()
	p, err := Open(a, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestOpenTCP(t *testing.T) {
	for _, s := range []string{"127.0.0.1:0", "[::1]:0", ":0", "0.0.0.0:0", "localhost:0"} {
		a, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		p := open(t, a, Options{})
		if p.Address() != a {
			t.Errorf("%s: %v", s, p.Address())
		}
		addr := p.Addr().(*net.TCPAddr)
		if s == "0.0.0.0:0" && addr.IP.To4() == nil {
			t.Errorf("0.0.0.0 listens on %v", addr)
		}
		conn := dial(t, "tcp", p.Addr().String())
		if _, err := accept(t, p); err != nil {
			t.Error(err)
		}
		conn.Close()
		if protocol := option(t, p, unix.SO_PROTOCOL); protocol != unix.IPPROTO_TCP {
			t.Errorf("%s: protocol %d", s, protocol)
		}
		if option(t, p, unix.SO_REUSEPORT) != 0 {
			t.Errorf("%s: SO_REUSEPORT is set", s)
		}
	}
}

func option(t *testing.T, p *Public, name int) (value int) {
	t.Helper()
	err := withFD(p, func(fd int) (err error) {
		value, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// TestInUse: the error names the process in the way, for every spelling that clashes with it.
func TestInUse(t *testing.T) {
	p := open(t, Address{"tcp", "127.0.0.1:0"}, Options{})
	_, port, _ := net.SplitHostPort(p.Addr().String())
	for _, host := range []string{"127.0.0.1", "", "localhost", "0.0.0.0"} {
		a := Address{"tcp", net.JoinHostPort(host, port)}
		_, err := Open(a, Options{})
		var e *OpenError
		if !errors.As(err, &e) || !errors.Is(err, syscall.EADDRINUSE) || e.Address != a || e.Remedy == "" {
			t.Fatalf("%v: %v", a, err)
		}
		if want := fmt.Sprintf("pid %d (", os.Getpid()); !strings.HasPrefix(e.Holder, want) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: held by %q, want %q: %v", a, e.Holder, want, err)
		}
	}
	if got := portOwner(Address{"tcp", "127.0.0.9:" + port}); got != "" {
		t.Errorf("a free address is held by %s", got)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	live := open(t, Address{"unix", filepath.Join(dir, "live")}, Options{})
	link := filepath.Join(dir, "link")
	if err := os.Symlink(live.Address().Address, link); err != nil {
		t.Fatal(err)
	}
	datagram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "datagram"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	for _, c := range []struct {
		address Address
		errno   error
		words   string
	}{
		{Address{"tcp", "192.0.2.1:0"}, unix.EADDRNOTAVAIL, "no interface"},
		{Address{"tcp", "no-such-host.invalid:0"}, nil, "no-such-host.invalid"},
		{Address{"unix", "/nonexistent/dir/a.sock"}, unix.ENOENT, "create the directory /nonexistent/dir first"},
		{Address{"unix", "/proc/a.sock"}, nil, "cannot listen on unix:/proc/a.sock"},
		{Address{"unix", "/" + longName(107)}, nil, "shorter directory"},
		{Address{"unix", file}, nil, "something else than a socket is there: remove it"},
		{Address{"unix", link}, nil, "something else than a socket"},
		{Address{"unix", dir}, nil, "something else than a socket"},
		{live.Address(), nil, fmt.Sprintf("another process is serving there, held by pid %d (", os.Getpid())},
		{Address{"unix", filepath.Join(dir, "datagram")}, unix.EPROTOTYPE, "protocol wrong type"},
	} {
		_, err := Open(c.address, Options{})
		var e *OpenError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.words) || c.errno != nil && !errors.Is(err, c.errno) {
			t.Errorf("%v: %v, want %q", c.address, err, c.words)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file in the way: %q, %v", text, err)
	}
	dial(t, "unix", live.Address().Address)
}

// TestOpenUnix: the file has its mode before a client can connect, the file of a dead process is
// replaced, and Close removes the file that Open made.
func TestOpenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.sock")
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	for _, c := range []struct{ set, want os.FileMode }{{0, 0o666}, {0o600, 0o600}, {0o660, 0o660}} {
		p := open(t, Address{"unix", path}, Options{Mode: c.set})
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != c.want {
			t.Errorf("mode %v, %v; want %v", info.Mode(), err, c.want)
		}
		dial(t, "unix", path)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Errorf("closing twice: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after Close: %v", err)
		}
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	first := open(t, Address{"unix", path}, Options{})
	dial(t, "unix", path)

	if err := os.Remove(path); err != nil { // as by another program, before another daemon starts
		t.Fatal(err)
	}
	second := open(t, Address{"unix", path}, Options{})
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	dial(t, "unix", second.Address().Address)
}

// TestFullBacklogIsLive: a server too busy to accept is not taken for dead.
func TestFullBacklogIsLive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "busy.sock")
	fd, err := newSocket(unix.AF_UNIX)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	dial(t, "unix", path)
	if err := probe(path); !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("the backlog is not full: %v", err)
	}
	if _, err := Open(Address{"unix", path}, Options{}); !errors.Is(err, errInUse) {
		t.Error(err)
	}
}

// TestFile: a duplicate outlives the socket, is close-on-exec, and leaves the description non-blocking.
func TestFile(t *testing.T) {
	p := open(t, Address{"tcp", "127.0.0.1:0"}, Options{})
	address := p.Addr().String()
	f, err := p.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fdFlags, _ := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil || fdFlags&unix.FD_CLOEXEC == 0 || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("flags %x %x, %v", fdFlags, flags, err)
	}
	p.Close()
	conn := dial(t, "tcp", address)
	once, err := FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	once.Close()
	again, err := FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	defer f.Close()
	accepted, err := accept(t, again)
	if err != nil || accepted.RemoteAddr().String() != conn.LocalAddr().String() || again.Address() != (Address{"tcp", address}) {
		t.Errorf("%v, %v, %v", accepted, err, again.Address())
	}
	if _, err := p.File(); err == nil {
		t.Error("a duplicate of a closed socket")
	}
}

func TestAdoptRefuses(t *testing.T) {
	plain, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := newSocket(unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	silent := os.NewFile(uintptr(fd), "silent")
	for _, f := range []*os.File{plain, silent} {
		if p, err := FromFile(f); err == nil || !strings.Contains(err.Error(), f.Name()+" cannot serve") {
			t.Errorf("%v, %v", p, err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s is no longer the caller's: %v", f.Name(), err)
		}
	}
}

func TestInherited(t *testing.T) {
	tcp := open(t, Address{"tcp", "127.0.0.1:0"}, Options{})
	local := open(t, Address{"unix", filepath.Join(t.TempDir(), "a.sock")}, Options{})
	var files []*os.File
	for _, p := range []*Public{tcp, local, tcp} {
		f, err := p.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	address := tcp.Addr().String()
	for _, c := range []struct {
		name string
		env  []string
		want inherited
	}{
		{"named", []string{"LISTEN_PID=self", "LISTEN_FDS=3", "LISTEN_FDNAMES=web:admin:web", "LISTEN_PIDFDID=7"},
			inherited{Counts: map[string]int{"web": 2, "admin": 1}}},
		{"nameless", []string{"LISTEN_PID=self", "LISTEN_FDS=2"}, inherited{Counts: map[string]int{"unknown": 2}}},
		{"half a name", []string{"LISTEN_PID=self", "LISTEN_FDS=2", "LISTEN_FDNAMES=:web"}, inherited{Counts: map[string]int{"unknown": 1, "web": 1}}},
		{"none", nil, inherited{Counts: map[string]int{}}},
		{"none in number", []string{"LISTEN_PID=self", "LISTEN_FDS=0"}, inherited{Counts: map[string]int{}}},
		{"another's", []string{"LISTEN_PID=1", "LISTEN_FDS=3"}, inherited{Counts: map[string]int{}}},
		{"no number", []string{"LISTEN_PID=self", "LISTEN_FDS=many"}, inherited{Counts: map[string]int{}, Err: `LISTEN_FDS="many" is not a number of descriptors`}},
		{"too few names", []string{"LISTEN_PID=self", "LISTEN_FDS=3", "LISTEN_FDNAMES=web"},
			inherited{Counts: map[string]int{}, Err: "LISTEN_FDNAMES has 1 names for LISTEN_FDS=3 descriptors"}},
		{"not open", []string{"LISTEN_PID=self", "LISTEN_FDS=900"}, inherited{Counts: map[string]int{}, Err: "is not open"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got inherited
			if err := json.Unmarshal([]byte(launch(t, c.env, files, "inherit").line(t)), &got); err != nil {
				t.Fatal(err)
			}
			if !got.Cloexec || got.Env != nil || !reflect.DeepEqual(got.Counts, c.want.Counts) || !strings.Contains(got.Err, c.want.Err) || (got.Err == "") != (c.want.Err == "") {
				t.Errorf("%+v", got)
			}
			adopted := 0
			for _, n := range got.Counts {
				adopted += n
			}
			if len(got.Adopted) != adopted {
				t.Errorf("adopted %v", got.Adopted)
			}
			for _, a := range got.Adopted {
				if a != address && a != local.Address().String() {
					t.Errorf("adopted %s", a)
				}
			}
		})
	}
	dial(t, "unix", local.Address().Address) // the test processes that adopted it have closed it and kept its path
}

// accept accepts a connection as the proxy does.
func accept(t *testing.T, p *Public) (net.Conn, error) {
	t.Helper()
	f, err := p.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.Accept()
}

// A process that holds a public socket, and does not accept from it, does not wake up for its
// connections: no epoll set has a descriptor of it.
func TestAPublicSocketWakesNoProcessThatDoesNotAccept(t *testing.T) {
	for _, a := range []Address{freeAddress(t), {"unix", filepath.Join(t.TempDir(), "s")}} {
		p, err := Open(a, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		kept, err := NewDescriptor(p)
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		if err := withFD(p, func(fd int) error { return unix.SetNonblock(fd, true) }); err != nil {
			t.Fatal(err)
		}
		if sets := registered(t, p.Inode()); len(sets) != 0 {
			t.Errorf("%s: it is in epoll sets: %v", a, sets)
		}
		file, err := p.File()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if sets := registered(t, p.Inode()); len(sets) != 0 {
			t.Errorf("%s: its file is in epoll sets: %v", a, sets)
		}
		fd, err := unix.Dup(kept.fd)
		if err != nil {
			t.Fatal(err)
		}
		polled := os.NewFile(uintptr(fd), "polled")
		defer polled.Close()
		if sets := registered(t, p.Inode()); len(sets) != 1 { // the look finds what there is
			t.Errorf("%s: epoll sets %v, want that of the os.File", a, sets)
		}
	}
}

// A child may have set O_NONBLOCK on the socket that it shares (gunicorn does): the next generation,
// for which the socket is shared again, leaves its accept(2) as it is.
func TestASocketThatIsSharedAgainStaysAsItsProcessesHaveSetIt(t *testing.T) {
	p, err := Open(freeAddress(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Share(); err != nil || isNonblocking(t, p) {
		t.Fatalf("%v, non-blocking %v", err, isNonblocking(t, p))
	}
	if err := withFD(p, func(fd int) error { return unix.SetNonblock(fd, true) }); err != nil {
		t.Fatal(err)
	}
	if err := p.Share(); err != nil || !isNonblocking(t, p) {
		t.Errorf("%v, non-blocking %v", err, isNonblocking(t, p))
	}
}
