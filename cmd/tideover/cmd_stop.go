package main

import (
	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newStopCommand(c *cli) *cobra.Command {
	o := &operation{cli: c, request: api.Request{Verb: api.Stop}}
	return o.newCommand(&cobra.Command{
		Use:   "stop [APP...] [flags]",
		Short: "Let an app finish what it has, then stop it",
		Example: `  tideover stop shop
  tideover start shop        and it is back
  tideover stop celery       all instances of celery; labels select, too`,
		Long: `Its socket stays open: who asks gets 503 with Retry-After and never a refused
connection. It stays stopped until it is started, also when tideover restarts.
Several apps have their turn one after another.`,
	})
}
