package generation

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
	HookBeforeStart = "before_start" // awaited by the start, which fails with it
	HookAfterReady  = "after_ready"  // beside the app, until the generation goes
	HookAfterReload = "after_reload" // awaited by the reload, which only warns
	HookOnFailure   = "on_failure"   // beside the app, which does not leave before it
)

// HookRun is one run of a hook.
type HookRun struct {
	Hook   string
	Spec   LaunchSpec
	Reason Reason
	From   int    // the generation that serves, or served before; 0: none
	Pid    int    // of the main process, 0: none
	Err    string // on_failure
}

func (o HookRun) command() []string {
	hooks := o.Spec.App.Hooks
	return map[string][]string{HookBeforeStart: hooks.BeforeStart, HookAfterReady: hooks.AfterReady,
		HookAfterReload: hooks.AfterReload, HookOnFailure: hooks.OnFailure}[o.Hook]
}

func (o HookRun) processSpec() (process.Spec, error) {
	spec, err := o.Spec.processSpec(o.command(), fmt.Sprintf("%s.%d.%s", o.Spec.App.Name, o.Spec.Number, o.Hook))
	set := func(name, value string) { spec.Env = append(spec.Env, name+"="+value) }
	set("TIDEOVER_HOOK", o.Hook)
	set("TIDEOVER_REASON", string(o.Reason))
	set("TIDEOVER_DIRECTORY", o.Spec.Dir)
	if o.From > 0 {
		set("TIDEOVER_RELOAD_FROM", strconv.Itoa(o.From))
	}
	if o.Pid > 0 {
		set("TIDEOVER_PID", strconv.Itoa(o.Pid))
	}
	if o.Err != "" {
		set("TIDEOVER_ERROR", o.Err)
	}
	return spec, err
}

// HookError says how a hook failed.
type HookError struct {
	hook  string
	how   string
	Lines []string // its last words
}

func (e *HookError) Error() string { return e.hook + " " + e.how }

var (
	errHookTimeout = errors.New("it took too long")
	ErrReplaced    = errors.New("its generation goes")
	ErrUpgrade     = errors.New("tideover is being upgraded, after which it runs again")
)

// RunHook runs a RunHook to its end. The error is a *hookError.
func (l *Launcher) RunHook(ctx context.Context, log *logs.Log, o HookRun) error {
	limit := o.Spec.App.Hooks.Timeout
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errHookTimeout)
		defer cancel()
	}
	failed := &HookError{hook: o.Hook}
	spec, err := o.processSpec()
	var out process.Outcome
	if err == nil {
		l.recordHook(spec)
		out, err = process.Run(ctx, spec, func(line string) {
			log.Note(o.Spec.Number, "%s: %s", o.Hook, line)
			failed.Lines = append(failed.Lines[max(0, len(failed.Lines)-outputTailLines+1):], line)
		})
		l.recordHookGone(spec)
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
		l.logger.Debug("hook ran", "app", o.Spec.App.Name, "hook", o.Hook, "generation", o.Spec.Number, "took", out.Runtime)
		return nil
	}
	return failed
}

// Hooks are those that run beside the app. The app's goroutine owns it.
type Hooks struct {
	launcher *Launcher
	log      *logs.Log
	running  sync.WaitGroup
	release  context.CancelCauseFunc // ends the after_ready that may run
	ran      <-chan struct{}         // closed when it has
}

// NewHooks returns the Hooks of an app whose output goes to log.
func NewHooks(l *Launcher, log *logs.Log) *Hooks { return &Hooks{launcher: l, log: log} }

// AfterReady runs after_ready for the generation that serves now. One for a
// generation before ends.
func (k *Hooks) AfterReady(g *Generation, why Reason, from int) {
	k.StopAfterReady(ErrReplaced)
	ctx, cancel := context.WithCancelCause(k.launcher.options.Hurry)
	k.release = cancel
	k.ran = k.runAsync(ctx, HookRun{Hook: HookAfterReady, Spec: g.LaunchSpec, Reason: why, From: from, Pid: g.Process.Pid()})
}

// AfterReadyRuns reports whether an after_ready runs.
func (k *Hooks) AfterReadyRuns() bool { return k.release != nil && !isClosed(k.ran) }

// StopAfterReady ends the after_ready that may run: its generation serves no more.
func (k *Hooks) StopAfterReady(why error) {
	if k.release != nil {
		k.release(why)
		k.release = nil
	}
}

// OnFailure runs on_failure. What keeps the app from starting shall not keep it
// from being told: a directory or an env file that is missing is done without.
func (k *Hooks) OnFailure(cfg *config.App, number, from int, why Reason, what string) {
	p, err := newLaunchSpec(cfg, number)
	var step *process.StartError
	if errors.As(err, &step) && step.Step == "directory" {
		p.Dir, err = "/", nil
	}
	if err != nil {
		k.launcher.logger.Error("cannot run on_failure", "app", cfg.Name, "error", err)
		return
	}
	if _, err := p.environment(); err != nil {
		bare := *cfg
		bare.EnvFile, p.App = nil, &bare
	}
	k.runAsync(k.launcher.options.Hurry, HookRun{Hook: HookOnFailure, Spec: p, Reason: why, From: from, Err: what})
}

// runAsync runs a hook; the channel is closed when it has ended.
func (k *Hooks) runAsync(ctx context.Context, o HookRun) <-chan struct{} {
	over := make(chan struct{})
	if len(o.command()) == 0 {
		close(over)
		return over
	}
	k.running.Go(func() {
		defer close(over)
		if err := k.launcher.RunHook(ctx, k.log, o); err != nil {
			k.launcher.logger.Warn("a hook failed", "app", o.Spec.App.Name, "generation", o.Spec.Number, "error", err)
			k.log.Note(o.Spec.Number, "%v", err)
		}
	})
	return over
}

// Idle returns a channel that is closed when none runs any more.
func (k *Hooks) Idle() <-chan struct{} {
	none := make(chan struct{})
	go func() {
		k.running.Wait()
		close(none)
	}()
	return none
}

// recordHook notes a hook for the next daemon, should this one die: a
// migration must not run twice at once.
func (l *Launcher) recordHook(spec process.Spec) {
	if err := l.options.State.SetHook(process.Record{Name: spec.Name, Token: spec.Token}); err != nil {
		l.logger.Warn("cannot record the hook; after a crash of tideover it would not be found", "hook", spec.Name, "error", err)
	}
}

func (l *Launcher) recordHookGone(spec process.Spec) {
	if err := l.options.State.RemoveHook(spec.Token); err != nil {
		l.logger.Warn("cannot record that a hook is gone", "hook", spec.Name, "error", err)
	}
}
