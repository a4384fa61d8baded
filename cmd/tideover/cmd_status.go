package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/control"
)

func newStatusCommand(c *cli) *cobra.Command {
	every, check := interval(0), false
	cmd := &cobra.Command{
		Use:        "status [APP...] [--watch]",
		Aliases:    []string{"ls"},
		SuggestFor: []string{"avail", "ps", "list"},
		Short:      "Show what runs, since when, and how many requests wait",
		Example: `  tideover status              a table of all apps
  tideover status shop         all details of one app
  tideover status celery web   instances by their common name, apps by a label
  tideover status --watch      again every second; --watch=5s: every five
  tideover status --check shop asks the app: for HEALTHCHECK, readiness probes
  tideover status --json       for scripts`,
		Long: `Exits 0 when the daemon answered, also when an app is stopped or has failed.
With --check it exits 0 only when each app answers its readiness probe within
5 s (a plain process: runs), and 3 when one does not: while it starts, is
stopped or held, hangs, and as soon as tideover is told to end. tideover pid
APP tests whether the process runs.`,

		ValidArgsFunction: c.completeApps(unlimited),
		RunE: func(cmd *cobra.Command, args []string) error {
			if every == 0 {
				c.onSilent = func(socket string) { c.note("the daemon on %s does not answer", socket) }
			}
			switch {
			case check && every > 0:
				return usageError(cmd, "--check and --watch exclude each other")
			case check:
				return checkApps(c, cmd.Context(), args)
			case every > 0:
				names := every.takeFrom(args)
				return watchStatus(c, cmd, names, time.Duration(every))
			}
			ctx, cancel := c.waitContext(cmd.Context())
			defer cancel()
			st, err := queryStatus(c, ctx, args)
			if err != nil {
				return err
			}
			if c.json {
				return c.writeDocument(st)
			}
			fmt.Fprint(c.stdout, renderStatus(c.results(), st, isSingle(c, args, st)))
			if st.MonitorEnded {
				c.note("the first process of tideover was killed: the apps are served for a minute, then stopped; start tideover again, it takes the place of this one")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "exit 0 only if the apps answer")
	cmd.Flags().VarP(&every, "watch", "w", "repeat every second, or every `TIME`, until Ctrl-C")
	cmd.Flags().Lookup("watch").NoOptDefVal = "1s"
	return cmd
}

// queryStatus asks the daemons that have the named apps, or all daemons.
func queryStatus(c *cli, ctx context.Context, names []string) (api.Status, error) {
	daemons, err := c.daemons(ctx, names)
	if err != nil {
		return api.Status{}, err
	}
	if len(names) == 0 {
		for i := range daemons {
			daemons[i].Status = withUsage(ctx, daemons[i])
		}
	}
	if len(daemons) == 1 {
		return daemons[0].Status, nil
	}
	all := api.Status{Version: version, Apps: []api.AppStatus{}}
	for _, d := range daemons {
		all.MonitorEnded = all.MonitorEnded || d.Status.MonitorEnded
		all.ConfigChanged = cmp.Or(all.ConfigChanged, d.Status.ConfigChanged)
		all.Apps = append(all.Apps, d.Status.Apps...)
	}
	return all, nil
}

// withUsage is the status of a daemon with what the processes of its apps use, which only a question
// with selectors has.
func withUsage(ctx context.Context, d control.Daemon) api.Status {
	if st, err := d.Client.Status(ctx, "all"); err == nil {
		return st
	}
	return d.Status
}

// isSingle reports whether one app was asked for, by its own name.
func isSingle(c *cli, names []string, st api.Status) bool {
	names = c.selectors(names)
	return len(names) == 1 && len(st.Apps) == 1 && st.Apps[0].Name == names[0]
}

// renderStatus is the text for people: a table, or the long form of one app. The
// daemon may belong to another user, so control characters are made visible.
func renderStatus(s term.Screen, st api.Status, long bool) string {
	page := statusTable(s, st.Apps)
	if long {
		page = statusDetails(s, st.Apps[0])
	}
	if st.ConfigChanged != "" {
		page += s.Paragraphs(s.Paint(term.Yellow, "!")+" ", "! ", st.ConfigChanged+" was changed after it was applied; tideover apply --dry-run shows the difference")
	}
	if s.Terminal {
		page = term.SanitizeLines(page)
	}
	return page
}
