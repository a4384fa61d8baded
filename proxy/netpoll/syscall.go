package netpoll

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The functions of this file are system calls that never block, because the descriptor is
// non-blocking, so that Go's scheduler need not know of them. They begin anew after EINTR.

// Read is read(2); n is -1 with an error.
func Read(fd int, p []byte) (n int, errno syscall.Errno) { return call(unix.SYS_READ, fd, p) }

// Write is write(2); n is -1 with an error.
func Write(fd int, p []byte) (n int, errno syscall.Errno) { return call(unix.SYS_WRITE, fd, p) }

// WriteLast is Write of the last bytes of a connection, whose writing side it shuts when they are
// written: so TCP sends its FIN with them, in one segment.
func WriteLast(fd int, p []byte) (n int, errno syscall.Errno) {
	for {
		sent, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
			unix.MSG_MORE|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			if int(sent) == len(p) {
				unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
			}
			return int(sent), 0
		case unix.EINTR:
		default:
			return -1, errno
		}
	}
}

// Close is close(2), of a socket that does not linger.
func Close(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// Connect is connect(2).
func Connect(fd int, a *Sockaddr) syscall.Errno {
	_, errno := call(unix.SYS_CONNECT, fd, a.raw[:a.length])
	return errno
}

// Accept is accept4(2) of a non-blocking socket; peer becomes its address. It returns after EINTR.
func Accept(fd int, peer *Sockaddr) (int, syscall.Errno) {
	peer.length = uint32(len(peer.raw))
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&peer.raw)), uintptr(unsafe.Pointer(&peer.length)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}

func call(number uintptr, fd int, p []byte) (int, syscall.Errno) {
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

// epollWait is epoll_pwait(2) with a timeout of zero.
func epollWait(fd int, events []unix.EpollEvent) int {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case unix.EINTR:
		default:
			return 0
		}
	}
}
