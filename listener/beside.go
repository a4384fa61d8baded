package listener

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenBeside is Open for a TCP address that overlaps with those of other sockets of this process,
// like 0.0.0.0:8000 and 127.0.0.1:8000. bind(2) refuses such an address unless all of them have
// SO_REUSEPORT, which is therefore set until the new one listens. As long as one of the sockets is
// open the kernel lets a process of the same user that sets SO_REUSEPORT bind the port as well; it
// refuses other users. Connections go to the socket with the more specific address.
func OpenBeside(a Address, others []syscall.Conn) (*Public, error) {
	defer setReusePort(others, 0)
	if err := setReusePort(others, 1); err != nil {
		return nil, newOpenError(a, err)
	}
	p, err := openPort(a, net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) { err = reusePort(int(fd), 1) })
		return errors.Join(failed, err)
	}})
	if err != nil {
		return nil, newOpenError(a, err)
	}
	if err := setReusePort([]syscall.Conn{p}, 0); err != nil {
		p.Close()
		return nil, newOpenError(a, err)
	}
	return p, nil
}

func setReusePort(all []syscall.Conn, value int) (err error) {
	for _, p := range all {
		err = errors.Join(err, withFD(p, func(fd int) error { return reusePort(fd, value) }))
	}
	return err
}

func reusePort(fd, value int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, value))
}

// Port is the TCP port to which the socket is bound; 0: it is a unix socket.
func (p *Public) Port() int {
	if at, ok := p.bound.(*net.TCPAddr); ok {
		return at.Port
	}
	return 0
}

// Covers reports whether every address at which other can be reached is one of p: the port is the
// same, and p listens on all interfaces.
func (p *Public) Covers(other *Public) bool {
	at, ok := p.bound.(*net.TCPAddr)
	if !ok || other.Port() != at.Port || !at.IP.IsUnspecified() {
		return false
	}
	return at.IP.To4() == nil || other.bound.(*net.TCPAddr).IP.To4() != nil // [::] is IPv4 as well
}
