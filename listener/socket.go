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
type fileID struct{ dev, ino uint64 }

// newSocket returns a close-on-exec stream socket.
func newSocket(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	return fd, nil
}

// listenUnix binds path with exactly this mode and listens. No process can connect before
// the mode is right: bind creates the file with the mode of the socket less the umask,
// then the mode is set, and only then it listens.
func listenUnix(path string, mode os.FileMode) (fd int, id fileID, err error) {
	if fd, err = newSocket(unix.AF_UNIX); err != nil {
		return -1, id, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err = unix.Fchmod(fd, uint32(mode.Perm())); err != nil {
		return -1, id, os.NewSyscallError("fchmod", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return -1, id, os.NewSyscallError("bind", err)
	}
	if id, err = setMode(path, mode); err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, backlog))
	}
	if err != nil {
		removeSocket(path, id)
		return -1, id, err
	}
	return fd, id, nil
}

// setMode sets the mode of the socket file at path without following a symlink, and
// returns its identity.
func setMode(path string, mode os.FileMode) (fileID, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fileID{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fileID{}, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fileID{}, fmt.Errorf("%s was replaced by something else while it was bound", path)
	}
	id := fileID{uint64(st.Dev), st.Ino}
	if os.FileMode(st.Mode).Perm() == mode.Perm() {
		return id, nil
	}
	return id, os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode.Perm())
}

// statSocket returns the identity of the socket file at an address; zero if there is
// none.
func statSocket(network, address string) (fileID, error) {
	var st unix.Stat_t
	if network != "unix" {
		return fileID{}, nil
	}
	switch err := unix.Lstat(address, &st); {
	case err != nil && !errors.Is(err, unix.ENOENT):
		return fileID{}, &os.PathError{Op: "lstat", Path: address, Err: err}
	case err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return fileID{}, nil
	}
	return fileID{uint64(st.Dev), st.Ino}, nil
}

// removeSocket unlinks path if it is still this socket.
func removeSocket(path string, id fileID) error {
	if at, err := statSocket("unix", path); err != nil || at != id {
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
