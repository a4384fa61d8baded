package main

import (
	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newReloadCommand(c *cli) *cobra.Command {
	o := &operation{cli: c, request: api.Request{Verb: api.Reload}}
	cmd := &cobra.Command{
		Use:   "reload [APP...] [flags]",
		Short: "Put new code into service without losing a request",
		Example: `  tideover reload                    the only app
  tideover reload shop celery        one after another; labels select, too
  tideover reload shop --revision v2 || exit 1   in a deploy script`,
		Long: `The configuration is read again: a fault in the app's section is exit 5, one in
another app's a warning. The new code is started. When it answers, it gets the
requests, also those that no worker of the old code has accepted, and the
command ends, while the old code finishes what it has.
Exits 0 when the new code answers, 7 when it does not come up and the old code
still serves, 8 when nothing serves, 1 when --wait-drain finds a request lost.
Of a plain process the old copy is stopped first, unless reload = "overlap". Of
several apps the exit code is the worst. Stopped ones have to be named.`,
	}
	cmd.Flags().BoolVar(&o.request.DryRun, "dry-run", false, "show what would happen")
	cmd.Flags().BoolVar(&o.request.WaitDrain, "wait-drain", false, "until the old code is gone; exit 1 if a request was lost")
	o.takeRevision(cmd)
	return o.newCommand(cmd)
}
