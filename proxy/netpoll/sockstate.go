package netpoll

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// HungUp reports, without taking a byte, whether the peer has closed or reset its connection. A FIN
// alone, by which the peer has shut its writing side only, counts where finCounts says so.
func HungUp(fd int, finCounts bool) bool {
	signs := int16(unix.POLLHUP | unix.POLLERR | unix.POLLNVAL)
	if finCounts {
		signs |= unix.POLLRDHUP
	}
	return poll(fd, unix.POLLRDHUP)&signs != 0
}

// Quiet reports whether nothing at all has come from the peer: no byte, no FIN, no error.
func Quiet(fd int) bool {
	return poll(fd, unix.POLLIN|unix.POLLRDHUP) == 0
}

func poll(fd int, events int16) int16 {
	asked := unix.PollFd{Fd: int32(fd), Events: events}
	var now unix.Timespec
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&asked)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		if errno != unix.EINTR {
			return asked.Revents
		}
	}
}

// Writable reports whether a write takes a byte now or returns an error: a connection that is being
// made is not writable.
func Writable(fd int) bool {
	return poll(fd, unix.POLLOUT) != 0
}

// Readable reports whether something has come that can be taken: of a listening socket, a
// connection.
func Readable(fd int) bool { return poll(fd, unix.POLLIN) != 0 }

// Unsent is the number of bytes that were written to a socket and that its peer has not taken yet:
// the peer's kernel over TCP, the peer itself over a unix socket.
func Unsent(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

// Acknowledged is the number of bytes that the peer of a TCP connection has acknowledged since it was
// opened. It reports false for other sockets.
func Acknowledged(fd int) (n int64, known bool) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, false
	}
	return int64(info.Bytes_acked), true
}

// SetReset says whether close(2) of a TCP connection sends a reset. Other kinds of sockets ignore it.
func SetReset(fd int, on bool) {
	var linger unix.Linger // for no time at all
	if on {
		linger.Onoff = 1
	}
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &linger)
}

// Reset ends a TCP connection with a reset, also while other descriptors of it are in use: what the
// kernel has not sent is dropped. It reports false for other kinds of sockets, which it leaves alone.
func Reset(fd int) bool {
	var unspecified [16]byte // a sockaddr with AF_UNSPEC dissolves the association, see connect(2)
	_, errno := call(unix.SYS_CONNECT, fd, unspecified[:], 0)
	return errno == 0
}
