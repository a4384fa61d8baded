package generation

import (
	"context"
	"errors"
	"fmt"

	"tideover/listener"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
)

// Startup is a generation that is being started: the hook before_start, the
// process, the first answer that counts. A goroutine of its own carries it out.
// Its Stages, Number, Reason and From are fixed once Start has returned.
type Startup struct {
	Number int
	Reason Reason
	From   int // the generation that serves until then, 0: none
	Stages []*Stage

	log    *logs.Log
	cancel context.CancelCauseFunc
	spawn  *Stage // makes the generation
	done   chan struct{}

	Warnings   []string    // once the first stage is done
	spec       LaunchSpec  // once the first stage is done
	generation *Generation // once spawn is done; nil: it failed
	probe      ProbeResult // once done
	err        error       // once the stage that failed is done
}

// Reason is why a generation is started, or what has failed.
type Reason string

const (
	ReasonStart   Reason = "start" // at first, or by the operator
	ReasonReload  Reason = "reload"
	ReasonRestart Reason = "restart"
	ReasonCrash   Reason = "crash" // the generation before exited by itself

	ReasonRollback Reason = "rollback"
)

// Stage is one step of a Startup. An operation reports it as a phase.
type Stage struct {
	Name string
	do   func(context.Context) error
	done chan struct{} // never closed when an earlier stage has failed

	// Set before done is closed.
	Attrs []api.Attr
	Err   error
}

// Done is closed when the stage has ended. It is never closed when an earlier
// stage has failed.
func (s *Stage) Done() <-chan struct{} { return s.done }

// StartRequest says what to start.
type StartRequest struct {
	App    *config.App
	Reason Reason
	From   int // the generation that serves until then, 0: none
	// Lenient counts any valid answer as ready, unless ready.path or ready.status
	// are set.
	Lenient bool
	// Serving serves meanwhile; nil: no generation does. LastStatus is the status with which
	// the last generation was ready; 0: there was none.
	Serving    *Generation
	LastStatus int
	// Revision is the word for what is deployed; empty: as the settings of the app say.
	Revision string
	// Given returns the word that a command has given for a directory, for a start that no command
	// asks for; empty: none. It may be nil.
	Given func(dir string) string
	// Public are the public sockets of an app without a relay, which the processes inherit.
	Public []*listener.Public
}

// Start begins to start the next generation of an app. Its output goes to log.
func (l *Launcher) Start(log *logs.Log, r StartRequest) *Startup {
	cfg := r.App
	number, err := l.options.State.NextNumber(cfg.Name)
	if err != nil {
		l.logger.Warn("cannot save state", "record", "generation number", "app", cfg.Name, "error", err)
	}
	ctx, cancel := context.WithCancelCause(l.options.Hurry)
	s := &Startup{Number: number, Reason: r.Reason, From: r.From, log: log, cancel: cancel, done: make(chan struct{})}
	if len(cfg.Hooks.BeforeStart) > 0 {
		s.addStage("hook", func(ctx context.Context) error {
			return l.RunHook(ctx, log, HookRun{Hook: HookBeforeStart, Spec: s.spec, Reason: s.Reason, From: s.From})
		}).Attrs = []api.Attr{api.String("hook", HookBeforeStart)}
	}
	s.spawn = s.addStage("start", func(context.Context) error {
		g, err := l.spawn(log, s.spec, r.Public)
		if err == nil {
			s.generation, s.spawn.Attrs = g, []api.Attr{api.Int("pid", g.Process.Pid())}
			attrs := []any{"app", cfg.Name, "generation", g.Number, "pid", g.Process.Pid()}
			if g.Revision != "" {
				s.spawn.Attrs = append(s.spawn.Attrs, api.String("revision", g.Revision))
				attrs = append(attrs, "revision", g.Revision)
			}
			l.logger.Info("started", attrs...)
		}
		return err
	})
	var ready *Stage
	ready = s.addStage("ready", func(ctx context.Context) (err error) {
		s.generation.probe.lenient = r.Lenient && !cfg.Ready.Explicit
		s.generation.probe.before.serving, s.generation.probe.before.status = r.Serving, r.LastStatus
		s.probe, err = s.generation.waitReady(ctx, l)
		ready.Attrs = s.probe.attrs()
		if err == nil && ProbeOf(cfg) == ProbeMinUptime {
			ready.Attrs = append(ready.Attrs, api.String("alive", cfg.Ready.After.String()))
		}
		return err
	})
	go s.run(ctx, func() (p LaunchSpec, err error) {
		if p, err = l.launchSpec(cfg, number); err != nil {
			return p, err
		}
		p.Revision = r.Revision
		if p.Revision == "" && r.Given != nil {
			p.Revision = r.Given(p.Dir)
		}
		if p.Given = p.Revision != ""; p.Given {
			return p, nil
		}
		var unknown error
		if p.Revision, unknown = l.learnRevision(ctx, log, p); unknown != nil && ctx.Err() == nil {
			s.Warnings = append(s.Warnings, unknown.Error())
			l.logger.Warn("revision unknown", "app", cfg.Name, "generation", number, "error", unknown)
		}
		return p, nil
	})
	return s
}

