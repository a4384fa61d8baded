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

// A descriptor is an open socket that is not in the runtime's poller: the daemon does not wake up
// for connections which other processes accept, and O_NONBLOCK stays as those processes have set
// it. It is a syscall.Conn.
type descriptor struct {
	mu sync.RWMutex
	fd int // -1: closed
}

// duplicateDescriptor returns a duplicate of an open socket. It is close-on-exec.
func duplicateDescriptor(c syscall.Conn) (*descriptor, error) {
	d := &descriptor{fd: -1}
	err := withFD(c, func(fd int) (err error) {
		d.fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		return os.NewSyscallError("fcntl", err)
	})
	return d, err
}

func (d *descriptor) SyscallConn() (syscall.RawConn, error) { return d, nil }

// Control calls f with the descriptor, which is not closed meanwhile.
func (d *descriptor) Control(f func(fd uintptr)) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.fd < 0 {
		return net.ErrClosed
	}
	f(uintptr(d.fd))
	return nil
}

func (d *descriptor) Read(func(fd uintptr) (done bool)) error  { return errors.ErrUnsupported }
func (d *descriptor) Write(func(fd uintptr) (done bool)) error { return errors.ErrUnsupported }

// Close closes the descriptor. A second call does nothing.
func (d *descriptor) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return nil
	}
	err := unix.Close(d.fd)
	d.fd = -1
	return os.NewSyscallError("close", err)
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
