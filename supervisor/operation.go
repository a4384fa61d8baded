package supervisor

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
	"tideover/supervisor/handoff"
	"tideover/supervisor/history"
)

// operation is one verb, carried out for every ticket that was added before it
// began. The app's goroutine owns it.
type operation struct {
	app     *App
	verb    api.Verb
	tickets []*ticket
	ctx     context.Context // ends when a stop or a shutdown overtakes it
	abort   context.CancelCauseFunc
	failure *startup // the startup that failed

	word     string        // the revision of the release to which a rollback leads; empty: it is learnt
	link     *handoff.Link // that a rollback changes; nil: none
	strict   bool          // the next generation has to answer as at a reload, because that before it did
	draining *drain        // of the generation that this operation has replaced; nil: there is none

	result   api.Result
	finished bool // the result is complete but for the drain
	restored bool // a former supervisor has begun it
	began    time.Time
	phase    api.Phase // that runs
	phased   time.Time // when phase began
	by       api.Caller
	id       string       // unique
	ids      []string     // those that its callers have given it
	begun    *history.Ref // of its beginning in the history

	requests *requestMeter
}

func newOperation(ctx context.Context, a *App, tickets []*ticket) *operation {
	o := &operation{app: a, verb: tickets[0].request.Verb, tickets: tickets, began: a.queue.instant(), by: tickets[0].request.By, id: rand.Text()}
	o.ctx, o.abort = context.WithCancelCause(ctx)
	for _, t := range tickets {
		if t.request.ID != "" {
			o.ids = append(o.ids, t.request.ID)
		}
	}
	o.result = api.Result{App: a.name, Verb: o.verb, ChildOutput: []string{}, Phases: []api.PhaseResult{}, Plain: a.relay == nil, Cause: tickets[0].request.Cause}
	if a.current != nil {
		o.result.Generation = api.GenerationPair{From: a.current.Number, To: a.current.Number}
		o.result.Revision = api.RevisionPair{From: a.current.Revision, To: a.current.Revision}
	}
	o.requests = newRequestMeter(a.relay)
	o.recordBegun()
	o.publish()
	return o
}

// progress is how far an operation has come. It is never changed.
type progress struct {
	verb       api.Verb
	by         api.Caller
	generation api.GenerationPair
	revision   api.RevisionPair
	began      time.Time
	phases     []api.PhaseResult // that have ended
	phase      string            // that runs; empty: none
	phased     time.Time         // when phase began
}

// publish stores how far the operation has come, for status. Between two phases of the app's own
// snapshot the app's goroutine may wait for long.
func (o *operation) publish() {
	p := &progress{verb: o.verb, by: o.by, generation: o.result.Generation, revision: o.result.Revision, began: o.began, phases: slices.Clone(o.result.Phases), phased: o.phased}
	if o.phase.Result == "" {
		p.phase = o.phase.Name
	}
	o.app.progress.Store(p)
}

// record is what a later supervisor has to know.
func (o *operation) record() *handoff.Operation {
	request, result := o.request(), o.result // the record is encoded on other goroutines, too
	return &handoff.Operation{ID: o.id, Verb: o.verb, By: o.by, From: result.Generation.From, Phase: o.phase.Name, Began: o.began,
		IDs: o.ids, Request: &request, Result: &result, Meter: o.requests.record(), Strict: o.strict, Link: o.link}
}

// request is what the callers want together.
func (o *operation) request() api.Request {
	return api.Request{Verb: o.verb, App: o.app.name, Revision: o.revision(),
		Unrecorded: o.all(func(r *api.Request) bool { return r.Unrecorded }), AwaitStart: o.all(func(r *api.Request) bool { return r.AwaitStart })}
}

// all reports whether every caller wants something.
func (o *operation) all(wants func(*api.Request) bool) bool {
	return !slices.ContainsFunc(o.tickets, func(t *ticket) bool { return !wants(&t.request) })
}

// status is the operation as status shows it.
func (p *progress) status() *api.Operation {
	if p == nil {
		return nil
	}
	s := &api.Operation{Verb: p.verb, By: p.by, Generation: p.generation, Revision: p.revision, Phases: p.phases, Phase: p.phase, Duration: api.Seconds(time.Since(p.began))}
	if p.phase != "" {
		s.PhaseTime = api.Seconds(time.Since(p.phased))
	}
	return s
}

