package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
)

// maxSocketPath is the size of sun_path in bytes, without the closing NUL.
const maxSocketPath = 107

// lockSuffix is appended to the path of a socket for its lock file.
const lockSuffix = ".lock"

// LockPath is the path of the lock file of a control socket.
func LockPath(socket string) string { return socket + lockSuffix }

// noGroup is the gid when only root and the daemon's own user may connect.
const noGroup = -1

// SocketOptions says where a control socket listens and which users may connect.
type SocketOptions struct {
	Path      string      // absolute; its directory is made when it is not there
	Group     string      // name or number; its members may connect; empty: none
	Mode      fs.FileMode // of the socket; 0: 0600, or 0660 with a group
	Name      string      // of the daemon, for the message when one already runs
	Inherited *os.File    // listens there already, from the former supervisor; nil: none. The caller closes it
	// Listens is called with each socket that listens from then on: the first one, and those of Rebind. nil: it is not.
	Listens func(syscall.Conn) error
	// Lock is the lock file of a former supervisor, by its path, which may have the lock still; nil: there is
	// none. It belongs to Listen. Locked is called with each file that is locked from then on; nil: it is not.
	Lock   *os.File
	Locked func(*os.File) error
}

func (o SocketOptions) locked(lock *os.File) error {
	if o.Locked == nil {
		return nil
	}
	return o.Locked(lock)
}

// Socket is a control socket that listens. A lock on a file beside it is held
// until Close, so that there is one daemon for each path.
type Socket struct {
	options SocketOptions
	group   int
	warning *api.Error

	mu       sync.Mutex // guards the fields below
	listener *net.UnixListener
	file     fs.FileInfo // of the socket
	lock     *os.File
}

// Warning says why socket_group cannot use the socket, with the remedy; nil: it can, or
// there is none.
func (s *Socket) Warning() *api.Error { return s.warning }

// Listen makes the control socket. It fails when other users may write in its
// directory, when the path is no socket, and when a process listens on it; the
// error has the pid of that process. A socket on which no process listens is
// replaced. Errors are *api.Error with a remedy.
func Listen(o SocketOptions) (*Socket, error) {
	if len(o.Path) > maxSocketPath {
		return nil, errorf(api.ExitConfig, "give a shorter one with --socket",
			"the control socket's path has %d bytes, the kernel takes %d: %s", len(o.Path), maxSocketPath, o.Path)
	}
	group, err := lookUpGroup(o.Group)
	if err != nil {
		return nil, err
	}
	directory := filepath.Dir(o.Path)
	warning, err := prepareDirectory(directory, group)
	if err != nil {
		return nil, err
	}
	lock, err := acquireLock(o)
	if err != nil {
		return nil, err
	}
	if o.Lock != nil && o.Lock != lock {
		o.Lock.Close()
	}
	o.Lock = nil
	if err := o.locked(lock); err != nil {
		releaseLock(lock)
		return nil, err
	}
	s := &Socket{options: o, group: group, lock: lock, warning: warning}
	if err = s.open(); err != nil {
		releaseLock(lock)
		return nil, err
	}
	return s, nil
}

// open has a socket listen. After an error s is as before: Rebind tries again, and what listened is closed
// when another one listens.
func (s *Socket) open() error {
	listener, file, err := s.openListener()
	if err == nil && s.options.Listens != nil {
		if err = s.options.Listens(listener); err != nil {
			listener.Close()
		}
	}
	if err != nil {
		return err
	}
	s.listener, s.file = listener, file
	return nil
}

// openListener goes on with the inherited socket, or binds one. A socket whose file was removed is not
// gone on with: no client can find it.
func (s *Socket) openListener() (*net.UnixListener, fs.FileInfo, error) {
	if inherited := s.options.Inherited; inherited != nil {
		s.options.Inherited = nil
		if info, err := os.Lstat(s.options.Path); err == nil && info.Mode().Type() == fs.ModeSocket {
			listener, err := reuseListener(s.options, inherited, s.group)
			return listener, info, err
		}
	}
	if err := checkReplaceable(s.options); err != nil {
		return nil, nil, err
	}
	return bind(s.options, s.group)
}

// rebound is what Rebind has made.
type rebound struct {
	files         []string          // the socket, the lock file
	fresh, former *net.UnixListener // nil: the socket was there. Connections may wait in the backlog of former
}

