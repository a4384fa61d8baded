package proxy

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"tideover/proxy/netpoll"

	"golang.org/x/sys/unix"
)

// A door is a listener in a loop.
type door struct {
	loop    *loop
	fd      int
	host    string    // its address; empty when it is a wildcard
	behind  bool      // TCP connections wait there that may be older than what inherit has set
	trouble time.Time // since when nothing can be accepted
	broken  chan error
}

// serve accepts from a listener until ctx ends.
func (l *loop) serve(ctx context.Context, listener net.Listener) error {
	raw, err := listener.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	address := listener.Addr()
	d := &door{loop: l, broken: make(chan error, 1)}
	if tcp, ok := address.(*net.TCPAddr); ok {
		d.behind = true
		if !tcp.IP.IsUnspecified() {
			d.host = tcp.String()
		}
	}
	served := net.ErrClosed
	err = raw.Control(func(fd uintptr) { // the descriptor cannot be closed meanwhile
		d.fd = int(fd)
		unix.SetNonblock(d.fd, true)
		if d.behind {
			inherit(d.fd)
		}
		l.tasks.Call(func() { served = d.admit(l) })
	})
	if err != nil || served != nil {
		return errors.Join(err, served)
	}
	select {
	case <-ctx.Done():
	case served = <-d.broken:
	}
	l.tasks.Call(func() { d.shut(l) })
	return served
}

// inherit sets at a listener what its connections shall have, so that it need not be set at each: no waiting for more to send, and
// probes that find out about a peer that has vanished, as Go sets them. Those that were made before that have it not.
func inherit(fd int) {
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9)
}

func (d *door) admit(l *loop) error {
	if err := l.poller.Add(d.fd, unix.EPOLLIN, d); err != nil {
		return err
	}
	l.doors = append(l.doors, d)
	return nil
}

func (d *door) shut(l *loop) {
	if l.poller.Handles(d.fd, d) { // else it was closed, and somebody else has the number
		l.poller.Remove(d.fd)
	}
	l.doors = slices.DeleteFunc(l.doors, func(other *door) bool { return other == d })
}

// OnEvents takes an event of the listener.
func (d *door) OnEvents(uint32) { d.accept(d.loop) }

// accept takes what waits at a door. What cannot be accepted for want of descriptors or memory waits in the backlog; that is said
// once, not every time.
func (d *door) accept(l *loop) {
	if l.suspended {
		return
	}
	for peer := (netpoll.Sockaddr{}); ; {
		fd, errno := netpoll.Accept(d.fd, &peer)
		switch errno {
		case 0:
			if d.behind {
				inherit(fd)
			}
			if l.seat(fd, peer.AddrPort(), d.host) != nil {
				l.server.totals.connections.Add(1)
			}
			if !d.trouble.IsZero() {
				l.server.logger.Info("accepting again", "app", l.server.app, "after", time.Since(d.trouble).Round(time.Millisecond))
				d.trouble = time.Time{}
			}
			continue
		case unix.EINTR, unix.ECONNABORTED:
			continue
		case unix.EAGAIN:
			d.behind = false
			return
		case unix.EBADF, unix.EINVAL, unix.ENOTSOCK: // it is no listener any more
			d.broken <- os.NewSyscallError("accept4", errno)
			d.shut(l)
			return
		}
		if d.trouble.IsZero() {
			d.trouble = l.now
			l.server.logger.Warn("cannot accept", "app", l.server.app, "error", os.NewSyscallError("accept4", errno))
		}
		l.wakeAt(l.now.Add(retryAccept))
		return
	}
}
