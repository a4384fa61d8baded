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
  tideover reload shop || exit 1     in a deploy script`,
		Long: `The new code is started first; when it answers, it gets the requests and the
old one finishes what it has. Exits 0 when the new code answers, 7 when it
does not come up and the old still serves, 8 when nothing serves.
Of several apps each has its turn, whatever became of those before (to end at
the first failure: reload a && reload b); the exit code is that of the worst.
Apps that are stopped are passed over unless they are named.`,
	}
	cmd.Flags().BoolVar(&o.request.DryRun, "dry-run", false, "say what would happen")
	return o.newCommand(cmd)
}
