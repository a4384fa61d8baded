package generation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"tideover/supervisor/config"
	"tideover/supervisor/process"
)

// ProbeKind is how it is found out whether a generation may serve.
type ProbeKind int

const (
	ProbeHTTP      ProbeKind = iota // of a web app: it answers
	ProbeNotify                     // it says READY=1
	ProbeCommand                    // a command of the user's says so
	ProbeMinUptime                  // it is still there after a while
)

func ProbeOf(cfg *config.App) ProbeKind {
	switch {
	case cfg.Web():
		return ProbeHTTP
	case cfg.Ready.Notify:
		return ProbeNotify
	case len(cfg.Ready.Command) > 0:
		return ProbeCommand
	}
	return ProbeMinUptime
}

// waitReady waits until the generation may serve. It ends early when the
// process does, and at the app's ready.timeout; who is only to grow old enough
// has no other timeout.
func (g *Generation) waitReady(ctx context.Context, l *Launcher) (ProbeResult, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	timeout := time.AfterFunc(g.App.Ready.Timeout, func() { stop(errReadyTimeout) })
	defer timeout.Stop()
	if ProbeOf(g.App) == ProbeMinUptime {
		timeout.Stop()
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.watchStartup(ctx, stop)
	}()
	heard, err := g.waitProbe(ctx, l, g.extendTimeout(timeout))
	if err != nil {
		err = context.Cause(ctx)
	}
	if err == errReadyTimeout && g.private != nil {
		if at, elsewhere := g.otherListener(nil); elsewhere {
			err = &wrongListenerError{address: at, late: true}
		}
	}
	stop(nil)
	<-watched
	return heard, err
}

// extendTimeout gives a generation more time, never less than it has anyway.
func (g *Generation) extendTimeout(timeout *time.Timer) func(time.Duration) {
	ends := time.Now().Add(g.App.Ready.Timeout)
	return func(d time.Duration) {
		if later := time.Now().Add(d); later.After(ends) && timeout.Stop() {
			ends = later
			timeout.Reset(d)
		}
	}
}

func (g *Generation) waitProbe(ctx context.Context, l *Launcher, prolong func(time.Duration)) (ProbeResult, error) {
	switch ProbeOf(g.App) {
	case ProbeHTTP:
		return g.probe.wait(ctx)
	case ProbeNotify:
		return g.notify.wait(ctx, prolong)
	case ProbeCommand:
		return g.waitCommand(ctx, l)
	}
	select {
	case <-time.After(g.App.Ready.After):
		return ProbeResult{Text: "alive"}, nil
	case <-ctx.Done():
		return ProbeResult{Text: "ended"}, ctx.Err()
	}
}

// commandInterval is between two runs of ready.command; it doubles up to the
// longest, because a process is dearer than a request.
const (
	commandInterval    = 100 * time.Millisecond
	maxCommandInterval = 2 * time.Second
)

// waitCommand runs ready.command until it exits with 0.
func (g *Generation) waitCommand(ctx context.Context, l *Launcher) (ProbeResult, error) {
	last := ProbeResult{Text: "it did not end"}
	for pause := commandInterval; ; pause = min(2*pause, maxCommandInterval) {
		ok, text := g.runReadyCommand(ctx, l)
		if ctx.Err() != nil {
			return last, ctx.Err()
		}
		if last = (ProbeResult{Text: text, Tries: last.Tries + 1}); ok {
			return last, nil
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// runReadyCommand runs ready.command once.
func (g *Generation) runReadyCommand(ctx context.Context, l *Launcher) (ok bool, text string) {
	spec, err := g.processSpec(g.App.Ready.Command, fmt.Sprintf("%s.%d.ready", g.App.Name, g.Number))
	if err != nil {
		return false, err.Error()
	}
	spec.Env = append(spec.Env, "TIDEOVER_PID="+strconv.Itoa(g.Process.Pid()))
	said := ""
	out, err := process.Run(ctx, spec, func(line string) { said = ": " + line })
	if err != nil {
		return false, err.Error()
	}
	return out.Code == 0 && out.Signal == 0, out.String() + said
}

// firstListenCheck is when it is first looked whether the command listens somewhere
// else; the pauses double from there, because looking means reading tables as
// long as the machine has connections.
const firstListenCheck = 2 * time.Second

// watchStartup ends the wait as soon as it has become pointless: the process is gone,
// or it listens somewhere else.
func (g *Generation) watchStartup(ctx context.Context, stop context.CancelCauseFunc) {
	pause := firstListenCheck
	look := time.NewTimer(pause)
	defer look.Stop()
	if !g.mayBindElsewhere() {
		look.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.Process.Exited():
			stop(errExited)
			return
		case <-look.C:
			if at, elsewhere := g.otherListener(g.App.Gunicorn.Bind.Addresses); elsewhere {
				stop(&wrongListenerError{address: at})
				return
			}
			pause *= 2
			look.Reset(pause)
		}
	}
}

// mayBindElsewhere reports whether gunicorn could open another address than the public
// one. That one is ours, and an attempt to bind it fails aloud.
func (g *Generation) mayBindElsewhere() bool {
	gu := g.App.Gunicorn
	if gu == nil || g.private == nil {
		return false
	}
	return slices.ContainsFunc(gu.Bind.Addresses, func(bind string) bool { return !slices.Contains(g.App.Listen, bind) })
}

var (
	errReadyTimeout = errors.New("no answer in time")
	errExited       = errors.New("the process ended")
	ErrOvertaken    = errors.New("a later request overtook it")
)

// wrongListenerError says that the command opened its own address instead of the
// socket it was given.
type wrongListenerError struct {
	address string
	late    bool // seen only when it had not answered in time
}

func (e *wrongListenerError) Error() string { return "it listens on " + e.address + " by itself" }

// otherListener reports whether the command listens on one of these addresses, or
// with none given on any that is not the socket it got: a wrapper that forks
// (uv run, a shell) makes gunicorn ignore LISTEN_FDS without a word, because
// LISTEN_PID no longer names it.
func (g *Generation) otherListener(binds []string) (string, bool) {
	open, err := g.Process.Listening()
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
