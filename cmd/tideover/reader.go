package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"tideover/supervisor/api"
	"tideover/supervisor/control"
	"tideover/supervisor/logs"
)

// logKeepers are the daemons whose logs were asked for. Of a daemon's own log no
// app needs to be named, nor $TIDEOVER_APP to be heeded.
func logKeepers(c *cli, ctx context.Context, q api.LogQuery, names []string) ([]control.Found, error) {
	if q.Daemon {
		return c.places().Daemons(ctx)
	}
	return c.daemons(ctx, names)
}

// reader shows the lines of one or more daemons, one at a time.
type reader struct {
	cli    *cli
	screen screen
	style  logs.Style
	stream string // only this one; empty: all

	mu   sync.Mutex  // guards what follows, and whose turn it is to write
	kept []logs.Line // for the one document of --json
	gone bool        // nobody reads any more
}

func newReader(c *cli, daemons []control.Found, stream string) *reader {
	s := c.results()
	r := &reader{cli: c, screen: s, stream: stream, kept: []logs.Line{}, style: logs.Style{Color: s.color, Unicode: s.terminal}}
	if s.terminal {
		for _, d := range daemons {
			for _, a := range d.Status.Apps {
				r.style.Width = max(r.style.Width, len(a.Name)+len(".")+len(strconv.Itoa(a.Generation)))
			}
		}
		r.style.Width = min(r.style.Width, s.width/4) // a long name is no reason to indent everything
	}
	return r
}

// read reads from all daemons at once, and ends when there is no more, ctx ends
// or nobody reads any more.
func (r *reader) read(ctx context.Context, daemons []control.Found, q api.LogQuery) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var readers sync.WaitGroup
	failures := make([]error, len(daemons))
	for i, d := range daemons {
		readers.Go(func() {
			q := q
			q.Apps = d.Wanted
			failures[i] = r.readOne(ctx, d, q)
			if r.isGone() {
				stop()
			}
		})
	}
	readers.Wait()
	return errors.Join(failures...)
}

// readOne reads from one daemon. With Follow it outlasts the daemon: when there
// is one again on the same socket, that one is read from its beginning.
func (r *reader) readOne(ctx context.Context, d control.Found, q api.LogQuery) error {
	for pid := d.Status.Pid; ; {
		err := d.Client.Logs(ctx, q, r.show)
		if !q.Follow || ctx.Err() != nil || r.isGone() || err != nil && !isAway(err) {
			return err
		}
		r.say("the log has ended; waiting for the daemon to come back")
		st, err := untilBack(ctx, func(ctx context.Context) (api.Status, error) { return d.Client.Status(ctx) })
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if q.Lines = wholeLog; st.Pid == pid { // it was we who were too slow for it
			q.Lines = 0
		}
		pid = st.Pid
		r.say("the daemon answers, pid " + strconv.Itoa(pid))
	}
}

// wholeLog is more lines than a daemon keeps.
const wholeLog = 1 << 20

// say puts a word of our own between the lines.
func (r *reader) say(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.cli.errors()
	fmt.Fprintln(s.out, s.paint(faint, "tideover "+s.mark("·", "-")+" "+text))
}

func (r *reader) isGone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

// show writes a line with its prefix: in the app's own colour and without
// anything that would harm the terminal, where there is one.
func (r *reader) show(l logs.Line) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stream != "" && r.stream != l.Stream.String():
		return true
	case r.cli.json:
		r.kept = append(r.kept, l)
		return true
	}
	text := l.Text
	if r.screen.terminal {
		text = shown(text)
	}
	_, err := fmt.Fprintln(r.screen.out, l.Prefix(r.style)+text)
	r.gone = r.gone || err != nil
	return !r.gone
}
