package main

import (
	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newRestartCommand(c *cli) *cobra.Command {
	o := &operation{cli: c, request: api.Request{Verb: api.Restart}}
	cmd := &cobra.Command{
		Use:   "restart [APP...] [flags]",
		Short: "Stop the old code, hold requests, start the new code",
		Example: `  tideover restart            the only app
  tideover restart shop       when memory is too small for two copies`,
		Long: `Requests in flight finish. New requests are held until the new code answers.
There are never two copies. If the new code does not come up, nothing serves
(exit 8): reload is safer. Several apps are restarted one after another; the
exit code is the worst of them.`,
	}
	o.takeRevision(cmd)
	return o.newCommand(cmd)
}
