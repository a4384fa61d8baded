package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"tideover/scripts/testenv"
)

func main() {
	stay := flag.Bool("stay", false, "leave everything running, with commands to try")
	flag.Parse()
	os.Exit(run(*stay, newScreen(os.Stdout)))
}

// run shows everything and returns the exit code: 0 when nothing was lost.
func run(stay bool, s screen) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer context.AfterFunc(ctx, func() {
		stop() // a second Ctrl-C ends this program itself, so
		testenv.EndRun()
	})()
	rows, err := tell(ctx, stay, s)
	if ctx.Err() != nil {
		s.say("\nEverything the demo had started has ended.\n")
	}
	switch {
	case ctx.Err() != nil && len(rows) == 0:
		return 130
	case err != nil:
		s.say("\n%s\n", s.paint(red, "demo: "+err.Error()))
		return 1
	case total(rows).lost > 0:
		return 1
	}
	return 0
}

// tell builds the stage, lets everything happen on it, and takes it away
// again, whatever comes in between.
func tell(ctx context.Context, stay bool, s screen) (rows []row, err error) {
	s.say("%s\n\n", s.paint(bold, "tideover demo"))
	st, err := newStage(ctx, s)
	defer func() { err = errors.Join(err, st.close()) }()
	if err != nil {
		return nil, err
	}
	if rows, err = perform(ctx, s, st); err != nil {
		return nil, err
	}
	s.say("\n%s\n", table(s, rows))
	s.say("%s\n", verdict(s, rows))
	if stay {
		remain(ctx, s, st)
	}
	return rows, nil
}

// perform shows one act after another.
func perform(ctx context.Context, s screen, st *stage) ([]row, error) {
	var rows []row
	for _, a := range acts(st) {
		s.say("\n%s\n", heading(s, a))
		r, notes, err := st.watch(ctx, s, a)
		for _, line := range notes {
			s.say("    %s\n", s.paint(faint, line))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.command, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// heading is the command as one types it, with what it stands for at the
// right.
func heading(s screen, a act) string {
	return s.paint(bold, "$ "+a.command) + s.paint(faint, fmt.Sprintf("%*s", lineLength-len("$ "+a.command), a.meaning))
}

// remain leaves the stage to the visitor until Ctrl-C.
func remain(ctx context.Context, s screen, st *stage) {
	s.say("\nIt goes on. In another terminal, from this folder:\n\n%s\nCtrl-C here ends all of it.\n\n", st.toTry())
	st.watchUntil(ctx, s)
}
