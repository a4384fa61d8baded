// Package zombie finds children that have exited. The monitor and the supervisor both reap what is
// reparented to them.
package zombie

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// childInfo is siginfo_t of waitid on 64-bit Linux.
type childInfo struct {
	signo, errno, code, _ int32
	pid                   int32
	_                     [108]byte
}

// First returns the pid of the first zombie child without reaping it; 0: none.
func First() int {
	var info childInfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		switch err {
		case nil:
			return int(info.pid)
		case unix.EINTR:
		default:
			return 0
		}
	}
}
