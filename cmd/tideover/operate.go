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

// command completes a cobra command for the operation.
func (o *operation) command(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&o.all, "all", false, "every app of the daemon, one after another")
	cmd.Flags().BoolVar(&o.request.NoQueue, "no-queue", false, "exit 9 when another operation runs")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "return as soon as it has begun")
	cmd.ValidArgsFunction = o.cli.completeApps(many)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args) }
	return cmd
}

// run finds what was named and carries the operation out.
func (o *operation) run(ctx context.Context, names []string) error {
	ctx, cancel := o.cli.waiting(ctx)
	defer cancel()
	if o.all && len(names) > 0 {
		return fault(api.ExitUsage, "give the names or --all", "--all leaves nothing to name")
	}
	if o.all {
		names = []string{everyApp}
	}
	targets, single, err := o.cli.targets(ctx, names)
	switch {
	case err != nil:
		return err
	case single:
		return o.onOne(ctx, targets[0])
	}
	return o.onEach(ctx, targets, o.cli.selectors(names))
}

func (o *operation) onOne(ctx context.Context, t target) error {
	result, err := o.carryOut(ctx, t, 0)
	if err != nil {
		return err
	}
	tell(o.cli, result)
	if o.cli.json {
		o.cli.document(result)
	}
	return ended(result.Exit)
}

// ended is an exit code as an error, for what has been told already.
func ended(exit api.Exit) error {
	if exit == api.ExitOK {
		return nil
	}
	return exitCode(exit)
}

// carryOut does it to one app. width is that of the column with the app's name,
// where there are several.
func (o *operation) carryOut(ctx context.Context, t target, width int) (api.Result, error) {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	r := o.request
	r.App = t.app
	begun := false
	result, err := watch(o.cli, width, func(progress func(api.Phase)) (api.Result, error) {
		return t.client.Do(ctx, r, func(p api.Phase) {
			if o.noWait {
				begun = true
				leave()
				return
			}
			progress(p)
		})
	})
	if begun && err != nil {
		return o.result(t, "accepted", nil), nil
	}
	return result, o.detached(err, t)
}

// result is that of an app the daemon told nothing of.
func (o *operation) result(t target, what string, err *api.Error) api.Result {
	r := api.Result{App: t.app, Verb: o.request.Verb, Result: what, Phases: []api.PhaseResult{}, ChildOutput: []string{}}
	if err != nil {
		r.Exit, r.Error, r.Hint = err.Exit, err.Message, err.Hint
	}
	return r
}

// detached says what goes on when only the waiting ended.
func (o *operation) detached(err error, t target) error {
	var typed *api.Error
	if !errors.As(err, &typed) || typed.Exit != api.ExitTimeout {
		return err
	}
	return fault(api.ExitTimeout, "tideover status "+t.app+" shows how it goes",
		"stopped waiting; the %s of %s goes on", o.request.Verb, t.app)
}
