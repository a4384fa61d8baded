package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/awake"
	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/filewatch"
	"tideover/supervisor/generation"
	"tideover/supervisor/handoff"
	"tideover/supervisor/history"
	"tideover/supervisor/logs"
	"tideover/supervisor/state"
)

// App is one named thing to keep running. One goroutine, run, owns its state and
// is alone in changing it; there is no lock. Other goroutines send it commands or
// read the last snapshot.
//
// An operation (reload, restart, start, stop) runs on that goroutine. While it
// waits, waitEvent handles the app's events, so anything can happen in the middle
// of an operation: a crash, a hold, the end of a hold, a stop that overtakes it.
type App struct {
	shared
	name   string
	id     remote.AppID   // in the relay and in the record
	relay  *relayApp      // nil: no request is relayed to it
	direct *directSockets // of an app with relay = "none"; else nil
	tally  *tally
	access accessLog
	log    *logs.Log

	// For other goroutines.
	commands chan func()
	snapshot atomic.Pointer[snapshot]
	progress atomic.Pointer[progress] // of the operation that runs; nil: none
	started  chan struct{}            // closed once it is up, or will not be up soon
	closed   chan struct{}            // closed when nothing of it is left

	// Owned by run.
	settings  *config.App
	current   *generation.Generation    // the one that serves
	liveness  *generation.LivenessWatch // of it; nil: not watched
	memory    *generation.MemoryWatch   // of it; nil: not watched
	recycling recycling
	lastCrash *api.Crash // nil: none yet
	past      past
	starting  *startup
	restored  *restoredGeneration
	resumed   []resumedStop // of a supervisor that has died
	// interrupted is the operation that a supervisor has not finished that has died; nil: there is none.
	interrupted *interruptedOperation
	restoring   bool // the record is that of the former supervisor
	journal     *appJournal
	teardowns   []*generation.Teardown // the oldest first
	stopped     chan struct{}          // capacity 1: a teardown is done
	drains      []*drain               // of these teardowns, those that a reload has begun
	queue       queue
	restart     restart
	leases      leases
	drained     drained // for load balancers
	hooks       *generation.Hooks
	deadline    *deadline // of its stop when the daemon ends

	lastStatus int // with which the last generation was ready; 0: none yet
}

// shared is what the apps of a daemon have in common. It is fixed before the first
// app runs.
type shared struct {
	logger    hclog.Logger
	hurry     context.Context // ended: every drain and grace period ends at once
	launcher  *generation.Launcher
	state     *state.Store
	history   *history.Store
	source    *settingsSource
	listeners *listeners
	watcher   *filewatch.Watcher
	exit      *exitWatcher
	relay     remote.Relay
	announced <-chan struct{}  // closed when the daemon is to end
	journal   *handoff.Journal // for a later supervisor; nil: none comes
	// configurations are those in the record.
	configurations *configurations
	store          handoff.Store  // likewise
	doors          *atomic.Uint64 // number of the door of the relay that was opened last
	failedAfter    int            // see backoff
	recycler       chan struct{}  // capacity 1: the app that is recycled because of its memory
	relink         relinker
	logOptions     func(*config.App) logs.Options
	freeMemory     func() uint64 // of this machine, in bytes; 0: unknown
}

// startup is a generation that is being started, and what the app's goroutine
// knows of it.
type startup struct {
	*generation.Startup
	awaited bool // an operation waits for it
	spawned bool // its process is in the snapshot
}

// newProcess is ready once, when the process exists.
func (s *startup) newProcess() <-chan struct{} {
	if s == nil || s.spawned {
		return nil
	}
	return s.Spawned()
}

// finished is ready when a startup that no operation waits for has ended.
func (s *startup) finished() <-chan struct{} {
	if s == nil || s.awaited {
		return nil
	}
	return s.Done()
}

