package generation

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"tideover/proxy/awake"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
)

// The hooks of an app are commands that run as the app's user, in its directory
// (symlinks resolved), with its limits and its environment, and with these
// variables:
//
//	TIDEOVER_APP          the app's name
//	TIDEOVER_INSTANCE     its instance, where there are several
//	TIDEOVER_GENERATION   the generation that is to be started, serves, or has failed
//	TIDEOVER_REVISION     the word for what is deployed; unset: none is known
//	TIDEOVER_HOOK         before_start, after_ready, after_reload, on_failure, or rollout
//	                      for the command that a rollout of the fleet carries
//	TIDEOVER_REASON       start, reload, restart, rollback or crash: why the generation
//	                      is started; for on_failure: what has failed
//	TIDEOVER_RELOAD_FROM  the generation that serves until then; unset: none
//	TIDEOVER_PID          the main process, once there is one
//	TIDEOVER_DIRECTORY    the directory it runs in, symlinks resolved
//	TIDEOVER_ERROR        for on_failure: what happened, in a sentence
//
// The output of a hook goes into the app's log, prefixed with the hook's name. When
// the hook exits, exceeds hooks.timeout or is not needed any more, its process tree
// is killed.
const (
	HookBeforeStart = "before_start" // the start waits for it, and fails with it
	HookAfterReady  = "after_ready"  // runs beside the app until its generation is replaced
	HookAfterReload = "after_reload" // the reload waits for it, and only warns
	HookOnFailure   = "on_failure"   // runs beside the app; the shutdown of the app waits for it
	HookRollout     = "rollout"      // the command of a rollout: the reload waits for it, and fails with it
)

// HookRun is one run of a hook.
type HookRun struct {
	Hook   string
	Spec   LaunchSpec
	Reason Reason
	From   int    // the generation that serves, or served before; 0: none
	Pid    int    // of the main process, 0: none
	Err    string // on_failure
	// Command is that of HookRollout.
	Command []string
}

func (r HookRun) command() []string {
	hooks := r.Spec.App.Hooks
	return map[string][]string{HookBeforeStart: hooks.BeforeStart, HookAfterReady: hooks.AfterReady,
		HookAfterReload: hooks.AfterReload, HookOnFailure: hooks.OnFailure, HookRollout: r.Command}[r.Hook]
}

func (r HookRun) processSpec() (process.Spec, error) {
	spec, err := r.Spec.processSpec(r.command(), fmt.Sprintf("%s.%d.%s", r.Spec.App.Name, r.Spec.Number, r.Hook))
	set := func(name, value string) { spec.Env = append(spec.Env, name+"="+value) }
	set("TIDEOVER_HOOK", r.Hook)
	set("TIDEOVER_REASON", string(r.Reason))
	set("TIDEOVER_DIRECTORY", r.Spec.Dir)
	if r.From > 0 {
		set("TIDEOVER_RELOAD_FROM", strconv.Itoa(r.From))
	}
	if r.Pid > 0 {
		set("TIDEOVER_PID", strconv.Itoa(r.Pid))
	}
	if r.Err != "" {
		set("TIDEOVER_ERROR", r.Err)
	}
	return spec, err
}

// HookError says how a hook has failed.
type HookError struct {
	hook  string
	how   string
	Lines []string // the last of its output
}

func (e *HookError) Error() string { return e.hook + " " + e.how }

var (
	errHookTimeout = errors.New("it took too long")
	ErrReplaced    = errors.New("its generation is being stopped")
	ErrShutdown    = errors.New("tideover is shutting down, and the time to stop the app is over")
)

// RunHook runs a hook to its end. The error is a *HookError.
func (l *Launcher) RunHook(ctx context.Context, log *logs.Log, r HookRun) error {
	limit := r.Spec.App.Hooks.Timeout
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = awake.WithTimeoutCause(ctx, limit, errHookTimeout)
		defer cancel()
	}
	failed := &HookError{hook: r.Hook}
	spec, err := r.processSpec()
	var out process.Outcome
	if err == nil {
		l.recordHook(spec)
		l.options.Journal.HookBegins(handoff.HookRecord{Hook: r.Hook, Generation: r.Spec.Number, Token: spec.Token})
		out, err = l.options.System.Run(ctx, spec, func(line string) {
			log.Note(r.Spec.Number, "%s: %s", r.Hook, line)
			failed.Lines = append(failed.Lines[max(0, len(failed.Lines)-outputTailLines+1):], line)
		})
		l.options.Journal.HookEnded(spec.Token)
		l.removeHook(spec)
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
		l.logger.Debug("hook finished", "app", r.Spec.App.Name, "generation", r.Spec.Number, "hook", r.Hook,
			"duration_s", out.Runtime.Round(time.Millisecond).Seconds())
		return nil
	}
	return failed
}

// RolloutCommand is the command of a rollout, and the reload that follows it.
type RolloutCommand struct {
	Argv     []string
	Revision string // empty: none was named
	Number   int    // of the generation that serves; 0: none
	Pid      int    // of its main process; 0: none
}

