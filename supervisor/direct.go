package supervisor

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"tideover/listener"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
	"tideover/supervisor/process"
)

// directSockets are the public sockets of an app with relay = "none": its processes accept from
// them, and the daemon keeps them open, so that connections wait in the kernel's queue while no
// process accepts. A nil one, of another app, has none.
type directSockets struct {
	mu        sync.Mutex
	listeners []*publicListener
}

func (d *directSockets) add(l *publicListener) {
	if d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.listeners = append(d.listeners, l)
	}
}

func (d *directSockets) remove(l *publicListener) {
	if d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.listeners = slices.DeleteFunc(d.listeners, func(other *publicListener) bool { return other == l })
	}
}

// sockets returns the sockets of public addresses, in this order.
func (d *directSockets) sockets(addresses []string) (all []*listener.Public) {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, address := range addresses {
		for _, l := range d.listeners {
			if l.address == address {
				all = append(all, l.passedOn()...)
			}
		}
	}
	return all
}

// passedOn returns the sockets that a generation gets: all that a service manager has passed under
// one name, else the one that has the address.
func (l *publicListener) passedOn() []*listener.Public {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.passed {
		return slices.Clone(l.sockets)
	}
	return slices.Clone(l.sockets[len(l.sockets)-1:])
}

// restoreBacklog makes the queues of an app without a relay as long as the kernel allows: its
// server has made them as long as its own setting says.
func (a *App) restoreBacklog() {
	for _, socket := range a.direct.sockets(a.settings.Listen) {
		if err := socket.Listen(); err != nil {
			a.logger.Warn("cannot set the backlog of a public socket", "app", a.name, "address", socket.Address().String(), "error", err)
		}
	}
}

// share gives a socket up to the processes of the app.
func (l *publicListener) share(a *App, socket *listener.Public) {
	if err := socket.Share(); err != nil {
		a.logger.Error("listener failed", "app", a.name, "address", l.address, "error", err)
	}
}

// keepListening makes a socket listen again whenever a process of the app has shut it down, until
// ctx ends. For a unix socket, which cannot, shutDown gets a value.
func (l *publicListener) keepListening(ctx context.Context, a *App, socket *listener.Public, shutDown chan<- struct{}) {
	logged := ""
	listenAgain := func() {
		err := socket.ListenAgain()
		if err == nil {
			logged = ""
			a.logger.Warn("public socket listens again", "app", a.name, "address", l.address,
				"hint", "a process of the app has called shutdown(2) on it, which ended it for all; connections that waited in its queue were reset")
			return
		}
		if text := err.Error(); text != logged {
			logged = text
			a.logger.Error("public socket was shut down", "app", a.name, "address", l.address, "error", err,
				"hint", "a process of the app has called shutdown(2) on it; clients cannot connect until there is another socket")
		}
		if errors.Is(err, listener.ErrShutDown) && socket == l.current() && socket.HasPath() {
			select {
			case shutDown <- struct{}{}:
			default:
			}
		}
	}
	if err := socket.AwaitShutdown(ctx, listenAgain); err != nil {
		a.logger.Error("listener failed", "app", a.name, "address", l.address, "error", err)
	}
	if l.passed && !socket.IsListening() { // the app's last process has shut it down, and the service manager keeps it
		listenAgain()
	}
}

// takeLeft opens a public address that processes of a daemon hold which has died: they have it where
// nothing is relayed. The socket is duplicated, and clients wait in its queue until the app's own
// processes accept. Where that is not permitted (PTRACE_MODE_ATTACH_REALCREDS) those processes are
// ended first, and clients are refused meanwhile. failed is why the address cannot be opened. The
// result is nil if no such process holds it. It must be called before a process is started: it looks
// at all that are recorded.
func (r *registry) takeLeft(cfg *config.App, address string, failed error) *publicListener {
	var inUse *listener.OpenError
	if !errors.As(failed, &inUse) || strings.HasPrefix(address, systemdPrefix) {
		return nil
	}
	unrecorded, _ := process.FindTrees(r.shared.state.TreePrefix(), r.shared.state.IsKnown)
	for _, tree := range append(r.shared.state.StaleTrees(), unrecorded...) {
		pid := leftHolder(tree, cfg.Name, address)
		if pid == 0 {
			continue
		}
		sockets, err := r.shared.listeners.duplicate(address, socketOptions(cfg), []int{pid})
		if err == nil {
			r.shared.logger.Warn("public socket taken over", "app", cfg.Name, "address", address, "process", tree.Name, "pid", pid,
				"hint", "a tideover that was killed has left the process; connections in the queue are kept")
			return &publicListener{address: address, sockets: sockets}
		}
		r.shared.logger.Warn("cannot take public socket over", "app", cfg.Name, "address", address, "process", tree.Name, "pid", pid, "error", err,
			"hint", "a tideover that was killed has left the process; it is ended first, and clients are refused meanwhile")
		if _, err := process.EndStale(r.shared.hurry, tree); err != nil {
			return nil
		}
		if l, err := r.open(cfg, address); err == nil {
			return l
		}
	}
	return nil
}

// leftHolder returns the process of a tree that listens on a public address of an app; 0: there is
// none. Where the descriptors of the processes cannot be read, which needs CAP_SYS_PTRACE for those of
// another user, the main process of a tree of the same app counts.
func leftHolder(tree process.Record, app, address string) int {
	open, err := tree.Listening()
	for _, l := range open {
		if generation.SameListener(address, l.Network, l.Address) {
			return l.PID
		}
	}
	if errors.Is(err, fs.ErrPermission) && strings.HasPrefix(tree.Name, app+".") {
		return tree.Pid
	}
	return 0
}
