package proxy

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/awake"
	"tideover/proxy/netpoll"
)

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// A stream is what conn needs of a connection: *net.TCPConn, *net.UnixConn and *os.File have it.
type stream interface {
	io.ReadWriteCloser
	syscall.Conn
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// A conn is a connection as a goroutine has it: its methods block, and another goroutine can
// interrupt them. At most one goroutine reads or waits at a time, and at most one writes.
type conn struct {
	stream stream
	raw    syscall.RawConn

	mu          sync.Mutex
	interrupted bool
}

// open makes c the connection s.
func (c *conn) open(s stream) (err error) {
	c.stream = s
	c.raw, err = s.SyscallConn()
	return err
}

// interrupt makes the read or wait under way, and all later ones until clearInterrupt, end with
// errInterrupted.
func (c *conn) interrupt() {
	c.mu.Lock()
	c.interrupted = true
	c.stream.SetReadDeadline(aLongTimeAgo)
	c.mu.Unlock()
}

// clearInterrupt undoes interrupt. No other goroutine may be about to call interrupt.
func (c *conn) clearInterrupt() {
	c.mu.Lock()
	c.interrupted = false
	c.stream.SetReadDeadline(time.Time{})
	c.mu.Unlock()
}

// setReadDeadline sets the deadline for a read, unless the connection is interrupted: then the one
// that is set has passed.
func (c *conn) setReadDeadline(timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.interrupted {
		return
	}
	deadline := time.Time{}
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	c.stream.SetReadDeadline(deadline)
}

// read reads what there is and waits for the first byte for at most timeout (0: without bound; then
// os.ErrDeadlineExceeded).
func (c *conn) read(p []byte, timeout time.Duration) (int, error) {
	n, _, err := c.readTimed(p, timeout)
	return n, err
}

// readTimed is read, and returns how much of the timeout has passed.
func (c *conn) readTimed(p []byte, timeout time.Duration) (n int, passed time.Duration, err error) {
	return c.timed(timeout, func() (int, error) { return c.receive(p) }, func() int { return c.readNow(p) })
}

// timed calls read, which waits for the first byte until the read deadline, as often as its timeout
// has steps. readNow does the same without waiting; it returns 0 when nothing is there.
func (c *conn) timed(timeout time.Duration, read func() (int, error), readNow func() int) (n int, passed time.Duration, err error) {
	for left := awake.NewCountdown(timeout); ; {
		start := time.Now()
		c.setReadDeadline(left.Step())
		n, err = read()
		if err = c.mapError(err); !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, passed + awake.Elapsed(time.Since(start)), err
		}
		if n = readNow(); n > 0 { // it came in time, and this goroutine ran too late
			return n, passed + left.Step(), nil
		}
		passed += left.Step()
		if left.Passed(); left.Step() <= 0 {
			return 0, passed, err
		}
	}
}

// fillTimed is readTimed of at most limit bytes into a pipe, which is empty.
func (c *conn) fillTimed(p *netpoll.Pipe, limit int, timeout time.Duration) (n int, passed time.Duration, err error) {
	var errno syscall.Errno
	fill := func(fd uintptr) bool {
		n, errno = p.Fill(int(fd), limit)
		return errno != unix.EAGAIN
	}
	return c.timed(timeout, func() (int, error) {
		switch err := c.raw.Read(fill); {
		case err != nil:
			return 0, err
		case errno != 0:
			return 0, os.NewSyscallError("splice", errno)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}, func() int {
		c.raw.Control(func(fd uintptr) { fill(fd) })
		return max(0, n)
	})
}

// waitReadable waits for the first byte, or the end, for at most timeout; then
// os.ErrDeadlineExceeded. passed is how long it waited, as in readTimed.
func (c *conn) waitReadable(timeout time.Duration) (passed time.Duration, err error) {
	for left := awake.NewCountdown(timeout); ; {
		start := time.Now()
		c.setReadDeadline(left.Step())
		err = c.raw.Read(func(fd uintptr) bool { return !netpoll.Quiet(int(fd)) })
		if err = c.mapError(err); !errors.Is(err, os.ErrDeadlineExceeded) {
			return passed + awake.Elapsed(time.Since(start)), err
		}
		passed += left.Step()
		if !c.quiet() { // it came in time, and this goroutine ran too late
			return passed, nil
		}
		if left.Passed(); left.Step() <= 0 {
			return passed, err
		}
	}
}

// isInterrupted reports whether interrupt was called, and clearInterrupt was not since.
func (c *conn) isInterrupted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.interrupted
}

// readLarge is readNow into a large buffer, and does nothing with another one: most of a long body is
// there without a wait, for which no deadline is set and no clock is read.
func (c *conn) readLarge(p []byte) (n int) {
	if len(p) < largeBufferSize || c.isInterrupted() {
		return 0
	}
	return c.readNow(p)
}

// readNow reads what there is without waiting.
func (c *conn) readNow(p []byte) (n int) {
	c.raw.Control(func(fd uintptr) { n, _ = netpoll.Receive(int(fd), p) })
	return max(0, n)
}

// writeNow writes as much of p as the kernel takes without waiting: nearly always all of it, for which
// no deadline is set.
func (c *conn) writeNow(p []byte) (n int) {
	c.raw.Control(func(fd uintptr) { n, _ = sendAll(int(fd), p) })
	return n
}

// waitHangup waits until the peer has closed the connection (nil) or interrupt is called
// (errInterrupted). It reads nothing. A FIN alone counts as a close where finCounts says so.
func (c *conn) waitHangup(finCounts bool) error {
	c.setReadDeadline(0)
	err := c.raw.Read(func(fd uintptr) bool { return netpoll.HungUp(int(fd), finCounts) })
	return c.mapError(err)
}

