package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
)

// The hooks of an app: commands that run as the app's user, in its directory
// (symlinks resolved), with its limits and its environment, and with these
// variables beside:
//
//	TIDEOVER_APP          the app's name
//	TIDEOVER_INSTANCE     which of its instances, where there are several
//	TIDEOVER_GENERATION   the one that is to be started, serves now, or has failed
//	TIDEOVER_HOOK         before_start, after_ready, after_reload or on_failure
//	TIDEOVER_REASON       start, reload, restart or crash: why it is started; of
//	                      on_failure: what has failed
//	TIDEOVER_RELOAD_FROM  the generation that serves until then; not set: none
//	TIDEOVER_PID          the main process, once there is one
//	TIDEOVER_DIRECTORY    the directory it runs in, symlinks resolved
//	TIDEOVER_ERROR        of on_failure: what happened, in a sentence
//
// What a hook writes goes into the app's log behind its name. When it exits,
// takes longer than hooks.timeout or has become pointless, whatever it has
// started is killed, too.
const (
	beforeStart = "before_start" // awaited by the start, which fails with it
	afterReady  = "after_ready"  // beside the app, until the generation goes
	afterReload = "after_reload" // awaited by the reload, which only warns
	onFailure   = "on_failure"   // beside the app, which does not leave before it
)

// occasion is one run of a hook.
type occasion struct {
	hook   string
	post   post
	reason reason
	from   int    // the generation that serves, or served before; 0: none
	pid    int    // of the main process, 0: none
	err    string // on_failure
}

func (o occasion) command() []string {
	hooks := o.post.settings.Hooks
	return map[string][]string{beforeStart: hooks.BeforeStart, afterReady: hooks.AfterReady,
		afterReload: hooks.AfterReload, onFailure: hooks.OnFailure}[o.hook]
}

func (o occasion) spec() (process.Spec, error) {
	spec, err := o.post.spec(o.command(), fmt.Sprintf("%s.%d.%s", o.post.settings.Name, o.post.number, o.hook))
	set := func(name, value string) { spec.Env = append(spec.Env, name+"="+value) }
	set("TIDEOVER_HOOK", o.hook)
	set("TIDEOVER_REASON", string(o.reason))
	set("TIDEOVER_DIRECTORY", o.post.dir)
	if o.from > 0 {
		set("TIDEOVER_RELOAD_FROM", strconv.Itoa(o.from))
	}
	if o.pid > 0 {
		set("TIDEOVER_PID", strconv.Itoa(o.pid))
	}
	if o.err != "" {
		set("TIDEOVER_ERROR", o.err)
	}
	return spec, err
}

// hookError says how a hook failed.
type hookError struct {
	hook  string
	how   string
	lines []string // its last words
}

func (e *hookError) Error() string { return e.hook + " " + e.how }

var (
	errHookTimeout = errors.New("it took too long")
	errGone        = errors.New("its generation goes")
	errUpgrade     = errors.New("tideover is being upgraded, after which it runs again")
)

// hook runs a hook to its end. The error is a *hookError.
func (h *house) hook(ctx context.Context, log *logs.Log, o occasion) error {
	limit := o.post.settings.Hooks.Timeout
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errHookTimeout)
		defer cancel()
	}
	failed := &hookError{hook: o.hook}
	spec, err := o.spec()
	var out process.Outcome
	if err == nil {
		h.recordHook(spec)
		out, err = h.errand(ctx, spec, func(line string) {
			log.Note(o.post.number, "%s: %s", o.hook, line)
			failed.lines = append(failed.lines[max(0, len(failed.lines)-shownLines+1):], line)
		})
		h.recordHookGone(spec)
	}
	switch {
	case errors.Is(err, errHookTimeout):
		failed.how = fmt.Sprintf("was killed after %s (hooks.timeout)", api.FormatDuration(limit))
	case ctx.Err() != nil && err == context.Canceled:
		failed.how = "was killed: tideover is shutting down"
	case ctx.Err() != nil && err != nil:
		failed.how = "was killed: " + err.Error()
	case err != nil:
		failed.how = "could not be run: " + err.Error()
	case out.Code != 0 || out.Signal != 0:
		failed.how = fmt.Sprintf("failed with %s after %s", out, api.FormatDuration(out.Runtime))
	default:
		h.logger.Debug("hook ran", "app", o.post.settings.Name, "hook", o.hook, "generation", o.post.number, "took", out.Runtime)
		return nil
	}
	return failed
}

// hooks are those that run beside the app. The app's goroutine owns it.
type hooks struct {
	house   *house
	log     *logs.Log
	running sync.WaitGroup
	release context.CancelCauseFunc // ends the after_ready that may run
	ran     <-chan struct{}         // closed when it has
}

// ready runs after_ready for the generation that serves now. One for a
// generation before ends.
func (k *hooks) ready(g *Generation, why reason, from int) {
	k.over(errGone)
	ctx, cancel := context.WithCancelCause(k.house.hurry)
	k.release = cancel
	k.ran = k.beside(ctx, occasion{hook: afterReady, post: g.post, reason: why, from: from, pid: g.process.Pid()})
}

// attends reports whether an after_ready runs.
func (k *hooks) attends() bool { return k.release != nil && !isDone(k.ran) }

// over ends the after_ready that may run: its generation serves no more.
func (k *hooks) over(why error) {
	if k.release != nil {
		k.release(why)
		k.release = nil
	}
}

// failure runs on_failure. What keeps the app from starting shall not keep it
// from being told: a directory or an env file that is missing is done without.
func (k *hooks) failure(cfg *config.App, number, from int, why reason, what string) {
	p, err := k.house.post(cfg, number)
	var step *process.StartError
	if errors.As(err, &step) && step.Step == "directory" {
		p.dir, err = "/", nil
	}
	if err != nil {
		k.house.logger.Error("cannot run on_failure", "app", cfg.Name, "error", err)
		return
	}
	if _, err := p.environment(); err != nil {
		bare := *cfg
		bare.EnvFile, p.settings = nil, &bare
	}
	k.beside(k.house.hurry, occasion{hook: onFailure, post: p, reason: why, from: from, err: what})
}

// beside runs a hook; the channel is closed when it has ended.
func (k *hooks) beside(ctx context.Context, o occasion) <-chan struct{} {
	over := make(chan struct{})
	if len(o.command()) == 0 {
		close(over)
		return over
	}
	k.running.Go(func() {
		defer close(over)
		if err := k.house.hook(ctx, k.log, o); err != nil {
			k.house.logger.Warn("a hook failed", "app", o.post.settings.Name, "generation", o.post.number, "error", err)
			k.log.Note(o.post.number, "%v", err)
		}
	})
	return over
}

// idle returns a channel that is closed when none runs any more.
func (k *hooks) idle() <-chan struct{} {
	none := make(chan struct{})
	go func() {
		k.running.Wait()
		close(none)
	}()
	return none
}

// recordHook notes a hook for the next daemon, should this one die: a
// migration must not run twice at once.
func (h *house) recordHook(spec process.Spec) {
	if err := h.records.SetHook(process.Record{Name: spec.Name, Token: spec.Token}); err != nil {
		h.logger.Warn("cannot record the hook; after a crash of tideover it would not be found", "hook", spec.Name, "error", err)
	}
}

func (h *house) recordHookGone(spec process.Spec) {
	if err := h.records.RemoveHook(spec.Token); err != nil {
		h.logger.Warn("cannot record that a hook is gone", "hook", spec.Name, "error", err)
	}
}
