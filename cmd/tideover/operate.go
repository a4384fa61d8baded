package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tideover/supervisor"
)

// operation is a verb that the daemon carries out in phases: reload, restart,
// start, stop.
type operation struct {
	cli     *cli
	request supervisor.Request
	all     bool
	noWait  bool
}

// command completes a cobra command for the operation.
func (o *operation) command(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&o.all, "all", false, "every app of the daemon, one after another")
	cmd.Flags().BoolVar(&o.request.NoQueue, "no-queue", false, "exit 9 when another operation runs")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "return as soon as it has begun")
	cmd.ValidArgsFunction = o.cli.appNames(1000)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args) }
	return cmd
}

// run carries the operation out on each app in turn. The first failure stops
// the rest, and gives the exit code.
func (o *operation) run(ctx context.Context, names []string) error {
	ctx, cancel := o.cli.waiting(ctx)
	defer cancel()
	targets, err := o.cli.targets(ctx, names, o.all)
	if err != nil {
		return err
	}
	var results []supervisor.Result
	failed := error(nil)
	for i, t := range targets {
		result, err := o.carryOut(ctx, t)
		if err != nil {
			return err
		}
		tell(o.cli, result)
		if results = append(results, result); result.Exit != supervisor.ExitOK {
			failed = exitCode(result.Exit)
			o.leave(targets[i+1:])
			break
		}
	}
	if o.cli.json {
		o.document(results, o.all || len(names) > 1)
	}
	return failed
}

// document is the result itself when one app was meant, and a list of results
// when there might have been several.
func (o *operation) document(results []supervisor.Result, several bool) {
	if !several && len(results) == 1 {
		o.cli.document(results[0])
		return
	}
	o.cli.document(map[string]any{"results": results})
}

func (o *operation) carryOut(ctx context.Context, t target) (supervisor.Result, error) {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	r := o.request
	r.App = t.app
	begun := false
	result, err := watch(o.cli, func(progress func(supervisor.Phase)) (supervisor.Result, error) {
		return t.client.Do(ctx, r, func(p supervisor.Phase) {
			if o.noWait {
				begun = true
				leave()
				return
			}
			progress(p)
		})
	})
	if begun && err != nil {
		return supervisor.Result{App: t.app, Verb: r.Verb, Result: "accepted", Phases: []supervisor.PhaseResult{}, ChildOutput: []string{}}, nil
	}
	return result, o.detached(err, t)
}

// detached says what goes on when only the waiting ended.
func (o *operation) detached(err error, t target) error {
	var typed *supervisor.Error
	if !errors.As(err, &typed) || typed.Exit != supervisor.ExitTimeout {
		return err
	}
	return fault(supervisor.ExitTimeout, "tideover status "+t.app+" shows how it goes",
		"stopped waiting; the %s of %s goes on", o.request.Verb, t.app)
}

func (o *operation) leave(targets []target) {
	for _, t := range targets {
		fmt.Fprintf(o.cli.stderr, "%s: no %s, because of the failure before\n", t.app, o.request.Verb)
	}
}
