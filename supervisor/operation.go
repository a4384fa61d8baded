package supervisor

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"tideover/proxy"
)

// ticket is one caller's request, on its way through the app's queue.
type ticket struct {
	request Request
	phases  chan Phase  // lossy: a caller that does not read misses phases, and delays nobody
	done    chan Result // buffered: the answer is there even if the caller has left
}

func newTicket(r Request) *ticket {
	return &ticket{request: r, phases: make(chan Phase, 64), done: make(chan Result, 1)}
}

// await passes phases on until the result is there, or the caller's ctx ends:
// then the caller stops waiting and the operation goes on.
func (t *ticket) await(ctx context.Context, progress func(Phase)) Result {
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
			return Result{App: t.request.App, Verb: t.request.Verb, Result: "timeout", Exit: ExitTimeout,
				Error: "stopped waiting; the daemon goes on", Hint: "tideover status " + t.request.App}
		}
	}
}

// operation is one verb being carried out for everybody who asked for it
// before it began. The app's goroutine owns it.
type operation struct {
	app     *App
	verb    Verb
	tickets []*ticket
	ctx     context.Context // ends when a stop or a shutdown overtakes it
	abort   context.CancelCauseFunc
	result  Result
	missed  *boot // came to nothing
	began   time.Time

	phase  Phase // the one under way
	phased time.Time
	before proxy.Counters
	held   *proxy.Observation
}

func beginOperation(ctx context.Context, a *App, tickets []*ticket) *operation {
	o := &operation{app: a, verb: tickets[0].request.Verb, tickets: tickets, began: time.Now()}
	o.ctx, o.abort = context.WithCancelCause(ctx)
	o.result = Result{App: a.name, Verb: o.verb, ChildOutput: []string{}, Phases: []PhaseResult{}}
	if a.current != nil {
		o.result.Generation = GenerationPair{From: a.current.number, To: a.current.number}
	}
	if a.server != nil {
		o.before = a.server.Counters()
		o.held = a.gate.Observe()
	}
	return o
}

// step begins a phase; the one before must have ended.
func (o *operation) step(name string) {
	o.phase = Phase{App: o.result.App, Verb: o.verb, From: o.result.Generation.From, To: o.result.Generation.To, Name: name}
	o.phased = time.Now()
	o.tell()
}

// ok and failed end the phase that step began.
func (o *operation) ok(facts ...Fact)     { o.end("ok", facts) }
func (o *operation) failed(facts ...Fact) { o.end("failed", facts) }

func (o *operation) end(result string, facts []Fact) {
	o.phase.Result = result
	o.phase.To = o.result.Generation.To
	o.phase.Duration = time.Since(o.phased)
	o.phase.Facts = facts
	o.result.Phases = append(o.result.Phases, PhaseResult{Name: o.phase.Name, Result: result, Duration: seconds(o.phase.Duration)})
	o.tell()
}

func (o *operation) tell() {
	for _, t := range o.tickets {
		select {
		case t.phases <- o.phase:
		default: // it reads too slowly; the result will still reach it
		}
	}
}

// succeed closes the books of an operation that did what was asked for.
func (o *operation) succeed() {
	o.step("done")
	o.result.Result, o.result.Exit = "ok", ExitOK
	o.ok(Fact{"generation", strconv.Itoa(o.result.Generation.To)})
}

// fail says why nothing came of it.
func (o *operation) fail(exit Exit, why, hint string) {
	o.result.Result, o.result.Exit, o.result.Error, o.result.Hint = "failed", exit, why, hint
}

// overtaken is the end of an operation that a stop or a shutdown took the
// ground from.
func (o *operation) overtaken() {
	o.fail(ExitError, "overtaken: "+context.Cause(o.ctx).Error(), "")
}

// counts ends the observation: what the operation meant for clients.
func (o *operation) counts() RequestCounts {
	if o.held == nil {
		return RequestCounts{}
	}
	held := o.held.End()
	return RequestCounts{Held: held.Held, HeldMax: seconds(held.Longest), Lost: lost(o.before, o.app.server.Counters())}
}

// close ends the operation: its result changes no more.
func (o *operation) close() {
	o.result.Requests = o.counts()
	o.result.Ended = time.Now()
	o.result.Duration = seconds(o.result.Ended.Sub(o.began))
	o.abort(nil)
}

// answer tells everybody who asked.
func (o *operation) answer() {
	for _, t := range o.tickets {
		t.done <- o.result
	}
}

// report tells the log how it ended.
func (o *operation) report() {
	a, r := o.app, &o.result
	say := a.house.logger.Info
	if r.Exit != ExitOK {
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
