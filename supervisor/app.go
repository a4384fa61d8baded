package supervisor

import (
	"context"
	"sync/atomic"
	"time"

	"tideover/proxy"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
)

// App is one named thing to keep running. One goroutine, run, owns all of it
// and is alone in changing anything; there is no lock. Everybody else sends it
// an order or reads the last snapshot.
//
// An operation (reload, restart, start, stop) is carried out by that same
// goroutine from top to bottom. While it waits it pumps, so everything that
// can happen to an app can happen in the middle of any operation: a crash, a
// hold, a lease that runs out, a stop that overtakes it.
type App struct {
	name   string
	house  *house
	gate   *proxy.Gate
	server *proxy.Server // nil: a plain process
	log    *logs.Log
	outside

	settings   *config.App
	current    *Generation // the one that serves
	boot       *boot       // the one on its way up
	departures departures  // those on their way out
	desk       desk        // who asked for what
	comeback   comeback    // when a crashed app is tried again
	leases     leases      // who holds its requests
	stopped    bool        // by the operator's wish, or because it is done
}

// outside is what others than the app's goroutine touch of it.
type outside struct {
	orders  chan order
	seen    atomic.Pointer[snapshot]
	settled chan struct{} // closed once it has come up, or is not to come up soon
	gone    chan struct{} // closed when nothing of it is left
}

// order is something to be done on the app's goroutine, between two events.
type order func()

func newApp(h *house, cfg *config.App, log *logs.Log) *App {
	a := &App{name: cfg.Name, house: h, settings: cfg, log: log}
	a.outside = outside{orders: make(chan order), settled: make(chan struct{}), gone: make(chan struct{})}
	a.gate = proxy.NewGate(gateSettings(cfg))
	if cfg.Web() {
		a.server = proxy.NewServer(proxy.Options{App: cfg.Name, Gate: a.gate, Settings: relaySettings(cfg), Logger: h.logger})
	}
	a.desk.wake = make(chan struct{}, 1)
	a.leases = leases{app: cfg.Name, gate: a.gate, server: a.server, logger: h.logger, byName: map[string]*lease{}}
	if a.stopped = !cfg.Autostart || h.records.stopped(cfg.Name); a.stopped {
		a.gate.Refuse(refusal(cfg, "the app is stopped"))
	}
	a.publish()
	return a
}

// run keeps the app until leaving ends and nothing of it is left. It is not
// started before the channels in first are ready, unless somebody asks for it.
func (a *App) run(leaving context.Context, first []<-chan struct{}) {
	defer close(a.gone)
	a.adopt(a.settings) // the doors are open already: whoever comes waits
	if !a.stopped {
		a.comeback.first = first
		a.takeTurn()
	}
	for {
		if tickets := a.desk.next(); len(tickets) > 0 {
			a.perform(leaving, tickets)
			continue
		}
		if leaving.Err() != nil {
			a.leave()
			return
		}
		a.pump(leaving.Done(), a.desk.wake)
	}
}

// takeTurn starts the app for the first time when nothing is to come before it
// any more.
func (a *App) takeTurn() {
	if a.comeback.myTurn() {
		a.startAgain()
	}
}

// do has the app's goroutine carry out f and waits for it. It reports false
// when the app is gone.
func (a *outside) do(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	select {
	case a.orders <- func() { defer close(done); f() }:
		<-done
		return true
	case <-a.gone:
		return false
	case <-ctx.Done():
		return false
	}
}

// pump lets whatever happens to the app happen, until one of two channels is
// ready.
func (a *App) pump(done, or <-chan struct{}) {
	for {
		a.publish()
		select {
		case <-done:
			return
		case <-or:
			return
		case do := <-a.orders:
			do()
		case <-a.current.exited():
			a.crash()
		case <-a.boot.risen():
			a.rose()
		case <-a.comeback.turn():
			a.takeTurn()
		case <-a.comeback.due():
			a.startAgain()
		case <-a.leases.due():
			a.leases.expire()
		case <-a.departures.gone():
			a.forgetGone()
		}
	}
}