// revision is the word for what is deployed that the callers give, the last of them if there are
// several; empty: none.
func (o *operation) revision() (word string) {
	word = o.word
	for _, t := range o.tickets {
		word = cmp.Or(t.request.Revision, word)
	}
	return word
}

// await handles the app's events until done is ready. It reports false when a stop
// or a shutdown overtakes the operation.
func (o *operation) await(done <-chan struct{}) bool {
	o.app.waitEvent(done, o.ctx.Done())
	return isClosed(done)
}

// rereadSettings takes the app's settings from the file as it is now. It reports false when
// the operation has ended: the file is faulty, which changes nothing, or a stop or a
// shutdown has overtaken the operation.
func (o *operation) rereadSettings() bool {
	a := o.app
	before := a.settings
	r := a.source.beginReading(before)
	if !o.await(r.done) {
		o.failOvertaken()
		return false
	}
	if r.err != nil {
		o.fail(api.ExitConfig, r.err.Error(), "nothing was changed")
		return false
	}
	o.result.Warnings = append(o.result.Warnings, r.warnings...)
	if a.settings == before { // else an apply has read the file later
		a.useSettings(r.cfg)
	}
	return true
}

// beginPhase begins a phase. The one before must have ended.
func (o *operation) beginPhase(name string) {
	o.phase = api.Phase{App: o.result.App, Verb: o.verb, From: o.result.Generation.From, To: o.result.Generation.To, Name: name, Plain: o.result.Plain}
	o.phased = time.Now()
	o.publish()
	o.reportPhase()
}

// phaseOK and phaseFailed end the phase.
func (o *operation) phaseOK(attrs ...api.Attr)     { o.endPhase("ok", attrs) }
func (o *operation) phaseFailed(attrs ...api.Attr) { o.endPhase("failed", attrs) }

func (o *operation) endPhase(result string, attrs []api.Attr) {
	o.phase.Result = result
	o.phase.To = o.result.Generation.To
	o.phase.Duration = time.Since(o.phased)
	o.phase.Attrs = attrs
	o.app.tally.phase(o.verb, o.phase.Name, o.phase.Duration)
	o.result.Phases = append(o.result.Phases, api.PhaseResult{Name: o.phase.Name, Result: result, Duration: api.Seconds(o.phase.Duration)})
	o.publish()
	o.reportPhase()
}

func (o *operation) reportPhase() { reportPhase(o.tickets, o.phase) }

func reportPhase(to []*ticket, p api.Phase) {
	for _, t := range to {
		select {
		case t.phases <- p:
		default: // the caller reads too slowly; it still gets the result
		}
	}
}

// succeed ends the operation: what was requested is done.
func (o *operation) succeed() {
	o.beginPhase("done")
	o.result.Result, o.result.Exit = "ok", api.ExitOK
	o.phaseOK(api.Int("generation", o.result.Generation.To))
}

// fail ends the operation: nothing was done.
func (o *operation) fail(exit api.Exit, why, hint string) {
	o.result.Result, o.result.Exit, o.result.Error, o.result.Hint = "failed", exit, why, hint
}

// failOvertaken ends the operation: a stop or a shutdown has overtaken it.
func (o *operation) failOvertaken() {
	o.fail(api.ExitError, "overtaken: "+context.Cause(o.ctx).Error(), "")
}

// isWithdrawn reports whether all callers have withdrawn their requests.
func (o *operation) isWithdrawn() bool {
	return !slices.ContainsFunc(o.tickets, func(t *ticket) bool { return !t.isWithdrawn() })
}

// giveUp ends the operation: it was withdrawn before the old generation was stopped.
func (o *operation) giveUp() {
	o.fail(api.ExitTimeout, "its caller has withdrawn it before the old generation was stopped", "")
	o.result.Result = api.GivenUp
}

// failCommand ends the operation: the command of a rollout has failed, and nothing was done.
func (o *operation) failCommand(err error) {
	a, r := o.app, &o.result
	r.Result, r.Exit, r.Error = "kept old", api.ExitKeptOld, "the command of the rollout could not be run: "+err.Error()
	var hook *generation.HookError
	if errors.As(err, &hook) {
		r.Error = "the command of the " + hook.Error()
		r.ChildOutput = append(r.ChildOutput, hook.Lines...)
	}
	if a.current == nil {
		r.Result, r.Exit = "down", api.ExitDown
		r.Error += "; " + outageHint(a.settings)
	}
}

