package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

func newHoldCommand(c *cli) *cobra.Command {
	var lease time.Duration
	cmd := &cobra.Command{
		Use:     "hold [APP] [--for 30s] [-- COMMAND...]",
		Aliases: []string{"pause"},
		Short:   "Hold new requests and let those in flight finish",
		Example: `  tideover hold shop -- ./manage.py migrate     hold, run the command, release
  tideover hold shop --for 20s                  20 s, or until tideover release`,
		Long: `With a command, the requests are released when it ends, also when it fails or
is killed, and the exit code is the command's. No request is held for longer
than hold.timeout, and no hold lasts longer than hold.max_for (10 minutes).`,
		ValidArgsFunction: c.completeApps(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			before, command, given := splitAtDash(cmd, args)
			if err := maxNames(1)(cmd, before); err != nil {
				return err
			}
			if given && len(command) == 0 {
				return usageError(cmd, "there is no command after --")
			}
			if lease < 0 {
				return usageError(cmd, "--for must not be negative")
			}
			if given {
				return holdDuring(c, cmd.Context(), firstArg(before), lease, command)
			}
			return holdFor(c, cmd.Context(), firstArg(before), lease)
		},
	}
	cmd.Flags().DurationVar(&lease, "for", 0, "`TIME` that it lasts at most (default: the app's hold.timeout)")
	return cmd
}

func holdFor(c *cli, ctx context.Context, app string, lease time.Duration) error {
	ctx, cancel := c.waitContext(ctx)
	defer cancel()
	t, err := c.target(ctx, app)
	if err != nil {
		return err
	}
	report, err := t.client.Hold(ctx, t.app, api.HoldRequest{For: lease})
	if ctx.Err() != nil {
		return errorf(api.ExitTimeout, "tideover release "+t.app+" ends it", "stopped waiting; the hold of %s goes on", t.app)
	}
	if err != nil {
		return err
	}
	switch {
	case c.json:
		warnOfExpiry(c, t.app, report)
		return c.writeDocument(report)
	case !c.quiet:
		warnOfExpiry(c, t.app, report)
		fmt.Fprintf(c.stdout, "%s: holding for %s; %s\n", t.app, humanSeconds(report.For), describeDrain(report))
	}
	return nil
}

// warnOfExpiry says what will happen to requests when the hold may last longer than a request
// may wait.
func warnOfExpiry(c *cli, app string, r api.HoldReport) {
	if r.Longest > 0 && r.For > r.Longest {
		c.printWarnings([]string{fmt.Sprintf("a request to %s that waits longer than %s (hold.timeout) gets 503; only those of the last %s before the release are answered",
			app, humanSeconds(r.Longest), humanSeconds(r.Longest))})
	}
}

func describeDrain(r api.HoldReport) string {
	if !r.Drained {
		return fmt.Sprintf("%s still in flight", term.Plural(r.InFlight, "request"))
	}
	return "nothing is in flight after " + humanSeconds(r.Waited)
}