// Rebind makes the socket and its lock file again where they were removed or replaced. It
// removes nothing that another daemon, or a process that listens, uses: that is an error.
func (s *Socket) Rebind() (made rebound, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	locked, there := isCurrentFile(s.lock, s.lock.Name()), s.isThereLocked()
	if locked && there {
		return made, nil
	}
	if _, err := prepareDirectory(filepath.Dir(s.options.Path), s.group); err != nil {
		return made, err
	}
	if !locked {
		lock, err := acquireLock(s.options)
		if err != nil {
			return made, err
		}
		if err := s.options.locked(lock); err != nil {
			releaseLock(lock)
			return made, err
		}
		s.lock.Close()
		s.lock, made.files = lock, append(made.files, lock.Name())
	}
	if there {
		return made, nil
	}
	former := s.listener
	if err := s.open(); err != nil {
		return made, err
	}
	made.files, made.fresh, made.former = append(made.files, s.options.Path), s.listener, former
	return made, nil
}

// isThereLocked reports whether the path still is the file of the socket.
func (s *Socket) isThereLocked() bool {
	info, err := os.Lstat(s.options.Path)
	return err == nil && os.SameFile(info, s.file)
}

// reuseListener goes on with a listening socket. Clients may be waiting in its
// backlog.
func reuseListener(o SocketOptions, inherited *os.File, group int) (*net.UnixListener, error) {
	listener, err := net.FileListener(inherited)
	if err != nil {
		return nil, fmt.Errorf("cannot take up the control socket: %w", err)
	}
	socket := listener.(*net.UnixListener)
	socket.SetUnlinkOnClose(false)
	if err := setAccess(o.Path, o, group); err != nil {
		socket.Close()
		return nil, fmt.Errorf("cannot take up the control socket: %w", err)
	}
	return socket, nil
}

// setAccess sets the group and the mode of the socket.
func setAccess(path string, o SocketOptions, group int) error {
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
func (s *Socket) Path() string { return s.options.Path }

// SyscallConn gives access to the descriptor, for an upgrade.
func (s *Socket) SyscallConn() (syscall.RawConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener.SyscallConn()
}

// Close stops listening and removes the socket.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // the server that listened on it was closed first
	}
	if s.isThereLocked() {
		err = errors.Join(err, os.Remove(s.options.Path))
	}
	releaseLock(s.lock)
	return err
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
		return noGroup, errorf(api.ExitConfig, "create it (groupadd "+name+") or leave socket_group out",
			"socket_group: there is no group %q", name)
	}
	return strconv.Atoi(group.Gid)
}

// prepareDirectory makes the directory, 0700 or with group 0750, or checks that it belongs
// to this user and that no other may write in it. It works on an open descriptor, so that
// the directory cannot be exchanged in between. A directory that was there, such as /run,
// keeps its group and its mode; the warning says that the group cannot enter it.
func prepareDirectory(path string, group int) (warning *api.Error, err error) {
	isNew, err := makeDirectory(path)
	if err != nil {
		return nil, errorf(api.ExitError, "choose another with --socket", "cannot make the directory of the control socket: %v", err)
	}
	directory, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, errorf(api.ExitError, "choose another with --socket", "cannot use the directory of the control socket: %v", err)
	}
	defer directory.Close()
	info, err := directory.Stat()
	if err != nil {
		return nil, err
	}
	stat, mode := info.Sys().(*syscall.Stat_t), info.Mode().Perm()
	switch {
	case int(stat.Uid) != os.Geteuid():
		return nil, errorf(api.ExitDenied, "give a directory of your own with --socket",
			"the control socket's directory %s belongs to uid %d", path, stat.Uid)
	case mode&0o022 != 0:
		return nil, errorf(api.ExitDenied, "chmod go-w "+path+", or give another directory with --socket",
			"others may write in the control socket's directory %s (mode %04o)", path, mode)
	case group == noGroup, mode&0o001 != 0, int(stat.Gid) == group && mode&0o010 != 0:
		return nil, nil
	case isNew:
		return nil, giveToGroup(directory, mode, group)
	}
	return errorf(api.ExitConfig, fmt.Sprintf("chgrp %d %s; chmod g+rx %s", group, path, path),
		"socket_group cannot enter the control socket's directory %s (mode %04o, gid %d)", path, mode, stat.Gid), nil
}

