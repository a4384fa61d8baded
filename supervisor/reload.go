package supervisor

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
)

// reload puts new code into service: beside the old generation, or in its place.
func (o *operation) reload() {
	if o.mayReload() && o.runCommand() && o.rereadSettings() {
		o.renew()
	}
}

// runCommand runs the command of a rollout, by the settings in force. It reports false when the
// operation has ended: the command has failed, which changes nothing, or a stop or a shutdown has
// overtaken the operation.
func (o *operation) runCommand() bool {
	a := o.app
	c := generation.RolloutCommand{Argv: o.tickets[0].request.Command, Revision: o.revision()}
	if len(c.Argv) == 0 {
		return true
	}
	if g := a.current; g != nil {
		c.Number, c.Pid = g.Number, g.Process.Pid()
	}
	o.beginPhase("command")
	var err error
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		err = a.launcher.RunCommand(o.ctx, a.log, a.settings, c)
	}()
	a.waitEvent(ran, nil) // RunCommand ends with the operation's context
	switch {
	case err == nil:
		o.phaseOK()
		return true
	case o.ctx.Err() != nil:
		o.phaseFailed()
		o.failOvertaken()
		return false
	}
	o.phaseFailed()
	o.failCommand(err)
	return false
}

// mayReload reports false when the operation has ended: the app is stopped.
func (o *operation) mayReload() bool {
	a := o.app
	if a.restart.desired == desiredStopped && a.current == nil {
		o.fail(api.ExitNotRunning, a.name+" is stopped", "tideover start "+a.name)
		return false
	}
	return true
}

// renew starts the next generation with the settings that were reread.
func (o *operation) renew() {
	a := o.app
	o.cancelPendingStart()
	if o.verb == api.Restart || a.settings.ReloadMode() == config.Replace {
		o.replace()
		return
	}
	o.overlap()
}

// overlap is the reload without a pause: the new generation starts beside the old
// one, which is not touched before the new one is ready.
//
// It ends at the swap. The old generation drains meanwhile; see drain.
func (o *operation) overlap() {
	a := o.app
	if address := a.ownListener(a.current); address != "" {
		o.refuseOverlap(address)
		return
	}
	for a.current != nil && len(a.teardowns) >= maxDraining {
		if !o.waitStopped(a.teardowns[0]) {
			return
		}
		o.cancelPendingStart() // after a crash meanwhile
	}
	o.warnOfMemory()
	s := o.startGeneration(false)
	if s == nil {
		return
	}
	old := a.current // read only now: it may have crashed meanwhile
	o.requestPhase("swap", func() {
		a.serve(s)
		if old != nil {
			o.beginDrain(a.stopGeneration(old, generation.StopReplaced, old.StopTimeouts()))
		}
	})
	o.afterReload()
	o.leaveDraining()
	o.succeed()
}

// replace is the reload of an app that must not run twice: requests are held while
// the old generation stops and the new one starts.
func (o *operation) replace() {
	a := o.app
	if !o.waitAllStopped() { // of former reloads, before a request is held
		return
	}
	if o.isWithdrawn() {
		o.giveUp()
		return
	}
	o.strict = a.current != nil && !a.current.Lenient
	a.publish() // a later supervisor goes on with it from here
	var old *generation.Generation
	o.requestPhase("hold", func() {
		o.cancelPendingStart() // after a crash meanwhile
		old = a.detachCurrent()
	})
	if old != nil {
		a.stopGeneration(old, generation.StopReplaced, old.StopTimeoutsWhileHeld())
	}
	o.startReplacement()
}

// startReplacement is the second half of replace: the old generation is being stopped.
func (o *operation) startReplacement() {
	a := o.app
	if !o.waitAllStopped() {
		return
	}
	s := o.startGeneration(!o.strict)
	if s == nil {
		return
	}
	o.requestPhase("release", func() { a.serve(s) })
	o.afterReload()
	o.succeed()
}

