package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
	"tideover/supervisor/control"
)

func newHistoryCommand(c *cli) *cobra.Command {
	q, since := api.HistoryQuery{}, moment{}
	cmd := &cobra.Command{
		Use:   "history [APP...] [--since TIME]",
		Short: "Show what has happened: deploys, crashes, holds, changes",
		Example: `  tideover history                 the last 50 records
  tideover history shop            of one app, also of one that was removed
  tideover history --since 24h     of the last day; a time is possible, too
  tideover history --json          with phases, counts, output of the child`,
		Long: `Operations, crashes, holds and changes of the configuration, with who has asked
for them, kept over restarts and upgrades of tideover (4 MiB). The same records
as tideover events prints, without the beginnings of what has ended.`,
		ValidArgsFunction: c.completeApps(unlimited),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Last < 0 {
				return usageError(cmd, "-n must not be negative")
			}
			q.Since = since.Time
			return showHistory(c, cmd.Context(), q, args)
		},
	}
	cmd.Flags().Var(&since, "since", "`TIME` of the oldest: 2h (ago), 14:30, 2026-01-31T14:30")
	cmd.Flags().IntVarP(&q.Last, "lines", "n", 50, "`N` last records (default: 50); 0: all")
	completeFlag(cmd, "since")
	return cmd
}

// recordDaemons returns the daemons to read records from, and the selectors of each. An app that no
// daemon has now may have been removed: then all are asked.
func recordDaemons(c *cli, ctx context.Context, names []string) ([]control.Daemon, error) {
	names = c.selectors(names)
	daemons, err := c.daemons(ctx, names)
	var typed *api.Error
	if err == nil || !errors.As(err, &typed) || typed.Exit != api.ExitNoSuchApp {
		return daemons, err
	}
	all, other := c.findDaemons(ctx)
	if other != nil {
		return nil, err
	}
	var known []control.Daemon
	for _, d := range all {
		d.Selectors = names
		found := false
		d.Client.History(ctx, api.HistoryQuery{Apps: names}, func(api.Record) bool { found = true; return false })
		if found {
			known = append(known, d)
		}
	}
	if len(known) == 0 {
		return nil, err
	}
	return known, nil
}

// showHistory prints the records of all daemons in the order of time.
func showHistory(c *cli, ctx context.Context, q api.HistoryQuery, names []string) error {
	ctx, cancel := c.waitContext(ctx)
	defer cancel()
	daemons, err := recordDaemons(c, ctx, names)
	if err != nil {
		return err
	}
	last := q.Last
	if !c.json {
		q.Last = 0 // beginnings are among them
	}
	records := []api.Record{}
	for _, d := range daemons {
		q := q
		q.Apps = d.Selectors
		var own []api.Record
		if err := d.Client.History(ctx, q, func(r api.Record) bool { own = append(own, r); return true }); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return errorf(api.ExitTimeout, "", "stopped waiting")
		}
		if !c.json {
			own = withoutBeginnings(own)
		}
		records = append(records, own...)
	}
	slices.SortStableFunc(records, func(a, b api.Record) int { return a.Time.Compare(b.Time) })
	records = records[max(0, len(records)-cmp.Or(last, len(records))):]
	if c.json {
		return c.writeDocument(map[string]any{"records": records})
	}
	w := newRecordWriter(c)
	for _, r := range records {
		if !w.print(r) {
			return nil
		}
	}
	return nil
}

// withoutBeginnings removes the beginnings of operations that have ended.
func withoutBeginnings(records []api.Record) []api.Record {
	ended := map[uint64]bool{}
	for _, r := range records {
		if r.Kind == api.OperationEnded {
			ended[r.Begun] = true
		}
	}
	return slices.DeleteFunc(records, func(r api.Record) bool { return r.Kind == api.OperationBegun && ended[r.ID] })
}

