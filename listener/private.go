//go:build linux

package listener

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// PrivateOptions are the choices of OpenPrivate.
type PrivateOptions struct {
	Family     string // "unix", "tcp" (IPv4 loopback) or "tcp6"
	Dir        string // unix: the daemon's own 0700 directory, which must exist
	Name       string // the app's name
	Generation int
	PortHint   int // tcp: the public port, to be given where the public socket is on 127.0.0.1; 0: any port
}

// Private is the socket of one generation: it listens before the child runs, and the daemon's duplicate keeps what waits in its
// backlog alive when the child dies. Its methods may be called from any goroutine.
type Private struct {
	network, address string
	file             *os.File // the raw descriptor and its only owner: nothing duplicates it behind our back
	inode            uint64
	path             fileID // zero: no path to remove
	linger           time.Duration
}

// OpenPrivate listens on a fresh private socket. A unix one is DIR/NAME.GENERATION.sock with mode 0600: only the daemon dials
// it, and the child is given the descriptor. A TCP one is on loopback: with a PortHint on 127.0.0.2 to 127.0.0.254 with the
// public port, so that an app which reads its port off its socket still sees the one it always saw, and else on any port.
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
	if err := removeDead(path); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	fd, id, err := listenUnix(path, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return newPrivate(fd, "unix", path, id)
}

// openPrivateTCP goes through 127.0.0.2 to 127.0.0.254, from another one in every generation: the last one's may still linger.
func openPrivateTCP(o PrivateOptions) (*Private, error) {
	const first, count = 2, 253
	for i := 0; o.PortHint > 0 && i < count; i++ {
		p, err := openLoopback(net.IPv4(127, 0, 0, byte(first+(o.Generation+i)%count)), o.PortHint)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			break // no such addresses here, or no right to this port: then on any port
		}
	}
	return openLoopback(net.IPv4(127, 0, 0, 1), 0)
}

func openLoopback(ip net.IP, port int) (*Private, error) {
	fd, port, err := listenTCP(ip, port)
	if err != nil {
		return nil, err
	}
	return newPrivate(fd, "tcp", net.JoinHostPort(ip.String(), strconv.Itoa(port)), fileID{})
}

// newPrivate takes fd over. The descriptor is still blocking here, and that is what keeps it out of the runtime's poller: the
// daemon does not wake for connections that are the child's to accept.
func newPrivate(fd int, network, address string, path fileID) (*Private, error) {
	p := &Private{network: network, address: address, path: path, linger: reclaimLinger, file: os.NewFile(uintptr(fd), network+":"+address)}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		p.Close()
		return nil, os.NewSyscallError("fstat", err)
	}
	p.inode = st.Ino
	return p, nil
}

// InheritPrivate takes up a private socket that an earlier program of this process has opened; it owns fd from here on. A child may
// have made the description non-blocking; then the runtime's poller hears of its connections as well, which is a little work for
// nothing until the next generation.
func InheritPrivate(fd int, network, address string) (*Private, error) {
	path, err := socketAt(network, address)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return newPrivate(fd, network, address, path)
}

// Network and Address are what the proxy dials.
func (p *Private) Network() string { return p.network }

// Address is a path or host:port.
func (p *Private) Address() string { return p.address }

// File is the listening descriptor itself, to be passed to the child. It belongs to p: do not close it, and do not keep it
// longer than p. It is close-on-exec here, and blocking as service managers pass theirs, until someone asks for the opposite.
func (p *Private) File() *os.File { return p.file }

// Inode identifies the socket in /proc/PID/fd, so that it can be seen who holds it.
func (p *Private) Inode() uint64 { return p.inode }

// SetNonblock makes the description non-blocking again, for us and for every process that shares it: exec.Cmd.ExtraFiles and
// other ways of passing a socket may have cleared that. Reclaim sees to it by itself. A child that accepts without select or
// poll wants it left blocking.
func (p *Private) SetNonblock() error {
	return withFD(p.file, func(fd int) error { return unix.SetNonblock(fd, true) })
}

// Close closes our duplicate and removes the path. What still waits in the backlog is reset if no child holds the socket any
// more. Closing twice does nothing.
func (p *Private) Close() error {
	err := p.file.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	if p.path != (fileID{}) {
		err = errors.Join(err, removeSocket(p.address, p.path))
	}
	return err
}