// newApp makes an app. id is the relay's number of it. restored is what a supervisor that has died has
// left of it; nil: there was none.
func newApp(shared shared, id remote.AppID, cfg *config.App, log *logs.Log, restored *handoff.RestoredApp) *App {
	a := &App{shared: shared, name: cfg.Name, id: id, settings: cfg, log: log, tally: newTally(),
		commands: make(chan func()), stopped: make(chan struct{}, 1), started: make(chan struct{}), closed: make(chan struct{})}
	a.restart.failedAfter = shared.failedAfter
	a.deadline = newDeadline(shared.hurry)
	a.journal = newAppJournal(shared, cfg.Name, handoff.AppRecord{Name: cfg.Name, ID: id, Desired: handoff.Up}, restored)
	a.launcher = shared.launcher.ForApp(id, a.deadline.drains, a.deadline.graces, log, a.journal)
	if cfg.Web() {
		a.relay = newRelayApp(shared, id, cfg, restored)
	}
	if cfg.Direct() {
		a.direct = &directSockets{}
	}
	a.queue = queue{app: cfg.Name, logger: a.logger, wake: make(chan struct{}, 1)}
	a.leases = leases{app: cfg.Name, relay: a.relay, logger: a.logger, history: a.history, byName: map[string]*lease{}}
	a.drained = newDrained(a)
	a.hooks = generation.NewHooks(a.launcher, log)
	switch {
	case restored != nil:
		a.restoring = a.journal.journal != nil
		a.restoreOperations(restored)
		a.restart.restore(restored.Record.Desired, restored.Record.Restart)
		a.lastStatus = restored.Record.Restart.LastStatus
	case a.state.Stopped(cfg.Name):
		a.restart.setDown(desiredStopped, "", false)
	case !cfg.Autostart:
		a.restart.setDown(desiredStopped, "autostart = false", false)
	}
	if a.restart.desired != desiredUp {
		a.relay.refuse(refusal(cfg, "the app is stopped"))
	}
	a.publish()
	return a
}

// run keeps the app until leaving ends and nothing of it is left. The first start
// waits for the channels in dependencies, unless it is requested.
func (a *App) run(leaving context.Context, dependencies []<-chan struct{}) {
	defer close(a.closed)
	a.useSettings(a.settings)
	a.adoptRestored()
	a.resumeStops()
	a.resumeOperations(leaving)
	if a.restart.desired == desiredUp && a.current == nil && a.starting == nil && !a.restart.pending() {
		a.restart.dependencies = dependencies
		a.firstStart()
	}
	for {
		if tickets := a.queue.next(); len(tickets) > 0 {
			newOperation(leaving, a, tickets).perform()
			continue
		}
		if leaving.Err() != nil {
			a.leave()
			return
		}
		a.waitEvent(leaving.Done(), a.queue.wake)
	}
}

// plain reports whether the app is a plain process: it has no public socket.
func (a *App) plain() bool { return a.relay == nil && a.direct == nil }

// do runs f on the app's goroutine and returns when its effect is published. It
// reports false when ctx ends first, or the app is closed.
func (a *App) do(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	select {
	case a.commands <- func() {
		defer close(done)
		f()
		a.publish()
	}:
		<-done
		return true
	case <-a.closed:
		return false
	case <-ctx.Done():
		return false
	}
}

// waitEvent handles the events of the app until one of two channels is ready.
// Every field of the app may have changed when it returns.
func (a *App) waitEvent(done, or <-chan struct{}) {
	for {
		a.publish()
		select {
		case <-done:
			return
		case <-or:
			return
		case command := <-a.commands:
			command()
		case <-a.current.Exited():
			a.onExit()
		case <-a.current.SocketRemoved():
			a.onSocketRemoved()
		case death := <-a.liveness.Dead():
			a.onDead(death)
		case n := <-a.memory.Over():
			a.onMemory(n)
		case <-a.starting.newProcess():
			a.starting.spawned = true // and publish
		case <-a.starting.finished():
			a.onStarted()
		case <-a.restart.dependencyStarted():
			a.firstStart()
		case <-a.restart.due():
			if a.restart.isDue(a.relay.state().Held > 0) {
				a.startUnlessUp()
			}
		case <-a.leases.due():
			a.leases.expire()
		case <-a.drained.due():
			a.drained.expire()
		case <-a.restart.startOverdue():
			a.refuseStopped()
		case <-a.stopped:
			a.reapTeardowns()
		}
	}
}

// firstStart starts the app once its dependencies have started.
func (a *App) firstStart() {
	if a.restart.dependenciesStarted() {
		a.startUnlessUp()
	}
}

// startUnlessUp starts the app without an operation: at first, and after a crash.
func (a *App) startUnlessUp() {
	a.restart.cancel()
	if a.starting != nil || a.current != nil {
		return
	}
	if a.settings.ReloadMode() == config.Replace && len(a.teardowns) > 0 {
		a.restart.afterStop = true // never two at once
		return
	}
	a.start(generation.StartRequest{Reason: a.restart.startReason(), Lenient: true}, false)
}

