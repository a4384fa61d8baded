package main

import (
	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newRestartCommand(c *cli) *cobra.Command {
	o := &operation{cli: c, request: api.Request{Verb: api.Restart}}
	return o.newCommand(&cobra.Command{
		Use:   "restart [APP...] [flags]",
		Short: "Stop the old code, hold requests, start the new code",
		Example: `  tideover restart            the only app
  tideover restart shop       when memory is too small for two copies`,
		Long: `Requests in flight finish, new ones wait at the gate and are released when
the new code answers. There are never two copies. If the new code does not
come up nothing serves (exit 8): reload is the safer one. Several apps have
their turn one after another; the exit code is that of the worst.`,
	})
}
