package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

// operation is a verb that the daemon carries out in phases: reload, restart,
// start, stop.
type operation struct {
	cli     *cli
	request api.Request
	all     bool
	noWait  bool
}

// takeRevision adds the flag --revision.
func (o *operation) takeRevision(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.request.Revision, "revision", "", "`WORD` for what is deployed (default: as the key says)")
}

// newCommand adds the flags and the action of the operation to cmd.
func (o *operation) newCommand(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&o.all, "all", false, "every app of the daemon, one after another")
	cmd.Flags().BoolVar(&o.request.NoQueue, "no-queue", false, "exit 9 when another operation runs")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "return as soon as the operation has begun")
	cmd.ValidArgsFunction = o.cli.completeApps(unlimited)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args) }
	return cmd
}

// run finds the named apps and carries the operation out.
func (o *operation) run(ctx context.Context, names []string) error {
	ctx, cancel := o.cli.waitContext(ctx)
	defer cancel()
	if o.all && len(names) > 0 {
		return errorf(api.ExitUsage, "give the names or --all", "--all leaves nothing to name")
	}
	if o.all {
		names = []string{allApps}
	}
	targets, single, err := o.cli.targets(ctx, names)
	switch {
	case err != nil:
		return err
	case single:
		return o.runOne(ctx, targets[0])
	}
	return o.runEach(ctx, targets, o.cli.selectors(names))
}

func (o *operation) runOne(ctx context.Context, t target) error {
	result, err := o.execute(ctx, t, 0)
	if err != nil {
		return err
	}
	printResult(o.cli, result)
	if o.cli.json {
		o.cli.writeDocument(struct {
			api.Result
			Results []api.Result `json:"results"`
		}{result, []api.Result{result}}) // the same keys as for several apps
	}
	return exitError(result.Exit)
}

// execute carries the operation out on one app and shows its progress. width is
// the width of the column with the apps' names; 0: there is one app.
func (o *operation) execute(ctx context.Context, t target, width int) (api.Result, error) {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	r := o.request
	r.App, r.NoWait = t.app, o.noWait
	begun, queued := false, false
	result, err := withProgress(o.cli, width, func(progress func(api.Phase)) (api.Result, error) {
		return t.client.Do(ctx, r, func(p api.Phase) {
			if o.noWait {
				begun = true
				leave()
				return
			}
			queued = p.Name == "queue"
			progress(p)
		})
	})
	if begun && err != nil {
		return o.localResult(t, "accepted", nil), nil
	}
	return result, o.explainTimeout(err, t, queued)
}

// localResult is the result of an app for which there is none from the daemon.
func (o *operation) localResult(t target, what string, err *api.Error) api.Result {
	r := api.Result{App: t.app, Verb: o.request.Verb, Result: what, Phases: []api.PhaseResult{}, ChildOutput: []string{}}
	if err != nil {
		r.Exit, r.Error, r.Hint = err.Exit, err.Message, err.Hint
	}
	return r
}

// explainTimeout says what becomes of the operation when the client stopped waiting: it
// goes on, or is dropped if it waits behind another one.
func (o *operation) explainTimeout(err error, t target, queued bool) error {
	var typed *api.Error
	if !errors.As(err, &typed) || typed.Exit != api.ExitTimeout {
		return err
	}
	if queued {
		return errorf(api.ExitTimeout, "--no-wait has it carried out after the operation that runs",
			"stopped waiting; the %s of %s had not begun and is dropped", o.request.Verb, t.app)
	}
	return errorf(api.ExitTimeout, "tideover status "+t.app+" shows how it goes",
		"stopped waiting; the %s of %s goes on", o.request.Verb, t.app)
}
