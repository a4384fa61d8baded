package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// drainTimeout bounds how long the other end of a connection may neither send nor read.
const drainTimeout = time.Second

// Reclaim accepts the connections in the backlog and returns their number. On each it sends
// the marker, then every byte that the client has sent, and a FIN after the client's. The
// marker proves to the proxy that the app never saw the request,
// so it may resend any method; the bytes behind it are those that the proxy may not have
// kept. A worker that still lives may accept at the same time, and
// gets some of the connections. To reclaim all, call it again when no process of the
// generation lives. It returns when all connections are closed. It closes a connection
// when the client neither sends nor reads for a second, or when ctx ends.
func (p *Private) Reclaim(ctx context.Context, marker []byte) (int, error) {
	if err := p.SetNonblock(); err != nil {
		return 0, fmt.Errorf("reclaim %s: %w", p.address, err)
	}
	return p.drainBacklog(ctx, marker)
}

// ReclaimWhileServing is Reclaim while the workers go on serving. It leaves the flags of the
// open file description as they are. Where that is blocking it reclaims nothing: a worker
// may call accept(2) without poll(2), and does not expect EAGAIN.
func (p *Private) ReclaimWhileServing(ctx context.Context, marker []byte) (int, error) {
	flags := 0
	err := withFD(p.file, func(fd int) (err error) {
		flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("reclaim %s: %w", p.address, err)
	}
	if flags&unix.O_NONBLOCK == 0 {
		return 0, nil
	}
	return p.drainBacklog(ctx, marker)
}

// drainBacklog is Reclaim for a description that is non-blocking.
func (p *Private) drainBacklog(ctx context.Context, marker []byte) (int, error) {
	var open sync.WaitGroup
	defer open.Wait()
	for n, retried := 0, false; ; {
		conn, err := p.accept()
		switch {
		case err == nil:
			n, retried = n+1, false
			open.Go(func() { p.sendMarker(ctx, conn, marker) })
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, unix.EMFILE) && n > 0 && !retried:
			open.Wait() // their descriptors are free then
			retried = true
		default:
			return n, fmt.Errorf("reclaim %s: %w", p.address, err)
		}
	}
}

// accept accepts one connection without waiting.
func (p *Private) accept() (*os.File, error) {
	var conn int
	err := withFD(p.file, func(fd int) (err error) {
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
func (p *Private) sendMarker(ctx context.Context, conn *os.File, marker []byte) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	buffer := make([]byte, 32<<10)
	for n := copy(buffer, marker); ; {
		conn.SetDeadline(time.Now().Add(p.drainTimeout))
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
