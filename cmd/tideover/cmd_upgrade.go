package main

import (
	"crypto/rand"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newUpgradeCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "upgrade [BINARY]",
		Short: "Replace the running tideover; apps and requests go on",
		Example: `  tideover upgrade                 the tideover that is installed now
  tideover upgrade ./tideover      another one`,
		Long: `As SIGUSR2, and waits for the result. The new program is tried first: it must
accept the configuration. It takes over every process, socket, connection and
hold; no request waits, and none is cut. If it ends before that is done, the
former one goes on. BINARY is not remembered: the next upgrade without it is to
what the daemon was started as.
Exits 0 when the new program runs, 7 when the former one goes on.`,
		Args: maxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error { return upgrade(c, cmd, args) },
	}
}

func upgrade(c *cli, cmd *cobra.Command, args []string) error {
	ctx, cancel := c.waitContext(cmd.Context())
	defer cancel()
	r := api.UpgradeRequest{ID: rand.Text()}
	if len(args) == 1 {
		path, err := exec.LookPath(args[0])
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return errorf(api.ExitUsage, "", "cannot find the new tideover: %v", err)
		}
		r.Program = path
	}
	daemon, err := c.oneDaemon(ctx)
	if err != nil {
		return err
	}
	done, err := daemon.Upgrade(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			return errorf(api.ExitTimeout, "tideover history shows what became of it", "stopped waiting; the upgrade goes on")
		}
		return err
	}
	switch {
	case c.json:
		if err := c.writeDocument(done); err != nil {
			return err
		}
	case done.Exit != api.ExitOK:
		return errorf(done.Exit, "its own output is in the log: tideover logs", "tideover %s goes on: %s", done.From, done.Error)
	case !c.quiet:
		fmt.Fprintf(c.stdout, "tideover %s runs, %s was replaced after %s\n", done.To, done.From, humanSeconds(done.Ended.Sub(done.Began).Seconds()))
	}
	return exitError(done.Exit)
}
