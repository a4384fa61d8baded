package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/generation"
	"tideover/supervisor/handoff"
	"tideover/supervisor/history"
	"tideover/supervisor/safepath"
	"tideover/supervisor/state"
)

// interruptedOperation is an operation in the middle of which the supervisor has died, and what becomes of it.
type interruptedOperation struct {
	*operation
	plan  *handoff.OperationPlan
	hooks []handoff.HookRecord // that ran
}

// restoreOperations takes over the operation that the former supervisor did not finish, and the results of
// those before. A caller that asks again gets it. The app's goroutine does not run yet.
func (a *App) restoreOperations(restored *handoff.RestoredApp) {
	r, plan := restored.Record, restored.Plan.Operation
	a.queue.last, a.queue.ended = r.Last, r.Ended
	for _, o := range append(slices.Clone(r.Ended), *cmp.Or(r.Operation, &handoff.Operation{})) {
		if o.Began.After(a.queue.began) {
			a.queue.began = o.Began
		}
	}
	for _, request := range r.Waiting {
		a.queue.waiting = append(a.queue.waiting, newTicket(request))
	}
	if r.Operation == nil || plan == nil {
		return
	}
	o := restoreOperation(a, r.Operation)
	a.interrupted = &interruptedOperation{o, plan, restored.Plan.Hooks}
	a.queue.running = &running{o.verb, o.abort, o}
}

// restoreOperation makes an operation of its record. No caller waits for its ticket.
func restoreOperation(a *App, r *handoff.Operation) *operation {
	request := api.Request{Verb: r.Verb, App: a.name}
	if r.Request != nil {
		request = *r.Request
	}
	request.By = r.By
	o := &operation{app: a, verb: r.Verb, tickets: []*ticket{newTicket(request)}, began: r.Began, by: r.By, id: r.ID, ids: r.IDs, restored: true,
		requests: restoreMeter(a.relay, r.Meter), strict: r.Strict, link: r.Link}
	o.ctx, o.abort = context.WithCancelCause(context.Background())
	o.result = api.Result{App: a.name, Verb: r.Verb, ChildOutput: []string{}, Phases: []api.PhaseResult{}, Plain: a.relay == nil,
		Generation: api.GenerationPair{From: r.From, To: r.From}}
	if r.Result != nil {
		o.result = *r.Result
	}
	return o
}

// resumeOperations goes on with what restoreOperations has taken over.
func (a *App) resumeOperations(leaving context.Context) {
	for i := range a.queue.ended {
		a.resumeEnded(&a.queue.ended[i])
	}
	o := a.interrupted
	if o == nil {
		return
	}
	a.interrupted = nil
	defer context.AfterFunc(leaving, func() { o.abort(context.Cause(leaving)) })()
	o.recordBegun()
	o.publish()
	a.publish()
	o.resume()
	o.complete()
}

// resumeEnded completes what the former supervisor has not done after the end of an operation: it may
// not be in the history yet, and the generation that it has replaced may drain.
func (a *App) resumeEnded(r *handoff.Operation) {
	o := restoreOperation(a, r)
	o.finished = true
	o.begun = new(history.Ref)
	if time.Since(o.result.Ended) < unrecordedFor {
		o.recordBegun()
		o.recordEnded(api.OperationEnded, o.result)
	}
	drain := o.result.Drain
	if drain == nil || drain.Result != "running" {
		return
	}
	if t := a.teardown(drain.Generation); t != nil {
		o.beginDrain(t)
		o.result.Drain = drain
		return
	}
	gone := &generation.Teardown{}
	gone.Number, gone.InFlight = drain.Generation, drain.InFlight
	a.completeDrain(o.newDrain(gone))
}

// teardown is that of a generation; nil: it is not being stopped.
func (a *App) teardown(number int) *generation.Teardown {
	if i := slices.IndexFunc(a.teardowns, func(t *generation.Teardown) bool { return t.Number == number }); i >= 0 {
		return a.teardowns[i]
	}
	return nil
}

// resume carries out what is left of the operation, or ends it as if it had not been requested.
func (o *interruptedOperation) resume() {
	switch {
	case o.verb == api.Stop:
		o.stop()
	case o.verb == api.Start:
		o.start()
	case o.plan.Outcome == handoff.New:
		o.resumeServing()
	case o.plan.Outcome == handoff.Continue:
		o.cancelPendingStart()
		o.startReplacement()
		o.undoLink()
	default:
		o.undo()
	}
}

// resumeServing is for an operation whose new generation serves.
func (o *interruptedOperation) resumeServing() {
	a := o.app
	o.result.Generation.To = o.plan.Generation
	if g := a.current; g != nil {
		o.result.Revision.To = g.Revision
	}
	if t := a.teardown(o.result.Generation.From); t != nil {
		o.beginDrain(t)
	}
	if !o.afterReloadRan() {
		o.afterReload()
	}
	o.leaveDraining()
	o.succeed()
}

// afterReloadRan reports whether the hook after_reload has run to its end: it is the only one behind the
// swap, or the release.
func (o *interruptedOperation) afterReloadRan() bool {
	swapped := false
	for _, p := range o.result.Phases {
		if swapped && p.Name == "hook" {
			return true
		}
		swapped = swapped || p.Name == "swap" || p.Name == "release"
	}
	return false
}

// undo ends the operation: the generation from before serves.
func (o *interruptedOperation) undo() {
	number := o.plan.Generation
	o.result.Generation.To, o.result.Revision.To = number, o.result.Revision.From
	why := "the supervisor of tideover has ended in the middle of the " + string(o.verb) + ", which was undone"
	for _, h := range o.hooks {
		if h.Hook == generation.HookBeforeStart {
			why += "; " + h.Hook + " of generation " + strconv.Itoa(h.Generation) + " was ended before it was complete"
		}
	}
	if number == 0 {
		o.fail(api.ExitError, why, "ask for it again")
	} else {
		verb := "serves"
		if o.app.plain() {
			verb = "runs"
		}
		o.fail(api.ExitKeptOld, fmt.Sprintf("%s; generation %d still %s", why, number, verb), "ask for it again")
		o.result.Result = "kept old"
	}
	o.undoLink()
}

// undoLink sets the symlink of a rollback back that has failed, if it was changed.
func (o *interruptedOperation) undoLink() {
	if o.link == nil || o.result.Exit == api.ExitOK {
		return
	}
	to := &earlierRelease{link: state.Link{Path: o.link.Path, To: o.link.Before}, text: o.link.After}
	var err error
	o.aside(func() { err = o.app.relink(to.link.Path, to.text, to.link.To) })
	if errors.Is(err, safepath.ErrMoved) {
		return // it was not changed yet, or another process has changed it
	}
	o.linkedBack(to, err)
}
