package main

import (
	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newRollbackCommand(c *cli) *cobra.Command {
	o := &operation{cli: c, request: api.Request{Verb: api.Rollback}}
	cmd := &cobra.Command{
		Use:   "rollback [APP...] [flags]",
		Short: "Put the release before into service",
		Example: `  tideover rollback              the only app
  tideover rollback --dry-run    where it would lead
  tideover rollback shop celery  apps of the same release`,
		Long: `For releases in directories of their own to which a symlink leads. As its owner,
the symlink is replaced by one to the directory from which the app was ready
last, beside the one to which it leads now. Then the app is reloaded, with the
exit codes of reload. Unless that is 0, the symlink leads again where it led.
Hooks get TIDEOVER_REASON=rollback. A second rollback goes forward again.`,
	}
	cmd.Flags().BoolVar(&o.request.DryRun, "dry-run", false, "show where it would lead")
	return o.newCommand(cmd)
}
