package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"tideover/cmd/tideover/internal/term"
)

// On a terminal the status is looked at on a page of its own, which is gone when
// it is over; what was seen last stays.
func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	_, dir := shopDaemon(t)
	raw, exit := onTerminal(t, dir, nil, "status", "--watch=100ms", "--timeout", "1s", "--color", "never")
	pages, last, ended := strings.Cut(raw, term.LeaveAlternate)
	if exit != 0 || !ended || !strings.HasPrefix(pages, term.EnterAlternate) || strings.Count(pages, "\x1b[H") < 2 {
		t.Errorf("exit %d, %q", exit, raw)
	}
	if !strings.HasPrefix(last, "APP ") || strings.Count(last, "\n") != 2 || strings.Contains(last, "\x1b") {
		t.Errorf("what stays: %q", last)
	}
	if !strings.Contains(pages, "\x1b[K\nshop  running") {
		t.Errorf("lines are not cleared: %q", pages)
	}
}

// A daemon that goes away while it is looked at is waited for.
func TestWatchOutlastsTheDaemon(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	seen, ended := make(chan string, 100), make(chan int, 1)
	ctx, end := context.WithCancel(t.Context())
	go func() {
		exit := Main{Dirs: []string{dir}}.Run(ctx, []string{"status", "--watch=100ms"}, nil, writer(func(page string) { seen <- page }), os.Stderr, nil)
		close(seen)
		ended <- exit
	}()
	await := func(words string) {
		t.Helper()
		for page := range seen {
			if strings.Contains(page, words) {
				return
			}
		}
		t.Fatalf("%q was never shown", words)
	}
	await("shop  running")
	d.stop()
	await("no daemon runs")
	again := &fakeDaemon{status: d.status}
	again.serve(t, socketIn(dir, "again.sock"))
	await("shop  running")
	end()
	for range seen { // what was written meanwhile
	}
	if exit := <-ended; exit != 0 {
		t.Errorf("exit %d", exit)
	}
}

// writer is a function that is written to.
type writer func(string)

func TestIntervalBehindASpace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args, names string
		every       time.Duration
	}{{"shop 5s", "shop", 5 * time.Second}, {"200ms", "", 200 * time.Millisecond}, {"shop", "shop", time.Second}, {"", "", time.Second}} {
		every := interval(time.Second)
		if names := every.takeFrom(strings.Fields(c.args)); strings.Join(names, " ") != c.names || time.Duration(every) != c.every {
			t.Errorf("%q: %q every %v", c.args, names, time.Duration(every))
		}
	}
}

func (w writer) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}
