package main

import (
	"fmt"

	"github.com/spf13/cobra"
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
	ctx, cancel := c.waitContext(cmd.Context())
	defer cancel()
	t, err := c.target(ctx, firstArg(args))
	if err != nil {
		return err
	}
	report, err := t.client.Release(ctx, t.app)
	if err != nil {
		return err
	}
	switch {
	case c.json:
		return c.writeDocument(report)
	case c.quiet:
	case report.Held == 0:
		fmt.Fprintf(c.stdout, "%s: nothing was held\n", t.app)
	default:
		fmt.Fprintf(c.stdout, "%s: released after %s · %s\n", t.app, humanSeconds(report.Held), describeRequests(report.Requests))
	}
	return nil
}