// failStart ends the operation: no generation was ready. The result says what
// still serves, what endangers that, and what the child has written last.
func (o *operation) failStart(s *startup, why, hint string) {
	a, r := o.app, &o.result
	a.tally.start(false)
	r.Error, r.Hint = why, hint
	r.Probe = s.Probe().Text
	var hook *generation.HookError
	if errors.As(s.Err(), &hook) {
		r.ChildOutput = append(r.ChildOutput, hook.Lines...)
	} else if g := s.Generation(); g != nil {
		r.ChildOutput = append(r.ChildOutput, g.OutputTail(a.log, generation.OutputWait)...)
	}
	old := a.current
	if old == nil {
		r.Result, r.Exit = "down", api.ExitDown
		r.Error += "; " + outageHint(a.settings)
		return
	}
	r.Result, r.Exit = "kept old", api.ExitKeptOld
	if a.plain() {
		r.Error += fmt.Sprintf("; generation %d still runs", old.Number)
		return
	}
	r.Error += fmt.Sprintf("; generation %d still serves", old.Number)
	switch {
	case generation.SaysInUse(r.ChildOutput):
		advice := fmt.Sprintf("generation %d still runs and may have what the new one needs: an app of which two copies cannot run "+
			"at once needs reload = \"replace\", which stops the old one first", old.Number)
		r.Hint = strings.TrimPrefix(r.Hint+"\n"+advice, "\n")
	case old.Dir == s.Spec().Dir:
		danger := fmt.Sprintf("generation %d serves as long as its workers live; the release was changed in place (%s), "+
			"so a worker that restarts would load the broken code: repair it and reload, and release into a directory of its own behind a symlink", old.Number, old.Dir)
		r.Hint = strings.TrimPrefix(r.Hint+"\n"+danger, "\n")
	}
}

// outageHint says what it means that no generation serves.
func outageHint(cfg *config.App) string {
	switch {
	case cfg.Direct():
		return "nothing serves: connections wait in the kernel's queue"
	case !cfg.Web():
		return "nothing runs"
	case cfg.Restart == config.RestartNever:
		return "nothing serves: requests are answered 503"
	}
	return fmt.Sprintf("nothing serves: requests are held for up to %s each, then answered 503", api.FormatDuration(cfg.Hold.Timeout))
}

// finish completes the result. While a generation drains, the counts are those until now.
func (o *operation) finish() {
	if o.draining != nil {
		o.result.Requests = o.requests.counts()
	} else {
		o.result.Requests = o.requests.end()
	}
	o.result.Ended = time.Now()
	o.result.Duration = api.Seconds(o.result.Ended.Sub(o.began))
	o.finished = true
	o.app.tally.operation(o.verb, o.result.Result)
}

// log writes the result to the daemon's log.
func (o *operation) log() {
	a, r := o.app, &o.result
	level := hclog.Info
	if r.Exit != api.ExitOK {
		level = hclog.Error
	}
	attrs := []any{"app", a.name, "verb", r.Verb, "result", r.Result, "from", r.Generation.From, "to", r.Generation.To,
		"duration_s", o.result.Ended.Sub(o.began).Round(time.Millisecond).Seconds()}
	if !r.Plain {
		attrs = append(attrs, "held", r.Requests.Held, "lost", r.Requests.Lost)
	}
	if r.Cause != "" {
		attrs = append(attrs, "cause", r.Cause)
	}
	if r.Error != "" {
		attrs = append(attrs, "error", r.Error)
	}
	a.logger.Log(level, "operation finished", attrs...)
	for _, w := range r.Warnings {
		a.logger.Warn("operation warning", "app", a.name, "verb", r.Verb, "warning", w)
	}
}

// ensureStart makes sure that an app that is to be up is up or will be started,
// also when the operation has failed.
func (o *operation) ensureStart() {
	a := o.app
	switch {
	case a.restart.desired != desiredUp || a.current != nil || a.starting != nil || a.restart.pending():
	case o.failure != nil:
		why, _ := o.failure.Explain()
		a.onStartFailed(o.failure, why)
	default:
		a.scheduleRetry(a.restart.startFailed(), "the new generation did not come up")
	}
}
