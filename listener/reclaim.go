//go:build linux

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

// reclaimLinger bounds how long one connection is drained so that its marker is not overtaken by a reset.
const reclaimLinger = time.Second

// Reclaim accepts what still waits in the backlog, sends each connection the marker and then the end of the stream, and returns
// how many there were. The marker's arrival proves to the other end that no app ever saw its request, so any method may be sent
// again. A worker that still lives may accept meanwhile: each connection goes to one of the two. To be sure of having them all,
// call it again when no process of the generation lives. It returns when all are closed: a connection whose other end does not
// close in turn is given up after a second, or when ctx ends.
func (p *Private) Reclaim(ctx context.Context, marker []byte) (int, error) {
	if err := p.SetNonblock(); err != nil {
		return 0, fmt.Errorf("reclaim %s: %w", p.address, err)
	}
	var open sync.WaitGroup
	defer open.Wait()
	for n, spared := 0, false; ; {
		conn, err := p.accept()
		switch {
		case err == nil:
			n, spared = n+1, false
			open.Go(func() { p.giveBack(ctx, conn, marker) })
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, unix.EMFILE) && n > 0 && !spared:
			open.Wait() // those under way give their descriptors back
			spared = true
		default:
			return n, fmt.Errorf("reclaim %s: %w", p.address, err)
		}
	}
}

// accept takes one connection without waiting.
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

// giveBack sends the marker and the end, and reads until the other end has closed as well. A socket that is closed with unread
// bytes in it sends a reset, and a reset may destroy what was sent before.
func (p *Private) giveBack(ctx context.Context, conn *os.File, marker []byte) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(p.linger))
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	if _, err := conn.Write(marker); err != nil {
		return // its client has left
	}
	if err := withFD(conn, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) }); err != nil {
		return
	}
	io.Copy(io.Discard, conn)
}
