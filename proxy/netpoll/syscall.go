package netpoll

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The functions of this file are system calls that never block, because the descriptor is
// non-blocking, so that Go's scheduler need not know of them. They begin anew after EINTR.

// Receive is recv(2), which costs less than read(2) of a socket; n is -1 with an error.
func Receive(fd int, p []byte) (n int, errno syscall.Errno) {
	return call(unix.SYS_RECVFROM, fd, p, 0)
}

// Send is send(2), which costs less than write(2) to a socket; n is -1 with an error.
func Send(fd int, p []byte) (n int, errno syscall.Errno) {
	return call(unix.SYS_SENDTO, fd, p, unix.MSG_NOSIGNAL)
}

// SendLast is Send of the last bytes of a connection, whose writing side it shuts when they are
// written: so TCP sends its FIN with them, in one segment.
func SendLast(fd int, p []byte) (n int, errno syscall.Errno) {
	n, errno = call(unix.SYS_SENDTO, fd, p, unix.MSG_MORE|unix.MSG_NOSIGNAL)
	if n == len(p) {
		unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	}
	return n, errno
}

// Close is close(2), of a socket that does not linger.
func Close(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// Connect is connect(2).
func Connect(fd int, a *Sockaddr) syscall.Errno {
	_, errno := call(unix.SYS_CONNECT, fd, a.raw[:a.length], 0)
	return errno
}

// Accept is accept4(2) of a non-blocking socket; peer becomes its address. It returns after EINTR.
func Accept(fd int, peer *Sockaddr) (int, syscall.Errno) {
	peer.length = uint32(len(peer.raw))
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&peer.raw)), uintptr(unsafe.Pointer(&peer.length)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}

// call is one whose arguments are a descriptor, bytes, flags, and no address.
func call(number uintptr, fd int, p []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
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