func newEventsCommand(c *cli) *cobra.Command {
	q, since := api.HistoryQuery{}, moment{}
	cmd := &cobra.Command{
		Use:   "events [APP...] [-f]",
		Short: "Print what happens, as it happens",
		Example: `  tideover events -f               all apps, until Ctrl-C
  tideover events -f shop --json   a JSON object a line, for programs
  tideover events -f --after 4711  go on behind the record with this id`,
		Long: `Each record has an id, and the ids of a daemon have no gap. With -f the command
goes on when tideover restarts, behind the last record that it has printed. A
reader that is too slow gets a record of the kind "lost" with a count. The keys
are in supervisor/control/API.md (Record); keys may be added, never changed.`,
		ValidArgsFunction: c.completeApps(unlimited),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Last < 0 {
				return usageError(cmd, "-n must not be negative")
			}
			if q.After > 0 || !since.IsZero() && !cmd.Flags().Changed("lines") {
				q.Last = 0
			} else if q.Last == 0 {
				q.Last = -1
			}
			q.Since = since.Time
			return showEvents(c, cmd.Context(), q, args)
		},
	}
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "print new records as they are written, until Ctrl-C")
	cmd.Flags().Uint64Var(&q.After, "after", 0, "only records behind the one with this `ID`")
	cmd.Flags().Var(&since, "since", "`TIME` of the oldest: 2h (ago), 14:30, 2026-01-31T14:30")
	cmd.Flags().IntVarP(&q.Last, "lines", "n", 10, "`N` last records before (default: 10, or all behind --after)")
	completeFlag(cmd, "since")
	completeFlag(cmd, "after")
	return cmd
}

// showEvents prints the records of every daemon, concurrently.
func showEvents(c *cli, ctx context.Context, q api.HistoryQuery, names []string) error {
	ctx, cancel := c.waitContext(ctx)
	defer cancel()
	daemons, err := recordDaemons(c, ctx, names)
	if err != nil {
		return err
	}
	if q.After > 0 && len(daemons) > 1 {
		return errorf(api.ExitUsage, "name the app, or the daemon with --socket", "--after is an id of one daemon, and there are %d", len(daemons))
	}
	w := newRecordWriter(c)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var readers sync.WaitGroup
	failures := make([]error, len(daemons))
	for i, d := range daemons {
		readers.Go(func() {
			q := q
			q.Apps = d.Selectors
			failures[i] = w.follow(ctx, d, q)
			if w.isClosed() {
				stop()
			}
		})
	}
	readers.Wait()
	c.documentWritten = true // the records are the document
	return errors.Join(failures...)
}

// follow prints the records of one daemon. With Follow it waits for a daemon that went away to come
// back on the same socket, and goes on behind the last record.
func (w *recordWriter) follow(ctx context.Context, d control.Daemon, q api.HistoryQuery) error {
	for {
		err := d.Client.History(ctx, q, func(r api.Record) bool {
			q.After, q.Last = max(q.After, r.ID), 0
			return w.print(r)
		})
		if !q.Follow || ctx.Err() != nil || w.isClosed() || err != nil && !isDaemonGone(err) {
			return err
		}
		if _, err := awaitDaemon(ctx, func(ctx context.Context) (api.Status, error) { return d.Client.Status(ctx) }); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if q.Last != 0 && q.After == 0 { // nothing was printed yet: everything is new
			q.Last = 0
		}
	}
}

// recordWriter prints records. Its methods may be called from any goroutine.
type recordWriter struct {
	cli    *cli
	mu     sync.Mutex // guards closed, and the output
	closed bool       // a write failed
}

func newRecordWriter(c *cli) *recordWriter { return &recordWriter{cli: c} }

func (w *recordWriter) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// print prints a record: a line for people, or a JSON object in a line. It returns false when the
// output is closed.
func (w *recordWriter) print(r api.Record) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := recordLine(w.cli.results(), r)
	if w.cli.json {
		text = jsonLine(r)
	}
	_, err := fmt.Fprint(w.cli.stdout, text)
	w.closed = w.closed || err != nil
	return !w.closed
}
