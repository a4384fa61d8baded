package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tideover/supervisor"
)

func statusVerb(c *cli) *cobra.Command {
	watch := false
	cmd := &cobra.Command{
		Use:     "status [APP...] [--watch]",
		Aliases: []string{"ls"},
		Short:   "Say what runs, since when, and who waits",
		Example: `  tideover status              a table of all apps
  tideover status shop         everything about one
  tideover status --watch      again every second
  tideover status --json       for scripts`,
		Long: `Exits 0 when it could look, whatever it saw.`,

		ValidArgsFunction: c.appNames(1000),
		RunE: func(cmd *cobra.Command, args []string) error {
			if watch {
				return watchStatus(c, cmd, args)
			}
			ctx, cancel := c.waiting(cmd.Context())
			defer cancel()
			st, err := askStatus(c, ctx, args)
			if err != nil {
				return err
			}
			if c.json {
				return c.document(st)
			}
			fmt.Fprint(c.stdout, render(c.results(), st, len(args) == 1))
			return nil
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "look again every second, until Ctrl-C")
	return cmd
}

// status asks the daemons that keep the named apps, or all daemons.
func askStatus(c *cli, ctx context.Context, names []string) (supervisor.Status, error) {
	if name := c.getenv("TIDEOVER_APP"); len(names) == 0 && name != "" {
		names = []string{name}
	}
	if len(names) > 0 {
		return statusOf(c, ctx, names)
	}
	daemons, err := c.places().Daemons(ctx)
	if err != nil {
		return supervisor.Status{}, err
	}
	if len(daemons) == 1 {
		return daemons[0].Status, nil
	}
	all := supervisor.Status{Version: version, Apps: []supervisor.AppStatus{}}
	for _, d := range daemons {
		all.Apps = append(all.Apps, d.Status.Apps...)
	}
	return all, nil
}

func statusOf(c *cli, ctx context.Context, names []string) (supervisor.Status, error) {
	all := supervisor.Status{Version: version, Apps: []supervisor.AppStatus{}}
	for _, name := range names {
		t, err := c.target(ctx, name)
		if err != nil {
			return all, err
		}
		st, err := t.client.Status(ctx, t.app)
		if err != nil {
			return all, err
		}
		st.Apps, all = append(all.Apps, st.Apps...), st
	}
	return all, nil
}

// render is the page for people. What daemons say of their apps is another
// user's word where root looks, so nothing of it may do more than colour.
func render(s screen, st supervisor.Status, long bool) string {
	page := table(s, st.Apps)
	if long && len(st.Apps) == 1 {
		page = longForm(s, st.Apps[0])
	}
	if s.terminal {
		page = shownLines(page)
	}
	return page
}

// watchStatus shows the status again every second, at the same place where
// there is a terminal.
func watchStatus(c *cli, cmd *cobra.Command, names []string) error {
	if c.json {
		return usage(cmd, "--watch has no end, and --json prints one document")
	}
	ctx, cancel := c.waiting(cmd.Context())
	defer cancel()
	s := c.results()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		st, err := askStatus(c, ctx, names)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		page := []byte(render(s, st, len(names) == 1))
		if s.terminal {
			// home, each line cleared to its end as it is written, then the rest
			page = append([]byte("\x1b[H"), bytes.ReplaceAll(page, []byte("\n"), []byte("\x1b[K\n"))...)
			page = append(page, "\x1b[J"...)
		}
		c.stdout.Write(page)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
