package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
)

// longestPath is what sockaddr_un takes, less its closing NUL.
const longestPath = 107

// lockSuffix makes the name of the lock of a control socket's.
const lockSuffix = ".lock"

// noGroup says that nobody but root and the daemon's own user may connect.
const noGroup = -1

// SocketOptions says where a daemon listens for commands.
type SocketOptions struct {
	Path  string      // absolute; its directory is made 0700 when it is not there
	Group string      // name or number; its members may connect; empty: none
	Mode  fs.FileMode // of the socket; 0: 0600, or 0660 with a group
	Name  string      // whose daemon this is, for the message when one already runs
	Open  *os.File    // a former program of this process listens there already; nil: nobody does. It stays the caller's
}

// Socket is a control socket that listens. It is the only one at its path: a
// lock is held beside it until Close.
type Socket struct {
	path     string
	group    int
	listener *net.UnixListener
	lock     *os.File
}

// Listen makes the control socket. It refuses a directory that others could
// write in, a path that is something else than a socket, and one that another
// daemon answers on, naming its pid; a socket file nobody listens on is
// replaced. Errors are *supervisor.Error with a remedy.
func Listen(o SocketOptions) (*Socket, error) {
	if len(o.Path) > longestPath {
		return nil, fault(api.ExitConfig, "give a shorter one with --socket",
			"the control socket's path has %d bytes, the kernel takes %d: %s", len(o.Path), longestPath, o.Path)
	}
	group, err := lookUpGroup(o.Group)
	if err != nil {
		return nil, err
	}
	directory := filepath.Dir(o.Path)
	if err := ownDirectory(directory, group); err != nil {
		return nil, err
	}
	lock, err := takeLock(o)
	if err != nil {
		return nil, err
	}
	listener, err := open(o, group)
	if err != nil {
		dropLock(lock)
		return nil, err
	}
	return &Socket{path: o.Path, group: group, listener: listener, lock: lock}, nil
}

func open(o SocketOptions, group int) (*net.UnixListener, error) {
	if o.Open != nil {
		return takeUp(o, group)
	}
	if err := mayReplace(o); err != nil {
		return nil, err
	}
	return bind(o, group)
}

// takeUp goes on with a socket at which clients may be waiting already.
func takeUp(o SocketOptions, group int) (*net.UnixListener, error) {
	listener, err := net.FileListener(o.Open)
	if err != nil {
		return nil, fmt.Errorf("cannot take up the control socket: %w", err)
	}
	socket := listener.(*net.UnixListener)
	socket.SetUnlinkOnClose(false)
	if err := admit(o.Path, o, group); err != nil {
		socket.Close()
		return nil, fmt.Errorf("cannot take up the control socket: %w", err)
	}
	return socket, nil
}

// admit sets who may connect.
func admit(path string, o SocketOptions, group int) error {
	mode := fs.FileMode(0o600)
	if group != noGroup {
		mode = 0o660
		if err := os.Lchown(path, -1, group); err != nil {
			return err
		}
	}
	if o.Mode != 0 {
		mode = o.Mode.Perm()
	}
	return os.Chmod(path, mode)
}

// Path is where clients connect.
func (s *Socket) Path() string { return s.path }

// SyscallConn is the socket's descriptor, for who hands it on.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return s.listener.SyscallConn() }

// Close stops listening and removes the socket.
func (s *Socket) Close() error {
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // the server that listened on it was closed first
	}
	removed := os.Remove(s.path)
	dropLock(s.lock)
	return errors.Join(err, removed)
}

func lookUpGroup(name string) (int, error) {
	if name == "" {
		return noGroup, nil
	}
	if gid, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(gid), nil
	}
	group, err := user.LookupGroup(name)
	if err != nil {
		return noGroup, fault(api.ExitConfig, "create it (groupadd "+name+") or leave socket_group out",
			"socket_group: there is no group %q", name)
	}
	return strconv.Atoi(group.Gid)
}

// ownDirectory makes the directory or checks that it is ours alone to write
// in. All is asked of and done to an open descriptor, so that nobody can put
// another directory under the name in between.
func ownDirectory(path string, group int) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fault(api.ExitError, "choose another with --socket", "cannot make the directory of the control socket: %v", err)
	}
	directory, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fault(api.ExitError, "choose another with --socket", "cannot use the directory of the control socket: %v", err)
	}
	defer directory.Close()
	info, err := directory.Stat()
	if err != nil {
		return err
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return fault(api.ExitDenied, "give a directory of your own with --socket",
			"the control socket's directory %s belongs to uid %d", path, owner)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fault(api.ExitDenied, "chmod go-w "+path+", or give another directory with --socket",
			"others may write in the control socket's directory %s (mode %04o)", path, info.Mode().Perm())
	}
	if group == noGroup {
		return nil
	}
	if err := directory.Chown(-1, group); err != nil {
		return fmt.Errorf("cannot give %s to socket_group: %w", path, err)
	}
	return directory.Chmod(info.Mode().Perm() | 0o050)
}

// takeLock makes sure that two daemons starting at the same moment do not both
// believe the path to be free.
func takeLock(o SocketOptions) (*os.File, error) {
	path := o.Path + lockSuffix
	for {
		lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot lock the control socket: %w", err)
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			lock.Close()
			pid, _ := listenerPid(o.Path)
			return nil, alreadyRuns(o, pid)
		}
		if err != nil {
			lock.Close()
			return nil, fmt.Errorf("cannot lock the control socket: %w", err)
		}
		if stillNamed(lock, path) {
			return lock, nil
		}
		lock.Close() // its owner removed it between our open and our flock
	}
}

// dropLock removes the lock file while the lock is still held, so that who
// opened the old file notices.
func dropLock(lock *os.File) {
	os.Remove(lock.Name())
	lock.Close()
}

func stillNamed(file *os.File, path string) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(held, named)
}

func mayReplace(o SocketOptions) error {
	info, err := os.Lstat(o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fault(api.ExitConfig, "remove it, or give another path with --socket", "%s is there and is not a socket", o.Path)
	}
	pid, err := listenerPid(o.Path)
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil // nobody listens any more
	}
	if err != nil {
		return fault(api.ExitError, "give another path with --socket", "cannot tell who listens on %s: %v", o.Path, err)
	}
	return alreadyRuns(o, pid)
}

func alreadyRuns(o SocketOptions, pid int) error {
	of := ""
	if o.Name != "" {
		of = " for " + o.Name
	}
	who := ""
	if pid > 0 {
		who = fmt.Sprintf(", pid %d", pid)
	}
	return fault(api.ExitBusy, "tideover -S "+o.Path+" shutdown ends it; --socket gives another place",
		"a daemon%s already runs%s", of, who)
}

// bind listens without a moment in which others could connect: the socket is
// made in a fresh 0700 directory, gets its mode and group there, and then its
// name. (Setting the umask would do as well, but that belongs to the whole
// process.)
func bind(o SocketOptions, group int) (*net.UnixListener, error) {
	nursery, err := os.MkdirTemp(filepath.Dir(o.Path), ".")
	if err != nil {
		return nil, fmt.Errorf("cannot make the control socket: %w", err)
	}
	defer os.RemoveAll(nursery)
	born := filepath.Join(nursery, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: born})
	if err != nil {
		return nil, fmt.Errorf("cannot make the control socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	if err = admit(born, o, group); err == nil {
		err = os.Rename(born, o.Path)
	}
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("cannot make the control socket: %w", err)
	}
	return listener, nil
}
