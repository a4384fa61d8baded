package proxy

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What follows are system calls on descriptors that never wait, so that Go's scheduler need not hear of them.

// read0 is read(2); n is -1 with an error.
func read0(fd int, p []byte) (n int, errno syscall.Errno) { return call0(unix.SYS_READ, fd, p) }

// write0 is write(2); n is -1 with an error.
func write0(fd int, p []byte) (n int, errno syscall.Errno) { return call0(unix.SYS_WRITE, fd, p) }

// close0 is close(2), of what does not linger.
func close0(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

func call0(number uintptr, fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return -1, errno
		}
	}
}

// poll0 takes the events that are there now.
func poll0(epoll int, events []unix.EpollEvent) int {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case unix.EINTR:
		default:
			return 0
		}
	}
}
