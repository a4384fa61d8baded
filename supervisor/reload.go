package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// perform carries the operation out, for everybody who asked for it before it
// began.
func (o *operation) perform() {
	a := o.app
	a.desk.running = o
	switch o.verb {
	case api.Reload, api.Restart:
		o.renew()
	case api.Start:
		o.start()
	case api.Stop:
		o.stop()
	case upgrading:
		o.standStill(o.tickets[0].upgrade)
	}
	a.desk.running = nil
	o.abort(nil)
	o.close()
	if o.verb == api.Reload || o.verb == api.Restart {
		a.desk.last = &o.result
	}
	if b := o.missed; b != nil && o.result.Exit != api.ExitOK {
		a.hooks.failure(a.settings, b.number, b.from, b.reason, o.result.Error)
	}
	o.settle()
	o.report()
	a.publish() // who has the result in hand sees the app as it tells
	o.answer()
}

// renew puts new code into service: beside the old generation, or in its place.
func (o *operation) renew() {
	a := o.app
	if a.comeback.rest == bidden && a.current == nil {
		o.fail(api.ExitNotRunning, a.name+" is stopped", "tideover start "+a.name)
		return
	}
	if err := a.reread(); err != nil {
		o.fail(api.ExitConfig, err.Error(), "nothing was changed")
		return
	}
	o.clearWay()
	if o.verb == api.Restart || a.settings.Reload == config.Replace {
		o.replace()
		return
	}
	o.overlap()
}

// overlap is the reload without a pause: the new generation comes up beside
// the old one, which is not touched before the new one answers.
func (o *operation) overlap() {
	a := o.app
	o.warnOfMemory()
	b := o.raise(false)
	if b == nil {
		return
	}
	o.step("swap")
	old := a.current // not earlier: it may have crashed meanwhile
	a.serve(b)
	o.ok()
	if old != nil && !o.outlast(a.send(old, replaced, old.usual())) {
		return
	}
	o.afterReload()
	o.succeed()
}

// replace is the reload for apps of which there may be only one: requests are
// held while the old generation goes and the new one comes.
func (o *operation) replace() {
	a := o.app
	o.step("hold")
	old := a.unseat()
	o.ok()
	strict := old != nil && !old.lenient
	if old != nil {
		a.send(old, replaced, old.hasty())
	}
	if !o.outlastAll() {
		return
	}
	b := o.raise(!strict)
	if b == nil {
		return
	}
	o.release(b)
	o.afterReload()
	o.succeed()
}

// start brings the app up by the operator's wish. What is on its way already is
// waited for.
func (o *operation) start() {
	a := o.app
	if a.current != nil {
		o.result.Result, o.result.Exit = "ok", api.ExitOK
		return
	}
	if a.boot != nil {
		a.boot.awaited = true
		if b := o.accompany(a.boot); b != nil {
			o.release(b)
			o.succeed()
		}
		return
	}
	if err := a.reread(); err != nil {
		o.fail(api.ExitConfig, err.Error(), "nothing was changed")
		return
	}
	a.house.remember(a.name, false)
	o.clearWay()
	if a.settings.Reload == config.Replace && !o.outlastAll() {
		return
	}
	b := o.raise(true)
	if b == nil {
		return
	}
	o.release(b)
	o.succeed()
}

// stop takes the app down by the operator's wish; its socket stays open.
func (o *operation) stop() {
	a := o.app
	a.house.remember(a.name, true)
	a.comeback.lie(bidden, "", false)
	a.gate.Refuse(refusal(a.settings, "the app is stopped"))
	a.retireAll()
	if !o.outlastAll() {
		return
	}
	o.result.Generation.To = 0
	o.succeed()
}

// clearWay gives up what is on its way without anybody having asked for it:
// who asks now wants code as it is now. What happened before counts no more,
// and clients may wait again.
func (o *operation) clearWay() {
	a := o.app
	if a.boot != nil {
		a.dropBoot()
	}
	a.comeback.forget()
	a.comeback.whole()
	a.gate.Refuse(nil)
}

// raise brings a generation up and waits until it may serve. When it may not,
// nothing of it is left and raise returns nil: the operation has failed, unless
// it is a plain process that has done its work meanwhile.
func (o *operation) raise(lenient bool) *boot {
	return o.accompany(o.app.bring(&boot{reason: reason(o.verb), from: o.result.Generation.From, awaited: true}, lenient))
}

// accompany is the rest of raise.
func (o *operation) accompany(b *boot) *boot {
	a := o.app
	o.result.Generation.To = b.number
	for _, s := range b.stages {
		o.step(s.name)
		if !o.await(s.over) {
			o.failed()
			a.dropBoot()
			o.overtaken()
			return nil
		}
		if s.err != nil {
			o.fallen(b, s)
			return nil
		}
		o.ok(s.attrs...)
	}
	return b
}

