package listener

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// backlog is larger than the kernel allows; listen reduces it to net.core.somaxconn.
const backlog = 65535

// fileID identifies a socket file, independent of its name.
type fileID struct{ Dev, Ino uint64 }

// newSocket returns a close-on-exec stream socket.
func newSocket(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	return fd, nil
}

// A socketFile is the file of a bound unix socket. The O_PATH descriptor keeps the inode: by it
// the owner and the mode can be read and the socket can be reached, also when the file was
// removed or replaced.
type socketFile struct {
	path string
	id   fileID
	pin  *os.File // nil: not known, only from an earlier version
}

// owner is the uid and the gid of a socket file.
type owner struct{ UID, GID int }

// listenUnix binds path with exactly this mode and listens. No process can connect before
// the mode is right: bind creates the file with the mode of the socket less the umask,
// then the owner and the mode are set, and only then it listens. With to nil the file keeps
// the owner that the kernel has given it. An owner that the daemon may not set is no error.
func listenUnix(path string, mode os.FileMode, to *owner) (fd int, file *socketFile, err error) {
	if fd, err = newSocket(unix.AF_UNIX); err != nil {
		return -1, nil, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err = unix.Fchmod(fd, uint32(mode.Perm())); err != nil {
		return -1, nil, os.NewSyscallError("fchmod", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return -1, nil, os.NewSyscallError("bind", err)
	}
	if file, err = pinSocket(path); err != nil {
		return -1, nil, err
	}
	if err = file.setAccess(mode, to); err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, backlog))
	}
	if err != nil {
		file.remove()
		return -1, nil, err
	}
	return fd, file, nil
}

// pinSocket opens the socket file at path with O_PATH, without following a symlink.
func pinSocket(path string) (*socketFile, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return restoreSocketFile(path, os.NewFile(uintptr(fd), path))
}

// restoreSocketFile returns the socket file that an O_PATH descriptor keeps. It owns the
// descriptor from here on.
func restoreSocketFile(path string, pin *os.File) (*socketFile, error) {
	file := &socketFile{path: path, pin: pin}
	st, err := file.stat()
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		err = fmt.Errorf("%s was replaced by something else while it was bound", path)
	}
	if err != nil {
		pin.Close()
		return nil, err
	}
	file.id = fileID{uint64(st.Dev), st.Ino}
	return file, nil
}

// stat returns what the inode has now, also when the file was removed.
func (f *socketFile) stat() (st unix.Stat_t, err error) {
	err = withFD(f.pin, func(fd int) error { return os.NewSyscallError("fstat", unix.Fstat(fd, &st)) })
	return st, err
}

// setAccess sets the owner, unless to is nil, and the mode. A process that is not root can only set
// the group, to one of its own.
func (f *socketFile) setAccess(mode os.FileMode, to *owner) error {
	st, err := f.stat()
	if err != nil {
		return err
	}
	if to != nil && os.Geteuid() != 0 {
		to = &owner{os.Geteuid(), to.GID}
	}
	if to != nil && (int(st.Uid) != to.UID || int(st.Gid) != to.GID) {
		if int(st.Uid) != os.Geteuid() {
			return fmt.Errorf("%s was replaced by a socket of uid %d while it was bound", f.path, st.Uid)
		}
		err = withFD(f.pin, func(fd int) error { return unix.Fchownat(fd, "", to.UID, to.GID, unix.AT_EMPTY_PATH) })
		if err != nil && !errors.Is(err, unix.EPERM) {
			return os.NewSyscallError("fchownat", err)
		}
	}
	if os.FileMode(st.Mode).Perm() == mode.Perm() {
		return nil
	}
	return os.Chmod(f.address(), mode.Perm())
}

// address reaches the inode without its path: chmod and connect follow it.
func (f *socketFile) address() string {
	number := -1
	withFD(f.pin, func(fd int) error { number = fd; return nil })
	return procFD(number)
}

// procFD is a path of the file of a descriptor of this process.
func procFD(number int) string { return fmt.Sprintf("/proc/self/fd/%d", number) }

// link gives the inode another name.
func (f *socketFile) link(path string) error {
	if err := unix.Linkat(unix.AT_FDCWD, f.address(), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: f.path, New: path, Err: err}
	}
	return nil
}

// remove unlinks the file if it is still this socket's, and closes the descriptor. A second
// call does nothing.
func (f *socketFile) remove() error {
	err := removeSocket(f.path, f.id)
	if f.pin != nil {
		f.pin.Close()
	}
	return err
}

// statSocket returns the identity of the socket file at a path; zero if there is none.
func statSocket(path string) (fileID, error) {
	var st unix.Stat_t
	switch err := unix.Lstat(path, &st); {
	case err != nil && !errors.Is(err, unix.ENOENT):
		return fileID{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	case err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return fileID{}, nil
	}
	return fileID{uint64(st.Dev), st.Ino}, nil
}

// removeSocket unlinks path if it is still this socket.
func removeSocket(path string, id fileID) error {
	if at, err := statSocket(path); err != nil || at != id || id == (fileID{}) {
		return err
	}
	if err := unix.Unlink(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}

// listenTCP binds ip:port and listens. Port 0 means any free one. It returns the port.
func listenTCP(ip net.IP, port int) (fd, bound int, err error) {
	family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: port, Addr: [16]byte(ip.To16())})
	if v4 := ip.To4(); v4 != nil {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: [4]byte(v4)}
	}
	if fd, err = newSocket(family); err != nil {
		return -1, 0, err
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
		err = unix.Bind(fd, addr)
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err == nil {
		bound, err = boundPort(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, os.NewSyscallError("bind", err)
	}
	return fd, bound, nil
}

func boundPort(fd int) (int, error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return a.Port, nil
	case *unix.SockaddrInet6:
		return a.Port, nil
	}
	return 0, unix.EAFNOSUPPORT
}

// withFD calls f with the descriptor, which cannot be closed meanwhile. Unlike File.Fd it
// does not change the blocking mode.
func withFD(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}
