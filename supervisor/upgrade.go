package supervisor

import (
	"cmp"
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"tideover/proxy/awake"
	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/generation"
	"tideover/supervisor/handoff"
	"tideover/supervisor/logs"
)

// upgrading is the operation that freezes an app for the next program. It cannot
// be requested by itself.
const upgrading api.Verb = "upgrade"

// lastReturns is the time, once an app is frozen, for connections that are neither
// idle nor held: a client that sends a request slowly, or reads an answer slowly.
const lastReturns = 2 * time.Second

// errUpgradeAborted ends the freeze of an app when another app cannot be frozen,
// or at a shutdown.
var errUpgradeAborted = errors.New("another app could not be frozen, or tideover is shutting down")

// upgrade is one attempt to become another program.
type upgrade struct {
	ctx    context.Context        // ends when the upgrade has failed
	idle   chan *App              // each app of which nothing but requests is under way
	freeze chan struct{}          // closed when every app is idle: from here on requests are held
	states chan *handoff.AppState // of each frozen app
	over   chan struct{}          // closed when the upgrade has failed: every app goes on

	restores bool // the next program restores the apps as they are: they are not frozen
}

// Upgrade makes this process another program by exec. The new program takes over
// every app, with its processes, sockets, connections and held requests
// (handoff.State). Requests are held from the moment at which nothing but requests
// is under way; those in flight finish within the app's drain timeout. exec is
// called with a variable to be added to the environment; the control socket at
// path stays open. Upgrade waits for operations that run. It returns only when the
// upgrade has failed: then everything goes on as before.
func (s *Supervisor) Upgrade(path string, control syscall.Conn, exec func(variable string) error) error {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-s.announced.Done():
		return errShuttingDown
	}
	var wanted *reconciliation
	if s.options.Load != nil {
		var err error
		if wanted, err = s.readWanted(api.ApplyRequest{DryRun: true}); err != nil {
			return err
		}
	}
	s.registry.changing.Lock()
	defer s.registry.changing.Unlock()
	if err := wanted.isInForce(); err != nil {
		return err
	}
	going, stop := context.WithCancel(s.announced) // the next program would not know of the shutdown
	defer stop()
	entries := s.registry.all()
	u := &upgrade{ctx: going, idle: make(chan *App, len(entries)), freeze: make(chan struct{}), states: make(chan *handoff.AppState, len(entries)), over: make(chan struct{})}
	failed := make(chan error, len(entries))
	var standing sync.WaitGroup
	for _, m := range entries {
		standing.Go(func() { failed <- s.stand(m.app, u) })
	}
	err := s.collect(u, entries, failed, func(e *handoff.State) error { return e.Exec(path, control, exec) })
	stop()
	close(u.over)
	standing.Wait()
	return err
}

// operationsTimeout bounds the wait for operations before an upgrade.
const operationsTimeout = time.Minute

var errOperationsRun = errors.New("an operation has run for too long; ask for the upgrade again when it has ended")

// Replace calls exec when no operation and no apply runs, and returns only when that has failed. What exec
// starts in the place of this program restores what it leaves: nothing is held, and no request is waited for.
func (s *Supervisor) Replace(exec func() error) error {
	going, stop := awake.WithTimeoutCause(s.announced, operationsTimeout, errOperationsRun)
	defer stop()
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-going.Done():
		return context.Cause(going)
	}
	s.registry.changing.Lock()
	defer s.registry.changing.Unlock()
	entries := s.registry.all()
	u := &upgrade{ctx: going, restores: true, idle: make(chan *App, len(entries)), over: make(chan struct{})}
	failed := make(chan error, len(entries))
	var standing sync.WaitGroup
	for _, m := range entries {
		standing.Go(func() { failed <- s.stand(m.app, u) })
	}
	err := func() error {
		for range entries {
			select {
			case <-u.idle:
			case err := <-failed:
				return err
			case <-going.Done():
				return context.Cause(going)
			}
		}
		_ = s.shared.history.Flush() // the next program reads it
		return exec()
	}()
	stop()
	close(u.over)
	standing.Wait()
	return err
}

