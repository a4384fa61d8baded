package control

import (
	"net"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// role is what a peer may do; each includes those before it.
type role int

const (
	stranger role = iota // nothing
	member               // of socket_group: reload, hold, release, look
	owner                // root and the daemon's own user: everything
)

// peer is who connected, as the kernel recorded it at that moment.
type peer struct {
	uid, gid uint32
	groups   []uint32
}

// roleOf judges a peer; group is socket_group's gid or noGroup.
func (p peer) roleOf(group int) role {
	switch {
	case p.uid == 0 || int(p.uid) == os.Geteuid():
		return owner
	case group == noGroup:
		return stranger
	case int(p.gid) == group || slices.Contains(p.groups, uint32(group)):
		return member
	}
	return stranger
}

func peerOf(conn *net.UnixConn) (peer, error) {
	var p peer
	raw, err := conn.SyscallConn()
	if err != nil {
		return p, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var credentials *unix.Ucred
		if credentials, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failed == nil {
			p.uid, p.gid = credentials.Uid, credentials.Gid
			p.groups, failed = peerGroups(fd)
		}
	})
	if err == nil {
		err = failed
	}
	return p, err
}

// peerGroups are the supplementary groups the peer had when it connected:
// without them a deploy user whose first group is another would be a stranger.
// x/sys has no getter that keeps the bytes as they are.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch errno {
		case 0:
			return groups[:size/4], nil
		case unix.ERANGE: // size now tells how much is needed
			groups = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}

// listenerPid is the process that listens on the socket at path; an error
// that is ECONNREFUSED says that nobody does.
func listenerPid(path string) (int, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	pid := 0
	err = raw.Control(func(fd uintptr) {
		if credentials, failed := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failed == nil {
			pid = int(credentials.Pid)
		}
	})
	return pid, err
}