// start starts the app, or waits for the generation that is being started.
func (o *operation) start() {
	a := o.app
	applied := slices.ContainsFunc(o.tickets, func(t *ticket) bool { return t.request.Applied })
	if a.current == nil && a.starting == nil && !applied && !o.rereadSettings() {
		return
	}
	switch { // it may have come up meanwhile, after a crash
	case a.current != nil:
		o.result.Result, o.result.Exit = "ok", api.ExitOK
		return
	case a.starting != nil:
		a.starting.awaited = true
		if s := o.waitReady(a.starting); s != nil {
			o.requestPhase("release", func() { a.serve(s) })
			o.succeed()
		}
		return
	}
	a.recordStopped(false)
	o.cancelPendingStart()
	if a.settings.ReloadMode() == config.Replace && !o.waitAllStopped() {
		return
	}
	s := o.startGeneration(true)
	if s == nil {
		return
	}
	o.requestPhase("release", func() { a.serve(s) })
	o.succeed()
}

// stop stops the app. Its public sockets stay open.
func (o *operation) stop() {
	a := o.app
	if !o.all(func(r *api.Request) bool { return r.Unrecorded }) {
		a.recordStopped(true)
	}
	wasUp := a.current != nil || a.starting != nil || a.restart.pending()
	a.restart.setDown(desiredStopped, "", false)
	if wasUp && o.all(func(r *api.Request) bool { return r.AwaitStart }) {
		o.stopUntilStart()
	} else {
		a.relay.refuse(refusal(a.settings, "the app is stopped"))
		a.stopAll()
	}
	if !o.waitAllStopped() {
		return
	}
	o.result.Generation.To, o.result.Revision.To = 0, ""
	o.succeed()
}

// stopUntilStart stops every generation and holds the requests. What no worker has accepted waits
// with them, and the drain is that of a restart.
func (o *operation) stopUntilStart() {
	a := o.app
	if a.starting != nil {
		a.cancelStart()
	}
	if g := a.detachCurrent(); g != nil {
		a.stopGeneration(g, generation.StopReplaced, g.StopTimeoutsWhileHeld())
	}
	a.relay.refuse(nil)
	if a.relay != nil {
		a.restart.holdUntilStart(a.settings.Hold.Timeout)
	}
}

// refuseStopped refuses the requests of an app that was stopped and not started again in time.
func (a *App) refuseStopped() {
	a.restart.endAwaitStart()
	a.relay.refuse(refusal(a.settings, "the app is stopped"))
}

// cancelPendingStart gives up a startup that no operation waits for: this operation
// wants the code as it is now. Earlier failures do not count any more, and requests
// are held again.
func (o *operation) cancelPendingStart() {
	a := o.app
	if a.starting != nil {
		a.cancelStart()
	}
	a.restart.resetBackoff()
	a.restart.setUp()
	a.relay.refuse(nil)
}

// startGeneration starts a generation and waits until it is ready. When it is not,
// what exists of it is stopped and the result is nil: the operation has failed,
// unless it was a plain process that has done its work meanwhile.
func (o *operation) startGeneration(lenient bool) *startup {
	s := o.app.start(generation.StartRequest{Reason: generation.Reason(o.verb), From: o.result.Generation.From, Lenient: lenient, Revision: o.revision()}, o.result.Cause == "")
	s.awaited = true
	return o.waitReady(s)
}

// waitReady waits for a startup, with a phase for each of its stages.
func (o *operation) waitReady(s *startup) *startup {
	o.result.Generation.To = s.Number
	for i, stage := range s.Stages {
		o.beginPhase(stage.Name)
		if !o.await(stage.Done()) {
			o.phaseFailed()
			o.app.cancelStart()
			o.failOvertaken()
			return nil
		}
		if i == 0 {
			o.result.Revision.To = s.Spec().Revision
			o.result.Warnings = append(o.result.Warnings, s.Warnings...)
		}
		if stage.Err != nil {
			o.stageFailed(s, stage)
			return nil
		}
		o.phaseOK(stage.Attrs...)
	}
	return s
}

