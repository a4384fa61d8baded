package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/term"
)

// interval is the value of --watch.
type interval time.Duration

// minInterval bounds the load that watching puts on the daemon.
const minInterval = 100 * time.Millisecond

func (i *interval) String() string { return time.Duration(*i).String() }
func (i *interval) Type() string   { return "duration" }

func (i *interval) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < minInterval {
		return fmt.Errorf("write it like 5s, and not below %s", minInterval)
	}
	*i = interval(d)
	return nil
}

// takeFrom removes an interval from the end of args, as in `--watch shop 5s`,
// and returns the names that are left.
func (i *interval) takeFrom(args []string) []string {
	if last := len(args) - 1; last >= 0 && i.Set(args[last]) == nil {
		return args[:last]
	}
	return args
}

// watchStatus shows the status at an interval until waitContext ends. A daemon
// that has answered once may go away and come back.
func watchStatus(c *cli, cmd *cobra.Command, names []string, every time.Duration) error {
	if c.json {
		return usageError(cmd, "--watch has no end, and --json prints one document")
	}
	ctx, cancel := c.waitContext(cmd.Context())
	defer cancel()
	pages := term.NewPages(c.results)
	defer pages.Close()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		st, err := queryStatus(c, ctx, names)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !(pages.Shown() > 0 && isDaemonGone(err)):
			return err
		case err != nil:
			err = pages.Show(clock(), c.results().Paint(term.Red, err.Error())+"\n")
		default:
			err = pages.Show(clock(), renderStatus(c.results(), st, isSingle(c, names, st)))
		}
		if err != nil {
			return nil // EPIPE: standard output is closed
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func clock() string { return time.Now().Format(time.TimeOnly) }
