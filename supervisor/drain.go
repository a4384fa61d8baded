package supervisor

import (
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/generation"
)

// maxDraining is how many generations of an app may be stopped at once while one serves. A
// further reload waits for the oldest of them, so that it makes no more than three process
// trees: two that are stopped and one that serves, or one that is stopped, one that serves and
// one that starts. Where none serves it does not wait.
const maxDraining = 2

// A drain is the end of a reload behind the swap: the replaced generation finishes its
// requests while the app's goroutine goes on. The app's goroutine owns it.
type drain struct {
	*generation.Teardown
	operation *operation // that has replaced it; its result is final but for the drain
	phase     api.Phase
	waiting   []*ticket // of the callers that wait for the drain
}

// beginDrain says that t drains the generation that the operation has replaced.
func (o *operation) beginDrain(t *generation.Teardown) {
	d := o.newDrain(t)
	o.draining = d
	o.result.Drain = &api.Drain{Generation: t.Number, Result: "running", InFlight: t.InFlight}
	o.app.drains = append(o.app.drains, d)
}

func (o *operation) newDrain(t *generation.Teardown) *drain {
	return &drain{Teardown: t, operation: o, phase: api.Phase{App: o.result.App, Verb: o.verb,
		From: o.result.Generation.From, To: o.result.Generation.To, Name: o.app.stopPhase(), Plain: o.result.Plain}}
}

// leaveDraining ends the operation for the callers that do not wait for the drain. The
// others get their result when that ends.
func (o *operation) leaveDraining() {
	d := o.draining
	if d == nil {
		return
	}
	var leaving []*ticket
	for _, t := range o.tickets {
		if t.request.WaitDrain {
			d.waiting = append(d.waiting, t)
		} else {
			leaving = append(leaving, t)
		}
	}
	o.tickets = leaving
	reportPhase(d.waiting, d.phase)
}

// completeDrains ends the drains whose generation is gone and whose operation has
// finished.
func (a *App) completeDrains() {
	for _, d := range slices.Clone(a.drains) {
		if d.operation.finished && isClosed(d.Done()) {
			a.drains = slices.DeleteFunc(a.drains, func(other *drain) bool { return other == d })
			a.completeDrain(d)
		}
	}
}

// completeDrain completes the result of the reload that has begun the drain, and answers
// the callers that wait for it.
func (a *App) completeDrain(d *drain) {
	o, t := d.operation, d.Teardown
	r := o.result // a copy: snapshots have the former one
	r.Requests = o.requests.end()
	r.Ended = time.Now()
	r.Duration = api.Seconds(r.Ended.Sub(o.began))
	r.Drain = &api.Drain{Generation: t.Number, Result: "ok", InFlight: t.InFlight, Cut: t.Cut, Reclaimed: t.Reclaimed, Duration: api.Seconds(t.Took)}
	d.phase.Result, d.phase.Duration, d.phase.Attrs = "ok", t.Took, stopAttrs(t)
	last := len(r.Phases) - 1 // "done"
	r.Phases = slices.Insert(slices.Clone(r.Phases), max(0, last),
		api.PhaseResult{Name: d.phase.Name, Result: d.phase.Result, Duration: api.Seconds(d.phase.Duration)})
	if last := a.queue.last; last != nil && last.Verb == r.Verb && last.Ended.Equal(o.result.Ended) {
		a.queue.last = &r
	}
	a.queue.update(o, &r)
	a.journalState()
	o.recordEnded(api.DrainEnded, r)
	level := hclog.Info
	if r.Requests.Lost > 0 {
		level = hclog.Warn
	}
	a.logger.Log(level, "drain finished", "app", a.name, "generation", t.Number, "in_flight", t.InFlight, "reclaimed", t.Reclaimed,
		"cut", t.Cut, "lost", r.Requests.Lost, "duration_s", t.Took.Round(time.Millisecond).Seconds())
	a.publish() // before the callers have the result
	reportPhase(d.waiting, d.phase)
	done := d.phase
	done.Name, done.Duration, done.Attrs = "done", 0, []api.Attr{api.Int("generation", r.Generation.To)}
	reportPhase(d.waiting, done)
	for _, w := range d.waiting {
		w.done <- judgeLost(r)
	}
}

// judgeLost is the result for a caller that has waited for the drain: success means that no
// request was lost.
func judgeLost(r api.Result) api.Result {
	if r.Exit != api.ExitOK || r.Requests.Lost == 0 {
		return r
	}
	r.Result, r.Exit = "lost requests", api.ExitError
	r.Error = fmt.Sprintf("generation %d serves, and %s", r.Generation.To, plural(r.Requests.Lost, "request was lost", "requests were lost"))
	r.Hint = "the log has a line for each error response; a request that takes longer than drain.timeout is cut"
	return r
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// stopAttrs are the attributes of the phase in which a generation was stopped.
func stopAttrs(t *generation.Teardown) []api.Attr {
	var attrs []api.Attr
	if t.Target != nil {
		attrs = append(attrs, api.Int("in_flight", t.InFlight), api.Int("cut", t.Cut))
	}
	if t.Reclaimed > 0 {
		attrs = append(attrs, api.Int("reclaimed", t.Reclaimed))
	}
	if t.Target != nil && t.Stopped.Took > time.Second { // the time of the server to stop, not of a request
		attrs = append(attrs, api.String("stop", t.Stopped.Took.Round(100*time.Millisecond).String()))
	}
	if t.Stopped.Killed > 0 {
		attrs = append(attrs, api.Int("killed", t.Stopped.Killed))
	}
	return attrs
}
