package supervisor

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"tideover/proxy"
	"tideover/supervisor/api"
	"tideover/supervisor/handoff"
	"tideover/supervisor/logs"
)

// upgrading is the operation by which an app comes to a standstill, for the
// next program to take it over. Nobody can ask for it alone.
const upgrading api.Verb = "upgrade"

// lastReturns is how long clients who are neither idle nor waiting at the gate
// have at a standstill: those who send a request slowly, or take an answer so.
const lastReturns = 2 * time.Second

// errGivenUp is what the others have of one app that cannot stand still, or of
// a shutdown.
var errGivenUp = errors.New("somebody else, or a shutdown, has kept the upgrade from coming about")

// upgrade is one attempt to become another program.
type upgrade struct {
	wanted context.Context        // ended: it has come to nothing, who does not stand still yet need not
	quiet  chan *App              // those of whom nothing is under way
	halt   chan struct{}          // closed when all are: from here on requests are held
	states chan *handoff.AppState // of those who stand still
	over   chan struct{}          // closed when it has come to nothing: everybody goes on
}

// Upgrade makes this process another program, which takes over every app, with
// its processes, its sockets, its connections and its held requests, by the
// Estate. Requests are held from the moment when nothing but requests is under
// way any more, those in flight finish within the app's patience, and exec is
// called with a variable to be added to the environment. The control socket
// that is open at a path stays open. It waits for operations that run, and
// returns only when that has not come about: then everything goes on as before,
// and the error says why.
func (s *Supervisor) Upgrade(path string, control syscall.Conn, exec func(variable string) error) error {
	s.roster.changing.Lock()
	defer s.roster.changing.Unlock()
	if err := s.unchanged(); err != nil {
		return err
	}
	wanted, stop := context.WithCancel(s.leaving)
	defer stop()
	members := s.roster.all()
	u := &upgrade{wanted: wanted, quiet: make(chan *App, len(members)), halt: make(chan struct{}), states: make(chan *handoff.AppState, len(members)), over: make(chan struct{})}
	failed := make(chan error, len(members))
	var standing sync.WaitGroup
	for _, m := range members {
		standing.Go(func() { failed <- s.stand(m.app, u) })
	}
	err := s.collect(u, members, failed, func(e *handoff.State) error { return e.Exec(path, control, exec) })
	stop()
	close(u.over)
	standing.Wait()
	return err
}

// stand has an app come to a standstill, and returns when it goes on.
func (s *Supervisor) stand(a *App, u *upgrade) error {
	t := newTicket(api.Request{Verb: upgrading, App: a.name})
	t.upgrade = u
	if !a.do(u.wanted, func() { a.desk.add(t) }) {
		return errOvertaken
	}
	if r := t.await(context.Background(), func(api.Phase) {}); r.Exit != api.ExitOK {
		return &api.Error{Exit: r.Exit, Message: r.Error, Hint: r.Hint}
	}
	return nil
}

// unchanged makes sure that the next program finds the configuration that is in
// force.
func (s *Supervisor) unchanged() error {
	if s.options.Load == nil {
		return nil
	}
	file, err := s.options.Load()
	if err != nil {
		return &api.Error{Exit: api.ExitConfig, Message: err.Error(), Hint: "nothing was changed"}
	}
	c := &changeover{Supervisor: s, file: file}
	if err := c.compare(); err != nil {
		return err
	}
	for _, a := range c.all {
		if a.Change != api.Unchanged {
			return &api.Error{Exit: api.ExitConfig, Message: "the configuration is not what is in force: " + a.App + " is different", Hint: "tideover apply, first"}
		}
	}
	return nil
}

// collect gathers what there is and calls exec.
func (s *Supervisor) collect(u *upgrade, members []*member, failed <-chan error, become func(*handoff.State) error) error {
	for range members {
		select {
		case <-u.quiet:
		case err := <-failed:
			return err
		case <-u.wanted.Done():
			return errGivenUp
		}
	}
	close(u.halt)
	e := &handoff.State{Version: handoff.FormatVersion, Passed: map[string][]int{}, Listeners: map[string]int{}, Apps: map[string]*handoff.AppState{}, Gunicorns: s.house.gunicorns.Reports()}
	for range members {
		select {
		case b := <-u.states:
			e.Apps[b.Name] = b
		case err := <-failed:
			return err
		case <-u.wanted.Done():
			return errGivenUp
		}
	}
	files, err := s.sockets(e, members)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	if u.wanted.Err() != nil {
		return errGivenUp
	}
	s.options.Logger.Info("becoming another program")
	return become(e)
}

// sockets adds the public ones. Those that a service manager has passed keep
// their names. The files are duplicates.
func (s *Supervisor) sockets(e *handoff.State, members []*member) (files []*os.File, err error) {
	for name, passed := range s.house.inherited.files {
		for _, f := range passed {
			fd, err := handoff.Descriptor(f)
			if err != nil {
				return files, err
			}
			e.Passed[name] = append(e.Passed[name], fd)
		}
	}
	for _, m := range members {
		for _, d := range m.doors {
			if d.passed() {
				continue
			}
			f, err := d.sockets[0].File()
			if err != nil {
				return files, err
			}
			files = append(files, f)
			if e.Listeners[d.address], err = handoff.Descriptor(f); err != nil {
				return files, err
			}
		}
	}
	return files, nil
}