// fallen ends an operation whose boot has failed at a stage.
func (o *operation) fallen(b *boot, s *stage) {
	a := o.app
	o.missed = b
	complete := b.complete() && a.current == nil
	if complete {
		o.ok(s.attrs...)
	} else {
		o.failed(s.attrs...)
	}
	o.await(a.dropBoot().done)
	if complete {
		o.succeed()
		return
	}
	why, hint := b.explain()
	o.fell(b, why, hint)
}

// release puts a generation into service for those who are held.
func (o *operation) release(b *boot) {
	o.step("release")
	o.app.serve(b)
	o.ok()
}

// afterReload runs the hook of that name. The new code serves already: when the
// hook fails, that is worth a warning and nothing more.
func (o *operation) afterReload() {
	a := o.app
	g := a.current
	if g == nil || len(g.settings.Hooks.AfterReload) == 0 {
		return
	}
	o.step("hook")
	fact := api.String("hook", afterReload)
	var err error
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		err = a.house.hook(o.ctx, a.log, occasion{hook: afterReload, post: g.post, reason: reason(o.verb), from: o.result.Generation.From, pid: g.process.Pid()})
	}()
	a.pump(ran, nil) // it ends with the operation's context
	if err == nil {
		o.ok(fact)
		return
	}
	o.failed(fact)
	warning := err.Error()
	var hook *hookError
	if errors.As(err, &hook) && len(hook.lines) > 0 {
		warning += ": " + hook.lines[len(hook.lines)-1]
	}
	o.result.Warnings = append(o.result.Warnings, warning)
}

// outlastAll waits until every departure is over.
func (o *operation) outlastAll() bool {
	for len(o.app.departures) > 0 {
		if !o.outlast(o.app.departures[0]) {
			return false
		}
	}
	return true
}

// outlast waits until a departure is over, as the phase "drain".
func (o *operation) outlast(d *departure) bool {
	o.step("drain")
	if !o.await(d.done) {
		o.failed()
		o.overtaken()
		return false
	}
	facts := []api.Attr{api.Int("in_flight", d.inFlight), api.Int("cut", d.cut)}
	if d.stop.Took > time.Second { // the server's own time to stop, not that of any request
		facts = append(facts, api.String("stop", d.stop.Took.Round(100*time.Millisecond).String()))
	}
	if d.stop.Killed > 0 {
		facts = append(facts, api.Int("killed", d.stop.Killed))
	}
	o.ok(facts...)
	o.app.forgetGone()
	return true
}

// await pumps until done is ready, or reports false when the operation is
// overtaken by a stop or a shutdown.
func (o *operation) await(done <-chan struct{}) bool {
	o.app.pump(done, o.ctx.Done())
	return isDone(done)
}

// settle makes sure that an app that should be up is on its way, whatever the
// operation came to.
func (o *operation) settle() {
	a := o.app
	switch {
	case a.comeback.rest != awake || a.current != nil || a.boot != nil || a.comeback.pending():
	case o.missed != nil:
		why, _ := o.missed.explain()
		a.missed(o.missed, why)
	default:
		a.tryLater(a.comeback.unansweredStart(), "the new generation did not come up")
	}
}

// warnOfMemory says so when two generations will not fit.
func (o *operation) warnOfMemory() {
	a := o.app
	if a.current == nil {
		return
	}
	need, err := a.current.process.Memory()
	free := a.house.free()
	if err != nil || free == 0 || free >= need {
		return
	}
	o.result.Warnings = append(o.result.Warnings, fmt.Sprintf(
		"generation %d uses %s and only %s are free: two of them may not fit; `tideover restart %s` needs memory for one only",
		a.current.number, mebibytes(need), mebibytes(free), a.name))
}

func mebibytes(n uint64) string { return fmt.Sprintf("%d MiB", n>>20) }

// reread takes the app's settings from the file as it is now. A faulty file
// changes nothing.
func (a *App) reread() error {
	cfg, err := a.house.reload(a.name)
	if err != nil || cfg == nil {
		return err
	}
	if same := slices.Equal(cfg.Listen, a.settings.Listen); !same && cfg.ListenFrom == "listen" {
		a.house.logger.Warn("the listen address changed; `tideover apply` opens the new one", "app", a.name)
	}
	fixed := *cfg
	fixed.Listen = a.settings.Listen
	a.adopt(&fixed)
	return nil
}

// adopt makes cfg the app's settings. What can change live does; the rest is
// for the next generation.
func (a *App) adopt(cfg *config.App) {
	if full, err := a.house.complete(cfg); err != nil {
		a.house.logger.Error("gunicorn has settings that cannot work here", "app", a.name, "error", err)
	} else {
		cfg = full
	}
	a.settings = cfg
	a.gate.Configure(gateSettings(cfg))
	a.log.Configure(a.house.logOptions(cfg))
	if a.server != nil {
		a.server.Configure(relaySettings(cfg))
	}
	a.house.watch.Set(a.name, cfg.Watch)
}