// giveToGroup lets a group list and enter a directory.
func giveToGroup(directory *os.File, mode fs.FileMode, group int) error {
	if err := directory.Chown(-1, group); err != nil {
		return fmt.Errorf("cannot give %s to socket_group: %w", directory.Name(), err)
	}
	return directory.Chmod(mode | 0o050)
}

// makeDirectory makes a directory and those above it, and reports whether it was not there.
func makeDirectory(path string) (isNew bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, err
	}
	err = os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// acquireLock locks the file beside the socket, so that of two daemons that start
// at the same moment one fails.
func acquireLock(o SocketOptions) (*os.File, error) {
	path := LockPath(o.Path)
	for {
		lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot lock the control socket: %w", err)
		}
		if o.Lock != nil && isCurrentFile(o.Lock, path) {
			lock.Close()
			lock = o.Lock
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			lock.Close()
			pid, _ := listenerPid(o.Path)
			return nil, errAlreadyRuns(o, pid)
		}
		if err != nil {
			lock.Close()
			return nil, fmt.Errorf("cannot lock the control socket: %w", err)
		}
		if isCurrentFile(lock, path) {
			return lock, nil
		}
		lock.Close() // its owner removed it between our open and our flock
	}
}

// lockInterval is how often AwaitEnd tries.
const lockInterval = 10 * time.Millisecond

// AwaitEnd waits until no daemon has the control socket at path, or ctx ends. A daemon has it until its
// process ends.
func AwaitEnd(ctx context.Context, path string) {
	retry := time.NewTicker(lockInterval)
	defer retry.Stop()
	for {
		lock, err := acquireLock(SocketOptions{Path: path})
		if err == nil {
			releaseLock(lock)
			return
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return
		}
	}
}

// releaseLock removes the lock file while the lock is held, so that a process that
// has opened it already finds it gone when it gets the lock.
func releaseLock(lock *os.File) {
	if isCurrentFile(lock, lock.Name()) {
		os.Remove(lock.Name())
	}
	unix.Flock(int(lock.Fd()), unix.LOCK_UN) // the monitor has a duplicate
	lock.Close()
}

func isCurrentFile(file *os.File, path string) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(held, named)
}

func checkReplaceable(o SocketOptions) error {
	info, err := os.Lstat(o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errorf(api.ExitConfig, "remove it, or give another path with --socket", "%s is there and is not a socket", o.Path)
	}
	pid, err := listenerPid(o.Path)
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil // its process is gone
	}
	if err != nil {
		return errorf(api.ExitError, "give another path with --socket", "cannot find out which process listens on %s: %v", o.Path, err)
	}
	return errAlreadyRuns(o, pid)
}

func errAlreadyRuns(o SocketOptions, pid int) error {
	of := ""
	if o.Name != "" {
		of = " for " + o.Name
	}
	which := ""
	if pid > 0 {
		which = fmt.Sprintf(", pid %d", pid)
	}
	return errorf(api.ExitBusy, "new settings: tideover apply; new code: tideover reload; its end: tideover -S "+o.Path+" shutdown\na second one beside it: run it with --socket PATH",
		"a daemon%s already runs%s", of, which)
}

// bind makes the socket at its path and returns its file.
//
// It makes the socket in a new directory of mode 0700, sets its mode and group
// there, and renames it. So no other user can connect before. The umask is not
// used for it, because it belongs to the whole process.
func bind(o SocketOptions, group int) (*net.UnixListener, fs.FileInfo, error) {
	listener, file, err := bindTemporary(o, group)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make the control socket: %w", err)
	}
	return listener, file, nil
}

func bindTemporary(o SocketOptions, group int) (*net.UnixListener, fs.FileInfo, error) {
	tmpDir, err := os.MkdirTemp(filepath.Dir(o.Path), ".")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(tmpDir)
	tmpPath := filepath.Join(tmpDir, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: tmpPath})
	if err != nil {
		return nil, nil, err
	}
	listener.SetUnlinkOnClose(false)
	var file fs.FileInfo
	if err = setAccess(tmpPath, o, group); err == nil {
		file, err = os.Lstat(tmpPath)
	}
	if err == nil {
		err = os.Rename(tmpPath, o.Path)
	}
	if err != nil {
		listener.Close()
		return nil, nil, err
	}
	return listener, file, nil
}