// hungUp reports whether the peer has closed the connection by now.
func (c *conn) hungUp(finCounts bool) bool {
	hungUp := true
	c.raw.Control(func(fd uintptr) { hungUp = netpoll.HungUp(int(fd), finCounts) })
	return hungUp
}

// quiet reports whether nothing has come from the peer, neither a byte nor the end: an idle
// connection that may be used again.
func (c *conn) quiet() bool {
	quiet := false
	c.raw.Control(func(fd uintptr) { quiet = netpoll.Quiet(int(fd)) })
	return quiet
}

// mapError tells an interrupt from a deadline.
func (c *conn) mapError(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.interrupted {
		return errInterrupted
	}
	return err
}

// write writes all of p, for at most timeout (0: without bound), and returns how much the kernel
// took.
func (c *conn) write(p []byte, timeout time.Duration) (n int, err error) {
	if n = c.writeNow(p); n == len(p) {
		return n, nil
	}
	if timeout <= 0 {
		c.stream.SetWriteDeadline(time.Time{})
		m, err := c.send(p[n:])
		return n + m, err
	}
	for left := awake.NewCountdown(timeout); ; {
		c.stream.SetWriteDeadline(time.Now().Add(left.Step()))
		m, err := c.send(p[n:])
		n += m
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if left.Passed(); left.Step() <= 0 {
			return n, err
		}
	}
}

// maxSend is how much one system call sends. Go's scheduler does not know of it, so that it must be
// short.
const maxSend = 64 << 10

// receive reads what there is, and waits for the first byte until the read deadline. A socket's
// Read method would tell Go's scheduler of the system call: a thread that watches over those
// (sysmon) then wakes all the time while a long body passes.
func (c *conn) receive(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	var errno syscall.Errno
	err = c.raw.Read(func(fd uintptr) bool {
		n, errno = netpoll.Receive(int(fd), p)
		return errno != unix.EAGAIN
	})
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, os.NewSyscallError("recvfrom", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// send writes all of p until the write deadline, and returns how much the kernel took.
func (c *conn) send(p []byte) (n int, err error) {
	var errno syscall.Errno
	err = c.raw.Write(func(fd uintptr) bool {
		var taken int
		taken, errno = sendAll(int(fd), p[n:])
		n += taken
		return errno != unix.EAGAIN
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("sendto", errno)
	}
	return n, err
}

// sendAll sends as much of p as the kernel takes; errno says why it is not all.
func sendAll(fd int, p []byte) (n int, errno syscall.Errno) {
	for n < len(p) {
		taken, errno := netpoll.Send(fd, p[n:min(len(p), n+maxSend)])
		if errno != 0 {
			return n, errno
		}
		n += taken
	}
	return n, 0
}

// drain writes the n bytes that are in a pipe, as write does; timeout is positive.
func (c *conn) drain(p *netpoll.Pipe, n int, timeout time.Duration) (written int, err error) {
	var errno syscall.Errno
	c.stream.SetWriteDeadline(time.Now().Add(timeout))
	err = c.raw.Write(func(fd uintptr) bool {
		for written < n {
			taken := 0
			if taken, errno = p.Drain(int(fd), n-written); errno != 0 {
				return errno != unix.EAGAIN
			}
			written += taken
		}
		return true
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("splice", errno)
	}
	return written, err
}

// writeMinRate writes all of p to a peer that may be slow. It fails when the peer takes nothing, or
// less than rate bytes a second, for timeout. What the kernel still has counts as not taken: it
// wakes a writer only when a third of its buffer is free, which may be megabytes later.
func (c *conn) writeMinRate(p []byte, timeout time.Duration, rate int64) error {
	slow := func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
	n, err := c.write(p, timeout/4)
	if !slow(err) {
		return err
	}
	window := timeout - timeout/4
	minimum := max(1, int(rate*int64(window)/int64(time.Second)))
	for before := c.unsent(); ; {
		p = p[n:]
		n, err = c.write(p, window)
		after := c.unsent()
		if !slow(err) || before+n-after < minimum {
			return err
		}
		before = after
	}
}

// unsent is the number of bytes that the kernel keeps for the peer.
func (c *conn) unsent() (n int) {
	c.raw.Control(func(fd uintptr) { n = netpoll.Unsent(int(fd)) })
	return n
}

// acknowledged is the number of bytes that the peer's kernel has acknowledged since the connection was
// opened. It reports false where the protocol does not say so.
func (c *conn) acknowledged() (n int64, known bool) {
	c.raw.Control(func(fd uintptr) { n, known = netpoll.Acknowledged(int(fd)) })
	return n, known
}

// closeWrite sends a FIN: nothing more comes.
func (c *conn) closeWrite() {
	c.raw.Control(func(fd uintptr) { syscall.Shutdown(int(fd), syscall.SHUT_WR) })
}

// dup returns another descriptor of the connection.
func (c *conn) dup() (fd int, err error) {
	controlled := c.raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(controlled, err)
}

// shutdown ends both directions; any goroutine may call it.
func (c *conn) shutdown() {
	c.raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
}

// reset ends the connection with a reset, where its protocol has one, else it reports false. Any
// goroutine may call it.
func (c *conn) reset() (done bool) {
	c.raw.Control(func(fd uintptr) { done = netpoll.Reset(int(fd)) })
	return done
}

// setReset says whether closing the connection sends a reset.
func (c *conn) setReset(on bool) {
	c.raw.Control(func(fd uintptr) { netpoll.SetReset(int(fd), on) })
}

func (c *conn) close() { c.stream.Close() }

// abort closes the connection so that the peer sees an error where the protocol has one: a reset,
// on TCP.
func (c *conn) abort() {
	c.setReset(true)
	c.stream.Close()
}
