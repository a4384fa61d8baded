package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

// Results of apps for which the daemon was not asked.
const (
	skipped  = "skipped"   // stopped, and not named by its own name
	notBegun = "not begun" // an earlier error ended the whole command
)

// runEach carries the operation out on one app after the other. After a failure
// it goes on, because an app that failed still serves its old generation. The exit
// code is the worst one.
func (o *operation) runEach(ctx context.Context, targets []target, named []string) error {
	var results []api.Result
	worst, width := api.ExitOK, maxWidth(appNames(targets))
	var fatal *api.Error // the daemon is gone, or --timeout is over
	for _, t := range targets {
		result, err := o.runNext(ctx, t, width, slices.Contains(named, t.app), fatal)
		if err != nil && fatal == nil {
			errors.As(err, &fatal)
		}
		if results = append(results, result); result.Exit.Worse(worst) {
			worst = result.Exit
		}
		o.printOne(result)
	}
	if o.cli.json {
		o.cli.writeDocument(manyResults(results, worst))
	}
	o.printSummary(results, worst)
	return exitError(worst)
}

// runNext carries the operation out on the next app. fatal is why no further app
// is begun; nil: go on.
func (o *operation) runNext(ctx context.Context, t target, width int, byName bool, fatal *api.Error) (api.Result, error) {
	if fatal != nil {
		err := errorf(fatal.Exit, "", "%s: no %s any more", t.app, o.request.Verb)
		return o.localResult(t, notBegun, err), nil
	}
	if o.request.Verb.Renews() && t.stopped && !byName {
		return o.localResult(t, skipped, nil), nil
	}
	result, err := o.execute(ctx, t, width)
	var typed *api.Error
	if errors.As(err, &typed) {
		return o.localResult(t, "failed", typed), err
	}
	return result, err
}

// printOne prints the result of one of several apps: failures always, a line for
// scripts elsewhere than on a terminal, where printSummary prints a table.
func (o *operation) printOne(r api.Result) {
	switch {
	case len(r.Plan) > 0:
		printPlan(o.cli, r)
		return
	case r.Exit != api.ExitOK && r.Result != notBegun:
		printFailure(o.cli, r)
	default:
		o.cli.printWarnings(r.Warnings)
	}
	if s := o.cli.results(); !o.cli.json && !o.cli.quiet && !s.Terminal {
		fmt.Fprint(s.Out, resultLine(r))
	}
}

// printSummary prints the results of all apps together.
func (o *operation) printSummary(results []api.Result, worst api.Exit) {
	if !o.cli.json && !o.cli.quiet && !o.request.DryRun {
		if s := o.cli.results(); s.Terminal {
			fmt.Fprint(s.Out, "\n"+resultTable(results).Text(s))
		}
	}
	if s := o.cli.errors(); worst != api.ExitOK {
		s.Message(term.Red, s.Mark("\n✗", "tideover:"), fmt.Sprintf("%s of %s", o.request.Verb, countResults(results)))
		printExit(s, worst)
	}
}

// manyResults is the document for several apps. Of one app it has the keys of its result
// beside these.
func manyResults[R any](results []R, worst api.Exit) map[string]any {
	what := "ok"
	if worst != api.ExitOK {
		what = "failed"
	}
	return map[string]any{"result": what, "exit": worst, "results": results}
}

// countResults is a text such as "3 apps: 2 ok, 1 kept old (blog)".
func countResults(results []api.Result) string {
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
			count += " (" + joinNames(apps[kind]) + ")"
		}
		counts = append(counts, count)
	}
	return term.Plural(len(results), "app") + ": " + strings.Join(counts, ", ")
}

// resultTable is the results as a table.
func resultTable(results []api.Result) *term.Table {
	t := &term.Table{Columns: []term.Column{
		{Head: "APP"},
		{Head: "RESULT"},
		{Head: "GEN", Right: true, Priority: 2},
		{Head: "TOOK", Right: true, Priority: 1},
		{Head: "HELD", Right: true, Priority: 3},
		{Head: "LONGEST", Right: true, Priority: 1},
		{Head: "LOST", Right: true, Priority: 4},
	}}
	for _, r := range results {
		longest, took := dash, dash
		if r.Requests.Held > 0 {
			longest = humanSeconds(r.Requests.HeldMax)
		}
		if r.Duration > 0 {
			took = humanSeconds(r.Duration)
		}
		held, lost := strconv.Itoa(r.Requests.Held), strconv.Itoa(r.Requests.Lost)
		if r.Plain {
			held, lost = dash, dash
		}
		row := term.Cells(r.App, r.Result, orDash(r.Generation.To), took, held, longest, lost)
		row[1].Color = resultColor(r)
		t.Add(row...)
	}
	return t
}

func resultColor(r api.Result) term.Color {
	switch {
	case r.Exit != api.ExitOK:
		return term.Red
	case r.Result == skipped:
		return term.Faint
	}
	return term.Green
}
