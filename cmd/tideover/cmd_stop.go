package main

import (
	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newStopCommand(c *cli) *cobra.Command {
	o := &operation{cli: c, request: api.Request{Verb: api.Stop}}
	return o.newCommand(&cobra.Command{
		Use:   "stop [APP...] [flags]",
		Short: "Let an app finish its requests, then stop it",
		Example: `  tideover stop shop
  tideover start shop        start it again
  tideover stop celery       all instances of celery; labels select, too`,
		Long: `Its socket stays open: clients get 503 with Retry-After, never a refused
connection. The app stays stopped until tideover start, also when tideover
itself restarts. Several apps are stopped one after another.`,
	})
}
