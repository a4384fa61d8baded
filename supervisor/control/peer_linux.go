package control

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unsafe"

	"golang.org/x/sys/unix"
)

// role is what a peer may do. Each role includes those before it.
type role int

const (
	roleNone       role = iota // nothing
	roleViewer                 // the admin process: look at the state of the apps
	roleReader                 // the admin process where it answers clients of supervisord: their output, too
	roleOperator               // members of socket_group: reload, hold, release, look
	roleSupervisor             // the admin process where such clients may start and stop: also apply, signal, shutdown
	roleAdmin                  // root and the daemon's own user: everything
)

// peer is the credentials of a client at the time of connecting (SO_PEERCRED).
type peer struct {
	uid, gid uint32
	groups   []uint32
	pid      int32 // 0: in another pid namespace
}

// roleOf is the role of the peer; group is the gid of socket_group, or noGroup.
func (p peer) roleOf(group int) role {
	switch {
	case p.uid == 0 || int(p.uid) == os.Geteuid():
		return roleAdmin
	case group == noGroup:
		return roleNone
	case int(p.gid) == group || slices.Contains(p.groups, uint32(group)):
		return roleOperator
	}
	return roleNone
}

// userName is the name of a user's account, or the number.
func userName(uid int) string {
	number := strconv.Itoa(uid)
	if account, err := user.LookupId(number); err == nil {
		return account.Username
	}
	return number
}

// peerCredentials are the user and the groups of the peer of a connection.
func peerCredentials(conn *net.UnixConn) (p peer, err error) {
	err = control(conn, func(fd int) error {
		credentials, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return err
		}
		p.uid, p.gid, p.pid = credentials.Uid, credentials.Gid, credentials.Pid
		p.groups, err = peerGroups(uintptr(fd))
		return err
	})
	return p, err
}

// maxCommand is how many characters of a client's command line are logged.
const maxCommand = 100

// command is the command line of the peer, for the log: the name of its program, and its
// arguments up to a command behind "--", which may hold secrets. It is empty if the process has
// exited. The peer chooses what it is, so only printable characters are kept.
func (p peer) command() string {
	file, err := os.Open(fmt.Sprintf("/proc/%d/cmdline", p.pid))
	if err != nil || p.pid == 0 {
		return ""
	}
	defer file.Close()
	text, _ := io.ReadAll(io.LimitReader(file, 4*maxCommand))
	if len(text) == 0 {
		return "" // a zombie
	}
	words := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
	words[0] = path.Base(words[0])
	if i := slices.Index(words, "--"); i >= 0 && i+1 < len(words) {
		words = append(words[:i+1:i+1], path.Base(words[i+1]))
	}
	line := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.Join(words, " ")))
	if len(line) > maxCommand {
		line = append(line[:maxCommand-1], '…')
	}
	return string(line)
}

// peerProcess is the process at the other end of a connection: of a client's, the one
// that listens.
func peerProcess(conn *net.UnixConn) (credentials *unix.Ucred, err error) {
	err = control(conn, func(fd int) (err error) {
		credentials, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	return credentials, err
}

// control calls f with the descriptor of a connection.
func control(conn *net.UnixConn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// peerGroups are the supplementary groups of the peer at the time of connecting
// (SO_PEERGROUPS). They are needed where socket_group is not the user's first group.
// x/sys/unix has no function for this option.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch errno {
		case 0:
			return groups[:size/4], nil
		case unix.ERANGE: // size is now the size that is needed
			groups = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}

// listenerPid is the pid of the process that listens on the socket at path. The
// error is ECONNREFUSED when no process listens.
func listenerPid(path string) (int, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	process, err := peerProcess(conn)
	if err != nil {
		return 0, err
	}
	return int(process.Pid), nil
}
