package supervisor

import (
	"context"
	"errors"
	"fmt"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/process"
)

// boot is a generation on its way up: its hook, its start, its first answer
// that counts. A goroutine of its own carries it out, because each of them may
// take its time; the app's goroutine looks on.
type boot struct {
	number  int
	reason  reason
	from    int  // the generation that serves until then, 0: none
	awaited bool // by an operation
	noticed bool // the app's goroutine knows that there is a process
	cancel  context.CancelCauseFunc
	stages  []*stage
	start   *stage // the one that makes the generation
	done    chan struct{}

	post       post        // once the first stage is over
	generation *Generation // once start is over; nil: there is none
	heard      answer      // once done
	err        error       // once a stage that failed is over
}

// reason is why a generation is started, or what has failed.
type reason string

const (
	byStart   reason = "start" // the first one, or by the operator's wish
	byReload  reason = "reload"
	byRestart reason = "restart"
	byCrash   reason = "crash" // the one before ended by itself
)

// stage is one step of a boot; an operation tells of each as a phase.
type stage struct {
	name string
	do   func(context.Context) error
	over chan struct{} // never closed when a stage before has failed

	// Once it is over.
	attrs []api.Attr
	err   error
}

// stage adds the next one.
func (b *boot) stage(name string, do func(context.Context) error) *stage {
	s := &stage{name: name, do: do, over: make(chan struct{})}
	b.stages = append(b.stages, s)
	return s
}

func (b *boot) run(ctx context.Context, prepare func() (post, error)) {
	defer b.cancel(nil) // of nothing any more; it lets the context go
	defer close(b.done)
	var unprepared error
	b.post, unprepared = prepare()
	for _, s := range b.stages {
		if s.err = errors.Join(unprepared, context.Cause(ctx)); s.err == nil {
			s.err = s.do(ctx)
		}
		b.err = s.err
		close(s.over)
		if s.err != nil {
			return
		}
	}
}

// begun returns the generation from the moment its process exists.
func (b *boot) begun() *Generation {
	if b == nil || !isDone(b.start.over) {
		return nil
	}
	return b.generation
}

// hooked reports whether its hook still runs.
func (b *boot) hooked() bool {
	return b != nil && b.stages[0] != b.start && !isDone(b.stages[0].over)
}

// news is ready once, when a process exists.
func (b *boot) news() <-chan struct{} {
	if b == nil || b.noticed {
		return nil
	}
	return b.start.over
}

// risen is ready when a boot that no operation waits for has ended.
func (b *boot) risen() <-chan struct{} {
	if b == nil || b.awaited {
		return nil
	}
	return b.done
}

// bring begins to bring up the next generation, for a reason that is given.
// With lenient, any valid answer counts unless the user said where to ask.
func (a *App) bring(b *boot, lenient bool) *boot {
	h, cfg := a.house, a.settings
	number, err := h.records.NextNumber(a.name)
	if err != nil {
		h.logger.Warn("cannot record the generation's number", "app", a.name, "error", err)
	}
	ctx, cancel := context.WithCancelCause(h.hurry)
	b.number, b.cancel, b.done = number, cancel, make(chan struct{})
	if len(cfg.Hooks.BeforeStart) > 0 {
		b.stage("hook", func(ctx context.Context) error {
			return h.hook(ctx, a.log, occasion{hook: beforeStart, post: b.post, reason: b.reason, from: b.from})
		}).attrs = []api.Attr{api.String("hook", beforeStart)}
	}
	b.start = b.stage("start", func(context.Context) error {
		g, err := h.start(a.log, b.post)
		if err == nil {
			b.generation, b.start.attrs = g, []api.Attr{api.Int("pid", g.process.Pid())}
			h.logger.Info("started", "app", a.name, "generation", g.number, "pid", g.process.Pid())
		}
		return err
	})
	var ready *stage
	ready = b.stage("ready", func(ctx context.Context) (err error) {
		b.generation.probe.lenient = lenient && !cfg.Ready.Explicit
		b.heard, err = b.generation.answered(ctx, h)
		ready.attrs = b.heard.attrs()
		return err
	})
	go b.run(ctx, func() (post, error) { return h.post(cfg, number) })
	a.boot = b
	return b
}

// dropBoot gives up what has not come up. Whatever there is of it goes, beside
// the app.
func (a *App) dropBoot() *departure {
	d := a.house.giveUp(a.house.hurry, a.boot)
	a.boot = nil
	a.departures = append(a.departures, d)
	return d
}

// ended tells how its process ended by itself before it was ready, if that is
// why the boot has failed.
func (b *boot) ended() (process.Outcome, bool) {
	if b.generation == nil || !errors.Is(b.err, errExited) {
		return process.Outcome{}, false
	}
	return b.generation.process.Outcome(), true
}

// complete reports whether a plain process has done what it was there for
// before it counted as ready.
func (b *boot) complete() bool {
	o, ended := b.ended()
	return ended && !b.post.settings.Web() && judge(b.post.settings, o) == finished
}

// explain says in words why a generation did not come up, and what to do.
func (b *boot) explain() (why, hint string) {
	g := b.generation
	var hook *hookError
	if errors.As(b.err, &hook) {
		return fmt.Sprintf("generation %d of %s was not started: %v", b.number, b.post.settings.Name, hook), ""
	}
	var failed *api.Error
	if errors.As(b.err, &failed) {
		return failed.Message, failed.Hint
	}
	if g == nil {
		return b.err.Error(), ""
	}
	cfg := g.settings
	head := fmt.Sprintf("generation %d of %s did not come up: ", g.number, cfg.Name)
	var other *elsewhereError
	switch {
	case errors.As(b.err, &other) && other.late:
		return head + fmt.Sprintf("no answer within %s; it listens on %s, which is not the socket it was given", api.FormatDuration(cfg.Ready.Timeout), other.address), forkRemedy(g)
	case errors.As(b.err, &other):
		return head + fmt.Sprintf("the command listens on %s itself and not on the socket it was given", other.address), forkRemedy(g)
	case errors.Is(b.err, errExited):
		why, hint = explainExit(g)
		return head + why, hint
	case errors.Is(b.err, errReadyTimeout):
		why, hint = b.explainTimeout(cfg)
		return head + why, hint
	}
	return head + b.err.Error(), ""
}

func (b *boot) explainTimeout(cfg *config.App) (why, hint string) {
	within := " within " + api.FormatDuration(cfg.Ready.Timeout)
	switch readiness(cfg) {
	case byNotice:
		return "it did not say READY=1" + within, "ready.notify waits for sd_notify; ready.timeout says for how long"
	case byCommand:
		return "ready.command did not succeed" + within + " (the last time: " + firstLine(b.heard.text) + ")", "ready.command and ready.timeout say what is asked, and for how long"
	}
	why = "no answer that counts" + within
	if b.heard.status != 0 {
		why += fmt.Sprintf(" (the last one: %s)", firstLine(b.heard.text))
		hint = "ready.path and ready.status say what is asked and what counts"
	}
	return why, hint
}

func explainExit(g *Generation) (why, hint string) {
	out := g.process.Outcome()
	before := "it answered"
	if g.target == nil {
		before = "it was ready"
	}
	why = fmt.Sprintf("it ended with %s after %s, before %s", out, api.FormatDuration(out.Runtime), before)
	if gu := g.settings.Gunicorn; gu != nil {
		switch out.Code {
		case 3:
			why += " (gunicorn: a worker failed to boot)"
		case 4:
			why += " (gunicorn: the app failed to load)"
		}
		if _, forks := gu.Forks(); forks {
			hint = forkRemedy(g)
		}
	}
	return why, hint
}