// standStill is the operation: nothing moves when it has given its bequest, and
// everything does as before when the upgrade has come to nothing.
func (o *operation) standStill(u *upgrade) {
	a := o.app
	defer context.AfterFunc(u.wanted, func() { o.abort(errGivenUp) })()
	defer o.goOn()
	if !o.quieten() {
		return
	}
	u.quiet <- a
	if !o.await(u.halt) {
		o.overtaken()
		return
	}
	hooked := a.hooks.attends()
	if hooked {
		a.hooks.over(errUpgrade)
		defer func(g *Generation) {
			if a.current == g {
				a.hooks.ready(g, byStart, 0)
			}
		}(a.current)
	}
	a.pump(a.hooks.idle(), nil)
	if a.server == nil {
		if o.quieten() {
			o.handOff(u, hooked, nil)
		}
		return
	}
	a.gate.Hold(string(upgrading))
	defer a.gate.Release(string(upgrading))
	if !o.drainCurrent() || !o.quieten() {
		return
	}
	soon, cancel := context.WithTimeout(o.ctx, lastReturns)
	defer cancel()
	connections, err := a.server.Suspend(soon)
	if err != nil {
		o.fail(api.ExitError, "cannot hand the connections of "+a.name+" on: "+err.Error(), "")
		return
	}
	defer a.server.Resume()
	o.handOff(u, hooked, connections)
}

// quieten lets come to its end what is under way, and gives up what is only to
// come.
func (o *operation) quieten() bool {
	a := o.app
	for {
		switch b := a.boot; {
		case o.ctx.Err() != nil:
			o.overtaken()
			return false
		case len(a.leases.byName) > 0:
			o.fail(api.ExitBusy, "requests of "+a.name+" are held by somebody", "tideover release "+a.name)
			return false
		case b != nil:
			if o.await(b.done) && a.boot == b {
				a.rose()
			}
		case len(a.departures) > 0:
			if o.await(a.departures[0].done) {
				a.forgetGone()
			}
		default:
			a.comeback.clear()
			return true
		}
	}
}

// drainCurrent waits for what is in flight, not longer than those who wait
// meanwhile can wait themselves. What takes longer is cut by the upgrade.
func (o *operation) drainCurrent() bool {
	g := o.app.current
	if g == nil {
		return true
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		ctx, cancel := context.WithTimeout(o.ctx, g.hasty().drain)
		defer cancel()
		g.target.Wait(ctx)
		g.target.CloseTunnels()
		ctx, cancel = context.WithTimeout(o.ctx, lastReturns)
		defer cancel()
		g.target.WaitTunnels(ctx)
	}()
	o.app.pump(drained, nil)
	if o.ctx.Err() != nil {
		o.overtaken()
		return false
	}
	if n := g.target.InFlight(); n > 0 {
		o.app.house.logger.Warn("requests that take too long are cut by the upgrade", "app", o.app.name, "cut", n)
	}
	return true
}

// handOff tells what there is of the app, and waits until it goes on. Nothing
// may happen to the app between quieten and this.
func (o *operation) handOff(u *upgrade, hooked bool, connections []proxy.Connection) {
	a := o.app
	b := &handoff.AppState{Name: a.name, Ended: a.comeback.rest == ended, Failed: a.comeback.failed, Reason: a.comeback.reason, Last: a.desk.last, Connections: connections}
	if a.server != nil {
		b.Counters = a.server.Counters()
	}
	pipes, err := a.log.Detach()
	defer a.house.attach(a.name, a.log, pipes)
	if err == nil {
		err = b.SetPipes(pipes)
	}
	if err == nil && a.current != nil {
		b.Current, err = a.current.handoffState()
	}
	if err != nil {
		o.fail(api.ExitError, "cannot hand "+a.name+" on: "+err.Error(), "")
		return
	}
	if b.Current != nil {
		b.Current.Hooked = hooked
	}
	u.states <- b
	<-u.over
	o.result.Result = "given up"
}

// attach has an app's log read pipes that were taken from it.
func (h *house) attach(app string, log *logs.Log, pipes []logs.Pipe) {
	for _, p := range pipes {
		if err := log.Attach(p); err != nil {
			h.logger.Error("the output of a process is not read any more", "app", app, "generation", p.Generation, "error", err)
		}
	}
}

// handoffState describes a generation for the next program.
func (g *Generation) handoffState() (*handoff.GenerationState, error) {
	s := &handoff.GenerationState{Number: g.number, Dir: g.dir, Scratch: g.scratch, Started: g.started, Ready: g.ready, Lenient: g.lenient,
		Tree: g.process.Record(), Network: g.probe.network, Address: g.probe.address}
	var errs []error
	number := func(open syscall.Conn) *int {
		fd, err := handoff.Descriptor(open)
		errs = append(errs, err)
		return &fd
	}
	if g.private != nil {
		s.Private = number(g.private.File())
	}
	if g.notices != nil {
		s.Notify = number(g.notices.conn)
	}
	return s, errors.Join(errs...)
}

// goOn starts again what quieten has given up.
func (o *operation) goOn() {
	a := o.app
	if a.comeback.rest == awake && a.current == nil && a.boot == nil {
		a.startAgain()
	}
}