// stand freezes an app and returns when the app goes on.
func (s *Supervisor) stand(a *App, u *upgrade) error {
	t := newTicket(api.Request{Verb: upgrading, App: a.name})
	t.upgrade = u
	if !a.do(u.ctx, func() { a.queue.add(t) }) {
		return generation.ErrOvertaken
	}
	wait := context.Background()
	if u.restores {
		wait = u.ctx // an operation may run for long
	}
	if r := t.await(wait, func(api.Phase) {}); r.Exit != api.ExitOK {
		return &api.Error{Exit: r.Exit, Message: r.Error, Hint: r.Hint}
	}
	return nil
}

// isInForce checks that the file has the configuration that is in force: the next program
// reads the file. A nil reconciliation: there is no file.
func (c *reconciliation) isInForce() error {
	if c == nil {
		return nil
	}
	c.compare()
	for _, a := range c.all {
		if a.Change != api.Unchanged {
			return &api.Error{Exit: api.ExitConfig, Message: "the configuration file is not what runs: " + a.App + " is different", Hint: "run tideover apply first"}
		}
	}
	return nil
}

// collect gathers the state of every app and calls exec.
func (s *Supervisor) collect(u *upgrade, entries []*entry, failed <-chan error, become func(*handoff.State) error) error {
	for range entries {
		select {
		case <-u.idle:
		case err := <-failed:
			return err
		case <-u.ctx.Done():
			return errUpgradeAborted
		}
	}
	close(u.freeze)
	e := &handoff.State{Version: handoff.FormatVersion, Passed: map[string][]int{}, Listeners: map[string]int{}, Files: map[string]int{},
		MoreListeners: map[string][]int{}, Apps: map[string]*handoff.AppState{}, Gunicorns: s.reports.Reports()}
	for range entries {
		select {
		case b := <-u.states:
			e.Apps[b.Name] = b
		case err := <-failed:
			return err
		case <-u.ctx.Done():
			return errUpgradeAborted
		}
	}
	files, err := s.sockets(e, entries)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	if u.ctx.Err() != nil {
		return errUpgradeAborted
	}
	s.options.Logger.Info("executing the new program")
	_ = s.shared.history.Flush() // the next program reads it
	return become(e)
}

// sockets adds the public sockets to the state. Those of a service manager keep
// their names. The files are duplicates, which the caller closes.
func (s *Supervisor) sockets(e *handoff.State, entries []*entry) (files []*os.File, err error) {
	for name, files := range s.shared.listeners.systemd {
		for _, f := range files {
			fd, err := handoff.Descriptor(f)
			if err != nil {
				return files, err
			}
			e.Passed[name] = append(e.Passed[name], fd)
		}
	}
	for _, m := range entries {
		for _, d := range m.listeners {
			if d.passed {
				continue
			}
			if d.untake != nil {
				d.untake() // its helper process would outlive the exec
			}
			for _, socket := range d.all() {
				f, err := socket.File()
				if err != nil {
					return files, err
				}
				files = append(files, f)
				if err := addSocket(e, d.address, f, socket.PathFile()); err != nil {
					return files, err
				}
			}
		}
	}
	return files, nil
}

// addSocket adds one of the sockets of an address to the state. The last one that is added has the
// path of a unix socket, which is an O_PATH descriptor.
func addSocket(e *handoff.State, address string, socket, path *os.File) error {
	fd, err := handoff.Descriptor(socket)
	if err != nil {
		return err
	}
	if former, ok := e.Listeners[address]; ok {
		e.MoreListeners[address] = append(e.MoreListeners[address], former)
	}
	e.Listeners[address] = fd
	delete(e.Files, address)
	if path != nil {
		e.Files[address], err = handoff.Descriptor(path)
	}
	return err
}

