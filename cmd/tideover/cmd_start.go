package main

import (
	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newStartCommand(c *cli) *cobra.Command {
	o := &operation{cli: c, request: api.Request{Verb: api.Start}}
	return o.newCommand(&cobra.Command{
		Use:   "start [APP...] [flags]",
		Short: "Start what was stopped",
		Example: `  tideover start shop
  tideover start celery      all instances of celery; labels select, too
  tideover start --all`,
		Long: `Exits 0 when the app answers; one that runs already is left alone.
Several apps have their turn one after another, whatever became of those before;
the exit code is that of the worst.`,
	})
}
