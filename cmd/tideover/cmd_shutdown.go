package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newShutdownCommand(c *cli) *cobra.Command {
	now := false
	cmd := &cobra.Command{
		Use:   "shutdown [--now]",
		Short: "Drain, stop every app and end the daemon",
		Example: `  tideover shutdown
  tideover shutdown --now     do not wait for requests in flight`,
		Long: `Exits 0 when no process of any app is left.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return shutDown(c, cmd, now) },
	}
	cmd.Flags().BoolVar(&now, "now", false, "do not drain; kill the processes that still run")
	return cmd
}

func shutDown(c *cli, cmd *cobra.Command, now bool) error {
	ctx, cancel := c.waitContext(cmd.Context())
	defer cancel()
	daemon, err := c.oneDaemon(ctx)
	if err != nil {
		return err
	}
	if err := daemon.Shutdown(ctx, now); err != nil {
		if ctx.Err() != nil {
			return errorf(api.ExitTimeout, "", "stopped waiting; the shutdown goes on")
		}
		return err
	}
	switch {
	case c.json:
		return c.writeDocument(map[string]any{"result": "ok", "exit": 0})
	case !c.quiet:
		fmt.Fprintln(c.stdout, "everything is stopped")
	}
	return nil
}
