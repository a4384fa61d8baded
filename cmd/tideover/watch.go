package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

// interval is the value of --watch.
type interval time.Duration

// shortestInterval keeps looking cheap for the daemon.
const shortestInterval = 100 * time.Millisecond

func (i *interval) String() string { return time.Duration(*i).String() }
func (i *interval) Type() string   { return "duration" }

func (i *interval) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < shortestInterval {
		return fmt.Errorf("say it like 5s, and not below %s", shortestInterval)
	}
	*i = interval(d)
	return nil
}

// takenFrom takes the interval off the end of the names, where it was typed
// behind a space, and returns the names.
func (i *interval) takenFrom(args []string) []string {
	if last := len(args) - 1; last >= 0 && i.Set(args[last]) == nil {
		return args[:last]
	}
	return args
}

// watchStatus shows the status again and again: on a terminal on a page of its
// own, at the same place; elsewhere one below the other. A daemon that goes away
// is waited for, once it has answered.
func watchStatus(c *cli, cmd *cobra.Command, names []string, every time.Duration) error {
	if c.json {
		return usage(cmd, "--watch has no end, and --json prints one document")
	}
	ctx, cancel := c.waiting(cmd.Context())
	defer cancel()
	view := frames{cli: c}
	defer view.close()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		st, err := askStatus(c, ctx, names)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !(view.shown > 0 && isAway(err)):
			return err
		case err != nil:
			err = view.show(time.Now(), c.results().paint(red, err.Error())+"\n")
		default:
			err = view.show(time.Now(), render(c.results(), st, isOne(c, names, st)))
		}
		if err != nil {
			return nil // nobody reads any more
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// isAway is whether an error means that the daemon may come back.
func isAway(err error) bool {
	var typed *api.Error
	return errors.As(err, &typed) && (typed.Exit == api.ExitNotRunning || typed.Exit == api.ExitTimeout)
}

// What a terminal is told before and after pages that are not to stay.
const (
	pageBegins = "\x1b[?1049h\x1b[?25l"
	pageEnds   = "\x1b[?25h\x1b[?1049l"
)

// frames are pages that follow one another.
type frames struct {
	cli   *cli
	shown int
	last  string // what stays on the terminal when it is over
}

func (f *frames) show(now time.Time, page string) error {
	s := f.cli.results() // anew: windows change
	if !s.terminal {
		if f.shown++; f.shown > 1 {
			page = "\n" + page
		}
		_, err := fmt.Fprint(s.out, page)
		return err
	}
	if f.shown++; f.shown == 1 {
		fmt.Fprint(s.out, pageBegins)
	}
	f.last = page
	_, err := fmt.Fprint(s.out, inPlace(s.paint(faint, now.Format(time.TimeOnly))+"\n"+page, s.height))
	return err
}

// inPlace writes a page over the one before: each line cleared to its end as it
// is written, then the rest. What is below the screen is counted.
func inPlace(page string, height int) string {
	lines := strings.Split(strings.TrimSuffix(page, "\n"), "\n")
	if room := max(2, height-1); len(lines) > room {
		lines = append(lines[:room-1:room-1], fmt.Sprintf("... and %s", plural(len(lines)-room+1, "line")))
	}
	return "\x1b[H" + strings.Join(lines, "\x1b[K\n") + "\x1b[K\n\x1b[J"
}

func (f *frames) close() {
	if s := f.cli.results(); s.terminal && f.shown > 0 {
		fmt.Fprint(s.out, pageEnds+f.last)
	}
}

// untilBack waits for a daemon that went away to answer again.
func untilBack(ctx context.Context, ask func(context.Context) (api.Status, error)) (api.Status, error) {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return api.Status{}, ctx.Err()
		case <-ticker.C:
		}
		if st, err := ask(ctx); err == nil || !isAway(err) {
			return st, err
		}
	}
}
