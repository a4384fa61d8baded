package main

import (
	"context"
	"regexp"
	"slices"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newLogsCommand(c *cli) *cobra.Command {
	q, times := api.LogQuery{}, false
	var since, until moment
	errorsOnly := false
	cmd := &cobra.Command{
		Use:     "logs [APP...] [-f] [-n N]",
		Aliases: []string{"tail", "maintail"},
		Short:   "Show the output of the apps",
		Example: `  tideover logs shop           the last 100 lines
  tideover logs -f             all apps, and new lines as they are written
  tideover logs shop --since 10m --grep Traceback --stderr
  tideover logs shop --generation 7    also of one that has failed
  tideover logs --daemon shop  tideover's own log of an app: why a 503 was sent
  tideover tail -f shop        tail is logs, as in supervisorctl`,
		Long: `Each line begins with the app and its generation, then "|" for standard output
or ":" for standard error. With -f, the command goes on when tideover restarts.`,

		ValidArgsFunction: c.completeApps(unlimited),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Daemon = q.Daemon || cmd.CalledAs() == "maintail"
			var stream string
			if cmd.CalledAs() == "tail" {
				args, stream = splitStream(args)
			}
			if errorsOnly {
				stream = "stderr"
			}
			if cmd.CalledAs() == "maintail" && len(args) > 0 {
				return usageError(cmd, "--daemon is the log of tideover itself: tideover logs --daemon %s prints its lines about an app", args[0])
			}
			q.Since, q.Until = since.Time, until.Time
			switch {
			case q.Lines < 0:
				return usageError(cmd, "-n must not be negative")
			case q.Follow && c.json:
				return usageError(cmd, "-f has no end, and --json prints one document")
			case q.Generation < 0:
				return usageError(cmd, "--generation must not be negative")
			case q.Daemon && stream != "":
				return usageError(cmd, "--daemon has no standard error of its own")
			}
			if _, err := regexp.Compile(q.Grep); err != nil {
				return usageError(cmd, "--grep: %v", err)
			}
			if !cmd.Flags().Changed("lines") && !since.IsZero() {
				q.Lines = allLines
			}
			return showLogs(c, cmd.Context(), q, args, stream, times)
		},
	}
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "print new lines as they are written, until Ctrl-C")
	cmd.Flags().IntVarP(&q.Lines, "lines", "n", 100, "`N` last lines (default: 100)")
	cmd.Flags().BoolVarP(&times, "timestamps", "t", false, "print when each line was written")
	cmd.Flags().BoolVar(&q.Daemon, "daemon", false, "the daemon's own log, or its lines about APP")
	cmd.Flags().Var(&since, "since", "`TIME` of the oldest: 10m (ago), 14:30, 2026-01-31T14:30")
	cmd.Flags().Var(&until, "until", "`TIME` of the newest")
	cmd.Flags().StringVar(&q.Grep, "grep", "", "`EXPR` in the text: a regular expression (RE2)")
	cmd.Flags().IntVar(&q.Generation, "generation", 0, "`N` of the lines")
	cmd.Flags().BoolVar(&errorsOnly, "stderr", false, "standard error only")
	for _, flag := range []string{"since", "until", "grep", "generation"} {
		completeFlag(cmd, flag)
	}
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
	q.Stream = stream
	r := newLogReader(c, daemons)
	r.times = times
	if err := r.read(ctx, daemons, q); err != nil {
		return err
	}
	if c.json {
		return c.writeDocument(map[string]any{"lines": r.lines})
	}
	return nil
}
