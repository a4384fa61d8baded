package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drainTimeout bounds how long the other end of a connection may neither send nor read.
const drainTimeout = time.Second

// A Backlog is the queue of connections of a listening socket that a child has, too. Its methods may
// be called from any goroutine.
type Backlog struct {
	name         string // for errors
	socket       openSocket
	drainTimeout time.Duration
}

type openSocket interface {
	syscall.Conn
	io.Closer
}

// NewBacklog returns the backlog of a socket. It keeps a duplicate of the descriptor until Close.
func NewBacklog(socket syscall.Conn, name string) (*Backlog, error) {
	d, err := NewDescriptor(socket)
	if err != nil {
		return nil, err
	}
	return &Backlog{name: name, socket: d, drainTimeout: drainTimeout}, nil
}

// Close closes the duplicate. A second Close does nothing.
func (b *Backlog) Close() { b.socket.Close() }

// SetNonblock sets O_NONBLOCK on the open file description, which every process with a
// duplicate shares; exec.Cmd.ExtraFiles and other ways to pass a socket may have cleared
// it. Reclaim calls it. A child that calls accept without select or poll needs the
// description blocking.
func (b *Backlog) SetNonblock() error {
	return withFD(b.socket, func(fd int) error { return unix.SetNonblock(fd, true) })
}

// Reclaim accepts the connections in the backlog and returns their number. On each it sends
// the marker, then every byte that the client has sent, and a FIN after the client's. The
// marker proves to the proxy that the app never saw the request,
// so it may resend any method; the bytes behind it are those that the proxy may not have
// kept. A worker that still lives may accept at the same time, and
// gets some of the connections. To reclaim all, call it again when no process of the
// generation lives. It returns when all connections are closed. It closes a connection
// when the client neither sends nor reads for a second, or when ctx ends.
func (b *Backlog) Reclaim(ctx context.Context, marker []byte) (int, error) {
	if err := b.SetNonblock(); err != nil {
		return 0, fmt.Errorf("reclaim %s: %w", b.name, err)
	}
	return b.drain(ctx, marker)
}

// ReclaimWhileServing is Reclaim while the workers go on serving. It leaves the flags of the
// open file description as they are. Where that is blocking it reclaims nothing: a worker
// may call accept(2) without poll(2), and does not expect EAGAIN.
func (b *Backlog) ReclaimWhileServing(ctx context.Context, marker []byte) (int, error) {
	flags := 0
	err := withFD(b.socket, func(fd int) (err error) {
		flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("reclaim %s: %w", b.name, err)
	}
	if flags&unix.O_NONBLOCK == 0 {
		return 0, nil
	}
	return b.drain(ctx, marker)
}

// drain is Reclaim for a description that is non-blocking.
func (b *Backlog) drain(ctx context.Context, marker []byte) (int, error) {
	var open sync.WaitGroup
	defer open.Wait()
	for n, retried := 0, false; ; {
		conn, err := b.accept()
		switch {
		case err == nil:
			n, retried = n+1, false
			open.Go(func() { b.sendMarker(ctx, conn, marker) })
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, unix.EMFILE) && n > 0 && !retried:
			open.Wait() // their descriptors are free then
			retried = true
		default:
			return n, fmt.Errorf("reclaim %s: %w", b.name, err)
		}
	}
}

// accept accepts one connection without waiting.
func (b *Backlog) accept() (*os.File, error) {
	var conn int
	err := withFD(b.socket, func(fd int) (err error) {
		conn, _, err = unix.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(conn), "reclaimed"), nil
}

// sendMarker sends the marker and returns what the other end sends, until that closes. A
// close with unread bytes would send a reset, which may discard the marker there.
func (b *Backlog) sendMarker(ctx context.Context, conn *os.File, marker []byte) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	buffer := make([]byte, 32<<10)
	for n := copy(buffer, marker); ; {
		conn.SetDeadline(time.Now().Add(b.drainTimeout))
		if ctx.Err() != nil {
			conn.SetDeadline(time.Now())
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return // the other end has closed
		}
		var err error
		if n, err = conn.Read(buffer); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return
		}
	}
	_ = withFD(conn, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
}