// stageFailed ends an operation after a failed startup.
func (o *operation) stageFailed(s *startup, stage *generation.Stage) {
	a := o.app
	o.failure = s
	complete := s.Complete() && a.current == nil
	if complete {
		o.phaseOK(stage.Attrs...)
	} else {
		o.phaseFailed(stage.Attrs...)
	}
	o.await(a.cancelStart().Done())
	if complete {
		o.succeed()
		return
	}
	why, hint := s.Explain()
	a.past.onStartFailed(s, why)
	a.rememberFailure(s.Spec().Dir)
	o.failStart(s, why, hint)
}

// requestPhase runs do as a phase. A plain process has no requests, so for it this is none.
func (o *operation) requestPhase(name string, do func()) {
	if o.result.Plain {
		do()
		return
	}
	o.beginPhase(name)
	do()
	o.phaseOK()
}

// ownListener returns an address on which a generation of a plain process listens by itself;
// empty: none. A second copy cannot listen there. A port that the kernel has chosen does not
// count: the copy gets another one.
func (a *App) ownListener(g *generation.Generation) string {
	if !a.plain() || g == nil {
		return ""
	}
	open, err := g.Process.Listening()
	if err != nil {
		return ""
	}
	for _, l := range open {
		if l.Network == "tcp" && !l.Ephemeral() {
			return l.Address
		}
	}
	return ""
}

// refuseOverlap ends the operation before a second copy is started.
func (o *operation) refuseOverlap(address string) {
	a := o.app
	o.fail(api.ExitKeptOld, fmt.Sprintf("reload = \"overlap\" is not possible for %s: it listens on %s itself, and a second copy could not; generation %d still runs",
		a.name, address, a.current.Number), `set reload = "replace" (one copy at a time), or use tideover restart `+a.name)
	o.result.Result = "kept old"
}

// afterReload runs the hook after_reload. The new code serves already, so a failure
// of the hook is only a warning.
func (o *operation) afterReload() {
	a := o.app
	g := a.current
	if g == nil || len(g.App.Hooks.AfterReload) == 0 {
		return
	}
	o.beginPhase("hook")
	attr := api.String("hook", generation.HookAfterReload)
	var err error
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		err = a.launcher.RunHook(o.ctx, a.log, generation.HookRun{Hook: generation.HookAfterReload, Spec: g.LaunchSpec,
			Reason: generation.Reason(o.verb), From: o.result.Generation.From, Pid: g.Process.Pid()})
	}()
	a.waitEvent(ran, nil) // RunHook ends with the operation's context
	if err == nil {
		o.phaseOK(attr)
		return
	}
	o.phaseFailed(attr)
	warning := err.Error()
	var hook *generation.HookError
	if errors.As(err, &hook) && len(hook.Lines) > 0 {
		warning += ": " + hook.Lines[len(hook.Lines)-1]
	}
	o.result.Warnings = append(o.result.Warnings, warning)
}

// waitAllStopped waits until every teardown is done.
func (o *operation) waitAllStopped() bool {
	for len(o.app.teardowns) > 0 {
		if !o.waitStopped(o.app.teardowns[0]) {
			return false
		}
	}
	return true
}

// stopPhase is the name of the phase in which a generation is stopped.
func (a *App) stopPhase() string {
	if a.relay == nil {
		return "stop"
	}
	return "drain"
}

// waitStopped waits until a teardown is done, as a phase.
func (o *operation) waitStopped(t *generation.Teardown) bool {
	o.beginPhase(o.app.stopPhase())
	if !o.await(t.Done()) {
		o.phaseFailed()
		o.failOvertaken()
		return false
	}
	o.phaseOK(stopAttrs(t)...)
	o.app.reapTeardowns()
	return true
}

// warnOfMemory adds a warning when two generations may not fit into memory.
func (o *operation) warnOfMemory() {
	a := o.app
	if a.current == nil {
		return
	}
	need, err := a.current.Process.Memory()
	free := a.freeMemory()
	if err != nil || free == 0 || free >= need {
		return
	}
	o.result.Warnings = append(o.result.Warnings, fmt.Sprintf(
		"generation %d uses %s and only %s are free: two of them may not fit; `tideover restart %s` needs memory for one only",
		a.current.Number, mebibytes(need), mebibytes(free), a.name))
}

func mebibytes(n uint64) string { return fmt.Sprintf("%d MiB", n>>20) }

