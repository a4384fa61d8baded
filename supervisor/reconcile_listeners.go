package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"tideover/listener"
	"tideover/proxy/awake"
	"tideover/supervisor/api"
	"tideover/supervisor/generation"
)

const (
	// lateInterval is the time between two tries to open an address that a process still has.
	lateInterval = 20 * time.Millisecond
	// lateTimeout is how long it is tried after that process has ended.
	lateTimeout = 2 * time.Second
)

// lateListener is a public address on which the process of an app listens that is removed or
// replaced. Its sockets are duplicated, or it is opened once that process is stopped.
type lateListener struct {
	*publicListener
	holder *appChange
}

// oldHolder returns the app that is removed or replaced, and whose process listens on an address
// by itself; nil: there is none.
func (c *reconciliation) oldHolder(address string) *appChange {
	for _, a := range c.all {
		if a.old == nil || a.Change != api.Removed && a.Change != api.ByReplace {
			continue
		}
		if len(a.old.app.listeningTree(address)) > 0 {
			return a
		}
	}
	return nil
}

// listeningTree returns the processes of the generation that listens on an address by itself; none:
// there is no such generation.
func (a *App) listeningTree(address string) []int {
	seen := a.snapshot.Load()
	for _, g := range []*generation.Generation{seen.current, seen.spawned} {
		if g.ListensOn(address) {
			return g.Process.Members()
		}
	}
	return nil
}

// openListener opens an address that no app had, or finds the process that has it.
func (c *reconciliation) openListener(a *appChange, address string) (*publicListener, error) {
	opened, err := c.registry.open(a.cfg, address)
	if listener.IsInUse(err) {
		if beside := c.openBeside(a, address); beside != nil {
			opened, err = beside, nil
		}
	}
	if err == nil {
		a.opened = append(a.opened, opened)
		return opened, nil
	}
	holder := c.oldHolder(address)
	if holder == nil {
		return nil, err
	}
	if err := a.listensAgain(holder, address); err != nil {
		return nil, err
	}
	holder.stopFirst = true
	late := &publicListener{address: address}
	a.late = append(a.late, lateListener{late, holder})
	return late, nil
}

// listensAgain is the error of an app whose process listens on an address by itself, and would do
// so again: its command is not told to listen on the private socket.
func (a *appChange) listensAgain(holder *appChange, address string) error {
	if holder.App != a.App || a.cfg.TakesSocket() {
		return nil
	}
	return fmt.Errorf("app %s: its process listens on %s itself, and so would the next one, which then finds the address in use; %s",
		a.App, address, generation.UnknownRemedy(a.cfg, address))
}

// duplicateLate duplicates the sockets of processes that will be stopped and accepts on them, where
// that is possible: no connection is refused then.
func (c *reconciliation) duplicateLate() {
	for _, a := range c.all {
		a.late = slices.DeleteFunc(a.late, func(l lateListener) bool {
			sockets, err := c.shared.listeners.duplicate(l.address, socketOptions(a.cfg), l.holder.old.app.listeningTree(l.address))
			if err != nil {
				c.options.Logger.Warn("cannot duplicate public socket", "app", a.App, "address", l.address, "error", err,
					"hint", "connections are refused until the process of "+l.holder.App+" has closed its own and this one is bound")
				return false
			}
			l.sockets, l.borrowed = sockets, true
			l.serve(a.next().app)
			l.awaitArmed()
			return true
		})
	}
}

// next is the entry of the app with its new settings.
func (a *appChange) next() *entry {
	if a.created != nil {
		return a.created
	}
	return a.old
}

// stopOld stops the apps that are replaced, and those of which a process has an address of
// another app. Addresses in late are opened as soon as the process has closed them: a server closes
// its socket at once and then finishes its requests.
func (c *reconciliation) stopOld() {
	var leaving []*entry
	for _, a := range c.all {
		if a.Change == api.ByReplace || a.stopFirst {
			leaving = append(leaving, a.old)
		}
	}
	stopped := make(chan struct{})
	var opening sync.WaitGroup
	for _, a := range c.all {
		if len(a.late) > 0 {
			opening.Go(func() { a.failed = c.openLate(a, stopped) })
		}
	}
	for _, a := range c.all {
		if a.Change == api.ByReplace {
			a.old.replaced = true
		}
	}
	c.drainReleased(leaving)
	c.registry.stop(leaving, c.registry.all())
	close(stopped)
	opening.Wait()
	c.putBack()
}

// openLate opens the addresses in late. It gives up lateTimeout after stopped is closed.
func (c *reconciliation) openLate(a *appChange, stopped <-chan struct{}) error {
	var timeout <-chan time.Time
	for _, l := range a.late {
		for l.sockets == nil {
			opened, err := c.registry.open(a.cfg, l.address)
			if err == nil {
				l.sockets, l.passed = opened.sockets, opened.passed
				break
			}
			select {
			case <-stopped:
				stopped, timeout = nil, time.After(lateTimeout)
			case <-timeout:
				return err
			case <-c.leaving.Done():
				return errShuttingDown
			case <-time.After(lateInterval):
			}
		}
	}
	return nil
}