func (s *Startup) addStage(name string, do func(context.Context) error) *Stage {
	stage := &Stage{Name: name, do: do, done: make(chan struct{})}
	s.Stages = append(s.Stages, stage)
	return stage
}

func (s *Startup) run(ctx context.Context, prepare func() (LaunchSpec, error)) {
	defer s.cancel(nil) // releases ctx
	defer close(s.done)
	var unprepared error
	s.spec, unprepared = prepare()
	for _, stage := range s.Stages {
		if stage.Err = errors.Join(unprepared, context.Cause(ctx)); stage.Err == nil {
			stage.Err = stage.do(ctx)
		}
		s.err = stage.Err
		close(stage.done)
		if stage.Err != nil {
			return
		}
	}
}

// Done is closed when the last stage has ended, or the one that failed.
func (s *Startup) Done() <-chan struct{} { return s.done }

// Spawned is closed when the process exists. It is never closed when there is
// none.
func (s *Startup) Spawned() <-chan struct{} { return s.spawn.done }

// Generation returns the generation once its process exists, else nil.
func (s *Startup) Generation() *Generation {
	if !isClosed(s.spawn.done) {
		return nil
	}
	return s.generation
}

// HookRuns reports whether before_start runs.
func (s *Startup) HookRuns() bool { return s.Stages[0] != s.spawn && !isClosed(s.Stages[0].done) }

// Err is why the startup failed. It may be called once Done, or Done of the failed
// stage, is closed.
func (s *Startup) Err() error { return s.err }

// Probe is the last result of the readiness probe. It may be called once Done, or
// Done of the failed stage, is closed.
func (s *Startup) Probe() ProbeResult { return s.probe }

// Spec is what the processes were started with. It may be called once Done, or
// Done of the failed stage, is closed.
func (s *Startup) Spec() LaunchSpec { return s.spec }

// Outcome is how the process has exited by itself before it was ready, else zero.
func (s *Startup) Outcome() process.Outcome {
	o, _ := s.exited()
	return o
}

// exited reports whether the startup has failed because the process has exited.
func (s *Startup) exited() (process.Outcome, bool) {
	if s.generation == nil || !errors.Is(s.err, errExited) {
		return process.Outcome{}, false
	}
	return s.generation.Process.Outcome(), true
}

// Complete reports whether a plain process has done its work before it counted as
// ready.
func (s *Startup) Complete() bool {
	o, exited := s.exited()
	return exited && !s.spec.App.Listens() && OnExit(s.spec.App, o) == ExitDone
}

