package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"tideover/supervisor/config"
)

// proof is how it is found out whether a generation may serve.
type proof int

const (
	byAnswer  proof = iota // of a web app: it answers
	byNotice               // it says READY=1
	byCommand              // a command of the user's says so
	byAge                  // it is still there after a while
)

func readiness(cfg *config.App) proof {
	switch {
	case cfg.Web():
		return byAnswer
	case cfg.Ready.Notify:
		return byNotice
	case len(cfg.Ready.Command) > 0:
		return byCommand
	}
	return byAge
}

// answered waits until the generation may serve. It ends early when the
// process does, and at the app's ready.timeout; who is only to grow old enough
// has no other timeout.
func (g *Generation) answered(ctx context.Context, h *house) (answer, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	timeout := time.AfterFunc(g.settings.Ready.Timeout, func() { stop(errReadyTimeout) })
	defer timeout.Stop()
	if readiness(g.settings) == byAge {
		timeout.Stop()
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.watch(ctx, stop)
	}()
	heard, err := g.wait(ctx, h, g.prolong(timeout))
	if err != nil {
		err = context.Cause(ctx)
	}
	if err == errReadyTimeout && g.private != nil {
		if at, elsewhere := g.elsewhere(nil); elsewhere {
			err = &elsewhereError{address: at, late: true}
		}
	}
	stop(nil)
	<-watched
	return heard, err
}

// prolong gives a generation more time, never less than it has anyway.
func (g *Generation) prolong(timeout *time.Timer) func(time.Duration) {
	ends := time.Now().Add(g.settings.Ready.Timeout)
	return func(d time.Duration) {
		if later := time.Now().Add(d); later.After(ends) && timeout.Stop() {
			ends = later
			timeout.Reset(d)
		}
	}
}

func (g *Generation) wait(ctx context.Context, h *house, prolong func(time.Duration)) (answer, error) {
	switch readiness(g.settings) {
	case byAnswer:
		return g.probe.wait(ctx)
	case byNotice:
		return g.notices.wait(ctx, prolong)
	case byCommand:
		return g.waitCommand(ctx, h)
	}
	select {
	case <-time.After(g.settings.Ready.After):
		return answer{text: "alive"}, nil
	case <-ctx.Done():
		return answer{text: "ended"}, ctx.Err()
	}
}

// commandPause is between two runs of ready.command; it doubles up to the
// longest, because a process is dearer than a request.
const (
	commandPause        = 100 * time.Millisecond
	longestCommandPause = 2 * time.Second
)

// waitCommand runs ready.command until it exits with 0.
func (g *Generation) waitCommand(ctx context.Context, h *house) (answer, error) {
	last := answer{text: "it did not end"}
	for pause := commandPause; ; pause = min(2*pause, longestCommandPause) {
		ok, text := g.ask(ctx, h)
		if ctx.Err() != nil {
			return last, ctx.Err()
		}
		if last = (answer{text: text, tries: last.tries + 1}); ok {
			return last, nil
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// ask runs ready.command once.
func (g *Generation) ask(ctx context.Context, h *house) (ok bool, text string) {
	spec, err := g.spec(g.settings.Ready.Command, fmt.Sprintf("%s.%d.ready", g.settings.Name, g.number))
	if err != nil {
		return false, err.Error()
	}
	spec.Env = append(spec.Env, "TIDEOVER_PID="+strconv.Itoa(g.process.Pid()))
	said := ""
	out, err := h.errand(ctx, spec, func(line string) { said = ": " + line })
	if err != nil {
		return false, err.Error()
	}
	return out.Code == 0 && out.Signal == 0, out.String() + said
}

// firstLook is when it is first looked whether the command listens somewhere
// else; the pauses double from there, because looking means reading tables as
// long as the machine has connections.
const firstLook = 2 * time.Second

// watch ends the wait as soon as it has become pointless: the process is gone,
// or it listens somewhere else.
func (g *Generation) watch(ctx context.Context, stop context.CancelCauseFunc) {
	pause := firstLook
	look := time.NewTimer(pause)
	defer look.Stop()
	if !g.mayStray() {
		look.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.process.Exited():
			stop(errExited)
			return
		case <-look.C:
			if at, elsewhere := g.elsewhere(g.settings.Gunicorn.Bind.Addresses); elsewhere {
				stop(&elsewhereError{address: at})
				return
			}
			pause *= 2
			look.Reset(pause)
		}
	}
}

// mayStray reports whether gunicorn could open another address than the public
// one. That one is ours, and an attempt to bind it fails aloud.
func (g *Generation) mayStray() bool {
	gu := g.settings.Gunicorn
	if gu == nil || g.private == nil {
		return false
	}
	return slices.ContainsFunc(gu.Bind.Addresses, func(bind string) bool { return !slices.Contains(g.settings.Listen, bind) })
}

var (
	errReadyTimeout = errors.New("no answer in time")
	errExited       = errors.New("the process ended")
	errOvertaken    = errors.New("a later request overtook it")
)

// elsewhereError says that the command opened its own address instead of the
// socket it was given.
type elsewhereError struct {
	address string
	late    bool // seen only when it had not answered in time
}

func (e *elsewhereError) Error() string { return "it listens on " + e.address + " by itself" }

// elsewhere reports whether the command listens on one of these addresses, or
// with none given on any that is not the socket it got: a wrapper that forks
// (uv run, a shell) makes gunicorn ignore LISTEN_FDS without a word, because
// LISTEN_PID no longer names it.
func (g *Generation) elsewhere(binds []string) (string, bool) {
	open, err := g.process.Listening()
	if err != nil {
		return "", false
	}
	for _, l := range open {
		if l.Inode == g.private.Inode() {
			continue
		}
		if binds == nil && l.Network != "unix" {
			return l.Address, true
		}
		for _, bind := range binds {
			if sameListener(bind, l.Network, l.Address) {
				return bind, true
			}
		}
	}
	return "", false
}
