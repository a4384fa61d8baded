package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newReleaseCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "release [APP]",
		Aliases: []string{"resume"},
		Short:   "End a hold",
		Example: `  tideover release shop`,
		Long: `Held requests are released, the oldest first. When nothing is held, the exit
code is 0, too.`,
		Args:              maxNames(1),
		ValidArgsFunction: c.completeApps(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return releaseHold(c, cmd, args) },
	}
}

func releaseHold(c *cli, cmd *cobra.Command, args []string) error {
	release := func(ctx context.Context, t target) (api.HoldReport, error) { return t.client.Release(ctx, t.app) }
	return callByName(c, cmd, args, release, func(report api.HoldReport) string {
		if report.Held == 0 {
			return "nothing was held"
		}
		return fmt.Sprintf("released after %s · %s", humanSeconds(report.Held), describeRequests(report.Requests))
	})
}

// callByName makes a call for the app that args name, or the only one, and prints its report.
func callByName[R any](c *cli, cmd *cobra.Command, args []string, call func(context.Context, target) (R, error), describe func(R) string) error {
	ctx, cancel := c.waitContext(cmd.Context())
	defer cancel()
	t, err := c.target(ctx, firstArg(args))
	if err != nil {
		return err
	}
	report, err := call(ctx, t)
	switch {
	case err != nil:
		return err
	case c.json:
		return c.writeDocument(report)
	case !c.quiet:
		fmt.Fprintf(c.stdout, "%s: %s\n", t.app, describe(report))
	}
	return nil
}