// RunCommand runs the command of a rollout to its end, before the directory of the next generation is
// resolved: it may change where a symlink leads. The error is a *HookError or an *api.Error.
func (l *Launcher) RunCommand(ctx context.Context, log *logs.Log, cfg *config.App, c RolloutCommand) error {
	spec, err := l.launchSpec(cfg, c.Number)
	if err != nil {
		return err
	}
	spec.Revision = c.Revision
	return l.RunHook(ctx, log, HookRun{Hook: HookRollout, Spec: spec, Reason: ReasonReload, From: c.Number, Pid: c.Pid, Command: c.Argv})
}

// Hooks runs the hooks that nothing waits for: after_ready and on_failure. The
// app's goroutine owns it.
type Hooks struct {
	launcher *Launcher
	log      *logs.Log
	all      context.Context         // of every hook
	kill     context.CancelCauseFunc // ends all
	running  sync.WaitGroup
	stop     context.CancelCauseFunc // kills after_ready; nil: it does not run
	ended    <-chan struct{}         // closed when after_ready has ended
}

// NewHooks returns the Hooks of an app. Their output goes to log.
func NewHooks(l *Launcher, log *logs.Log) *Hooks {
	h := &Hooks{launcher: l, log: log}
	h.all, h.kill = context.WithCancelCause(l.options.Hurry)
	return h
}

// Kill kills the hooks that run, and those that are started later; why is their HookError's
// text. It does not wait.
func (h *Hooks) Kill(why error) { h.kill(why) }

// AfterReady runs after_ready for the generation that serves now. One that runs
// for an earlier generation is ended.
func (h *Hooks) AfterReady(g *Generation, why Reason, from int) {
	h.StopAfterReady(ErrReplaced)
	ctx, cancel := context.WithCancelCause(h.all)
	h.stop = cancel
	h.ended = h.runAsync(ctx, HookRun{Hook: HookAfterReady, Spec: g.LaunchSpec, Reason: why, From: from, Pid: g.Process.Pid()})
}

// StopAfterReady kills the after_ready that may run; why is its HookError's text.
func (h *Hooks) StopAfterReady(why error) {
	if h.stop != nil {
		h.stop(why)
		h.stop = nil
	}
}

// Failure is what on_failure is told.
type Failure struct {
	Number   int // of the generation that has failed
	Revision string
	From     int // the generation that served until then, 0: none
	Reason   Reason
	Text     string // what happened, in a sentence
}

// Failure is the Failure of a startup. It may be called when Err may be.
func (s *Startup) Failure(text string) Failure {
	return Failure{Number: s.Number, Revision: s.spec.Revision, From: s.From, Reason: s.Reason, Text: text}
}

// OnFailure runs on_failure. It runs without the app's directory or env files
// where those are missing: their absence may be the failure.
func (h *Hooks) OnFailure(cfg *config.App, f Failure) {
	p, err := h.launcher.launchSpec(cfg, f.Number)
	p.Revision = f.Revision
	var step *process.StartError
	if errors.As(err, &step) && step.Step == "directory" {
		p.Dir, err = "/", nil
	}
	if err != nil {
		h.launcher.logger.Error("cannot run hook", "app", cfg.Name, "generation", f.Number, "hook", HookOnFailure, "error", err)
		return
	}
	if _, err := p.environment(); err != nil {
		bare := *cfg
		bare.EnvFile, p.App = nil, &bare
	}
	h.runAsync(h.all, HookRun{Hook: HookOnFailure, Spec: p, Reason: f.Reason, From: f.From, Err: f.Text})
}

// runAsync runs a hook and closes the channel when it has ended.
func (h *Hooks) runAsync(ctx context.Context, r HookRun) <-chan struct{} {
	ended := make(chan struct{})
	if len(r.command()) == 0 {
		close(ended)
		return ended
	}
	h.running.Go(func() {
		defer close(ended)
		if err := h.launcher.RunHook(ctx, h.log, r); err != nil {
			h.launcher.logger.Warn("hook failed", "app", r.Spec.App.Name, "generation", r.Spec.Number, "hook", r.Hook, "error", err)
			h.log.Note(r.Spec.Number, "%v", err)
		}
	})
	return ended
}

// Idle returns a channel that is closed when no hook runs any more.
func (h *Hooks) Idle() <-chan struct{} {
	idle := make(chan struct{})
	go func() {
		h.running.Wait()
		close(idle)
	}()
	return idle
}

// recordHook stores a hook for the next daemon, should this one die: a migration
// must not run twice at once.
func (l *Launcher) recordHook(spec process.Spec) {
	if err := l.options.State.SetHook(spec.Record()); err != nil {
		l.logger.Warn("cannot save state", "record", "hook started", "process", spec.Name, "error", err)
	}
}

func (l *Launcher) removeHook(spec process.Spec) {
	if err := l.options.State.RemoveHook(spec.Token); err != nil {
		l.logger.Warn("cannot save state", "record", "hook ended", "process", spec.Name, "error", err)
	}
}
