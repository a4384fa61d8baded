package listener

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Share prepares the socket to be passed to children that accept from it themselves. The open file
// description, which all of them share, is blocking, as those that service managers pass. One that
// was inherited, or shared before, stays as it is: processes use it, and may have set O_NONBLOCK.
func (p *Public) Share() error {
	if !p.unshared.Swap(false) {
		return nil
	}
	err := withFD(p, func(fd int) error { return os.NewSyscallError("fcntl", unix.SetNonblock(fd, false)) })
	if err != nil {
		return fmt.Errorf("share %s: %w", p.address, err)
	}
	return nil
}

// Listen sets the backlog to the longest that the kernel allows: a child that calls listen(2) on the
// shared socket makes it shorter (gunicorn: 2048).
func (p *Public) Listen() error {
	return withFD(p, func(fd int) error { return os.NewSyscallError("listen", unix.Listen(fd, backlog)) })
}

// IsListening reports whether connections are accepted or queued. shutdown(2) of any process that
// has the socket ends that for all of them.
func (p *Public) IsListening() bool {
	listening := false
	withFD(p, func(fd int) error {
		value, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		// A unix socket has SO_ACCEPTCONN still, but connect(2) fails.
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		if err == nil {
			_, err = unix.Poll(polled, 0)
		}
		listening = err == nil && value != 0 && polled[0].Revents&(unix.POLLHUP|unix.POLLRDHUP) == 0
		return err
	})
	return listening
}

// Shutdown ends the socket for all processes that have it: nothing connects any more, and what waits
// in the backlog is reset.
func (p *Public) Shutdown() error {
	return withFD(p, func(fd int) error { return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_RDWR)) })
}

// ErrShutDown is the error of ListenAgain for a unix socket: once shut down, it never listens again.
var ErrShutDown = errors.New("the unix socket was shut down")

// ListenAgain makes a socket listen again that was shut down. Connections that had waited in its
// backlog were reset by then.
func (p *Public) ListenAgain() error {
	if err := p.Listen(); err != nil {
		return err
	}
	if !p.IsListening() {
		return ErrShutDown
	}
	return nil
}

// Replace puts another unix socket at the path, with the same mode and owner. Clients find one of
// the two at any moment. p has no path from here on. It is an error if Open has not created the
// file.
func (p *Public) Replace() (*Public, error) {
	if p.file == nil || p.file.pin == nil {
		return nil, fmt.Errorf("the socket %s was not bound by tideover, so it cannot bind it again", p.address)
	}
	mode, to, err := p.fileAccess()
	if err != nil {
		return nil, newOpenError(p.address, err)
	}
	fresh, err := openUnix(p.address, p.options, pathRequest{Action: replaceAction, Path: p.file.path, Mode: mode, Owner: to})
	if err != nil {
		return nil, newOpenError(p.address, err)
	}
	return fresh, nil
}

// shutdownRetry is the time until AwaitShutdown is told of the same shutdown again.
const shutdownRetry = time.Second

// AwaitShutdown calls found whenever the socket does not listen any more, until ctx ends. A found
// that changes nothing is called again each second. The daemon does not wake up for connections.
func (p *Public) AwaitShutdown(ctx context.Context, found func()) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(epoll, true); err != nil { // for the runtime's poller
		unix.Close(epoll)
		return os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(epoll), "shutdown of "+p.address.String())
	defer f.Close()
	// The epoll set has a duplicate, so that p can be closed meanwhile.
	d, err := NewDescriptor(p)
	if err != nil {
		return err
	}
	defer d.Close()
	err = withFD(d, func(fd int) error { // EPOLLHUP is always reported
		return os.NewSyscallError("epoll_ctl", unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLRDHUP}))
	})
	if err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Now()) })()
	for {
		err := raw.Read(func(uintptr) bool { return hasEvent(epoll) })
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		found()
		if !hasEvent(epoll) {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(shutdownRetry):
		}
	}
}

func hasEvent(epoll int) bool {
	var events [1]unix.EpollEvent
	n, err := unix.EpollWait(epoll, events[:], 0)
	return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
}
