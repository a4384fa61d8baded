package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

func newDrainCommand(c *cli) *cobra.Command {
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "drain [APP] [--for 10m]",
		Short: "Have load balancers send new requests to other hosts",
		Example: `  tideover drain shop              before work on this host; until undrain
  tideover drain shop --for 10m    it ends by itself`,
		Long: `What load balancers ask says no: /-/ready and /-/ready/APP on daemon.admin and
hold.alive are 503, and HAProxy's agent-check (agent.listen) is "up drain".
Requests that still come are served as before: no client notices. It lasts over
reloads, restarts and upgrades of tideover, until tideover undrain.`,
		Args:              maxNames(1),
		ValidArgsFunction: c.completeApps(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if length < 0 {
				return usageError(cmd, "--for must not be negative")
			}
			return drainApp(c, cmd, args, length)
		},
	}
	cmd.Flags().DurationVar(&length, "for", 0, "`TIME` that it lasts (default: until tideover undrain)")
	return cmd
}

func newUndrainCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:               "undrain [APP]",
		Short:             "Have load balancers send requests to this host again",
		Example:           `  tideover undrain shop`,
		Long:              `It ends tideover drain. When nothing is drained, the exit code is 0, too.`,
		Args:              maxNames(1),
		ValidArgsFunction: c.completeApps(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return undrainApp(c, cmd, args) },
	}
}

func drainApp(c *cli, cmd *cobra.Command, args []string, length time.Duration) error {
	ctx, cancel := c.waitContext(cmd.Context())
	defer cancel()
	t, err := c.target(ctx, firstArg(args))
	if err != nil {
		return err
	}
	report, err := t.client.Drain(ctx, t.app, api.DrainRequest{For: length})
	if err != nil {
		return err
	}
	if c.json {
		return c.writeDocument(report)
	}
	if len(report.Notices) == 0 {
		c.printWarnings([]string{fmt.Sprintf("no load balancer asks for %s: with agent.listen, hold.alive or daemon.admin it can", t.app)})
	}
	if !c.quiet {
		until := "until tideover undrain " + t.app
		if length > 0 {
			until = "for " + human(length)
		}
		fmt.Fprintf(c.stdout, "%s: drained %s; %s in flight\n", t.app, until, term.Plural(report.InFlight, "request"))
	}
	return nil
}

func undrainApp(c *cli, cmd *cobra.Command, args []string) error {
	undrain := func(ctx context.Context, t target) (api.DrainReport, error) { return t.client.Undrain(ctx, t.app) }
	return callByName(c, cmd, args, undrain, func(report api.DrainReport) string {
		if report.Lasted == 0 {
			return "it was not drained"
		}
		return "load balancers may send requests again, after " + humanSeconds(report.Lasted)
	})
}
