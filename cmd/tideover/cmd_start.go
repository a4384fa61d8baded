package main

import (
	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newStartCommand(c *cli) *cobra.Command {
	o := &operation{cli: c, request: api.Request{Verb: api.Start}}
	cmd := &cobra.Command{
		Use:   "start [APP...] [flags]",
		Short: "Start a stopped app",
		Example: `  tideover start shop
  tideover start celery      all instances of celery; labels select, too
  tideover start --all`,
		Long: `Exits 0 when the app answers. An app that runs already is not changed.
Several apps are started one after another, also after a failure; the exit code
is the worst of them.`,
	}
	o.takeRevision(cmd)
	return o.newCommand(cmd)
}
