package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func logsVerb(c *cli) *cobra.Command {
	q := api.LogQuery{}
	cmd := &cobra.Command{
		Use:     "logs [APP...] [-f] [-n N]",
		Aliases: []string{"tail", "maintail"},
		Short:   "Show what the apps wrote",
		Example: `  tideover logs shop           the last 100 lines
  tideover logs -f             of all apps, and what comes
  tideover logs celery -f      of all its instances; labels select, too
  tideover logs --daemon       tideover's own: why did somebody get a 503`,
		Long: `Each line begins with the app and its generation; "|" stands before standard
output, ":" before standard error. Lines of generations that failed are kept
too. With -f a restart of tideover itself is waited for, and said.`,

		ValidArgsFunction: c.completeApps(many),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Follow = q.Follow || cmd.CalledAs() == "tail"
			q.Daemon = q.Daemon || cmd.CalledAs() == "maintail"
			var stream string
			if cmd.CalledAs() == "tail" {
				args, stream = streamOf(args)
			}
			switch {
			case q.Lines < 0:
				return usage(cmd, "-n must not be negative")
			case q.Follow && c.json:
				return usage(cmd, "-f has no end, and --json prints one document")
			case q.Daemon && len(args) > 0:
				return usage(cmd, "--daemon is the log of tideover itself, not of %s", args[0])
			}
			return showLogs(c, cmd.Context(), q, args, stream)
		},
	}
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "go on with what is written from now on, until Ctrl-C")
	cmd.Flags().IntVarP(&q.Lines, "lines", "n", 100, "`N` lines, the last ones (default: 100)")
	cmd.Flags().BoolVar(&q.Daemon, "daemon", false, "the daemon's own log")
	return cmd
}

// streamOf takes the stream off that supervisorctl's tail has behind the name.
func streamOf(args []string) (names []string, stream string) {
	if n := len(args); n > 1 && slices.Contains([]string{"stdout", "stderr"}, args[n-1]) {
		return args[:n-1], args[n-1]
	}
	return args, ""
}

// showLogs asks every daemon that keeps one of the apps, all at once.
func showLogs(c *cli, ctx context.Context, q api.LogQuery, names []string, stream string) error {
	ctx, cancel := c.waiting(ctx)
	defer cancel()
	daemons, err := logKeepers(c, ctx, q, names)
	if err != nil {
		return err
	}
	r := newReader(c, daemons, stream)
	if err := r.read(ctx, daemons, q); err != nil {
		return err
	}
	if c.json {
		return c.document(map[string]any{"lines": r.kept})
	}
	return nil
}
