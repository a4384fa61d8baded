package supervisor

import (
	"context"
	"errors"
	"sync"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
)

// CheckGunicorns has the gunicorn of every app report its settings, as a start of the app would,
// and returns what tideover cannot serve. It runs gunicorn's configuration file, and no app. That
// gunicorn did not report is a warning: the configuration may be for another machine.
func CheckGunicorns(ctx context.Context, f *config.File) (problems []config.Problem, asked map[string]*config.App) {
	found := make([][]config.Problem, len(f.Apps))
	merged := make([]*config.App, len(f.Apps))
	places := make(chan struct{}, maxQueries)
	var queries sync.WaitGroup
	for i, cfg := range f.Apps {
		if cfg.Gunicorn == nil {
			continue
		}
		queries.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			found[i], merged[i] = checkGunicorn(ctx, f, cfg)
		})
	}
	queries.Wait()
	asked = map[string]*config.App{}
	for i, some := range found {
		problems = append(problems, some...)
		if merged[i] != nil {
			asked[merged[i].Name] = merged[i]
		}
	}
	return problems, asked
}

func checkGunicorn(ctx context.Context, f *config.File, cfg *config.App) ([]config.Problem, *config.App) {
	report, err := generation.QueryGunicorn(ctx, cfg)
	if err != nil {
		message, hint := err.Error(), ""
		var known *api.Error
		if errors.As(err, &known) {
			message, hint = known.Advice()
		}
		return []config.Problem{f.CommandProblem(cfg, "gunicorn was not asked for its settings: "+message, hint, true)}, nil
	}
	merged, err := cfg.WithGunicornReport(report)
	if err != nil {
		return []config.Problem{f.CommandProblem(cfg, err.Error(), "", false)}, nil
	}
	var all []config.Problem
	for _, w := range merged.WarningsAfter(cfg) {
		all = append(all, f.CommandProblem(cfg, w.Message, w.Hint, true))
	}
	return all, merged
}
