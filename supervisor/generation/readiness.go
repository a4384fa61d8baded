package generation

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"tideover/proxy/awake"
	"tideover/supervisor/config"
)

// ProbeKind is how the readiness of a generation is found out.
type ProbeKind int

const (
	ProbeHTTP      ProbeKind = iota // an HTTP answer on the private socket
	ProbeNotify                     // READY=1 (sd_notify)
	ProbeCommand                    // ready.command exits with 0
	ProbeMinUptime                  // it has run for ready.after
)

// ProbeOf returns the kind of an app's probe. On a public socket that is passed to the processes the
// old generation may answer, so without a private one no answer can be asked for.
func ProbeOf(cfg *config.App) ProbeKind {
	switch {
	case cfg.Web():
		return ProbeHTTP
	case cfg.Ready.Notify:
		return ProbeNotify
	case len(cfg.Ready.Command) > 0:
		return ProbeCommand
	case cfg.Direct() && cfg.Gunicorn != nil:
		return ProbeHTTP // on a private socket, which it has beside the public ones
	}
	return ProbeMinUptime
}

// waitReady waits until the generation is ready. It ends early when the process
// exits, and at ready.timeout, which does not apply to ProbeMinUptime.
func (g *Generation) waitReady(ctx context.Context, l *Launcher) (ProbeResult, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	timeout := awake.AfterFunc(g.App.Ready.Timeout, func() { stop(errReadyTimeout) })
	defer timeout.Stop()
	if ProbeOf(g.App) == ProbeMinUptime {
		timeout.Stop()
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.watchStartup(ctx, stop)
	}()
	result, err := g.waitProbe(ctx, l, timeout.Extend)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if stranger := g.strangerAfter(err); stranger != nil {
		err = errors.Join(stranger, err)
	}
	if err == errReadyTimeout && (g.private != nil || g.Target != nil) {
		if other, found := g.otherListener(anyTCP); found {
			err = &wrongListenerError{Listening: other, late: true}
		}
	}
	stop(nil)
	<-watched
	return result, err
}

// strangerAfter returns the error of another process that listens in the place of the
// app, after the main process has exited: it may have exited for that.
func (g *Generation) strangerAfter(err error) *strangerError {
	if !errors.Is(err, errExited) {
		return nil
	}
	return g.child.stranger()
}

func (g *Generation) waitProbe(ctx context.Context, l *Launcher, extend func(time.Duration)) (ProbeResult, error) {
	result := ProbeResult{Text: "alive"}
	var err error
	switch ProbeOf(g.App) {
	case ProbeHTTP:
		if result, err = g.probe.wait(ctx); err == nil && result.NoLine {
			g.takeNoLine(l)
		}
		return result, err
	case ProbeNotify:
		result, err = g.notify.wait(ctx, extend)
	case ProbeCommand:
		result, err = g.waitCommand(ctx, l)
	}
	if err != nil || g.App.Listens() && ProbeOf(g.App) != ProbeMinUptime {
		return result, err
	}
	extend(g.App.Ready.After)
	if err := g.waitMinUptime(ctx); err != nil {
		return ProbeResult{}, err // the exit says more than the probe before it
	}
	return result, nil
}

// waitMinUptime waits until a plain process has run for ready.after, so that one that dies
// at its first import never counts as ready.
func (g *Generation) waitMinUptime(ctx context.Context) error {
	select {
	case <-time.After(time.Until(g.Started.Add(g.App.Ready.After))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commandInterval is between two runs of ready.command; it doubles up to the
// longest, because a process is dearer than a request.
const (
	// commandInterval is the time between two runs of ready.command. It doubles up
	// to maxCommandInterval, because a process costs more than a request.
	commandInterval    = 100 * time.Millisecond
	maxCommandInterval = 2 * time.Second
)

// waitCommand runs ready.command until it exits with 0.
func (g *Generation) waitCommand(ctx context.Context, l *Launcher) (ProbeResult, error) {
	last := ProbeResult{Text: "it did not end"}
	for interval := commandInterval; ; interval = min(2*interval, maxCommandInterval) {
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
		case <-time.After(interval):
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
	last := ""
	out, err := l.options.System.Run(ctx, spec, func(line string) { last = ": " + line })
	if err != nil {
		return false, err.Error()
	}
	return out.Code == 0 && out.Signal == 0, out.String() + last
}

var (
	errReadyTimeout = errors.New("no answer in time")
	errExited       = errors.New("the process ended")
	ErrOvertaken    = errors.New("a later request overtook it")
)
