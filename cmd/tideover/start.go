package main

import (
	"github.com/spf13/cobra"

	"tideover/supervisor"
)

func startVerb(c *cli) *cobra.Command {
	o := &operation{cli: c, request: supervisor.Request{Verb: supervisor.Start}}
	return o.command(&cobra.Command{
		Use:   "start [APP...] [flags]",
		Short: "Start what was stopped",
		Example: `  tideover start shop
  tideover start --all`,
		Long: `Exits 0 when the app answers; one that runs already is left alone.`,
	})
}
