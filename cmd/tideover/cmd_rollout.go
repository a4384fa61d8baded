package main

import (
	"context"
	"errors"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/daemon"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/fleet"
	"tideover/supervisor/fleet/etcd"
)

func newRolloutCommand(c *cli) *cobra.Command {
	var wish fleet.Wish
	var healthy, drain time.Duration
	limit, supersede := "1", false
	cmd := &cobra.Command{
		Use:   "rollout APP [-- COMMAND...] | status | resume | abort | history",
		Short: "Reload an app on all hosts of the fleet, and stop at a failure",
		Example: `  tideover rollout shop --revision v42    one host after the other
  tideover rollout shop --max-unavailable 25% --canary web1
  tideover rollout resume                 after a halt, when it is repaired`,
		Long: `Each host reloads in its turn, by itself: this command only watches. R is
TIDEOVER_REVISION in hooks.before_start. Exit code 0: all hosts serve it; 11: a
host has failed, and no other begins; 10: this command has stopped watching.
COMMAND runs before the reload on each host with allow_command in [fleet].`,
		Args: func(cmd *cobra.Command, args []string) error {
			before, _, _ := splitAtDash(cmd, args)
			return maxNames(1)(cmd, before)
		},
		ValidArgsFunction: c.completeApps(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			args, command, given := splitAtDash(cmd, args)
			if given && len(command) == 0 {
				return usageError(cmd, "which command?")
			}
			wish.Command = command
			if healthy < 0 || drain < 0 {
				return usageError(cmd, "--min-healthy and --drain must not be negative")
			}
			if wish.Revision != "" {
				if err := api.CheckRevision(wish.Revision); err != nil {
					return usageError(cmd, "--revision %q: %v", wish.Revision, err)
				}
			}
			if wish.App = firstArg(c.selectors(args)); wish.App == "" {
				return usageError(cmd, "which app?")
			}
			wish.MinHealthy, wish.Drain, wish.By, wish.At = healthy.Seconds(), drain.Seconds(), operatorName(), time.Now().UTC().Format(time.RFC3339)
			return c.withFleet(cmd.Context(), func(ctx context.Context, f *fleetClient) error {
				if len(wish.Command) > 0 && !f.commands {
					return errorf(api.ExitDenied, "hooks.before_start runs one on each host without that, and has the revision in TIDEOVER_REVISION", "fleet.allow_command of this host is not true")
				}
				wish, err := f.commit(ctx, func(v *fleet.View) (fleet.Wish, fleet.Txn, error) { return fleet.Start(v, wish, limit, supersede) })
				if err != nil {
					return err
				}
				return watchWish(ctx, f, wish)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&wish.Revision, "revision", "", "`R` what is to be deployed")
	flags.StringVar(&limit, "max-unavailable", limit, "`N` hosts at once, or 25% (default: 1)")
	flags.DurationVar(&healthy, "min-healthy", 10*time.Second, "`TIME` in which the new generation is compared")
	flags.DurationVar(&drain, "drain", 0, "`TIME` for balancers to notice a drain before")
	flags.StringVar(&wish.Canary, "canary", "", "`HOST` that has its turn before all others")
	flags.StringSliceVar(&wish.Skipped, "skip", nil, "`HOST` that is down for good")
	flags.BoolVar(&supersede, "supersede", false, "take the place of one that is under way")
	for _, flag := range []string{"revision", "max-unavailable", "canary", "skip", "min-healthy", "drain"} {
		completeFlag(cmd, flag)
	}
	cmd.AddCommand(readOnly(newRolloutStatus(c)), newRolloutResume(c), newRolloutAbort(c), readOnly(newRolloutHistory(c)))
	return cmd
}

func newRolloutStatus(c *cli) *cobra.Command {
	wait := false
	cmd := &cobra.Command{
		Use: "status", Short: "Show the rollout that is under way, or the last one", Example: "  tideover rollout status --wait", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withFleetView(cmd.Context(), func(ctx context.Context, f *fleetClient, view *fleet.View) error {
				r := view.Report(f.group).Rollout
				switch {
				case r == nil:
					return errorf(api.ExitError, "tideover rollout APP", "there was no rollout in the fleet %s", f.group)
				case wait:
					return f.watch(ctx, r.ID, r.Attempt)
				}
				return f.show(*r)
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "watch it to its end")
	return cmd
}

func newRolloutResume(c *cli) *cobra.Command {
	var skip []string
	cmd := &cobra.Command{
		Use: "resume", Short: "Go on with a rollout that has halted", Example: "  tideover rollout resume --skip web3", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.changeRollout(cmd.Context(), func(v *fleet.View) (fleet.Wish, fleet.Txn, error) { return fleet.Resume(v, skip) }, watchWish)
		},
	}
	cmd.Flags().StringSliceVar(&skip, "skip", nil, "`HOST` that is down for good")
	completeFlag(cmd, "skip")
	return cmd
}

func newRolloutAbort(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "abort", Short: "End a rollout for good: no host begins any more", Example: "  tideover rollout abort", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			abort := func(v *fleet.View) (fleet.Wish, fleet.Txn, error) { return fleet.Abort(v, operatorName()) }
			return c.changeRollout(cmd.Context(), abort, func(_ context.Context, _ *fleetClient, wish fleet.Wish) error {
				if c.json {
					return c.writeDocument(map[string]any{"id": wish.ID, "app": wish.App, "state": fleet.Aborted})
				}
				c.note("rollout %d of %s is aborted; a turn that has begun goes on to its end", wish.ID, wish.App)
				return nil
			})
		},
	}
}

func newRolloutHistory(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "Show the rollouts before", Example: "  tideover rollout history", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withFleetView(cmd.Context(), func(_ context.Context, f *fleetClient, view *fleet.View) error { return f.showHistory(view) })
		},
	}
}

func newFleetCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "fleet", Short: "List the hosts of the fleet, and what they serve", Args: noArgs,
		Example: "  tideover fleet",
		Long: `The hosts whose tideover is there now and has [fleet] with the same group, and
each app with its generation and revision. It asks etcd, and no host.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withFleetView(cmd.Context(), func(_ context.Context, f *fleetClient, view *fleet.View) error { return f.showHosts(view) })
		},
	}
}

// operatorName is the user that this process runs as.
func operatorName() string {
	if account, err := user.Current(); err == nil {
		return account.Username
	}
	return ""
}

// withFleet calls do with a client of the etcd of the configuration. The context is that of waitContext.
func (c *cli) withFleet(ctx context.Context, do func(context.Context, *fleetClient) error) error {
	f, err := c.fleet()
	if err != nil {
		return err
	}
	ctx, cancel := c.waitContext(ctx)
	defer cancel()
	return do(ctx, f)
}

// withFleetView is withFleet with the keys as they are now.
func (c *cli) withFleetView(ctx context.Context, do func(context.Context, *fleetClient, *fleet.View) error) error {
	return c.withFleet(ctx, func(ctx context.Context, f *fleetClient) error {
		view, err := f.read(ctx)
		if err != nil {
			return err
		}
		return do(ctx, f, view)
	})
}

// changeRollout changes what the fleet is to do, and then calls do.
func (c *cli) changeRollout(ctx context.Context, change func(*fleet.View) (fleet.Wish, fleet.Txn, error), do func(context.Context, *fleetClient, fleet.Wish) error) error {
	return c.withFleet(ctx, func(ctx context.Context, f *fleetClient) error {
		wish, err := f.commit(ctx, change)
		if err != nil {
			return err
		}
		return do(ctx, f, wish)
	})
}

// watchWish shows the rollout of a wish until it is over.
func watchWish(ctx context.Context, f *fleetClient, wish fleet.Wish) error {
	return f.watch(ctx, wish.ID, wish.Attempt)
}

// fleetClient is a client of the etcd of [fleet].
type fleetClient struct {
	cli      *cli
	store    *etcd.Client
	group    string
	commands bool // fleet.allow_command
}

// fleet returns a client of the etcd of the configuration.
func (c *cli) fleet() (*fleetClient, error) {
	path, err := c.configPath("")
	if err != nil {
		return nil, err
	}
	file, err := config.Load(path)
	if err != nil {
		return nil, c.reportInvalidConfig(err)
	}
	settings, err := daemon.ReadFleet(&file.Fleet)
	switch {
	case err != nil:
		return nil, errorf(api.ExitConfig, "", "%v", err)
	case !file.Fleet.On():
		return nil, errorf(api.ExitConfig, `add [fleet] with etcd = ["https://HOST:2379"]`, "%s has no [fleet]", path)
	}
	store, err := settings.Client(nil)
	if err != nil {
		return nil, errorf(api.ExitConfig, "", "%v", err)
	}
	return &fleetClient{c, store, settings.Group, settings.Commands}, nil
}

func (f *fleetClient) read(ctx context.Context) (*fleet.View, error) {
	u, err := f.store.Read(ctx)
	if err != nil {
		return nil, fleetError(ctx, err)
	}
	view, err := etcd.Apply(nil, u)
	if err != nil {
		return nil, errorf(api.ExitError, "tideover version says which this is", "%v", err)
	}
	return view, nil
}

func fleetError(ctx context.Context, err error) error {
	var refusal *fleet.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Busy:
		return errorf(api.ExitBusy, refusal.Hint, "%s", refusal.Message)
	case errors.As(err, &refusal):
		return errorf(api.ExitError, refusal.Hint, "%s", refusal.Message)
	case ctx.Err() != nil:
		return errorf(api.ExitTimeout, "tideover rollout status --wait", "stopped watching; what has begun goes on")
	}
	return errorf(api.ExitError, "the apps are served without it", "%v", err)
}

// maxTries is how often a change is tried when another one comes before it.
const maxTries = 10

// commit makes a change by the keys as they are now.
func (f *fleetClient) commit(ctx context.Context, change func(*fleet.View) (fleet.Wish, fleet.Txn, error)) (fleet.Wish, error) {
	for range maxTries {
		view, err := f.read(ctx)
		if err != nil {
			return fleet.Wish{}, err
		}
		wish, txn, err := change(view)
		if err != nil {
			return wish, fleetError(ctx, err)
		}
		done, _, err := f.store.Commit(ctx, txn, 0)
		if err != nil {
			return wish, fleetError(ctx, err)
		}
		if done {
			return wish, nil
		}
	}
	return fleet.Wish{}, errorf(api.ExitError, "try it again", "other changes of the fleet come before this one")
}

// watch shows a rollout until it is over, and returns its exit code.
func (f *fleetClient) watch(ctx context.Context, id, attempt int) error {
	following, stop := context.WithCancel(ctx)
	updates, ended := make(chan etcd.Update), make(chan struct{})
	go func() {
		defer close(ended)
		etcd.FollowAgain(following, f.store.Follow, updates, func(err error) { f.cli.note("etcd: %v; it is asked again", err) })
	}()
	defer func() { stop(); <-ended }()
	var view *fleet.View
	shown := map[string]fleet.TurnState{}
	for {
		select {
		case u := <-updates:
			var err error
			if view, err = etcd.Apply(view, u); err != nil {
				return errorf(api.ExitError, "tideover version says which this is", "%v", err)
			}
		case <-ctx.Done():
			return fleetError(ctx, ctx.Err())
		}
		r := view.Report(f.group).Rollout
		if r == nil || r.ID != id {
			return errorf(api.ExitHalted, "tideover rollout status", "another rollout has taken the place of rollout %d", id)
		}
		f.progress(*r, shown)
		if r.Exit >= 0 && r.Attempt >= attempt {
			return f.show(*r)
		}
	}
}
