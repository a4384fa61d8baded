package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Duplicate returns the sockets that listen on exactly this address and that the process pid or
// one of its descendants has open: several where each worker of it has a socket of its own
// (SO_REUSEPORT). They are duplicates (pidfd_getfd(2)): connections that wait in the backlog
// are kept when the process closes its own. Other sockets of it, and those of other processes,
// are never duplicated.
//
// It needs the right to trace the process (PTRACE_MODE_ATTACH_REALCREDS): CAP_SYS_PTRACE, for
// other users' processes and where Yama restricts it. The error says what is missing.
//
// The file of a unix socket is Public's from here on: Rebind binds it again when the process
// removes it at its end, and Close removes it.
func Duplicate(a Address, o Options, pid int) ([]*Public, error) {
	found, err := duplicateListening(a, pid)
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
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("no socket of pid %d or of its descendants listens on %s", pid, a)
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

// duplicateListening duplicates the sockets of a process tree that listen on a, each once.
func duplicateListening(a Address, pid int) (all []*os.File, err error) {
	inodes, seen := listeningInodes(a), map[string]bool{}
	for _, member := range processTree(pid) {
		more, err := duplicateOf(a, member, inodes, seen)
		all = append(all, more...)
		if err != nil {
			return all, err
		}
	}
	if a.Network == "unix" && len(all) > 0 && len(inodes) > len(all) {
		return all, errors.New("another process listens on a socket of the same path")
	}
	return all, nil
}

// duplicateOf duplicates the sockets of one process. inodes are candidates, as /proc/PID/fd
// names them; whether one is the socket that is wanted is asked of the duplicate itself, because
// the process can close and open descriptors meanwhile.
func duplicateOf(a Address, pid int, inodes, seen map[string]bool) (all []*os.File, err error) {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return nil, err
	}
	pidfd := -1
	defer func() {
		if pidfd >= 0 {
			unix.Close(pidfd)
		}
	}()
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[target] || seen[target] {
			continue
		}
		if pidfd < 0 {
			if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
				return all, os.NewSyscallError("pidfd_open", err)
			}
		}
		number, _ := strconv.Atoi(filepath.Base(link))
		fd, err := unix.PidfdGetfd(pidfd, number, 0)
		if errors.Is(err, unix.EBADF) || errors.Is(err, unix.ESRCH) {
			continue // it was closed meanwhile
		}
		if err != nil {
			return all, os.NewSyscallError("pidfd_getfd", err)
		}
		f := os.NewFile(uintptr(fd), a.String())
		if !listensOn(fd, a) {
			f.Close()
			continue
		}
		seen[target] = true
		all = append(all, f)
	}
	return all, nil
}

// listensOn reports whether a descriptor is a stream socket that listens on exactly this address.
func listensOn(fd int, a Address) bool {
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
		return a.Network == "unix" && filepath.Clean(at.Name) == a.Address
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

// processTree returns a process and its descendants.
func processTree(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		own, _ := strconv.Atoi(strings.Split(path, "/")[2])
		_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
		if fields := strings.Fields(rest); len(fields) > 1 { // state, ppid
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], own)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// freeInterval is the time between two tries of OpenWhenFree.
const freeInterval = 2 * time.Millisecond

// OpenWhenFree is Open that waits while another process has the address, until ctx ends.
// Between two tries it connects to no socket, so the other process sees no connection of it.
func OpenWhenFree(ctx context.Context, a Address, o Options) (*Public, error) {
	if o.Mode == 0 {
		o.Mode = publicMode
	}
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
	if a.Network == "unix" && len(listeningInodes(a)) > 0 {
		return nil, unix.EADDRINUSE
	}
	if a.Network == "unix" {
		return Open(a, o)
	}
	p, err := openTCP(a)
	if err != nil && !errors.Is(err, unix.EADDRINUSE) {
		err = newOpenError(a, err)
	}
	return p, err
}
