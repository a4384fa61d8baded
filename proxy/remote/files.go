package remote

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// DuplicateFile returns a duplicate of a file, close-on-exec. Its file status flags stay what they
// are.
func DuplicateFile(f syscall.Conn) (dup *os.File, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	if controlErr := raw.Control(func(fd uintptr) { dup, err = Duplicate(int(fd)) }); controlErr != nil {
		return nil, controlErr
	}
	return dup, err
}

// Duplicate returns a duplicate of a descriptor, close-on-exec.
func Duplicate(fd int) (*os.File, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(dup), "connection"), nil
}
