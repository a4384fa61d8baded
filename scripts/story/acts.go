package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"tideover/scripts/testenv"
)

// act is one thing that happens to the app.
type act struct {
	name    string // in the table
	command string // as one types it
	meaning string // in a few words
	house   *house
	do      func(ctx context.Context) (notes []string, err error)
}

// acts is the story.
func acts(st *stage) []act {
	return []act{
		{"supervisorctl restart, to compare", "supervisorctl restart shop", "without tideover, to compare", &st.theirs, st.supervisordRestarts},
		{"reload", "tideover reload shop", "new code, then the old ends", &st.ours, st.reload},
		{"restart", "tideover restart shop", "the old ends, then new code", &st.ours, st.restart},
		{"kill -9 of the gunicorn master", "kill -9 $(gunicorn's master)", "a crash", &st.ours, st.crash},
		{"reload of a broken deploy: exit 7", "tideover reload shop", "a deploy that cannot start", &st.ours, st.brokenDeploy},
		{"hold, for a migration of 2 s", "tideover hold shop -- sh -c 'sleep 2'", "a migration", &st.ours, st.migrate},
	}
}

func (st *stage) supervisordRestarts(context.Context) ([]string, error) {
	_, err := st.supervisord.Ctl("restart", "shop")
	return nil, err
}

func (st *stage) reload(ctx context.Context) ([]string, error)  { return st.deploy(ctx, "reload") }
func (st *stage) restart(ctx context.Context) ([]string, error) { return st.deploy(ctx, "restart") }

// deploy puts the next release into service. Exit code 0 must mean that it
// answers.
func (st *stage) deploy(ctx context.Context, verb string) ([]string, error) {
	next, err := st.ours.shop.DeployNext()
	if err != nil {
		return nil, err
	}
	if err := st.call(ctx, 0, verb, "shop"); err != nil {
		return nil, err
	}
	return nil, st.ours.answersAs(ctx, next.Number)
}

// crash kills the master and waits until tideover has another one that
// answers.
func (st *stage) crash(ctx context.Context) ([]string, error) {
	before, err := st.daemon.Status(ctx)
	if err != nil {
		return nil, err
	}
	if err := syscall.Kill(before.Pid, syscall.SIGKILL); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return nil, testenv.Poll(ctx, 100*time.Millisecond, func() error {
		now, err := st.daemon.Status(ctx)
		if err == nil && (now.State != "running" || now.Generation == before.Generation) {
			err = fmt.Errorf("%s in generation %d", now.State, now.Generation)
		}
		return err
	})
}

// brokenDeploy reloads a release whose import fails, shows what the operator
// is told, and repairs it.
func (st *stage) brokenDeploy(ctx context.Context) ([]string, error) {
	serving := st.ours.shop.Release()
	if err := st.ours.shop.DeployBroken("raise"); err != nil {
		return nil, err
	}
	outcome, err := st.daemon.Call(ctx, "reload", "shop")
	if err != nil {
		return nil, err
	}
	if outcome.Exit != 7 {
		return nil, fmt.Errorf("expected exit 7: %v", outcome)
	}
	if err := st.ours.answersAs(ctx, serving.Number); err != nil {
		return nil, err
	}
	return told(outcome.Stderr), st.ours.shop.Deploy(serving)
}

// told picks the sentences out of a failure's message; the traceback between
// them is as long as tracebacks are.
func told(message string) []string {
	var lines []string
	var sentence string // it is wrapped: what follows indented belongs to it
	finish := func() {
		if sentence != "" {
			lines = append(lines, wrap(sentence, lineLength-len("    "))...)
		}
		sentence = ""
	}
	for line := range strings.Lines(message) {
		text := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "tideover: "), strings.HasPrefix(line, "exit "):
			finish()
			sentence = text
		case sentence != "" && text != "" && strings.HasPrefix(line, "  "):
			sentence += " " + text
		default:
			finish()
		}
	}
	finish()
	return lines
}

// migrate runs a command while requests wait.
func (st *stage) migrate(ctx context.Context) ([]string, error) {
	return nil, st.call(ctx, 0, "hold", "shop", "--", "sh", "-c", "sleep 2")
}

// call runs a verb that must end with this exit code.
func (st *stage) call(ctx context.Context, exit int, args ...string) error {
	outcome, err := st.daemon.Call(ctx, args...)
	if err == nil && outcome.Exit != exit {
		err = fmt.Errorf("expected exit %d: %v", exit, outcome)
	}
	return err
}