// Explain says in words why the startup has failed, and what to do.
func (s *Startup) Explain() (why, hint string) {
	g := s.generation
	var hook *HookError
	if errors.As(s.err, &hook) {
		return fmt.Sprintf("generation %d of %s was not started: %v", s.Number, s.spec.App.Name, hook), ""
	}
	var failed *api.Error
	if errors.As(s.err, &failed) {
		return failed.Message, failed.Hint
	}
	if g == nil {
		return s.err.Error(), ""
	}
	cfg := g.App
	head := fmt.Sprintf("generation %d of %s did not come up: ", g.Number, cfg.Name)
	var other *wrongListenerError
	var stranger *strangerError
	switch {
	case errors.As(s.err, &stranger):
		return head + stranger.Error(), "until the command listens on it, every user can take the port of {port}; {fd} and {socket} cannot be taken"
	case errors.As(s.err, &other) && other.late:
		return head + fmt.Sprintf("no answer within %s; it listens on %s, which is not the socket it was given", api.FormatDuration(cfg.Ready.Timeout), other.Address), other.remedy(cfg)
	case errors.As(s.err, &other):
		return head + fmt.Sprintf("the command listens on %s itself and not on the socket it was given", other.Address), other.remedy(cfg)
	case errors.Is(s.err, errExited):
		why, hint = explainExit(g)
		if s.openedPublic() {
			hint = UnknownRemedy(cfg, cfg.Listen[0])
		}
		return head + why, hint
	case errors.Is(s.err, errReadyTimeout):
		why, hint = s.explainTimeout(cfg)
		return head + why, hint
	}
	return head + s.err.Error(), ""
}

// openedPublic reports whether a command that is not known has exited because it found an address
// in use: the daemon has the public one.
func (s *Startup) openedPublic() bool {
	cfg := s.spec.App
	_, exited := s.exited()
	return exited && cfg.Listens() && !cfg.TakesSocket() && SaysInUse(s.generation.OutputTail(s.log, OutputWait))
}

// IgnoresSocket reports whether the startup has failed because the command does not serve on the
// socket that it was given. Another start fails in the same way.
func (s *Startup) IgnoresSocket() bool {
	var wrong *wrongListenerError
	return errors.As(s.err, &wrong) || s.openedPublic()
}

func (s *Startup) explainTimeout(cfg *config.App) (why, hint string) {
	within := " within " + api.FormatDuration(cfg.Ready.Timeout)
	switch ProbeOf(cfg) {
	case ProbeNotify:
		return "it did not send READY=1" + within, "ready.notify waits for sd_notify; ready.timeout is the time limit"
	case ProbeCommand:
		return "ready.command did not succeed" + within + " (the last time: " + s.probe.FirstLine() + ")", "ready.command and ready.timeout set the check and its time limit"
	}
	why = "no answer that counts" + within
	if problem := s.generation.ListenerProblem(); problem != "" {
		why += " (" + problem + ")"
	} else if s.probe.Status != 0 {
		why += fmt.Sprintf(" (the last one: %s)", s.probe.FirstLine())
		hint = "ready.path and ready.status set the request and the statuses that count"
		if s.probe.HostRejected() {
			hint = fmt.Sprintf("the app may not accept the Host %q: ready.host sets the Host of the request", s.generation.probe.host)
		}
	}
	return why, hint
}

func explainExit(g *Generation) (why, hint string) {
	out := g.Process.Outcome()
	before := "it answered"
	if g.Target == nil {
		before = "it was ready"
	}
	why = fmt.Sprintf("it ended with %s after %s, before %s", out, api.FormatDuration(out.Runtime), before)
	if gu := g.App.Gunicorn; gu != nil {
		switch out.Code {
		case 3:
			why += " (gunicorn: a worker failed to boot)"
		case 4:
			why += " (gunicorn: the app failed to load)"
		}
		if _, forks := gu.Forks(); forks {
			hint = forkRemedy(g.App)
		}
	}
	return why, hint
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
