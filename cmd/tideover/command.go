package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/control"
)

// holdWhile holds an app's requests for as long as a command runs, and exits
// with the command's code. The command is not run while requests of before are
// still in flight.
func holdWhile(c *cli, ctx context.Context, app string, lease time.Duration, command []string) error {
	hold, t, err := attach(c, ctx, app, lease)
	if err != nil {
		return err
	}
	c.note("%s: holding; %s", t.app, drained(hold.Begun))
	code, failed := 0, error(nil)
	if hold.Begun.Drained {
		code, failed = runHeld(c, hold, t, command)
	}
	report, err := hold.End()
	if err != nil {
		c.note("%s: the hold ended with its daemon: %v", t.app, err)
	} else {
		c.note("%s: released after %s · %s", t.app, human(span(report.Held)), requests(report.Requests))
	}
	switch {
	case failed != nil:
		return failed
	case !hold.Begun.Drained:
		return fault(api.ExitTimeout, "give it more time with --for", "%s of %s still in flight, so the command was not run",
			plural(hold.Begun.InFlight, "request"), t.app)
	case c.json:
		c.document(report)
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

// attach waits until nothing is in flight; until then --timeout and Ctrl-C
// still call the whole thing off.
func attach(c *cli, ctx context.Context, app string, lease time.Duration) (*control.Attachment, target, error) {
	waiting, cancel := c.waiting(ctx)
	defer cancel()
	t, err := c.target(waiting, app)
	if err != nil {
		return nil, t, err
	}
	// The hold must outlive the waiting, so it gets a context of its own.
	holding, release := context.WithCancel(ctx)
	stop := context.AfterFunc(waiting, release)
	hold, err := t.client.HoldAttached(holding, t.app, api.HoldRequest{For: lease})
	if !stop() && err == nil {
		hold.End()
		err = fault(api.ExitTimeout, "", "")
	}
	if waiting.Err() != nil {
		err = fault(api.ExitTimeout, "", "stopped waiting; %s is released and the command was not run", t.app)
	}
	return hold, t, err
}

// note is a word on the way, on standard error.
func (c *cli) note(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintf(c.stderr, format+"\n", args...)
	}
}

// runHeld runs the command with our own input and output. What it needs of a
// terminal it has: Ctrl-C reaches it as part of our process group, and we wait
// for what it does about that.
func runHeld(c *cli, hold *control.Attachment, t target, command []string) (int, error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	run := exec.Command(command[0], command[1:]...)
	run.Stdin, run.Stdout, run.Stderr, run.Env = c.stdin, c.stdout, c.stderr, c.env
	if c.json {
		run.Stdout = c.stderr // standard output is for the document
	}
	if err := run.Start(); err != nil {
		return 0, cannotRun(command[0], err)
	}
	done := make(chan error, 1)
	go func() { done <- run.Wait() }()
	lease := time.NewTimer(span(hold.Begun.For))
	defer lease.Stop()
	for {
		select {
		case err := <-done:
			return codeOf(run, err)
		case s := <-signals:
			if s != os.Interrupt || !c.errors().terminal {
				run.Process.Signal(s)
			}
		case <-lease.C:
			c.note("%s: the hold ended by itself after %s; the command goes on", t.app, human(span(hold.Begun.For)))
		}
	}
}

// cannotRun uses the shell's codes for a command that is not there or is no
// program.
func cannotRun(name string, err error) error {
	code := api.Exit(126)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		code = 127
	}
	return fault(code, "", "cannot run %s: %v", name, err)
}

// codeOf is the command's exit code, or the shell's for a signal.
func codeOf(run *exec.Cmd, err error) (int, error) {
	status, ok := run.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return 0, err
	case status.Signaled():
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}