// start begins to start the next generation. commanded says that a command asks for it: it may be to
// deploy other code in the same directory.
func (a *App) start(r generation.StartRequest, commanded bool) *startup {
	r.App, r.Serving, r.LastStatus = a.settings, a.current, a.lastStatus
	r.Public = a.direct.sockets(a.settings.Listen)
	if !commanded {
		r.Given = a.givenRevision
	}
	a.starting = &startup{Startup: a.launcher.Start(a.log, r)}
	return a.starting
}

// cancelStart gives up the generation that is being started. What exists of it is
// stopped.
func (a *App) cancelStart() *generation.Teardown {
	t := a.launcher.Cancel(a.starting.Startup, a.stopped)
	a.starting = nil
	a.teardowns = append(a.teardowns, t)
	return t
}

// onStarted is called when a startup that no operation waits for has ended.
func (a *App) onStarted() {
	s := a.starting
	if s.Err() == nil {
		a.serve(s)
		a.recordStart(s, "")
		return
	}
	a.cancelStart()
	if !s.Complete() {
		a.tally.start(false)
	}
	firstStart := !s.awaited && a.restart.failedStarts == 0 && a.restart.crashes == 0
	if firstStart && a.exit.fatalStart(s.Startup) {
		return
	}
	why, hint := s.Explain()
	if !s.Complete() {
		a.recordStart(s, why)
		a.logger.Error("start failed", "app", a.name, "generation", s.Number, "error", why)
		a.log.Note(s.Number, "%s", why)
	}
	if hint != "" {
		a.log.Note(s.Number, "%s", hint)
	}
	a.onStartFailed(s, why)
}

// onStartFailed decides what follows a startup that failed while no generation
// serves.
func (a *App) onStartFailed(s *startup, why string) {
	a.past.onStartFailed(s, why)
	first, failed := a.restart.failedStarts == 0, a.restart.failed
	switch {
	case s.Complete():
		a.setFinished(s.Number, generation.DoneText(s.Outcome()), false)
		return
	case a.settings.Restart == config.RestartNever:
		a.setFinished(s.Number, why+`; restart = "never"`, true)
	default:
		a.scheduleRetry(a.restart.startFailed(), why)
	}
	if !s.awaited && (first || a.restart.failed && !failed) {
		a.hooks.OnFailure(a.settings, s.Failure(why))
	}
}

// serve puts a generation that is ready into service and releases the held
// requests to it. The snapshot is published first, so that a client with an answer
// finds the generation in the status.
func (a *App) serve(s *startup) {
	g, probe := s.Generation(), s.Probe()
	g.Ready, g.Lenient, g.Status = time.Now(), probe.Lenient, probe.Status
	a.tally.start(true)
	hostRejected := g.HostRejected()
	if g.Status == a.lastStatus {
		hostRejected = "" // it is no news
	}
	a.starting, a.current, a.lastStatus = nil, g, probe.Status
	a.restart.setUp()
	a.past.startFailure = ""
	a.watchCurrent()
	a.publish()
	a.journal.ready(g)
	a.relay.serve(g.Target)
	a.journal.serves(g.Number)
	a.rememberRelease(g)
	a.restoreBacklog()
	attrs := []any{"app", a.name, "generation", g.Number, "pid", g.Process.Pid(),
		"after_s", g.Ready.Sub(g.Started).Round(time.Millisecond).Seconds()}
	if probe.Tries > 0 {
		attrs = append(attrs, "tries", probe.Tries)
	}
	a.logger.Info("ready", attrs...)
	if g.Lenient {
		a.logger.Warn("ready with an error response", "app", a.name, "generation", g.Number, "response", probe.FirstLine(),
			"hint", "a reload would reject this response; set ready.path to a path that shows that the app is ready")
	}
	if probe.TLSOnly {
		a.logger.Warn("ready by TLS alone", "app", a.name, "generation", g.Number, "answer", probe.FirstLine(),
			"hint", "the server asks clients for a certificate, so whether the app answers was not seen; ready.command can ask with one")
	}
	if hostRejected != "" {
		a.logger.Warn("ready although the Host may be rejected", "app", a.name, "generation", g.Number, "response", probe.FirstLine(),
			"hint", hostHint(hostRejected))
	}
	a.hooks.AfterReady(g, s.Reason, s.From)
}

// hostHint is the remedy where the app answers the readiness probe with 400 or 421.
func hostHint(host string) string {
	return fmt.Sprintf("the app may not accept the Host %q, and then the answer says nothing of the code; set ready.host to one that it accepts", host)
}

