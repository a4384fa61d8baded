package proxy

import (
	"io"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// departed looks, without taking a byte, whether the peer has closed or reset its connection. A peer that only shut its writing
// side has departed where finIsLeaving says so.
func departed(fd int, finIsLeaving bool) bool {
	signs := int16(unix.POLLHUP | unix.POLLERR | unix.POLLNVAL)
	if finIsLeaving {
		signs |= unix.POLLRDHUP
	}
	return poll(fd, unix.POLLRDHUP)&signs != 0
}

// quiet looks whether nothing at all has come from the peer: no byte, no end, no error.
func quiet(fd int) bool {
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

// waiting is how many bytes were written to the descriptor and not yet taken by the peer: by its kernel over TCP, by the peer itself over a
// unix socket.
func waiting(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

// rawRead is read(2) with Go's words for the end of the stream.
func rawRead(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// resetOnClose makes the close of a TCP connection a reset. Other kinds of sockets ignore it.
func resetOnClose(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}
