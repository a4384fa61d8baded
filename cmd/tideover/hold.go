package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func holdVerb(c *cli) *cobra.Command {
	var lease time.Duration
	cmd := &cobra.Command{
		Use:     "hold [APP] [--for 30s] [-- COMMAND...]",
		Aliases: []string{"pause"},
		Short:   "Let new requests wait, and those in flight finish",
		Example: `  tideover hold shop -- ./manage.py migrate     hold, run it, release
  tideover hold shop --for 20s                  until then, or tideover release`,
		Long: `With a command: whatever happens to it, requests are released, and the exit
code is the command's. Nobody is held for longer than hold.timeout.`,
		ValidArgsFunction: c.completeApps(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			before, command, given := split(cmd, args)
			if err := most(1)(cmd, before); err != nil {
				return err
			}
			if given && len(command) == 0 {
				return usage(cmd, "there is no command after --")
			}
			if lease < 0 {
				return usage(cmd, "--for must not be negative")
			}
			if given {
				return holdWhile(c, cmd.Context(), first(before), lease, command)
			}
			return holdFor(c, cmd.Context(), first(before), lease)
		},
	}
	cmd.Flags().DurationVar(&lease, "for", 0, "`TIME` until it ends by itself (default: the app's hold.timeout)")
	return cmd
}

func holdFor(c *cli, ctx context.Context, app string, lease time.Duration) error {
	ctx, cancel := c.waiting(ctx)
	defer cancel()
	t, err := c.target(ctx, app)
	if err != nil {
		return err
	}
	report, err := t.client.Hold(ctx, t.app, api.HoldRequest{For: lease})
	if ctx.Err() != nil {
		return fault(api.ExitTimeout, "tideover release "+t.app+" ends it", "stopped waiting; the hold of %s goes on", t.app)
	}
	if err != nil {
		return err
	}
	switch {
	case c.json:
		return c.document(report)
	case !c.quiet:
		fmt.Fprintf(c.stdout, "%s: holding for %s; %s\n", t.app, human(span(report.For)), drained(report))
	}
	return nil
}

func drained(r api.HoldReport) string {
	if !r.Drained {
		return fmt.Sprintf("%s still in flight", plural(r.InFlight, "request"))
	}
	return "nothing is in flight after " + human(span(r.Waited))
}
