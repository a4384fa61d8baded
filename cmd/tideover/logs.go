package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"tideover/supervisor"
	"tideover/supervisor/control"
)

func logsVerb(c *cli) *cobra.Command {
	q := supervisor.LogQuery{}
	cmd := &cobra.Command{
		Use:     "logs [APP...] [-f] [-n N]",
		Aliases: []string{"tail"},
		Short:   "Show what the apps wrote",
		Example: `  tideover logs shop           the last 100 lines
  tideover logs -f             of all apps, and what comes
  tideover logs --daemon       tideover's own: why did somebody get a 503`,
		Long: `Each line begins with the app and its generation. Lines of generations that
failed are kept too.`,

		ValidArgsFunction: c.appNames(1000),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Follow = q.Follow || cmd.CalledAs() == "tail"
			switch {
			case q.Lines < 0:
				return usage(cmd, "-n must not be negative")
			case q.Follow && c.json:
				return usage(cmd, "-f has no end, and --json prints one document")
			case q.Daemon && len(args) > 0:
				return usage(cmd, "--daemon is the log of tideover itself, not of %s", args[0])
			}
			return showLogs(c, cmd.Context(), q, args)
		},
	}
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "go on with what is written from now on, until Ctrl-C")
	cmd.Flags().IntVarP(&q.Lines, "lines", "n", 100, "`N` lines, the last ones (default: 100)")
	cmd.Flags().BoolVar(&q.Daemon, "daemon", false, "the daemon's own log")
	return cmd
}

// logs asks every daemon that keeps one of the apps, all at once.
func showLogs(c *cli, ctx context.Context, q supervisor.LogQuery, names []string) error {
	ctx, cancel := c.waiting(ctx)
	defer cancel()
	keepers, err := keepers(c, ctx, names)
	if err != nil {
		return err
	}
	show := linePrinter(c)
	kept := []supervisor.Line{}
	if c.json {
		show = func(l supervisor.Line) bool { kept = append(kept, l); return true }
	}
	var one sync.Mutex // daemon's line at a time
	var readers sync.WaitGroup
	failures := make([]error, len(keepers))
	for i, k := range keepers {
		readers.Go(func() {
			q := q
			q.Apps = k.apps
			failures[i] = k.client.Logs(ctx, q, func(l supervisor.Line) bool {
				one.Lock()
				defer one.Unlock()
				return show(l)
			})
		})
	}
	readers.Wait()
	for _, err := range failures {
		if err != nil {
			return err
		}
	}
	if c.json {
		return c.document(map[string]any{"lines": kept})
	}
	return nil
}

// keeper is a daemon, and those of its apps that are meant; none is all.
type keeper struct {
	client *control.Client
	apps   []string
}

func keepers(c *cli, ctx context.Context, names []string) ([]keeper, error) {
	if name := c.getenv("TIDEOVER_APP"); len(names) == 0 && name != "" {
		names = []string{name}
	}
	var found []keeper
	if len(names) == 0 {
		daemons, err := c.places().Daemons(ctx)
		for _, d := range daemons {
			found = append(found, keeper{client: d.Client})
		}
		return found, err
	}
	at := map[string]int{}
	for _, name := range names {
		t, err := c.target(ctx, name)
		if err != nil {
			return nil, err
		}
		i, known := at[t.client.Socket()]
		if !known {
			i = len(found)
			at[t.client.Socket()] = i
			found = append(found, keeper{client: t.client})
		}
		found[i].apps = append(found[i].apps, t.app)
	}
	return found, nil
}

// printer writes lines with their prefix: in the app's own colour and without
// anything that would harm the terminal, where there is one.
func linePrinter(c *cli) func(supervisor.Line) bool {
	s := c.results()
	style := control.LineStyle{Color: s.color, Unicode: s.terminal}
	return func(l supervisor.Line) bool {
		text := l.Text
		if s.terminal {
			text = shown(text)
		}
		_, err := fmt.Fprintln(s.out, l.Prefix(style)+text)
		return err == nil
	}
}