// planReload says what a reload would do (`reload --dry-run`). Any goroutine may
// call it.
func (a *App) planReload(r api.Request) api.Result {
	seen := a.snapshot.Load()
	out := api.Result{App: a.name, Verb: r.Verb, Result: "dry run", Exit: api.ExitOK, Phases: []api.PhaseResult{}, ChildOutput: []string{}, Plain: a.relay == nil}
	plan := func(format string, args ...any) { out.Plan = append(out.Plan, fmt.Sprintf(format, args...)) }
	cfg, warnings, err := a.source.app(a.name)
	out.Warnings = warnings
	asked := false
	if err == nil {
		cfg, asked, err = a.source.recall(cfg)
	}
	if err != nil {
		out.Result, out.Exit, out.Error, out.Hint = "failed", api.ExitConfig, err.Error(), "nothing was changed"
		return out
	}
	if r.Verb == api.Rollback {
		serving := ""
		if g := seen.current; g != nil {
			serving = g.Dir
		}
		to, fault := findEarlierRelease(cfg, serving, a.state.Releases(a.name))
		if fault != nil {
			out.Result, out.Exit, out.Error, out.Hint = "failed", fault.Exit, fault.Message, fault.Hint
			return out
		}
		to.plan(plan)
		return out
	}
	plan("command    %s", strings.Join(cfg.Command, " "))
	dir, err := filepath.EvalSymlinks(cfg.Directory)
	if err != nil {
		out.Result, out.Exit, out.Error = "failed", api.ExitError, "cannot use directory "+cfg.Directory+": "+generation.PathCause(err).Error()
		return out
	}
	if !asked {
		plan("settings   gunicorn was not asked, because a dry run executes nothing")
	}
	mode := cfg.ReloadMode()
	if g := seen.current; g != nil {
		out.Generation = api.GenerationPair{From: g.Number, To: g.Number}
		if g.Dir == dir {
			plan("directory  %s (unchanged)", dir)
		} else {
			plan("directory  %s -> %s", g.Dir, dir)
		}
		need, _ := g.Process.Memory()
		if free := a.freeMemory(); mode == config.Overlap && free > 0 && free < need {
			plan("memory     generation %d uses %s, %s are free: too little for two; use `tideover restart %s`", g.Number, mebibytes(need), mebibytes(free), a.name)
		}
	} else {
		plan("directory  %s", dir)
	}
	plan("mode       %s", mode)
	if address := a.ownListener(seen.current); address != "" && mode == config.Overlap {
		plan("refused    it listens on %s itself, and a second copy could not; set reload = \"replace\"", address)
	}
	if hook := cfg.Hooks.BeforeStart; len(hook) > 0 {
		plan("hook       %s, before the start", strings.Join(hook, " "))
	}
	return out
}

// perform carries the operation out and answers its tickets.
func (o *operation) perform() {
	a := o.app
	a.queue.running = &running{o.verb, o.abort, o}
	a.publish()
	switch o.verb {
	case api.Reload, api.Restart:
		o.reload()
	case api.Rollback:
		o.rollback()
	case api.Start:
		o.start()
	case api.Stop:
		o.stop()
	case upgrading:
		o.standStill(o.tickets[0].upgrade)
	}
	o.complete()
}

// complete answers the tickets of an operation that has ended. Its result is in the record first: what
// a caller gets is what a later supervisor says.
func (o *operation) complete() {
	a := o.app
	a.queue.running = nil
	o.abort(nil)
	o.finish()
	if o.verb.Renews() {
		a.queue.last = &o.result
	}
	a.queue.keep(o)
	a.journalState()
	o.log() // at once: a later supervisor does not
	o.recordEnded(api.OperationEnded, o.result)
	if s := o.failure; s != nil && o.result.Exit != api.ExitOK {
		a.hooks.OnFailure(a.settings, s.Failure(o.result.Error))
	}
	o.ensureStart()
	a.progress.Store(nil)
	a.publish() // before the callers have the result: a status they ask for shows it
	for _, t := range o.tickets {
		t.done <- o.result
	}
	a.completeDrains()
}
