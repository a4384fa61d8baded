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
	heir       *heir       // the one that a former program of this process has started
	departures departures  // those on their way out
	desk       desk        // who asked for what
	comeback   comeback    // when an app that went down is tried again, if at all
	leases     leases      // who holds its requests
	hooks      hooks       // what runs beside it
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
	a.hooks.house, a.hooks.log = h, log
	switch {
	case h.records.Stopped(cfg.Name):
		a.comeback.lie(bidden, "", false)
	case !cfg.Autostart:
		a.comeback.lie(bidden, "autostart = false", false)
	}
	if a.comeback.rest != awake {
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
	a.succeed()
	if a.comeback.rest == awake && a.current == nil {
		a.comeback.first = first
		a.takeTurn()
	}
	for {
		if tickets := a.desk.next(); len(tickets) > 0 {
			beginOperation(leaving, a, tickets).perform()
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
		case <-a.boot.news():
			a.boot.noticed = true // and published
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
		a.house.logger.Debug("gone", "app", a.name, "generation", d.number,
			"in_flight", d.inFlight, "cut", d.cut, "killed", d.stop.Killed, "reclaimed", d.reclaimed)
		if len(d.stop.Left) > 0 {
			a.house.logger.Error("processes live on in spite of SIGKILL", "app", a.name, "generation", d.number, "pids", d.stop.Left)
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
	a.bring(&boot{reason: a.comeback.cause()}, true)
}

// rose is told that a boot nobody waited for has ended.
func (a *App) rose() {
	b := a.boot
	if b.err == nil {
		a.serve(b)
		return
	}
	a.dropBoot()
	if a.house.vigil.hopeless(a, b) {
		return
	}
	why, hint := b.explain()
	if !b.complete() {
		a.house.logger.Error("did not come up", "app", a.name, "generation", b.number, "error", why)
		a.log.Note(b.number, "%s", why)
	}
	if hint != "" {
		a.log.Note(b.number, "%s", hint)
	}
	a.missed(b, why)
}

// missed decides what follows a boot that came to nothing while nothing else
// serves.
func (a *App) missed(b *boot, why string) {
	first, failed := a.comeback.unanswered == 0, a.comeback.failed
	switch {
	case b.complete():
		o, _ := b.ended()
		a.layDown(b.number, done(o), false)
		return
	case a.settings.Restart == config.RestartNever:
		a.layDown(b.number, why+`; restart = "never"`, true)
	default:
		a.tryLater(a.comeback.unansweredStart(), why)
	}
	if !b.awaited && (first || a.comeback.failed && !failed) {
		a.hooks.failure(a.settings, b.number, b.from, b.reason, why)
	}
}

// serve puts a generation that answered into service. Whoever is held is
// released to it.
func (a *App) serve(b *boot) {
	g := b.generation
	g.ready = time.Now()
	a.boot, a.current = nil, g
	a.comeback.whole()
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
	a.hooks.ready(g, b.reason, b.from)
}

// unseat takes the generation that serves out of service, if there is one.
// Whoever comes is held.
func (a *App) unseat() *Generation {
	g := a.current
	a.current = nil
	a.gate.Swap(nil)
	a.hooks.over(errGone)
	return g
}

// send lets a generation that gets nothing new go.
func (a *App) send(g *Generation, w why, p patience) *departure {
	d := a.house.depart(a.house.hurry, g, w, p)
	a.departures = append(a.departures, d)
	return d
}

// crash is told that the main process of the generation that serves has ended
// by itself. Requests are held from here on.
func (a *App) crash() {
	g := a.unseat()
	outcome, up := g.process.Outcome(), time.Since(g.ready)
	a.send(g, crashed, g.usual())
	verdict := judge(a.settings, outcome)
	if verdict == finished && a.boot == nil {
		a.layDown(g.number, done(outcome), false)
		return
	}
	a.comeback.crashes++
	a.comeback.crashed = true
	why := "the main process ended: " + outcome.String()
	if verdict == gaveOut && a.boot == nil {
		a.layDown(g.number, why+`; restart = "never"`, true)
		a.hooks.failure(a.settings, g.number, 0, byCrash, why)
		return
	}
	a.house.logger.Error("the main process ended by itself", "app", a.name, "generation", g.number,
		"pid", g.process.Pid(), "outcome", outcome.String(), "served", up.Round(time.Millisecond))
	a.log.Note(g.number, "%s", why)
	if a.boot == nil { // or a successor is on its way already
		a.tryLater(a.comeback.served(up), why)
	}
}

// layDown lets an app rest that is not to be started again by itself.
func (a *App) layDown(number int, why string, failed bool) {
	say := a.house.logger.Info
	if failed {
		say = a.house.logger.Error
	}
	say("stays down", "app", a.name, "generation", number, "why", why)
	a.log.Note(number, "%s", why)
	a.comeback.lie(ended, why, failed)
	a.gate.Refuse(refusal(a.settings, "the app has ended"))
}

// tryLater sets the next start. Once the app counts as failed, nobody is held
// for it any more.
func (a *App) tryLater(v verdict, reason string) {
	a.comeback.schedule(v, reason)
	if !v.failed {
		return
	}
	a.house.logger.Error("failed: it is tried again slowly, and who asks for it gets a 503 at once until it answers", "app", a.name, "next", v.after)
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
	a.pump(a.hooks.idle(), nil)
	a.desk.close()
	a.publish()
}

// retireAll sends away whatever there is.
func (a *App) retireAll() {
	if a.boot != nil {
		a.dropBoot()
	}
	if g := a.unseat(); g != nil {
		a.send(g, replaced, g.usual())
	}
}
