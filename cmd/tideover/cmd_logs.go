package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newLogsCommand(c *cli) *cobra.Command {
	q, times := api.LogQuery{}, false
	cmd := &cobra.Command{
		Use:     "logs [APP...] [-f] [-n N]",
		Aliases: []string{"tail", "maintail"},
		Short:   "Show the output of the apps",
		Example: `  tideover logs shop           the last 100 lines
  tideover logs -f             all apps, and new lines as they are written
  tideover logs celery -f      all instances of celery; labels select, too
  tideover logs -t shop        with the time of each line
  tideover logs --daemon       tideover's own log: why a 503 was sent
  tideover tail -f shop        tail is logs, as in supervisorctl`,
		Long: `Each line begins with the app and its generation, then "|" for standard output
or ":" for standard error. Lines of failed generations are kept, too. With -f,
the command goes on when tideover itself restarts, and prints that it did.`,

		ValidArgsFunction: c.completeApps(unlimited),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Daemon = q.Daemon || cmd.CalledAs() == "maintail"
			var stream string
			if cmd.CalledAs() == "tail" {
				args, stream = splitStream(args)
			}
			switch {
			case q.Lines < 0:
				return usageError(cmd, "-n must not be negative")
			case q.Follow && c.json:
				return usageError(cmd, "-f has no end, and --json prints one document")
			case q.Daemon && len(args) > 0:
				return usageError(cmd, "--daemon is the log of tideover itself, not of %s", args[0])
			}
			return showLogs(c, cmd.Context(), q, args, stream, times)
		},
	}
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "print new lines as they are written, until Ctrl-C")
	cmd.Flags().IntVarP(&q.Lines, "lines", "n", 100, "`N` last lines (default: 100)")
	cmd.Flags().BoolVarP(&times, "timestamps", "t", false, "print when each line was written")
	cmd.Flags().BoolVar(&q.Daemon, "daemon", false, "the daemon's own log")
	return cmd
}

// splitStream removes the name of a stream from the end of args, as in
// supervisorctl's `tail APP stderr`.
func splitStream(args []string) (names []string, stream string) {
	if n := len(args); n > 1 && slices.Contains([]string{"stdout", "stderr"}, args[n-1]) {
		return args[:n-1], args[n-1]
	}
	return args, ""
}

// showLogs reads from every daemon that has one of the apps, concurrently.
func showLogs(c *cli, ctx context.Context, q api.LogQuery, names []string, stream string, times bool) error {
	ctx, cancel := c.waitContext(ctx)
	defer cancel()
	daemons, err := logDaemons(c, ctx, q, names)
	if err != nil {
		return err
	}
	r := newLogReader(c, daemons, stream)
	r.times = times
	if err := r.read(ctx, daemons, q); err != nil {
		return err
	}
	if c.json {
		return c.writeDocument(map[string]any{"lines": r.lines})
	}
	return nil
}