// standStill freezes the app, hands its state to the upgrade, and undoes every
// step when the upgrade has failed.
func (o *operation) standStill(u *upgrade) {
	a := o.app
	if u.restores && a.leases.attached() {
		o.fail(api.ExitBusy, "requests of "+a.name+" are held while a command runs", "upgrade when it has ended")
		return
	}
	if u.restores {
		u.idle <- a // no other operation runs
		<-u.over
		o.result.Result = "given up"
		return
	}
	defer context.AfterFunc(u.ctx, func() { o.abort(errUpgradeAborted) })()
	defer o.goOn()
	if !o.awaitSent() || !o.quieten() {
		return
	}
	u.idle <- a
	if !o.await(u.freeze) {
		o.failOvertaken()
		return
	}
	hooked := a.hooks.AfterReadyRuns()
	if hooked {
		a.hooks.StopAfterReady(generation.ErrUpgrade)
		defer func(g *generation.Generation) {
			if a.current == g {
				a.hooks.AfterReady(g, generation.ReasonStart, 0)
			}
		}(a.current)
	}
	if !o.await(a.hooks.Idle()) {
		o.failOvertaken()
		return
	}
	if a.relay == nil {
		if o.quieten() {
			o.handOff(u, hooked, nil)
		}
		return
	}
	a.relay.hold(remote.Hold{Name: string(upgrading)})
	defer a.relay.release(string(upgrading))
	if !o.drainCurrent() || !o.quieten() {
		return
	}
	soon, cancel := awake.WithTimeout(o.ctx, lastReturns)
	defer cancel()
	connections := a.relay.suspend(soon)
	defer a.relay.resume()
	o.handOff(u, hooked, connections)
}

// awaitSent waits for responses that the app has finished and that are being sent to slow clients,
// for at most drain.timeout. Nothing is held meanwhile.
func (o *operation) awaitSent() bool {
	a := o.app
	if a.relay.state().Sending == 0 {
		return true
	}
	ctx, cancel := awake.WithTimeout(o.ctx, a.settings.Drain.Timeout)
	defer cancel()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		a.relay.await(ctx, remote.Sent)
	}()
	a.waitEvent(sent, nil)
	if o.ctx.Err() != nil {
		o.failOvertaken()
		return false
	}
	return true
}

// quieten waits for startups and teardowns that are under way, and cancels a retry
// that is to come.
func (o *operation) quieten() bool {
	a := o.app
	for {
		switch b := a.starting; {
		case o.ctx.Err() != nil:
			o.failOvertaken()
			return false
		case len(a.leases.byName) > 0:
			o.fail(api.ExitBusy, "requests of "+a.name+" are held", "tideover release "+a.name)
			return false
		case b != nil:
			if o.await(b.Done()) && a.starting == b {
				a.onStarted()
			}
		case len(a.teardowns) > 0:
			if o.await(a.teardowns[0].Done()) {
				a.reapTeardowns()
			}
		default:
			a.restart.cancel()
			return true
		}
	}
}

// drainCurrent waits for the requests in flight, but not longer than held requests
// can wait. What takes longer is cut by the upgrade.
func (o *operation) drainCurrent() bool {
	g := o.app.current
	if g == nil {
		return true
	}
	defer g.Target.Reclaim(false)() // the next program has them sent again
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		ctx, cancel := awake.WithTimeout(o.ctx, g.StopTimeoutsWhileHeld().Drain)
		defer cancel()
		g.Target.Wait(ctx)
		o.app.relay.await(ctx, remote.Sent)
		g.Target.CloseTunnels()
		ctx, cancel = awake.WithTimeout(o.ctx, lastReturns)
		defer cancel()
		g.Target.WaitTunnels(ctx)
	}()
	o.app.waitEvent(drained, nil)
	if o.ctx.Err() != nil {
		o.failOvertaken()
		return false
	}
	if n := g.Target.InFlight() + o.app.relay.state().Sending; n > 0 {
		o.app.logger.Warn("upgrade cuts requests", "app", o.app.name, "cut", n)
	}
	return true
}

