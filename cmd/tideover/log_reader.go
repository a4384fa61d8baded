package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/control"
	"tideover/supervisor/logs"
)

// logDaemons returns the daemons to read logs from. With --daemon alone these are all;
// $TIDEOVER_APP is ignored then.
func logDaemons(c *cli, ctx context.Context, q api.LogQuery, names []string) ([]control.Daemon, error) {
	if q.Daemon && len(names) == 0 {
		return c.findDaemons(ctx)
	}
	return c.daemons(ctx, names)
}

// logReader prints the lines of one or more daemons.
type logReader struct {
	cli    *cli
	screen term.Screen
	style  logs.Style
	times  bool // each line begins with its time

	mu           sync.Mutex  // guards the fields below, and the output
	lines        []logs.Line // for the document of --json
	outputClosed bool        // a write failed
}

func newLogReader(c *cli, daemons []control.Daemon) *logReader {
	s := c.results()
	r := &logReader{cli: c, screen: s, lines: []logs.Line{}}
	r.style = logs.Style{Color: s.Color, Unicode: s.Terminal}
	if s.Terminal {
		for _, d := range daemons {
			for _, a := range d.Status.Apps {
				r.style.Width = max(r.style.Width, len(a.Name)+len(".")+len(strconv.Itoa(a.Generation)))
			}
		}
		r.style.Width = min(r.style.Width, s.Width/4) // a long name must not indent all lines
	}
	return r
}

// read reads from all daemons concurrently until there are no more lines, ctx
// ends or the output is closed.
func (r *logReader) read(ctx context.Context, daemons []control.Daemon, q api.LogQuery) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var readers sync.WaitGroup
	failures := make([]error, len(daemons))
	for i, d := range daemons {
		readers.Go(func() {
			q := q
			q.Apps = d.Selectors
			failures[i] = r.readOne(ctx, d, q)
			if r.isOutputClosed() {
				stop()
			}
		})
	}
	readers.Wait()
	return errors.Join(failures...)
}

// readOne reads from one daemon. With Follow it waits for a daemon that went away
// to come back on the same socket, and reads the new one, or its next supervisor, from its beginning.
func (r *logReader) readOne(ctx context.Context, d control.Daemon, q api.LogQuery) error {
	for supervisor := d.Status.Supervisor; ; {
		err := d.Client.Logs(ctx, q, r.print)
		if !q.Follow || ctx.Err() != nil || r.isOutputClosed() || err != nil && !isDaemonGone(err) {
			return err
		}
		r.notice("the log has ended; waiting for the daemon to come back")
		st, err := awaitDaemon(ctx, func(ctx context.Context) (api.Status, error) { return d.Client.Status(ctx) })
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if q.Lines = allLines; st.Supervisor == supervisor { // it had closed the connection to a slow reader
			q.Lines = 0
		}
		supervisor = st.Supervisor
		r.notice("the daemon answers, pid " + strconv.Itoa(st.Pid))
	}
}

// allLines is more than the number of lines that a daemon keeps.
const allLines = 1 << 20

// notice prints a line of the command itself on standard error.
func (r *logReader) notice(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.cli.errors()
	fmt.Fprintln(s.Out, s.Paint(term.Faint, "tideover "+s.Mark("·", "-")+" "+text))
}

func (r *logReader) isOutputClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outputClosed
}

// print prints a line with its prefix: on a terminal in the colour of the app and
// without control characters. It returns false when the output is closed.
func (r *logReader) print(l logs.Line) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.cli.json:
		r.lines = append(r.lines, l)
		return true
	}
	text := l.Text
	if r.screen.Terminal {
		text = term.Sanitize(text)
	}
	at := ""
	if r.times {
		at = l.Time.Local().Format("2006-01-02T15:04:05.000Z07:00 ")
	}
	_, err := fmt.Fprintln(r.screen.Out, at+l.Prefix(r.style)+text)
	r.outputClosed = r.outputClosed || err != nil
	return !r.outputClosed
}
