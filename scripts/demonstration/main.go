// Demonstration is the program behind scripts/demo: it restarts, crashes and
// breaks an app under load, and counts what became of the requests.
//
// sides.go starts two copies of the app, one under tideover and one under
// supervisord, each with an Apache in front; steps.go has the steps, meter.go
// counts the requests of a step, screen.go prints.
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

// run returns the exit code: 0 when no request was lost under tideover.
func run(stay bool, s screen) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer context.AfterFunc(ctx, func() {
		stop() // a second Ctrl-C ends this program at once
		testenv.EndRun()
	})()
	results, err := show(ctx, stay, s)
	if ctx.Err() != nil {
		s.printf("\nEverything that the demo had started has ended.\n")
	}
	switch {
	case ctx.Err() != nil && len(results) == 0:
		return 130
	case err != nil:
		s.printf("\n%s\n", s.paint(red, "demo: "+err.Error()))
		return 1
	case total(results).lost > 0:
		return 1
	}
	return 0
}

// show starts both sides, runs the steps, prints the results, and ends what it
// started also after an error.
func show(ctx context.Context, stay bool, s screen) (results []result, err error) {
	s.printf("%s\n\n", s.paint(bold, "tideover demo"))
	d, err := start(ctx, s)
	defer func() { err = errors.Join(err, d.close()) }()
	if err != nil {
		return nil, err
	}
	for _, step := range d.steps() {
		s.printf("\n%s%s\n", s.paint(bold, "$ "+step.command), s.paint(faint, fmt.Sprintf("%*s", lineLength-len("$ "+step.command), step.meaning)))
		r, notes, err := d.measure(ctx, s, step)
		for _, line := range notes {
			s.printf("    %s\n", s.paint(faint, line))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", step.command, err)
		}
		results = append(results, r)
	}
	s.printf("\n%s\n%s\n", s.table(results), s.summary(results))
	if stay {
		s.printf("\nIt goes on. In another terminal, from this folder:\n\n%s\nCtrl-C here ends all of it.\n\n", d.commandsToTry())
		d.meterUntilDone(ctx, s)
	}
	return results, nil
}
