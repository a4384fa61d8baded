package netpoll

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipeSize is the capacity of a Pipe: that of a page for each entry, of which a piece from a TCP
// socket takes one for each page that it touches. What is in the pipe at once is for the caller to
// bound.
const pipeSize = 1 << 20

// A Pipe moves bytes from one socket to another inside the kernel, by splice(2): the pages that the
// network has filled are passed on, and not copied. It has no lock.
type Pipe struct{ out, in int }

// OpenPipe returns an empty pipe. Besides want of descriptors an error may be that the user has as
// many large pipes as the kernel allows (pipe-user-pages-soft in /proc/sys/fs); a small one would be
// slower than a copy.
func OpenPipe() (*Pipe, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	p := &Pipe{out: ends[0], in: ends[1]}
	if _, err := unix.FcntlInt(uintptr(p.in), unix.F_SETPIPE_SZ, pipeSize); err != nil {
		p.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	return p, nil
}

// Highest is the higher one of its two descriptors.
func (p *Pipe) Highest() int { return max(p.out, p.in) }

// Close closes the pipe and drops what is in it.
func (p *Pipe) Close() {
	unix.Close(p.out)
	unix.Close(p.in)
}

// Fill takes at most limit bytes from a socket into the pipe, which must be empty. n is -1 with an
// error, and 0 at the end of the stream.
func (p *Pipe) Fill(fd, limit int) (n int, errno syscall.Errno) { return splice(fd, p.in, limit) }

// Drain puts n bytes of the pipe, which must be all that it has, into a socket, as many as that
// takes. The result is -1 with an error.
func (p *Pipe) Drain(fd, n int) (taken int, errno syscall.Errno) { return splice(p.out, fd, n) }

// splice is splice(2), which does not block. A piece is passed on in less than 0.1 ms, so that Go's
// scheduler need not know of it.
func splice(from, to, limit int) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(limit), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return -1, errno
		}
	}
}