// detachCurrent takes the generation that serves out of service, if there is one.
// New requests are held.
func (a *App) detachCurrent() *generation.Generation {
	g := a.current
	a.current = nil
	a.endWatches()
	a.relay.detach()
	a.hooks.StopAfterReady(generation.ErrReplaced)
	return g
}

// stopGeneration begins to stop a generation that is out of service.
func (a *App) stopGeneration(g *generation.Generation, reason generation.StopReason, timeouts generation.StopTimeouts) *generation.Teardown {
	a.journal.stops(g.Number, reason, timeouts)
	t := a.launcher.Stop(g, reason, timeouts, a.stopped)
	a.teardowns = append(a.teardowns, t)
	return t
}

// reapTeardowns forgets the teardowns that are done.
func (a *App) reapTeardowns() {
	for _, t := range slices.Clone(a.teardowns) {
		if !isClosed(t.Done()) {
			continue
		}
		a.teardowns = slices.DeleteFunc(a.teardowns, func(other *generation.Teardown) bool { return other == t })
		a.past.onStopped(t)
		a.logger.Debug("stopped", "app", a.name, "generation", t.Number,
			"in_flight", t.InFlight, "cut", t.Cut, "killed", t.Stopped.Killed, "reclaimed", t.Reclaimed)
		if len(t.Stopped.Left) > 0 {
			a.logger.Error("cannot kill processes", "app", a.name, "generation", t.Number, "pids", t.Stopped.Left)
		}
	}
	a.completeDrains()
	if a.restart.afterStop && len(a.teardowns) == 0 {
		a.startUnlessUp()
	}
}

// onExit is called when the main process of the generation that serves has exited
// by itself. Requests are held from here on.
func (a *App) onExit() {
	g := a.detachCurrent()
	outcome, uptime := g.Process.Outcome(), time.Since(g.Ready)
	a.stopGeneration(g, generation.StopCrashed, g.StopTimeouts())
	action := generation.OnExit(a.settings, outcome)
	if action == generation.ExitDone && a.starting == nil {
		a.setFinished(g.Number, generation.DoneText(outcome), false)
		return
	}
	if action == generation.ExitRestart || a.starting != nil {
		a.logger.Error("process exited", "app", a.name, "generation", g.Number,
			"pid", g.Process.Pid(), "outcome", outcome.String(), "uptime_s", uptime.Round(time.Millisecond).Seconds())
	}
	a.onCrash(g, action, "the main process ended: "+outcome.String())
}

// onSocketRemoved is called when the generation that serves cannot be reached any more, because the
// files of the socket that it has opened were removed. The next one is started at once; requests
// are held until then, and those in flight finish.
func (a *App) onSocketRemoved() {
	g := a.detachCurrent()
	_, address := g.Upstream()
	why := "the files of its socket were removed"
	a.logger.Error("socket of the app removed", "app", a.name, "generation", g.Number, "address", address,
		"hint", "requests are held; the next generation is started")
	a.recordCrash(g, why)
	a.log.Note(g.Number, "%s", why)
	a.stopGeneration(g, generation.StopReplaced, g.StopTimeoutsWhileHeld())
	if a.starting == nil { // else the next generation is on its way already
		a.scheduleRetry(a.restart.exited(time.Now()), why)
	}
}

// setFinished leaves the app down: its restart policy says so.
func (a *App) setFinished(number int, why string, failed bool) {
	level := hclog.Info
	if failed {
		level = hclog.Error
	}
	a.logger.Log(level, "not restarting", "app", a.name, "generation", number, "cause", why)
	a.recordDown(why)
	a.log.Note(number, "%s", why)
	a.restart.setDown(desiredFinished, why, failed)
	a.relay.refuse(refusal(a.settings, "the app has ended"))
}

// scheduleRetry sets the next start. Requests to an app that has failed are not
// held until then.
func (a *App) scheduleRetry(next retry, reason string) {
	if next.failed && !a.restart.failed {
		a.recordDown(reason)
	}
	a.restart.schedule(next, reason)
	if !next.failed {
		return
	}
	hint := "requests are answered 503 until a start succeeds"
	switch {
	case a.plain():
		hint = "tideover reload " + a.name + " starts it at once"
	case a.relay == nil:
		hint = "connections wait in the kernel's queue until a start succeeds; tideover reload " + a.name + " starts it at once"
	}
	a.logger.Error("app failed", "app", a.name, "next_s", next.after.Seconds(), "hint", hint)
	a.relay.refuse(&remote.Refusal{RetryAfter: next.after, Cause: "the app does not start"})
}