// handOff sends the app's state to the upgrade and waits until the upgrade has
// failed. No event of the app may be handled between quieten and this.
func (o *operation) handOff(u *upgrade, hooked bool, connections []remote.Connection) {
	a := o.app
	b := &handoff.AppState{Name: a.name, Ended: a.restart.desired == desiredFinished, Failed: a.restart.failed, Reason: a.restart.reason, Last: a.queue.last, Connections: connections}
	if a.relay != nil {
		b.Counters = a.relay.counters()
		b.Counters.CutUnderWay()
		b.Metrics = a.relay.metrics()
	}
	if a.access.own.Load() != nil { // the next program opens the file anew
		a.closeAccess()
		defer a.configureAccess(a.settings)
	}
	pipes, err := a.log.Detach()
	defer a.attachPipes(pipes)
	if err == nil {
		err = b.SetPipes(pipes)
	}
	if err == nil && a.current != nil {
		b.Current, err = a.current.HandoffState()
	}
	if err != nil {
		o.fail(api.ExitError, "cannot pass on the state of "+a.name+": "+err.Error(), "")
		return
	}
	if b.Current != nil {
		b.Current.Hooked = hooked
	}
	u.states <- b
	<-u.over
	o.result.Result = "given up"
}

// attachPipes has the app's log read pipes that were detached from a log.
func (a *App) attachPipes(pipes []logs.Pipe) {
	for _, p := range pipes {
		if err := a.log.Attach(p); err != nil {
			a.logger.Error("cannot read output", "app", a.name, "generation", p.Generation, "error", err)
		}
	}
}

// goOn starts what quieten has cancelled.
func (o *operation) goOn() {
	a := o.app
	if a.restart.desired == desiredUp && a.current == nil && a.starting == nil {
		a.startUnlessUp()
	}
}

// restore gives the apps what the program before the exec has left. It must be
// called before children are reaped. An app that cannot be restored begins as
// after any start.
func (s *Supervisor) restore(e *handoff.State) {
	if e == nil {
		return
	}
	for _, m := range s.registry.all() {
		a := m.app
		b := e.Apps[a.name]
		if b == nil {
			continue
		}
		b.Name = a.name
		if err := a.restore(b); err != nil {
			a.logger.Error("cannot restore app", "app", a.name, "error", err)
		}
		a.publish()
	}
}

func (a *App) restore(b *handoff.AppState) error {
	a.queue.last = b.Last
	a.attachPipes(b.LogPipes())
	a.configureAccess(a.settings) // the first requests are answered before the app's goroutine runs
	if b.Restored != nil {
		return a.restoreAfterDeath(b)
	}
	var failed error
	switch {
	case b.Current != nil:
		failed = a.restoreCurrent(b, nil)
	case b.Ended:
		a.restart.setDown(desiredFinished, b.Reason, b.Failed)
		a.relay.refuse(refusal(a.settings, "the app has ended"))
	}
	if a.relay == nil {
		return failed
	}
	return cmp.Or(a.relay.admit(b.Counters, b.Metrics, b.Connections), failed)
}

// restoreCurrent restores the generation that serves.
func (a *App) restoreCurrent(b *handoff.AppState, kept *generation.Kept) error {
	g, err := a.launcher.Restore(a.settings, b.Current, kept)
	if err != nil {
		return err
	}
	a.restored = &restoredGeneration{g, b.Current.Hooked}
	a.current, a.lastStatus = g, g.Status // the status is right from the beginning; nothing is watched yet
	a.restart.setUp()
	a.relay.serve(g.Target)
	a.logger.Info("restored", "app", a.name, "generation", a.restored.Number, "pid", a.restored.Process.Pid())
	return nil
}
