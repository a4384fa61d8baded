package listener

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Descriptor is an open socket that is not in the runtime's poller: the process does not wake up
// for connections which others accept, or its own event loop, and O_NONBLOCK stays as it is. Neither
// holds for a net.Listener or a file of os.NewFile. It is a syscall.Conn.
type Descriptor struct {
	mu sync.RWMutex
	fd int // -1: closed
}

// NewDescriptor returns a duplicate of an open socket. It is close-on-exec.
func NewDescriptor(c syscall.Conn) (*Descriptor, error) {
	d := &Descriptor{fd: -1}
	err := withFD(c, func(fd int) (err error) {
		d.fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		return os.NewSyscallError("fcntl", err)
	})
	return d, err
}

// SyscallConn returns access to the descriptor. Its Read and Write are not supported.
func (d *Descriptor) SyscallConn() (syscall.RawConn, error) { return d, nil }

// Addr returns the address to which the socket is bound; nil when that cannot be read.
func (d *Descriptor) Addr() net.Addr {
	bound, err := boundAddress(d)
	if err != nil {
		return nil
	}
	return bound
}

// Control calls f with the descriptor, which is not closed meanwhile.
func (d *Descriptor) Control(f func(fd uintptr)) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.fd < 0 {
		return net.ErrClosed
	}
	f(uintptr(d.fd))
	return nil
}

func (d *Descriptor) Read(func(fd uintptr) (done bool)) error  { return errors.ErrUnsupported }
func (d *Descriptor) Write(func(fd uintptr) (done bool)) error { return errors.ErrUnsupported }

// Close closes the descriptor. A second call does nothing.
func (d *Descriptor) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return nil
	}
	err := unix.Close(d.fd)
	d.fd = -1
	return os.NewSyscallError("close", err)
}

// fileOf makes a file of a duplicate of an open socket that is like a Descriptor: os.NewFile adds a
// non-blocking descriptor to the runtime's poller. So the file is made of another one, which the socket then
// replaces.
func fileOf(c syscall.Conn, name string) (*os.File, error) {
	number, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	f := os.NewFile(uintptr(number), name)
	err = withFD(c, func(fd int) error {
		return os.NewSyscallError("dup3", unix.Dup3(fd, number, unix.O_CLOEXEC))
	})
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// boundAddress returns the address to which a socket is bound, in the form of package net.
func boundAddress(c syscall.Conn) (net.Addr, error) {
	var name unix.Sockaddr
	err := withFD(c, func(fd int) (err error) {
		name, err = unix.Getsockname(fd)
		return os.NewSyscallError("getsockname", err)
	})
	if err != nil {
		return nil, err
	}
	switch at := name.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: net.IP(at.Addr[:]), Port: at.Port}, nil
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: net.IP(at.Addr[:]), Port: at.Port, Zone: zoneOf(at.ZoneId)}, nil
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: at.Name, Net: "unix"}, nil
	}
	return nil, errors.New("it is neither TCP nor a unix socket")
}

func zoneOf(index uint32) string {
	if index == 0 {
		return ""
	}
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(index), 10)
}
