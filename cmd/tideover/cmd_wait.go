package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

// waitInterval is the time between two questions.
const waitInterval = 100 * time.Millisecond

func newWaitCommand(c *cli) *cobra.Command {
	until := awaited{text: "ready"}
	cmd := &cobra.Command{
		Use:   "wait [APP] [--until ready|generation=N]",
		Short: "Wait until an app is ready, or has a generation",
		Example: `  tideover run & tideover wait shop --timeout 60s     in a script, a CI job
  tideover wait shop --until generation=8             8 or a later one serves`,
		Long: `Exits 0 once the app has a generation that serves and no operation of it runs,
or once generation N or a later one serves. It waits for the daemon, too, and
goes on when that restarts. When the reload to generation N has failed, it exits
as that (7 or 8). Without --timeout it waits as long as it takes; exit 10.`,
		Args:              maxNames(1),
		ValidArgsFunction: c.completeApps(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return waitUntil(c, cmd.Context(), firstArg(args), until)
		},
	}
	cmd.Flags().Var(&until, "until", "`WHAT`: ready, or generation=N")
	completeFlag(cmd, "until", "ready", "generation=")
	return cmd
}

// awaited is the flag --until.
type awaited struct {
	text       string
	generation int // 0: any
}

func (a *awaited) Set(text string) error {
	number, given := strings.CutPrefix(text, "generation=")
	n, err := strconv.Atoi(number)
	if text != "ready" && (!given || err != nil || n < 1) {
		return fmt.Errorf("%q: write ready, or generation=N", text)
	}
	a.text, a.generation = text, n
	return nil
}

func (a *awaited) String() string { return a.text }
func (a *awaited) Type() string   { return "state" }

// reached reports whether the app is so far. The error says that it will not be.
func (a awaited) reached(st api.AppStatus) (bool, error) {
	if a.generation == 0 {
		return st.Generation > 0 && (st.State == api.Running || st.State == api.Holding), nil
	}
	if st.Generation >= a.generation {
		return true, nil
	}
	if r := st.LastReload; r != nil && r.Exit != api.ExitOK && r.Generation.To >= a.generation {
		return false, &api.Error{Exit: r.Exit, Message: r.Error, Hint: r.Hint}
	}
	return false, nil
}

func waitUntil(c *cli, ctx context.Context, name string, until awaited) error {
	ctx, cancel := c.waitContext(ctx)
	defer cancel()
	ticker := time.NewTicker(waitInterval)
	defer ticker.Stop()
	last := "no daemon answers"
	for {
		st, err := appStatus(c, ctx, name)
		switch {
		case err == nil:
			reached, failed := until.reached(st)
			if failed != nil {
				return failed
			}
			if reached {
				return reportReached(c, st)
			}
			last = st.Name + " is " + string(st.State)
			if st.Generation > 0 {
				last += ", generation " + strconv.Itoa(st.Generation)
			}
			if st.Reason != "" {
				last += ": " + st.Reason
			}
		case !isDaemonGone(err):
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errorf(api.ExitTimeout, "", "stopped waiting for %s; %s", until.text, last)
		}
	}
}

// appStatus is the status of one app.
func appStatus(c *cli, ctx context.Context, name string) (api.AppStatus, error) {
	t, err := c.target(ctx, name)
	if err != nil {
		return api.AppStatus{}, err
	}
	st, err := t.client.Status(ctx, t.app)
	if err != nil {
		return api.AppStatus{}, err
	}
	return st.Apps[0], nil
}

func reportReached(c *cli, st api.AppStatus) error {
	switch {
	case c.json:
		return c.writeDocument(st)
	case !c.quiet:
		fmt.Fprintf(c.stdout, "%s: %s, generation %d\n", st.Name, st.State, st.Generation)
	}
	return nil
}