// recordStopped keeps over a restart of the daemon whether the operator has
// stopped the app.
func (a *App) recordStopped(stopped bool) {
	if err := a.state.SetStopped(a.name, stopped); err != nil {
		a.logger.Warn("cannot save state", "record", "stopped by the operator", "app", a.name, "error", err)
	}
}

// leave ends the app for good, at the daemon's shutdown. A hook that still runs has the
// time that the app has to stop.
func (a *App) leave() {
	hooks, cancel := awake.WithTimeout(a.deadline.graces, a.snapshot.Load().stopTimeout())
	defer cancel()
	a.relay.refuse(refusal(a.settings, "the service is shutting down"))
	a.restart.cancel()
	a.endRecycle()
	a.stopAll()
	for len(a.teardowns) > 0 {
		a.waitEvent(a.teardowns[0].Done(), nil)
		a.reapTeardowns()
	}
	idle := a.hooks.Idle()
	a.waitEvent(idle, hooks.Done())
	a.hooks.Kill(generation.ErrShutdown)
	a.waitEvent(idle, nil)
	a.queue.close()
	a.publish()
}

// stopAll begins to stop every generation.
func (a *App) stopAll() {
	if a.starting != nil {
		a.cancelStart()
	}
	if g := a.detachCurrent(); g != nil {
		a.stopGeneration(g, generation.StopDown, g.StopTimeouts())
	}
}

// publish stores a snapshot of the app as it is now.
func (a *App) publish() {
	a.past.onProcess(a.current)
	s := &snapshot{
		settings: a.settings, current: a.current, lastCrash: a.lastCrash, draining: slices.Clone(a.teardowns), desired: a.restart.desired,
		failed: a.restart.failed, reason: a.restart.reason, crashes: a.restart.crashes, last: a.queue.last,
	}
	if a.starting != nil {
		s.starting, s.spawned = true, a.starting.Generation()
		a.past.onProcess(s.spawned)
		if a.starting.HookRuns() {
			s.reason = generation.HookBeforeStart + " runs"
		}
	}
	if a.queue.running != nil {
		s.verb = a.queue.running.verb
	}
	if a.restart.pending() {
		s.next = a.restart.at
	}
	s.waits = len(a.restart.dependencies) > 0
	s.tried = s.current != nil || s.desired != desiredUp || s.failed || a.restart.failedStarts > 0
	if s.waits {
		s.reason = "waits for " + cmp.Or(strings.Join(a.settings.After, ", "), "tideover start")
	}
	for _, name := range slices.Sorted(maps.Keys(a.leases.byName)) {
		l := a.leases.byName[name]
		s.holds = append(s.holds, l.name+" ("+l.by.String()+")")
	}
	s.past, s.drained = a.past, a.drained.record
	a.snapshot.Store(s)
	a.journalState()
	a.leases.sayEnded()
	a.exit.update(a.name, s)
	if started := s.current != nil || s.desired != desiredUp || s.failed; started && !isClosed(a.started) {
		close(a.started)
	}
}

// useSettings makes cfg the app's settings. What can change live does; the rest is for
// the next generation.
func (a *App) useSettings(cfg *config.App) {
	a.settings = cfg
	a.configureAccess(cfg)
	a.relay.configure(cfg)
	a.log.Configure(a.logOptions(cfg))
	a.watcher.Set(a.name, cfg.Watch, opener(cfg))
	a.watchCurrent()
}

// restoredGeneration is a generation that was restored, until the app's goroutine
// has taken it.
type restoredGeneration struct {
	*generation.Generation
	afterReadyRan bool
}

// resumedStop is the stop of a generation that goes on.
type resumedStop struct {
	generation *generation.Generation
	reason     generation.StopReason
	timeouts   generation.StopTimeouts
}

// resumeStops goes on with what the former supervisor was stopping.
func (a *App) resumeStops() {
	for _, s := range a.resumed {
		a.stopGeneration(s.generation, s.reason, s.timeouts)
	}
	a.resumed = nil
}

// adoptRestored puts what was taken over where a generation belongs that serves.
func (a *App) adoptRestored() {
	if a.restored == nil {
		return
	}
	restored := a.restored
	a.restored = nil
	a.current, a.lastStatus = restored.Generation, restored.Status
	a.watchCurrent()
	if restored.afterReadyRan {
		a.hooks.AfterReady(a.current, generation.ReasonStart, 0)
	}
}
