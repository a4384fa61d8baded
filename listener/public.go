//go:build linux

package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// publicMode is gunicorn's own: a front-end under any user may connect.
const publicMode os.FileMode = 0o666

// Options are the choices of Open.
type Options struct {
	Mode os.FileMode // permissions of a unix socket's file; 0: 0666
}

// Public is a public socket: opened before any child and kept for the daemon's whole life, so that no client ever meets a
// refused connection. Its methods may be called from any goroutine.
type Public struct {
	address  Address
	listener net.Listener
	file     fileID // of a unix socket that Open made; zero: nothing to remove

	close sync.Once
	err   error
}

// OpenError says why a public socket could not be opened, who is in the way if that could be found out, and what to do.
type OpenError struct {
	Address Address
	Err     error
	Holder  string // "pid 4711 (gunicorn: master)"; empty: unknown or nobody
	Remedy  string
}

func (e *OpenError) Error() string {
	s := fmt.Sprintf("cannot listen on %s: %v", e.Address, e.Err)
	if e.Holder != "" {
		s += ", held by " + e.Holder
	}
	if e.Remedy != "" {
		s += ": " + e.Remedy
	}
	return s
}

func (e *OpenError) Unwrap() error { return e.Err }

// Open binds and listens with the longest backlog the kernel grants, and never with SO_REUSEPORT, so that nobody can share or
// steal the port. A dead unix socket's file is replaced; a live one, a symlink and anything else at its path are refused. The
// error is an *OpenError.
func Open(a Address, o Options) (*Public, error) {
	if o.Mode == 0 {
		o.Mode = publicMode
	}
	open := openTCP
	if a.Network == "unix" {
		open = func(a Address) (*Public, error) { return openUnix(a, o.Mode) }
	}
	p, err := open(a)
	if err != nil {
		return nil, explain(a, err)
	}
	return p, nil
}

func openTCP(a Address) (*Public, error) {
	network := "tcp"
	if strings.HasPrefix(a.Address, "0.0.0.0:") {
		network = "tcp4" // which "tcp" would make every IPv6 address, too
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // plain TCP is what the front-ends speak, and what /proc/net/tcp shows
	l, err := config.Listen(context.Background(), network, a.Address)
	if err != nil {
		return nil, err
	}
	return &Public{address: a, listener: l}, nil
}

func openUnix(a Address, mode os.FileMode) (*Public, error) {
	if err := checkLength(a.Address); err != nil {
		return nil, err
	}
	if err := removeDead(a.Address); err != nil {
		return nil, err
	}
	fd, id, err := listenUnix(a.Address, mode)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), a.String())
	defer f.Close()
	l, err := net.FileListener(f) // a duplicate of its own, which leaves the path alone when it closes
	if err != nil {
		removeSocket(a.Address, id)
		return nil, err
	}
	return &Public{address: a, listener: l, file: id}, nil
}

var (
	errLive      = errors.New("another process is serving there")
	errNotSocket = errors.New("something else than a socket is there")
)

// removeDead makes room at path: nothing there is well, a socket that refuses connections is removed, all else is an error.
func removeDead(path string) error {
	var st unix.Stat_t
	switch err := unix.Lstat(path, &st); {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return os.NewSyscallError("lstat", err)
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return errNotSocket
	}
	if err := probe(path); !errors.Is(err, unix.ECONNREFUSED) {
		if err == nil || errors.Is(err, unix.EAGAIN) { // a full backlog has somebody behind it
			return errLive
		}
		return fmt.Errorf("the socket there cannot be tried: %w", err)
	}
	return removeSocket(path, fileID{uint64(st.Dev), st.Ino})
}

// probe connects without waiting.
func probe(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// explain adds the holder and a remedy.
func explain(a Address, err error) error {
	e := &OpenError{Address: a, Err: rootCause(err)}
	_, port, _ := net.SplitHostPort(a.Address)
	switch {
	case errors.Is(err, unix.EADDRINUSE) && a.Network == "tcp":
		e.Holder = holder(a)
		e.Remedy = "stop that process, or choose another listen address"
		if e.Holder == "" {
			e.Remedy = fmt.Sprintf("stop what holds it (ss -ltnp 'sport = :%s' names it to root), or choose another listen address", port)
		}
	case errors.Is(err, errLive):
		e.Holder = holder(a)
		e.Remedy = "stop it, or choose another path"
	case errors.Is(err, errNotSocket):
		e.Remedy = "remove it if it is not needed, or choose another path"
	case errors.Is(err, unix.EACCES) && a.Network == "tcp":
		e.Remedy = "ports below 1024 need root or CAP_NET_BIND_SERVICE"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		e.Remedy = fmt.Sprintf("the daemon's user may not create files in %s", filepath.Dir(a.Address))
	case errors.Is(err, unix.ENOENT) && a.Network == "unix":
		e.Remedy = fmt.Sprintf("create the directory %s first", filepath.Dir(a.Address))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		e.Remedy = "no interface of this machine has that address"
	}
	return e
}

// rootCause drops net's and os's own prefixes: the OpenError names the address itself.
func rootCause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns
	}
	return err
}

// Adopt makes a Public of a listening stream socket that somebody else opened, such as those of Inherited. It has a duplicate of
// its own: f stays the caller's, and as long as it is open the socket is, and can be adopted again. Close will not remove a path that the service manager made.
func Adopt(f *os.File) (*Public, error) {
	err := withFD(f, func(fd int) error {
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil {
			return err
		}
		listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err == nil && (kind != unix.SOCK_STREAM || listening == 0) {
			err = errors.New("it does not listen for stream connections")
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the inherited socket %s cannot serve: %w", f.Name(), err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("the inherited socket %s cannot serve: %w", f.Name(), err)
	}
	return &Public{address: Address{l.Addr().Network(), l.Addr().String()}, listener: l}, nil
}

// Inherit is Adopt for a socket that an earlier program of this process has opened at an address, by Open: a unix socket's file is
// removed by Close.
func Inherit(f *os.File, a Address) (*Public, error) {
	file, err := socketAt(a.Network, a.Address)
	if err != nil {
		return nil, err
	}
	p, err := Adopt(f)
	if err != nil {
		return nil, err
	}
	p.address, p.file = a, file
	return p, nil
}

// Listener is the socket itself, for the proxy to accept on. Only Close may close it.
func (p *Public) Listener() net.Listener { return p.listener }

// Address is the one it was opened with; for port 0 ask Listener().Addr().
func (p *Public) Address() Address { return p.address }

// File returns a duplicate that the caller must close, as an fd store wants one. It is close-on-exec in this process, and it
// leaves the shared description non-blocking.
func (p *Public) File() (*os.File, error) {
	conn, ok := p.listener.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	var dup int
	err := withFD(conn, func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", p.address, err)
	}
	return os.NewFile(uintptr(dup), p.address.String()), nil
}

// Close closes the socket and removes the unix socket file that Open made, if it is still there. It may be called twice.
func (p *Public) Close() error {
	p.close.Do(func() {
		p.err = p.listener.Close()
		if p.file != (fileID{}) {
			p.err = errors.Join(p.err, removeSocket(p.address.Address, p.file))
		}
	})
	return p.err
}
