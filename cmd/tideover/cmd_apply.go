package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newApplyCommand(c *cli) *cobra.Command {
	dryRun, allowEmpty := false, false
	cmd := &cobra.Command{
		Use:     "apply [--dry-run] [--allow-empty]",
		Aliases: []string{"update", "reread"}, // as in supervisorctl; reread is a dry run
		Short:   "Read the configuration again and apply it",
		Example: `  tideover apply --dry-run     show the difference and what would happen
  tideover apply`,
		Long: `New apps are started; removed apps drain and stop. Settings that can change
live change at once; an app is reloaded only when a setting requires it. No
request is lost. An app that was stopped with tideover stop stays stopped.

A configuration without apps is an error, and so is an include that matched
files before and matches none now: a truncated file or a directory that is not
mounted removes no app. --allow-empty applies such a configuration.

Exits 0 when the apps match the configuration; 5 when the configuration is not
valid (nothing was changed); 7 or 8 when new code did not come up (help exits).`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !(cmd.CalledAs() != cmd.Name() && len(args) == 1 && args[0] == allApps) {
				return usageError(cmd, "%s takes no names: it applies the whole configuration", cmd.CalledAs())
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return applyConfig(c, cmd.Context(), api.ApplyRequest{DryRun: dryRun || cmd.CalledAs() == "reread", AllowEmpty: allowEmpty})
		},
	}
	cmd.Flags().BoolVar(&allowEmpty, "allow-empty", false, "accept a configuration that has lost its apps")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would happen")
	return cmd
}

func applyConfig(c *cli, ctx context.Context, r api.ApplyRequest) error {
	ctx, cancel := c.waitContext(ctx)
	defer cancel()
	daemon, err := c.oneDaemon(ctx)
	if err != nil {
		return err
	}
	result, err := withProgress(c, maxWidth(daemon.Apps()), func(progress func(api.Phase)) (api.ApplyResult, error) {
		return daemon.Client.Apply(ctx, r, progress)
	})
	var typed *api.Error
	if errors.As(err, &typed) && typed.Exit == api.ExitTimeout {
		return errorf(api.ExitTimeout, "tideover status shows how it goes", "stopped waiting; apply goes on")
	}
	if err != nil {
		return err
	}
	if c.json {
		c.writeDocument(result)
	}
	printApplied(c, result, r.DryRun)
	return exitError(result.Exit)
}
