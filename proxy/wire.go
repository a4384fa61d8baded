package proxy

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"tideover/proxy/netpoll"

	"golang.org/x/sys/unix"
)

// errStopped is what a read or a watch ends with when stop was called.
var errStopped = errors.New("proxy: stopped")

// A stream is what a wire needs of a connection: a net.Conn has it, and a descriptor of ours as an os.File.
type stream interface {
	io.ReadWriteCloser
	syscall.Conn
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// A wire is a connection as a goroutine has it: blocking calls, which another goroutine can stop. At most
// one goroutine reads or watches at a time, and at most one writes.
type wire struct {
	conn stream
	raw  syscall.RawConn

	mu      sync.Mutex
	stopped bool
}

// newWire wraps a connection.
func newWire(conn stream) (*wire, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn, raw: raw}, nil
}

// stop makes the read or watch under way, and all to come until rearm, end with errStopped.
func (w *wire) stop() {
	w.mu.Lock()
	w.stopped = true
	w.conn.SetReadDeadline(longAgo)
	w.mu.Unlock()
}

// rearm undoes stop. Whoever may call stop must have done it, or must not do it any more.
func (w *wire) rearm() {
	w.mu.Lock()
	w.stopped = false
	w.conn.SetReadDeadline(time.Time{})
	w.mu.Unlock()
}

var longAgo = time.Unix(1, 0)

// begin sets the deadline for a read, unless the wire is stopped: then the one that is set has passed.
func (w *wire) begin(timeout time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	deadline := time.Time{}
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	w.conn.SetReadDeadline(deadline)
}

// read reads what there is, waiting for the first byte at most timeout (0: for ever; then os.ErrDeadlineExceeded).
func (w *wire) read(p []byte, timeout time.Duration) (int, error) {
	w.begin(timeout)
	n, err := w.conn.Read(p)
	if err = w.explain(err); !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	if n = w.last(p); n > 0 { // it was there in time, and a busy machine looked too late
		return n, nil
	}
	return 0, err
}

// last reads what is there already, also when stopped.
func (w *wire) last(p []byte) (n int) {
	w.raw.Control(func(fd uintptr) { n, _ = netpoll.Read(int(fd), p) })
	return max(0, n)
}

// watch waits until the peer has left (nil) or stop is called (errStopped). It takes no bytes.
func (w *wire) watch(finIsLeaving bool) error {
	w.begin(0)
	err := w.raw.Read(func(fd uintptr) bool { return netpoll.HungUp(int(fd), finIsLeaving) })
	return w.explain(err)
}

// left reports whether the peer has left by now.
func (w *wire) left(finIsLeaving bool) bool {
	gone := true
	w.raw.Control(func(fd uintptr) { gone = netpoll.HungUp(int(fd), finIsLeaving) })
	return gone
}

// silent reports whether the peer has neither sent a byte nor closed: an idle connection fit to be used again.
func (w *wire) silent() bool {
	silent := false
	w.raw.Control(func(fd uintptr) { silent = netpoll.Quiet(int(fd)) })
	return silent
}

// explain tells a stop from a deadline.
func (w *wire) explain(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return errStopped
	}
	return err
}

// write writes all of p, at most timeout long (0: for ever); it reports how much the kernel took.
func (w *wire) write(p []byte, timeout time.Duration) (int, error) {
	deadline := time.Time{}
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	w.conn.SetWriteDeadline(deadline)
	return w.conn.Write(p)
}

// writeSteadily writes all of p to a peer that may be slow: it fails when the peer takes nothing, or less than rate bytes a second,
// for timeout. What lies in the kernel counts as not taken: the kernel wakes a writer only when a third of its buffer is free,
// and that may be megabytes later.
func (w *wire) writeSteadily(p []byte, timeout time.Duration, rate int64) error {
	slow := func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
	n, err := w.write(p, timeout/4)
	if !slow(err) {
		return err
	}
	window := timeout - timeout/4
	least := max(1, int(rate*int64(window)/int64(time.Second)))
	for before := w.untaken(); ; {
		p = p[n:]
		n, err = w.write(p, window)
		after := w.untaken()
		if !slow(err) || before+n-after < least {
			return err
		}
		before = after
	}
}

// untaken is how many bytes the kernel keeps for the peer.
func (w *wire) untaken() (n int) {
	w.raw.Control(func(fd uintptr) { n = netpoll.Unsent(int(fd)) })
	return n
}

// closeWrite tells the peer that nothing more comes.
func (w *wire) closeWrite() {
	w.raw.Control(func(fd uintptr) { syscall.Shutdown(int(fd), syscall.SHUT_WR) })
}

// dup is another descriptor of the connection.
func (w *wire) dup() (fd int, err error) {
	controlled := w.raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(controlled, err)
}

func (w *wire) close() { w.conn.Close() }

// abort closes so that the peer sees an error where the protocol allows it: a reset, on TCP.
func (w *wire) abort() {
	w.raw.Control(func(fd uintptr) { netpoll.ResetOnClose(int(fd)) })
	w.conn.Close()
}
