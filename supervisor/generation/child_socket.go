package generation

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"tideover/listener"
	"tideover/supervisor/process"
)

// childSocket is the unix socket of {socket}. The child's user owns the directory that it is
// in and can put any other file in its place: a symlink or a hard link to a socket where only
// root may speak. Therefore the daemon connects to link, which is a hard link to the inode
// that was proven, in a directory that only the daemon's user can change. Another socket can
// never be reached by that inode, so no connection has to be verified.
type childSocket struct {
	process Process
	user    *process.User        // nil: the daemon's own, or root
	path    string               // of the child
	link    string               // of the daemon
	relay   *listener.PrivateDir // in which link is; nil: the relay is in this process
}

// prove makes link another name of the socket at path, if a process of the tree listens on it.
// A link that was made before an upgrade of the daemon stays if that is still so: the app may
// have removed its own name of the socket.
func (c *childSocket) prove() (*proof, error) {
	if peer, err := peerOf(c.link); err == nil && c.isOwn(peer) {
		return &proof{}, c.admit()
	}
	pin, err := c.pin()
	if err != nil {
		return nil, err
	}
	defer unix.Close(pin)
	unproven := c.link + ".unproven"
	if err := os.Remove(unproven); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", pin), unix.AT_FDCWD, unproven, unix.AT_SYMLINK_FOLLOW); err != nil {
		return nil, &os.LinkError{Op: "link", Old: c.path, New: unproven, Err: err}
	}
	defer os.Remove(unproven) // also after the rename, which does nothing if link is the same inode
	peer, err := peerOf(unproven)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w on %s", errNotListening, c.path)
	}
	if err != nil {
		return nil, err
	}
	if !c.isOwn(peer) {
		return nil, &strangerError{c.path, describeProcess(int(peer.Pid), peer.Uid)}
	}
	if c.relay != nil {
		if err := c.relay.Admit(pin); err != nil {
			return nil, err
		}
	}
	if err := os.Rename(unproven, c.link); err != nil {
		return nil, err
	}
	return &proof{}, nil
}

// admit lets the relay connect to the socket that was proven: the app may have changed its mode
// meanwhile.
func (c *childSocket) admit() error {
	if c.relay == nil {
		return nil
	}
	fd, err := unix.Open(c.link, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: c.link, Err: err}
	}
	defer unix.Close(fd)
	return c.relay.Admit(fd)
}

// pin returns an O_PATH descriptor of the socket at path. A socket that does not belong to the
// child's user is not connected to.
func (c *childSocket) pin() (int, error) {
	fd, err := unix.Open(c.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return -1, fmt.Errorf("%w on %s", errNotListening, c.path)
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: c.path, Err: err}
	}
	var st unix.Stat_t
	err = os.NewSyscallError("fstat", unix.Fstat(fd, &st))
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		err = fmt.Errorf("%s is not a socket", c.path)
	case c.user != nil && st.Uid != c.user.UID:
		err = &strangerError{c.path, describeProcess(0, st.Uid)}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// isOwn reports whether a socket belongs to the tree, by the process that called listen(2). That is
// a process of the tree for servers that listen in one process and serve in others, too. If it
// has exited, its user decides: the tree's other processes have inherited the socket.
func (c *childSocket) isOwn(peer *unix.Ucred) bool {
	if slices.Contains(c.process.Members(), int(peer.Pid)) {
		return true
	}
	_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", peer.Pid)) // a zombie has none
	return errors.Is(err, os.ErrNotExist) && (c.user == nil || peer.Uid == c.user.UID)
}

// peerOf connects to a unix socket, sends nothing, and returns which process listens
// (SO_PEERCRED).
func peerOf(path string) (peer *unix.Ucred, err error) {
	conn, err := net.DialTimeout("unix", path, connectTimeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	failed := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return peer, errors.Join(failed, err)
}
