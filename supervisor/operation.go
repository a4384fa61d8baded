package supervisor

import (
	"context"
	"fmt"
	"time"

	"tideover/proxy"
	"tideover/supervisor/api"
)

// ticket is one caller's request, on its way through the app's queue.
type ticket struct {
	request api.Request
	phases  chan api.Phase  // lossy: a caller that does not read misses phases, and delays nobody
	done    chan api.Result // buffered: the answer is there even if the caller has left
	upgrade *upgrade        // of which it is a part
}

func newTicket(r api.Request) *ticket {
	return &ticket{request: r, phases: make(chan api.Phase, 64), done: make(chan api.Result, 1)}
}

// await passes phases on until the result is there, or the caller's ctx ends:
// then the caller stops waiting and the operation goes on.
func (t *ticket) await(ctx context.Context, progress func(api.Phase)) api.Result {
	for {
		select {
		case p := <-t.phases:
			progress(p)
		case r := <-t.done:
			for len(t.phases) > 0 {
				progress(<-t.phases)
			}
			return r
		case <-ctx.Done():
			return api.Result{App: t.request.App, Verb: t.request.Verb, Result: "timeout", Exit: api.ExitTimeout,
				Error: "stopped waiting; the daemon goes on", Hint: "tideover status " + t.request.App}
		}
	}
}

// operation is one verb being carried out for everybody who asked for it
// before it began. The app's goroutine owns it.
type operation struct {
	books
	app    *App
	ctx    context.Context // ends when a stop or a shutdown overtakes it
	abort  context.CancelCauseFunc
	missed *boot // came to nothing
}

// books are what an operation tells: each phase as it happens, and the result.
type books struct {
	verb    api.Verb
	tickets []*ticket
	result  api.Result
	began   time.Time

	phase  api.Phase // the one under way
	phased time.Time

	server *proxy.Server // nil: a plain process
	before proxy.Counters
	held   *proxy.Observation
}

func beginOperation(ctx context.Context, a *App, tickets []*ticket) *operation {
	verb := tickets[0].request.Verb
	o := &operation{app: a, books: books{verb: verb, tickets: tickets, began: time.Now(), server: a.server}}
	o.ctx, o.abort = context.WithCancelCause(ctx)
	o.result = api.Result{App: a.name, Verb: verb, ChildOutput: []string{}, Phases: []api.PhaseResult{}}
	if a.current != nil {
		o.result.Generation = api.GenerationPair{From: a.current.number, To: a.current.number}
	}
	if a.server != nil {
		o.before = a.server.Counters()
		o.held = a.gate.Observe()
	}
	return o
}

// step begins a phase; the one before must have ended.
func (b *books) step(name string) {
	b.phase = api.Phase{App: b.result.App, Verb: b.verb, From: b.result.Generation.From, To: b.result.Generation.To, Name: name}
	b.phased = time.Now()
	b.tell()
}

// ok and failed end the phase that step began.
func (b *books) ok(facts ...api.Attr)     { b.end("ok", facts) }
func (b *books) failed(facts ...api.Attr) { b.end("failed", facts) }

func (b *books) end(result string, facts []api.Attr) {
	b.phase.Result = result
	b.phase.To = b.result.Generation.To
	b.phase.Duration = time.Since(b.phased)
	b.phase.Attrs = facts
	b.result.Phases = append(b.result.Phases, api.PhaseResult{Name: b.phase.Name, Result: result, Duration: api.Seconds(b.phase.Duration)})
	b.tell()
}

func (b *books) tell() {
	for _, t := range b.tickets {
		select {
		case t.phases <- b.phase:
		default: // it reads too slowly; the result will still reach it
		}
	}
}

// succeed says that what was asked for is done.
func (b *books) succeed() {
	b.step("done")
	b.result.Result, b.result.Exit = "ok", api.ExitOK
	b.ok(api.Int("generation", b.result.Generation.To))
}

// fail says why nothing came of it.
func (b *books) fail(exit api.Exit, why, hint string) {
	b.result.Result, b.result.Exit, b.result.Error, b.result.Hint = "failed", exit, why, hint
}

// counts ends the observation: what the operation meant for clients.
func (b *books) counts() api.RequestCounts {
	if b.held == nil {
		return api.RequestCounts{}
	}
	held := b.held.End()
	return api.RequestCounts{Held: held.Held, HeldMax: api.Seconds(held.Longest), Lost: lost(b.before, b.server.Counters())}
}

// close closes the books: the result changes no more.
func (b *books) close() {
	b.result.Requests = b.counts()
	b.result.Ended = time.Now()
	b.result.Duration = api.Seconds(b.result.Ended.Sub(b.began))
}

// answer tells everybody who asked.
func (b *books) answer() {
	for _, t := range b.tickets {
		t.done <- b.result
	}
}

// overtaken is the end of an operation that a stop or a shutdown took the
// ground from.
func (o *operation) overtaken() {
	o.fail(api.ExitError, "overtaken: "+context.Cause(o.ctx).Error(), "")
}

// report tells the log how it ended.
func (o *operation) report() {
	a, r := o.app, &o.result
	say := a.house.logger.Info
	if r.Exit != api.ExitOK {
		say = a.house.logger.Error
	}
	facts := []any{"app", a.name, "verb", r.Verb, "result", r.Result, "from", r.Generation.From, "to", r.Generation.To,
		"took", fmt.Sprintf("%.3fs", r.Duration), "held", r.Requests.Held, "lost", r.Requests.Lost}
	if r.Error != "" {
		facts = append(facts, "error", r.Error)
	}
	say("ended", facts...)
	for _, w := range r.Warnings {
		a.house.logger.Warn(w, "app", a.name)
	}
}

// lost counts the requests that ended between two readings without the app's
// complete answer, by tideover's doing or the child's death. A client that
// left and a malformed request are not lost.
func lost(before, after proxy.Counters) int {
	return int(after.Expired - before.Expired + after.Overflowed - before.Overflowed +
		after.BadGateway - before.BadGateway + after.Cut - before.Cut)
}
