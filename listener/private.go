package listener

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// PrivateOptions are the options of OpenPrivate.
type PrivateOptions struct {
	Family     string // "unix", "tcp" (IPv4 loopback) or "tcp6"
	Dir        string // of a unix socket; it must exist, and nothing in it be accessible to others
	Name       string // the app's name
	Generation int
	PortHint   int // of "tcp": the public port if the public socket is on 127.0.0.1; 0: any port
}

// Private is the private socket of one generation. It listens before the child runs.
// Because the daemon holds a duplicate, connections in the backlog survive the child.
// Its methods may be called from any goroutine.
type Private struct {
	Backlog
	network, address string
	file             *os.File // the only owner of the descriptor; that of the Backlog, too
	inode            uint64
	path             *socketFile // nil: of TCP
	offered          string      // its second name; empty: it has none
}

// OpenPrivate opens a new private socket. A unix socket is DIR/NAME.GENERATION.sock with
// mode 0600: only the daemon connects to it, and the child gets the descriptor. A TCP
// socket is on loopback. With a PortHint it has that port on 127.0.0.2 to 127.0.0.254, so
// that an app that reads the port from its socket sees the public one; else any port.
func OpenPrivate(o PrivateOptions) (*Private, error) {
	var p *Private
	var err error
	switch o.Family {
	case "unix":
		p, err = openPrivateUnix(filepath.Join(o.Dir, fmt.Sprintf("%s.%d.sock", o.Name, o.Generation)))
	case "tcp":
		p, err = openPrivateTCP(o)
	case "tcp6":
		p, err = openLoopback(net.IPv6loopback, 0)
	default:
		err = fmt.Errorf("unknown family %q", o.Family)
	}
	if err != nil {
		return nil, fmt.Errorf("private socket of %s#%d: %w", o.Name, o.Generation, err)
	}
	return p, nil
}

func openPrivateUnix(path string) (*Private, error) {
	if err := checkLength(path); err != nil {
		return nil, err
	}
	if err := removeStaleSocket(path); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	fd, file, err := listenUnix(path, 0o600, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return newPrivate(fd, "unix", path, file)
}

// openPrivateTCP tries 127.0.0.2 to 127.0.0.254. Every generation begins with another
// address, because connections of the last one may still be in TIME_WAIT.
func openPrivateTCP(o PrivateOptions) (*Private, error) {
	const first, count = 2, 253
	for i := 0; o.PortHint > 0 && i < count; i++ {
		p, err := openLoopback(net.IPv4(127, 0, 0, byte(first+(o.Generation+i)%count)), o.PortHint)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			break // EADDRNOTAVAIL or EACCES: use any port
		}
	}
	return openLoopback(net.IPv4(127, 0, 0, 1), 0)
}

func openLoopback(ip net.IP, port int) (*Private, error) {
	fd, port, err := listenTCP(ip, port)
	if err != nil {
		return nil, err
	}
	return newPrivate(fd, "tcp", net.JoinHostPort(ip.String(), strconv.Itoa(port)), nil)
}

// newPrivate owns fd from here on. The descriptor must be blocking: os.NewFile then does
// not add it to the runtime's poller, and the daemon does not wake up for connections
// that the child accepts.
func newPrivate(fd int, network, address string, path *socketFile) (*Private, error) {
	return privateOf(os.NewFile(uintptr(fd), network+":"+address), network, address, path)
}

func privateOf(file *os.File, network, address string, path *socketFile) (*Private, error) {
	p := &Private{Backlog: Backlog{address, file, drainTimeout}, network: network, address: address, path: path, file: file}
	var st unix.Stat_t
	if err := withFD(file, func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		p.Close()
		return nil, os.NewSyscallError("fstat", err)
	}
	p.inode = st.Ino
	return p, nil
}

// RestorePrivate returns a private socket that another process has opened. It owns socket from here on,
// and pin: that of PathFile; nil: there is none.
func RestorePrivate(socket *os.File, network, address string, pin *os.File) (*Private, error) {
	defer socket.Close()
	own, err := fileOf(socket, network+":"+address)
	if err != nil {
		pin.Close()
		return nil, err
	}
	var path *socketFile
	switch {
	case pin != nil:
		path, err = restoreSocketFile(address, pin)
	case network == "unix":
		path, err = pinSocket(address)
	}
	if err != nil {
		own.Close()
		return nil, err
	}
	return privateOf(own, network, address, path)
}

// SyscallConn makes a Private a syscall.Conn.
func (p *Private) SyscallConn() (syscall.RawConn, error) { return p.file.SyscallConn() }

// Offer gives a unix socket a second name, in a directory from which another process of tideover
// connects to it, and lets the group of that connect. It returns the name in the directory. The
// first name may be removed. It must not be called while other methods are.
func (p *Private) Offer(d *PrivateDir) (name string, err error) {
	if p.path == nil {
		return "", errNotSocket
	}
	name = filepath.Base(p.path.path)
	p.offered = filepath.Join(d.Path, name)
	if at, err := statSocket(p.offered); err != nil || at != p.path.id {
		os.Remove(p.offered) // of a daemon that was killed
		if err := p.path.link(p.offered); err != nil {
			return "", err
		}
	}
	return name, withFD(p.path.pin, d.Admit)
}

// Network is the network that the proxy dials, "unix" or "tcp".
func (p *Private) Network() string { return p.network }

// Address is the address at which it was bound, a path or host:port.
func (p *Private) Address() string { return p.address }

// DialAddress is the address that the proxy dials. That of a unix socket reaches the inode, so
// that the socket is reached also when its file was removed or replaced. After Close it can
// reach another socket: the target must have been abandoned before, so that nothing is sent on
// a connection that is made then.
func (p *Private) DialAddress() string {
	if p.path == nil {
		return p.address
	}
	return p.path.address()
}

// PathFile is an O_PATH descriptor of the file of a unix socket, for RestorePrivate; nil: it is
// not one. It belongs to p.
func (p *Private) PathFile() *os.File {
	if p.path == nil {
		return nil
	}
	return p.path.pin
}

// File returns the listening descriptor, to be passed to the child. It belongs to p: the
// caller must not close it, nor use it after p is closed. It is close-on-exec, and
// blocking until SetNonblock is called, as those that service managers pass.
func (p *Private) File() *os.File { return p.file }

// Inode is the inode of the socket, by which /proc/PID/fd shows which processes hold it.
func (p *Private) Inode() uint64 { return p.inode }

// Pending reports whether a connection waits in the backlog.
func (p *Private) Pending() bool { return pending(p.file) }

// Listens reports whether the socket is in LISTEN state. It is not after a shutdown(2) of TCP in any
// process that has it; a unix socket stays in that state, and refuses connections.
func (p *Private) Listens() bool {
	listens := true
	withFD(p.file, func(fd int) error {
		n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		listens = err != nil || n != 0
		return err
	})
	return listens
}

// Close closes the daemon's duplicate and removes the path. If no child holds the socket,
// the kernel resets the connections in the backlog. A second Close does nothing.
func (p *Private) Close() error {
	err := p.file.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	if p.offered != "" {
		err = errors.Join(err, removeSocket(p.offered, p.path.id))
	}
	if p.path != nil {
		err = errors.Join(err, p.path.remove())
	}
	return err
}
