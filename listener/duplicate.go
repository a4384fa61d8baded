package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Duplicate returns the sockets that listen on exactly this address and that one of the processes
// has open: several where each worker has a socket of its own (SO_REUSEPORT). They are duplicates
// (pidfd_getfd(2)): connections that wait in the backlog are kept when the processes close theirs.
// Other sockets of them, and those of other processes, are never duplicated.
//
// It needs the right to trace the processes (PTRACE_MODE_ATTACH_REALCREDS): CAP_SYS_PTRACE, for
// other users' processes and where Yama restricts it. The error says what is missing.
//
// The file of a unix socket is Public's from here on: Rebind binds it again when the process
// removes it at its end, and Close removes it.
func Duplicate(a Address, o Options, pids []int) ([]*Public, error) {
	found, err := duplicateListening(a, pids)
	var all []*Public
	for _, f := range found {
		if err == nil {
			var p *Public
			if p, err = adoptSocket(a, o, f); err == nil {
				all = append(all, p)
			}
		}
		f.Close()
	}
	if err != nil {
		for _, p := range all {
			p.LeavePath()
			p.Close()
		}
		return nil, fmt.Errorf("cannot duplicate the listening socket: %w", err)
	}
	return all, nil
}

// adoptSocket returns a Public for a socket that another process has opened. f still belongs to
// the caller.
func adoptSocket(a Address, o Options, f *os.File) (*Public, error) {
	err := withFD(f, func(fd int) error { return unix.Listen(fd, backlog) }) // only raises the backlog
	if err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	if a.Network == "unix" {
		if o.As != nil { // before the other process has removed the path
			if _, err := o.As(a.Address); err != nil {
				return nil, err
			}
		}
		pin, err := pinSocket(a.Address)
		if err != nil {
			return nil, err
		}
		return Restore(f, a, o, pin.pin)
	}
	return Restore(f, a, o, nil)
}

// LeavePath gives the file of a unix socket up: Rebind does not bind it again, and Close does not
// remove it. Another process may bind the path from here on.
func (p *Public) LeavePath() {
	if p.file != nil && p.file.pin != nil {
		p.file.pin.Close()
	}
	p.file = nil
}

// duplicateListening duplicates the sockets of processes that listen on a, each once.
func duplicateListening(a Address, pids []int) (all []*os.File, err error) {
	names, seen := listeningSockets(a), map[string]bool{}
	refused := fmt.Errorf("no process of pid %s listens on %s", strings.Trim(fmt.Sprint(pids), "[]"), a)
	for _, pid := range pids {
		more, err := duplicateOf(a, pid, names, seen)
		all = append(all, more...)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it has exited
		case errors.Is(err, fs.ErrPermission):
			refused = err
		case err != nil:
			return all, err
		}
	}
	if len(all) == 0 {
		return nil, refused
	}
	for socket, path := range names {
		if a.Network == "unix" && path == a.Address && !seen[socket] {
			return all, errors.New("another process listens on a socket of the same path")
		}
	}
	return all, nil
}

// duplicateOf duplicates the sockets of one process. names has the candidates, as /proc/PID/fd
// names them; whether one is the socket that is wanted is asked of the duplicate itself, because
// the process can close and open descriptors meanwhile.
func duplicateOf(a Address, pid int, names map[string]string, seen map[string]bool) (all []*os.File, err error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	descriptors, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	pidfd := -1
	defer func() {
		if pidfd >= 0 {
			unix.Close(pidfd)
		}
	}()
	for _, d := range descriptors {
		target, err := os.Readlink(filepath.Join(dir, d.Name()))
		name, listens := names[target]
		if err != nil || !listens || seen[target] || !isAtPath(strconv.Itoa(pid), name, a) {
			continue
		}
		if pidfd < 0 {
			if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
				return all, os.NewSyscallError("pidfd_open", err)
			}
		}
		number, _ := strconv.Atoi(d.Name())
		fd, err := unix.PidfdGetfd(pidfd, number, 0)
		if errors.Is(err, unix.EBADF) || errors.Is(err, unix.ESRCH) {
			continue // it was closed meanwhile
		}
		if err != nil {
			return all, os.NewSyscallError("pidfd_getfd", err)
		}
		f := os.NewFile(uintptr(fd), a.String())
		if !listensOn(fd, a, name) {
			f.Close()
			continue
		}
		seen[target] = true
		all = append(all, f)
	}
	return all, nil
}

// listensOn reports whether a descriptor is a stream socket that listens on exactly this address. A
// unix socket must be bound to this path.
func listensOn(fd int, a Address, path string) bool {
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil || listening == 0 {
		return false
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return false
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	switch at := name.(type) {
	case *unix.SockaddrUnix:
		return a.Network == "unix" && at.Name == path
	case *unix.SockaddrInet4:
		return a.isAt(net.IP(at.Addr[:]), at.Port)
	case *unix.SockaddrInet6:
		return a.isAt(net.IP(at.Addr[:]), at.Port)
	}
	return false
}

// isAt reports whether a TCP address means exactly this one: every interface is not the same as
// one of them.
func (a Address) isAt(ip net.IP, port int) bool {
	host, text, err := net.SplitHostPort(a.Address)
	if a.Network != "tcp" || err != nil || text != strconv.Itoa(port) {
		return false
	}
	if host == "" {
		return ip.IsUnspecified()
	}
	wanted := []net.IP{net.ParseIP(host)}
	if wanted[0] == nil {
		if wanted, err = net.LookupIP(host); err != nil {
			return false
		}
	}
	for _, one := range wanted {
		if one.Equal(ip) {
			return true
		}
	}
	return false
}

// freeInterval is the time between two tries of OpenWhenFree.
const freeInterval = 2 * time.Millisecond

// OpenWhenFree is Open that waits while another process has the address, until ctx ends.
// Between two tries it connects to no socket that is bound to an absolute path, so the other process
// sees no connection of it.
func OpenWhenFree(ctx context.Context, a Address, o Options) (*Public, error) {
	tick := time.NewTicker(freeInterval)
	defer tick.Stop()
	for {
		p, err := openIfFree(a, o)
		if !errors.Is(err, unix.EADDRINUSE) {
			return p, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return Open(a, o) // its error names the process
		}
	}
}

// openIfFree returns EADDRINUSE for an address that another process has.
func openIfFree(a Address, o Options) (*Public, error) {
	if a.Network == "tcp" {
		p, err := openTCP(a)
		if err != nil && !errors.Is(err, unix.EADDRINUSE) {
			err = newOpenError(a, err)
		}
		return p, err
	}
	for _, path := range listeningSockets(a) {
		if path == a.Address {
			return nil, unix.EADDRINUSE
		}
	}
	p, err := Open(a, o)
	if errors.Is(err, errInUse) { // a socket that is bound to a relative path
		err = unix.EADDRINUSE
	}
	return p, err
}