// putBack undoes the changes whose addresses could not be opened: an app whose process was stopped
// is made anew, one that has run all the time goes on.
func (c *reconciliation) putBack() {
	c.all = slices.DeleteFunc(c.all, func(a *appChange) bool {
		if a.failed == nil {
			return false
		}
		c.options.Logger.Error("cannot open public address", "app", a.App, "error", a.failed)
		if a.created == nil {
			a.cfg = a.old.settings()
			a.listeners = c.formerListeners(a)
			a.Result = a.failedResult(api.Reload)
			return false
		}
		for _, l := range a.listeners {
			l.close()
		}
		a.created.abandon()
		if a.old == nil {
			a.Result = a.failedResult(api.Start)
			c.dropped = append(c.dropped, a)
			return true
		}
		a.cfg, a.listeners = a.old.settings(), nil
		a.created = c.registry.newEntry(a.cfg, nil)
		return false
	})
}

// failedResult is the result of an app whose address could not be opened.
func (a *appChange) failedResult(verb api.Verb) *api.Result {
	return &api.Result{App: a.App, Verb: verb, Result: "failed", Exit: api.ExitError, Error: a.failed.Error(),
		Phases: []api.PhaseResult{}, ChildOutput: []string{}}
}

// formerListeners closes the new addresses of an app that goes on as it was, and returns those that
// it had. One that it has given up is opened again.
func (c *reconciliation) formerListeners(a *appChange) (former []*publicListener) {
	for _, l := range a.listeners {
		if !slices.Contains(a.old.listeners, l) {
			l.close()
		}
	}
	for _, address := range a.cfg.Listen {
		i := slices.IndexFunc(a.old.listeners, func(l *publicListener) bool { return l.address == address })
		if i >= 0 {
			former = append(former, a.old.listeners[i])
			continue
		}
		l, err := c.registry.open(a.cfg, address)
		if err != nil {
			c.options.Logger.Error("cannot open public address", "app", a.App, "error", err)
			continue
		}
		former = append(former, l)
	}
	return former
}

// abandon closes an app that was never started. Requests that it holds are answered.
func (e *entry) abandon() {
	e.app.relay.refuse(refusal(e.settings(), "the app could not be started"))
	soon, cancel := awake.WithTimeout(e.app.hurry, idleLinger)
	defer cancel()
	e.app.relay.closeAfterNextResponse()
	e.end(soon)
}

// openBeside opens a TCP address that overlaps with addresses which are given up. Their sockets go
// on to accept until they are closed. nil: no such address is the cause.
func (c *reconciliation) openBeside(a *appChange, address string) *publicListener {
	parsed, err := listener.Parse(address)
	if err != nil || parsed.Network != "tcp" {
		return nil
	}
	former := c.givenUp(parsed.Port())
	if len(former) == 0 {
		return nil
	}
	var sockets []syscall.Conn
	for _, l := range former {
		for _, socket := range l.all() {
			sockets = append(sockets, socket)
		}
		if l.app != nil {
			sockets = append(sockets, l.app.privateSockets()...) // one may have the same port
		}
	}
	public, err := listener.OpenBeside(parsed, sockets)
	if err != nil {
		return nil
	}
	opened := &publicListener{address: address, sockets: []*listener.Public{public}}
	for _, l := range former {
		if !l.passed && !a.cfg.Direct() && public.Covers(l.current()) {
			c.covered[l] = opened
		}
	}
	return opened
}

// privateSockets returns the private sockets of the generations.
func (a *App) privateSockets() (all []syscall.Conn) {
	seen := a.snapshot.Load()
	for _, g := range []*generation.Generation{seen.current, seen.spawned} {
		if p := g.PrivateSocket(); p != nil {
			all = append(all, p)
		}
	}
	return all
}

// givenUp returns the TCP listeners with this port which no app is to have any more.
func (c *reconciliation) givenUp(port int) (all []*publicListener) {
	for _, a := range c.all {
		if a.old == nil {
			continue
		}
		for _, l := range a.old.listeners {
			wanted := slices.ContainsFunc(c.all, func(other *appChange) bool {
				return other.cfg != nil && slices.Contains(other.cfg.Listen, l.address)
			})
			if !wanted && port != 0 && l.current().Port() == port {
				all = append(all, l)
			}
		}
	}
	return all
}

// takeSockets takes the sockets of a listener that is part of this one. They accept as long as this
// one does, so that no connection in their backlogs is reset.
func (l *publicListener) takeSockets(former *publicListener) {
	former.stopAccepting()
	l.sockets = append(former.sockets, l.sockets...)
	former.sockets = nil
	l.parts = append(l.parts, former)
}

// planListeners adds to the changes which process an apply would stop first. The warnings name the
// addresses that another process has.
func (c *reconciliation) planListeners() (warnings []string) {
	for _, a := range c.all {
		if a.cfg == nil {
			continue
		}
		for _, address := range a.cfg.Listen {
			parsed, err := listener.Parse(address)
			if err != nil || c.reusableListener(a, address) != nil || c.shared.listeners.hasPassed(parsed) {
				continue
			}
			if holder := c.oldHolder(address); holder != nil {
				if err := a.listensAgain(holder, address); err != nil {
					warnings = append(warnings, "apply would fail: "+err.Error())
					continue
				}
				a.Notes = append(a.Notes, fmt.Sprintf("the process of %s listens on %s itself and would be stopped first; from then on requests are held", holder.App, address))
			} else if held := listener.Holder(parsed); held != "" && len(c.givenUp(parsed.Port())) == 0 {
				warnings = append(warnings, fmt.Sprintf("apply would fail: %s of %s is held by %s", address, a.App, strings.TrimSpace(held)))
			}
		}
	}
	return warnings
}
