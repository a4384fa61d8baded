package listener

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// publicMode is the default of gunicorn: a front-end may connect as any user.
const publicMode os.FileMode = 0o666

// Options are the options of Open.
type Options struct {
	Mode os.FileMode // permissions of a unix socket's file; 0: 0666

	// As returns the user that makes, renames and removes the file of a unix socket at this path.
	// nil: this process. It is called before each of them. Root has to name a user that can
	// change the path, because a symlink on it could lead to any directory. nil: always this process.
	As func(path string) (*User, error)
}

// withDefaults returns the options with the default mode.
func (o Options) withDefaults() Options {
	o.Mode = cmp.Or(o.Mode, publicMode)
	return o
}

// Public is a public socket. It is opened before the first child starts and kept for the
// daemon's whole life, so no client meets a refused connection. Its methods may be called
// from any goroutine.
type Public struct {
	address Address
	bound   net.Addr    // as the kernel has it
	file    *socketFile // of the unix socket that Open created; nil: it has not created one
	options Options     // with a mode
	rival   rival

	unshared atomic.Bool // Open has created it, and Share has not prepared it yet
	socket   *Descriptor

	close sync.Once
	err   error
}

// OpenError says why a public socket could not be opened, which process holds the
// address if that is known, and what to do.
type OpenError struct {
	Address Address
	Err     error
	Holder  string // "pid 4711 (gunicorn: master)"; empty: unknown or none
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

// IsInUse reports whether err says that another process has an address.
func IsInUse(err error) bool {
	return errors.Is(err, unix.EADDRINUSE) || errors.Is(err, errInUse)
}

// Open opens a public socket with the longest backlog that the kernel allows. It never
// sets SO_REUSEPORT, so no other process can bind the port as well. A unix socket at the
// path on which no process listens is replaced; a live one, a symlink or another file is
// an error. The error is an *OpenError.
func Open(a Address, o Options) (*Public, error) {
	o = o.withDefaults()
	open := openTCP
	if a.Network == "unix" {
		open = func(a Address) (*Public, error) {
			return openUnix(a, o, pathRequest{Action: bindAction, Path: a.Address, Mode: o.Mode, Stale: true})
		}
	}
	p, err := open(a)
	if err != nil {
		return nil, newOpenError(a, err)
	}
	return p, nil
}

func openTCP(a Address) (*Public, error) { return openPort(a, net.ListenConfig{}) }

func openPort(a Address, config net.ListenConfig) (*Public, error) {
	network := "tcp"
	if strings.HasPrefix(a.Address, "0.0.0.0:") {
		network = "tcp4" // with "tcp", Go would listen on [::], too
	}
	config.SetMultipathTCP(false) // front-ends speak plain TCP, and /proc/net/tcp shows only that
	l, err := config.Listen(context.Background(), network, a.Address)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	d, err := NewDescriptor(l.(*net.TCPListener))
	if err != nil {
		return nil, err
	}
	p := &Public{address: a, bound: l.Addr(), socket: d}
	p.unshared.Store(true)
	return p, nil
}

// openUnix opens a unix socket as r says.
func openUnix(a Address, o Options, r pathRequest) (*Public, error) {
	if err := checkLength(a.Address); err != nil {
		return nil, err
	}
	fd, file, err := o.do(r)
	if err != nil {
		return nil, err
	}
	p := &Public{address: a, file: file, options: o, socket: &Descriptor{fd: fd}}
	p.unshared.Store(true)
	if p.bound, err = boundAddress(p.socket); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

var (
	errInUse     = errors.New("another process is serving there")
	errNotSocket = errors.New("something else than a socket is there")
)

// removeStaleSocket removes the socket at path if it refuses connections. Any other file
// there is an error.
func removeStaleSocket(path string) error {
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
		if err == nil || errors.Is(err, unix.EAGAIN) { // EAGAIN: the backlog is full, so a process listens
			return errInUse
		}
		return fmt.Errorf("the socket there cannot be tried: %w", err)
	}
	return removeSocket(path, fileID{uint64(st.Dev), st.Ino})
}

// probe tries to connect, without waiting.
func probe(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// newOpenError adds the holder and a remedy to an error of bind or listen.
func newOpenError(a Address, err error) error {
	e := &OpenError{Address: a, Err: rootCause(err)}
	_, port, _ := net.SplitHostPort(a.Address)
	var asUser *userError
	switch {
	case errors.Is(err, unix.EADDRINUSE) && a.Network == "tcp":
		e.Holder = portOwner(a)
		e.Remedy = "stop that process, or choose another listen address"
		if e.Holder == "" {
			e.Remedy = fmt.Sprintf("stop what holds it (ss -ltnp 'sport = :%s' names it to root), or choose another listen address", port)
		}
	case errors.Is(err, errInUse):
		e.Holder = portOwner(a)
		e.Remedy = "stop it, or choose another path"
	case errors.Is(err, errNotSocket):
		e.Remedy = "remove it if it is not needed, or choose another path"
	case errors.Is(err, unix.EACCES) && a.Network == "tcp":
		e.Remedy = "ports below 1024 need root or CAP_NET_BIND_SERVICE"
	case (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) && errors.As(err, &asUser):
		e.Remedy = fmt.Sprintf("uid %d may not create files in %s or replace what is there, and root does not, because others than root can change that path",
			asUser.uid, filepath.Dir(a.Address))
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		e.Remedy = fmt.Sprintf("the daemon's user may not create files in %s", filepath.Dir(a.Address))
	case errors.Is(err, unix.ENOENT) && a.Network == "unix":
		e.Remedy = fmt.Sprintf("create the directory %s first", filepath.Dir(a.Address))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		e.Remedy = "no interface of this machine has that address"
	}
	return e
}

// rootCause removes the prefixes of packages net and os, because OpenError contains the
// address itself.
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

// FromFile returns a Public for a listening stream socket that is open already, such as
// those of SystemdSockets. It uses a duplicate: f still belongs to the caller, and as long
// as f is open the socket stays open and can be used again. O_NONBLOCK stays as it is. Close does
// not remove the path.
func FromFile(f *os.File) (*Public, error) {
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
	d, err := NewDescriptor(f)
	if err != nil {
		return nil, fmt.Errorf("the inherited socket %s cannot serve: %w", f.Name(), err)
	}
	bound, err := boundAddress(d)
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("the inherited socket %s cannot serve: %w", f.Name(), err)
	}
	return &Public{address: Address{bound.Network(), bound.String()}, bound: bound, socket: d}, nil
}

// Restore is FromFile for a socket that another process has opened with Open. Close removes the path of a
// unix socket. It owns pin from here on, which is the PathFile of that process; nil: it had none.
func Restore(f *os.File, a Address, o Options, pin *os.File) (_ *Public, err error) {
	var file *socketFile
	switch {
	case pin != nil:
		file, err = restoreSocketFile(a.Address, pin)
	case a.Network == "unix":
		file, err = pinSocket(a.Address)
		if err != nil { // it was removed: Rebind makes another one
			file, err = &socketFile{path: a.Address}, nil
		}
	}
	if err != nil {
		return nil, err
	}
	p, err := FromFile(f)
	if err != nil {
		if file != nil && file.pin != nil {
			file.pin.Close()
		}
		return nil, err
	}
	p.address, p.file, p.options = a, file, o.withDefaults()
	return p, nil
}

// Address returns the address that was given to Open. If its port is 0, see Addr.
func (p *Public) Address() Address { return p.address }

// Inode is the inode of the socket, by which /proc/PID/fd shows which processes hold it; 0: unknown.
func (p *Public) Inode() uint64 {
	var st unix.Stat_t
	if withFD(p, func(fd int) error { return unix.Fstat(fd, &st) }) != nil {
		return 0
	}
	return st.Ino
}

// Addr returns the address to which the socket is bound.
func (p *Public) Addr() net.Addr { return p.bound }

// File returns a duplicate, which the caller must close. It is close-on-exec, and O_NONBLOCK of the
// open file description stays as it is.
func (p *Public) File() (*os.File, error) {
	f, err := fileOf(p, p.address.String())
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", p.address, err)
	}
	return f, nil
}

// SyscallConn makes a Public a syscall.Conn.
func (p *Public) SyscallConn() (syscall.RawConn, error) { return p.socket, nil }

// Close closes the socket and removes the file of a unix socket that Open created, if it
// is still there. It may be called more than once.
func (p *Public) Close() error {
	p.close.Do(func() {
		p.err = p.socket.Close()
		if p.file != nil {
			p.err = errors.Join(p.err, p.removeFile())
		}
	})
	return p.err
}

// removeFile removes the file of a unix socket if it is still this socket's, and closes its
// descriptor.
func (p *Public) removeFile() error {
	var err error
	if at, failed := statSocket(p.file.path); failed != nil || at == p.file.id { // else no helper process is needed
		_, _, err = p.options.do(pathRequest{Action: removeAction, Path: p.file.path, ID: p.file.id})
	}
	if p.file.pin != nil {
		p.file.pin.Close()
	}
	return err
}