// forgetGone strikes the departures that are over off the list.
func (a *App) forgetGone() {
	for len(a.departures) > 0 && isDone(a.departures[0].done) {
		d := a.departures[0]
		a.departures = a.departures[1:]
		a.house.logger.Debug("gone", "app", a.name, "generation", d.generation.number,
			"in_flight", d.inFlight, "cut", d.cut, "killed", d.stop.Killed, "reclaimed", d.reclaimed)
		if len(d.stop.Left) > 0 {
			a.house.logger.Error("processes live on in spite of SIGKILL", "app", a.name, "generation", d.generation.number, "pids", d.stop.Left)
		}
	}
	if a.comeback.waiting && len(a.departures) == 0 {
		a.startAgain()
	}
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// boot is a generation between its start and its first answer that counts.
type boot struct {
	generation *Generation
	awaited    bool // by an operation
	cancel     context.CancelFunc
	done       chan struct{}

	heard answer // once done
	err   error
}

// risen is ready when a boot that no operation waits for has ended.
func (b *boot) risen() <-chan struct{} {
	if b == nil || b.awaited {
		return nil
	}
	return b.done
}

// bring starts the next generation and begins to ask it. When the start itself
// fails, there is no boot. With lenient, any valid answer counts unless the
// user said where to ask.
func (a *App) bring(awaited, lenient bool) (*boot, error) {
	number, err := a.house.records.number(a.name)
	if err != nil {
		a.house.logger.Warn("cannot record the generation's number", "app", a.name, "error", err)
	}
	g, err := a.house.start(a, a.settings, number)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(a.house.hurry)
	b := &boot{generation: g, awaited: awaited, cancel: cancel, done: make(chan struct{})}
	if lenient && !a.settings.Ready.Explicit {
		g.probe.lenient = true
	}
	go func() {
		defer close(b.done)
		b.heard, b.err = g.answered(ctx)
	}()
	a.boot = b
	return b, nil
}

// startAgain starts the app where nobody waits for it: at first, and after a
// crash.
func (a *App) startAgain() {
	a.comeback.clear()
	if a.boot != nil || a.current != nil {
		return
	}
	if a.settings.Reload == config.Replace && len(a.departures) > 0 {
		a.comeback.waiting = true // never two at once
		return
	}
	b, err := a.bring(false, true)
	if err != nil {
		a.house.logger.Error("cannot start", "app", a.name, "error", err)
		a.log.Note(0, "cannot start: %v", err)
		a.tryLater(a.comeback.unansweredStart(), err.Error())
		return
	}
	a.house.logger.Info("started", "app", a.name, "generation", b.generation.number, "pid", b.generation.process.Pid())
}

// rose is told that a boot nobody waited for has ended.
func (a *App) rose() {
	b := a.boot
	a.boot = nil
	if b.err == nil {
		a.serve(b)
		return
	}
	why, hint := b.explain()
	a.house.logger.Error("did not come up", "app", a.name, "generation", b.generation.number, "error", why)
	if hint != "" {
		a.log.Note(b.generation.number, "%s", hint)
	}
	a.send(b.generation, neverRose)
	a.tryLater(a.comeback.unansweredStart(), why)
}

// serve puts a generation that answered into service. Whoever is held is
// released to it.
func (a *App) serve(b *boot) {
	g := b.generation
	g.ready = time.Now()
	a.boot, a.current, a.stopped = nil, g, false
	a.comeback.clear()
	a.gate.Refuse(nil)
	if g.target != nil {
		a.gate.Swap(g.target)
	}
	a.house.logger.Info("answers", "app", a.name, "generation", g.number, "pid", g.process.Pid(),
		"after", g.ready.Sub(g.started).Round(time.Millisecond), "tries", b.heard.tries)
	if g.lenient = b.heard.lenient; g.lenient {
		a.house.logger.Warn("the first answer is an error, and serves because no ready.path is set; a reload would refuse it",
			"app", a.name, "answer", firstLine(b.heard.text))
	}
}

// send lets a generation that gets nothing new go.
func (a *App) send(g *Generation, w why) *departure {
	return a.sendWith(g, w, g.usual())
}

func (a *App) sendWith(g *Generation, w why, p patience) *departure {
	d := a.house.depart(a.house.hurry, g, w, p)
	a.departures = append(a.departures, d)
	return d
}

// crash is told that the main process of the generation that serves has ended
// by itself. Requests are held from here on.
func (a *App) crash() {
	g := a.current
	a.current = nil
	a.gate.Swap(nil)
	outcome := g.process.Outcome()
	up := time.Since(g.ready)
	a.house.logger.Error("the main process ended by itself", "app", a.name, "generation", g.number,
		"pid", g.process.Pid(), "outcome", outcome.String(), "served", up.Round(time.Millisecond))
	a.log.Note(g.number, "the main process ended: %s", outcome)
	a.send(g, crashed)
	a.comeback.crashes++
	if done(a.settings, outcome) {
		a.stopped = true
		a.gate.Refuse(refusal(a.settings, "the app has ended ("+outcome.String()+")"))
		return
	}
	if a.boot != nil { // a successor is on its way already
		return
	}
	a.tryLater(a.comeback.served(up), "the main process ended: "+outcome.String())
}

// tryLater sets the next start. Once the app counts as failed, nobody is held
// for it any more.
func (a *App) tryLater(v verdict, reason string) {
	a.comeback.schedule(v, reason)
	if !v.failed {
		return
	}
	a.house.logger.Error("failed: it is tried again slowly, and requests get 503 at once until it answers", "app", a.name, "next", v.after)
	a.gate.Refuse(&proxy.Refusal{RetryAfter: v.after, Cause: "the app does not start"})
}

// leave ends the app for good: at the daemon's shutdown.
func (a *App) leave() {
	a.gate.Refuse(refusal(a.settings, "the service is shutting down"))
	a.comeback.clear()
	a.retireAll()
	for len(a.departures) > 0 {
		a.pump(a.departures[0].done, nil)
		a.forgetGone()
	}
	a.desk.close()
	a.publish()
}

// retireAll sends away whatever there is.
func (a *App) retireAll() {
	if a.boot != nil {
		a.dropBoot()
	}
	if g := a.current; g != nil {
		a.current = nil
		a.gate.Swap(nil)
		a.send(g, replaced)
	}
}

// dropBoot gives a generation up that has not answered yet.
func (a *App) dropBoot() {
	b := a.boot
	a.boot = nil
	b.cancel()
	<-b.done
	a.send(b.generation, neverRose)
}
