package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/netpoll"
)

// An acceptor is a listener in an event loop.
type acceptor struct {
	loop  *eventLoop
	fd    int
	local netip.AddrPort // its address; invalid when that is a wildcard, or a unix socket's
	// optionsPending says that the backlog may hold TCP connections that are older than the options
	// of the listener, which they have therefore not inherited.
	optionsPending bool
	failingSince   time.Time  // since when no connection can be accepted; zero: they can
	full           bool       // there are as many connections as there may be
	errc           chan error // the listener is closed, or has become something else
}

// serve accepts from the listener raw with this address until ctx ends.
func (l *eventLoop) serve(ctx context.Context, raw syscall.RawConn, address net.Addr) error {
	a := &acceptor{loop: l, errc: make(chan error, 1)}
	if tcp, ok := address.(*net.TCPAddr); ok {
		a.optionsPending = true
		if !tcp.IP.IsUnspecified() {
			a.local = tcp.AddrPort()
		}
	}
	served := net.ErrClosed
	err := raw.Control(func(fd uintptr) { // the descriptor cannot be closed meanwhile
		a.fd = int(fd)
		unix.SetNonblock(a.fd, true)
		if a.optionsPending {
			setOptions(a.fd)
		}
		l.call(func() { served = a.register() })
	})
	if err != nil || served != nil {
		return errors.Join(err, served)
	}
	select {
	case <-ctx.Done():
	case served = <-a.errc:
	}
	l.call(a.unregister)
	return served
}

// setOptions sets at a listener what its connections inherit: no delay of small writes, and
// keep-alive probes that find a peer which has vanished, as often as Go sends them.
func setOptions(fd int) {
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9)
}

func (a *acceptor) register() error {
	if err := a.loop.poller.Add(a.fd, unix.EPOLLIN, a); err != nil {
		return err
	}
	a.loop.acceptors = append(a.loop.acceptors, a)
	return nil
}

func (a *acceptor) unregister() {
	if a.loop.poller.Handles(a.fd, a) { // else it was closed, and the number may be in use again
		a.loop.poller.Remove(a.fd)
	}
	a.loop.acceptors = slices.DeleteFunc(a.loop.acceptors, func(other *acceptor) bool { return other == a })
}

// OnEvents accepts what is in the backlog.
func (a *acceptor) OnEvents(uint32) { a.accept() }

// accept accepts the connections of the backlog and reads from them: the first request has often
// arrived by then.
func (a *acceptor) accept() {
	l := a.loop
	a.emptyBacklog()
	for _, c := range l.accepted {
		if c.state == stateIdle && !l.closing { // else the read would end one whose request is on its way
			l.deliver(c, 0)
		}
	}
	clear(l.accepted)
	l.accepted = l.accepted[:0]
}

// emptyBacklog accepts all connections of the backlog, as far as there may be so many, into
// l.accepted. For want of descriptors or memory they stay there; that is logged once, not at each
// attempt.
func (a *acceptor) emptyBacklog() {
	l := a.loop
	for peer := (netpoll.Sockaddr{}); ; {
		if a.full = !a.hasRoom(); a.full {
			return
		}
		fd, errno := netpoll.Accept(a.fd, &peer)
		switch errno {
		case 0:
			if a.optionsPending {
				setOptions(fd)
			}
			if c := l.addClient(fd, peer.AddrPort(), a.local); c != nil {
				l.app.counters.connections.Add(1)
				c.expectHeader()
				l.accepted = append(l.accepted, c)
			}
			if !a.failingSince.IsZero() {
				l.app.logger.Info("accepting resumed", "app", l.app.name,
					"after_s", time.Since(a.failingSince).Round(time.Millisecond).Seconds())
				a.failingSince = time.Time{}
			}
			continue
		case unix.EINTR, unix.ECONNABORTED:
			continue
		case unix.EAGAIN:
			a.optionsPending = false
			return
		case unix.EBADF, unix.EINVAL, unix.ENOTSOCK: // it is no listener any more
			a.errc <- os.NewSyscallError("accept4", errno)
			a.unregister()
			return
		}
		if a.failingSince.IsZero() {
			a.failingSince = l.now
			l.app.logger.Warn("accepting failed", "app", l.app.name, "error", os.NewSyscallError("accept4", errno))
		}
		if errno == unix.EMFILE {
			l.reclaim()
		}
		l.schedule(retryInterval)
		return
	}
}

// retryAccepts accepts from listeners that failed before, or for which there was no room.
func (l *eventLoop) retryAccepts() {
	for _, a := range slices.Clone(l.acceptors) { // accept may take one out
		if a.full || !a.failingSince.IsZero() {
			a.accept()
		}
	}
}
