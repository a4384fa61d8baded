package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tideover/supervisor/api"
)

// Results of apps that the daemon was not asked about.
const (
	skipped  = "skipped"   // stopped, and not named itself
	notBegun = "not begun" // an error before it ended everything
)

// onEach carries the operation out on one app after the other. A failure is no
// reason to leave out the rest: each app keeps serving what it served. The exit
// code is that of the worst.
func (o *operation) onEach(ctx context.Context, targets []target, named []string) error {
	var results []api.Result
	worst, width := api.ExitOK, widest(namesOf(targets))
	var over *api.Error // no daemon, or no patience
	for _, t := range targets {
		result, err := o.inTurn(ctx, t, width, slices.Contains(named, t.app), over)
		if err != nil && over == nil {
			errors.As(err, &over)
		}
		if results = append(results, result); result.Exit.Worse(worst) {
			worst = result.Exit
		}
		o.tellOne(result)
	}
	if o.cli.json {
		o.cli.document(map[string]any{"results": results})
	}
	o.summarize(results, worst)
	return ended(worst)
}

// inTurn is one app's turn; over is why there are no turns any more.
func (o *operation) inTurn(ctx context.Context, t target, width int, byName bool, over *api.Error) (api.Result, error) {
	if over != nil {
		return o.result(t, notBegun, &api.Error{Exit: over.Exit, Message: fmt.Sprintf("%s: no %s any more", t.app, o.request.Verb)}), nil
	}
	renews := o.request.Verb == api.Reload || o.request.Verb == api.Restart
	if renews && t.stopped && !byName {
		return o.result(t, skipped, nil), nil
	}
	result, err := o.carryOut(ctx, t, width)
	var typed *api.Error
	if errors.As(err, &typed) {
		return o.result(t, "failed", typed), err
	}
	return result, err
}

// tellOne says how one of several ended: a line for scripts, and what went
// wrong for everybody. On a terminal the table at the end says the rest.
func (o *operation) tellOne(r api.Result) {
	switch {
	case len(r.Plan) > 0:
		tellPlan(o.cli, r)
		return
	case r.Exit != api.ExitOK && r.Result != notBegun:
		explain(o.cli, r)
	default:
		o.cli.warn(r.Warnings)
	}
	if s := o.cli.results(); !o.cli.json && !o.cli.quiet && !s.terminal {
		fmt.Fprint(s.out, resultLine(r))
	}
}

// summarize says what became of all of them.
func (o *operation) summarize(results []api.Result, worst api.Exit) {
	if !o.cli.json && !o.cli.quiet && !o.request.DryRun {
		if s := o.cli.results(); s.terminal {
			fmt.Fprint(s.out, "\n"+summary(results).text(s))
		}
	}
	if s := o.cli.errors(); worst != api.ExitOK {
		s.say(red, s.mark("\n✗", "tideover:"), fmt.Sprintf("%s of %s", o.request.Verb, tally(results)))
		sayExit(s, worst)
	}
}

// tally counts results: "3 apps: 2 ok, 1 kept old (blog)".
func tally(results []api.Result) string {
	var kinds []string
	apps := map[string][]string{}
	for _, r := range results {
		if apps[r.Result] == nil {
			kinds = append(kinds, r.Result)
		}
		apps[r.Result] = append(apps[r.Result], r.App)
	}
	var counts []string
	for _, kind := range kinds {
		count := strconv.Itoa(len(apps[kind])) + " " + kind
		if kind != "ok" {
			count += " (" + list(apps[kind]) + ")"
		}
		counts = append(counts, count)
	}
	return plural(len(results), "app") + ": " + strings.Join(counts, ", ")
}

// summary is the results as a table.
func summary(results []api.Result) *grid {
	g := &grid{columns: []column{{head: "APP"}, {head: "RESULT"}, {head: "GEN", right: true, matters: 2}, {head: "TOOK", right: true, matters: 1},
		{head: "HELD", right: true, matters: 3}, {head: "LONGEST", right: true, matters: 1}, {head: "LOST", right: true, matters: 4}}}
	for _, r := range results {
		longest, took := nothing, nothing
		if r.Requests.Held > 0 {
			longest = human(span(r.Requests.HeldMax))
		}
		if r.Duration > 0 {
			took = human(span(r.Duration))
		}
		row := plain(r.App, r.Result, orNothing(r.Generation.To), took, strconv.Itoa(r.Requests.Held), longest, strconv.Itoa(r.Requests.Lost))
		row[1].color = resultColor(r)
		g.add(row...)
	}
	return g
}

func resultColor(r api.Result) color {
	switch {
	case r.Exit != api.ExitOK:
		return red
	case r.Result == skipped:
		return faint
	}
	return green
}
