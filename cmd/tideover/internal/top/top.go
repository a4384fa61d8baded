package top

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
	"tideover/supervisor/trend"
)

// Daemon is a daemon on this host: a *control.Client.
type Daemon interface {
	Status(ctx context.Context, apps ...string) (api.Status, error)
	Do(ctx context.Context, r api.Request, progress func(api.Phase)) (api.Result, error)
	Hold(ctx context.Context, app string, r api.HoldRequest) (api.HoldReport, error)
	Release(ctx context.Context, app string) (api.HoldReport, error)
	Fleet(ctx context.Context) (api.Fleet, error)
	Logs(ctx context.Context, q api.LogQuery, yield func(logs.Line) bool) error
}

// Options are what the screen shows and where.
type Options struct {
	Daemons  []Daemon
	Apps     []string // selectors, as of Status; empty: all apps
	Host     string   // the name of this machine
	Version  string
	Interval time.Duration // between two questions
	Color    bool
	In       io.Reader
	Out      io.Writer
	Env      []string
}

// fps bounds how often the screen is written: it changes with the answers and with keys.
const fps = 15

// Run shows the screen until ctx ends or the user quits. In and Out must be a terminal.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	profile := colorprofile.ASCII // bold and reverse, and no colours
	if o.Color {
		profile = colorprofile.ANSI256
	}
	m := newModel(ctx, &running, o)
	program := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithEnvironment(o.Env),
		tea.WithFPS(fps), tea.WithColorProfile(profile))
	_, err := program.Run()
	if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil
	}
	return err
}

func newModel(ctx context.Context, running *sync.WaitGroup, o Options) *model {
	m := &model{ctx: ctx, running: running, options: o, order: byName}
	for range o.Daemons {
		m.records = append(m.records, trend.New(time.Second, maxCurve))
	}
	m.answers = make([]api.Status, len(o.Daemons))
	return m
}
