package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/control"
)

// holdDuring holds an app's requests while a command runs, and exits with the
// command's code. The command is not run unless the requests in flight have
// finished.
func holdDuring(c *cli, ctx context.Context, app string, lease time.Duration, command []string) error {
	hold, t, err := attachHold(c, ctx, app, lease)
	if err != nil {
		return err
	}
	c.note("%s: holding; %s", t.app, describeDrain(hold.Started))
	if !c.quiet && lease > 0 {
		warnOfExpiry(c, t.app, hold.Started)
	}
	code, runErr := 0, error(nil)
	if hold.Started.Drained {
		code, runErr = runDuringHold(c, hold, t, command)
	}
	report, err := hold.End()
	if err != nil {
		c.note("%s: the hold ended with its daemon: %v", t.app, err)
	} else {
		c.note("%s: released after %s · %s", t.app, humanSeconds(report.Held), describeRequests(report.Requests))
	}
	if hold.Interrupted {
		c.printWarnings([]string{t.app + ": the supervisor of tideover had ended, and the next one came too late: requests were not held for a while"})
	}
	switch {
	case runErr != nil:
		return runErr
	case !hold.Started.Drained:
		return errorf(api.ExitTimeout, "give it more time with --for", "%s of %s still in flight, so the command was not run",
			term.Plural(hold.Started.InFlight, "request"), t.app)
	case c.json:
		c.writeDocument(report)
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

// attachHold holds the app and waits until nothing is in flight. --timeout and
// SIGINT end the hold while it waits, and no longer.
func attachHold(c *cli, ctx context.Context, app string, lease time.Duration) (*control.HoldSession, target, error) {
	waiting, cancel := c.waitContext(ctx)
	defer cancel()
	t, err := c.target(waiting, app)
	if err != nil {
		return nil, t, err
	}
	// The hold outlives waitContext, so it has a context of its own.
	holding, release := context.WithCancel(ctx)
	stop := context.AfterFunc(waiting, release)
	hold, err := t.client.OpenHold(holding, t.app, api.HoldRequest{For: lease})
	if !stop() && err == nil {
		hold.End()
		err = errorf(api.ExitTimeout, "", "")
	}
	if waiting.Err() != nil {
		err = errorf(api.ExitTimeout, "", "stopped waiting; %s is released and the command was not run", t.app)
	}
	return hold, t, err
}

// runDuringHold runs the command with the streams of this process and waits for
// its end. Ctrl-C on a terminal reaches the command as a member of the same
// process group; other signals are forwarded.
func runDuringHold(c *cli, hold *control.HoldSession, t target, command []string) (int, error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	run := exec.Command(command[0], command[1:]...)
	run.Stdin, run.Stdout, run.Stderr, run.Env = c.stdin, c.stdout, c.stderr, c.env
	if c.json {
		run.Stdout = c.stderr // standard output is for the document
	}
	if err := run.Start(); err != nil {
		return 0, startError(command[0], err)
	}
	done := make(chan error, 1)
	go func() { done <- run.Wait() }()
	lease := time.NewTimer(toDuration(hold.Started.For))
	defer lease.Stop()
	for {
		select {
		case err := <-done:
			return exitCodeOf(run, err)
		case s := <-signals:
			if s != os.Interrupt || !c.errors().Terminal {
				run.Process.Signal(s)
			}
		case <-lease.C:
			c.note("%s: the hold ended by itself after %s; the command goes on", t.app, humanSeconds(hold.Started.For))
		}
	}
}

// startError has the exit code of a shell: 127 for a command that does not
// exist, 126 for a file that cannot be executed.
func startError(name string, err error) error {
	code := api.Exit(126)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		code = 127
	}
	return errorf(code, "", "cannot run %s: %v", name, err)
}

// exitCodeOf is the exit code of the command; 128+N when signal N ended it.
func exitCodeOf(run *exec.Cmd, err error) (int, error) {
	status, ok := run.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return 0, err
	case status.Signaled():
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}
