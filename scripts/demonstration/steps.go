package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"tideover/scripts/testenv"
)

// step is one operation or crash of the app.
type step struct {
	name    string // in the table
	command string // as typed
	meaning string // in a few words
	side    *side
	do      func(ctx context.Context) (notes []string, err error)
}

func (d *demo) steps() []step {
	return []step{
		{"supervisorctl restart, to compare", "supervisorctl restart shop", "without tideover, to compare", &d.theirs, d.supervisordRestart},
		{"reload", "tideover reload shop", "new code, then the old ends", &d.ours, d.reload},
		{"restart", "tideover restart shop", "the old ends, then new code", &d.ours, d.restart},
		{"kill -9 of the gunicorn master", "kill -9 $(gunicorn's master)", "a crash", &d.ours, d.crash},
		{"reload of a broken deploy: exit 7", "tideover reload shop", "a deploy that cannot start", &d.ours, d.brokenDeploy},
		{"hold, for a migration of 2 s", "tideover hold shop -- sh -c 'sleep 2'", "a migration", &d.ours, d.migrate},
	}
}

func (d *demo) supervisordRestart(context.Context) ([]string, error) {
	_, err := d.supervisord.Ctl("restart", "shop")
	return nil, err
}

func (d *demo) reload(ctx context.Context) ([]string, error)  { return nil, d.deploy(ctx, "reload") }
func (d *demo) restart(ctx context.Context) ([]string, error) { return nil, d.deploy(ctx, "restart") }

// deploy puts the next release into service. After exit code 0 it must answer.
func (d *demo) deploy(ctx context.Context, verb string) error {
	next, err := d.ours.app.DeployNext()
	if err != nil {
		return err
	}
	if _, err := d.call(ctx, 0, verb, "shop"); err != nil {
		return err
	}
	return d.ours.answersAs(ctx, next.Number)
}

// crash kills the main process and waits for the next generation.
func (d *demo) crash(ctx context.Context) ([]string, error) {
	before, err := d.daemon.Status(ctx)
	if err != nil {
		return nil, err
	}
	if err := syscall.Kill(before.Pid, syscall.SIGKILL); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return nil, testenv.Poll(ctx, 100*time.Millisecond, func() error {
		now, err := d.daemon.Status(ctx)
		if err == nil && (now.State != "running" || now.Generation == before.Generation) {
			err = fmt.Errorf("%s in generation %d", now.State, now.Generation)
		}
		return err
	})
}

// brokenDeploy reloads a release that cannot be imported, returns the first paragraph
// and the last line of the error message, and deploys the old release again.
func (d *demo) brokenDeploy(ctx context.Context) ([]string, error) {
	serving := d.ours.app.Release()
	if err := d.ours.app.DeployBroken("raise"); err != nil {
		return nil, err
	}
	stderr, err := d.call(ctx, 7, "reload", "shop")
	if err != nil {
		return nil, err
	}
	if err := d.ours.answersAs(ctx, serving.Number); err != nil {
		return nil, err
	}
	_, message, _ := strings.Cut(stderr, "tideover: ")
	message, rest, _ := strings.Cut(strings.TrimSpace(message), "\n\n")
	notes := append(strings.Split("tideover: "+message, "\n"), rest[strings.LastIndex(rest, "\n")+1:])
	return notes, d.ours.app.Deploy(serving)
}

// migrate runs a command while requests are held.
func (d *demo) migrate(ctx context.Context) ([]string, error) {
	_, err := d.call(ctx, 0, "hold", "shop", "--", "sh", "-c", "sleep 2")
	return nil, err
}

// call runs a verb, which must end with this exit code.
func (d *demo) call(ctx context.Context, exit int, args ...string) (stderr string, err error) {
	outcome, err := d.daemon.Call(ctx, args...)
	if err == nil && outcome.Exit != exit {
		err = fmt.Errorf("expected exit %d: %v", exit, outcome)
	}
	return outcome.Stderr, err
}
