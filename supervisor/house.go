package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/filewatch"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/logs"
	"tideover/supervisor/state"
)

// house is what all apps share. It is fixed before the first of them runs.
type house struct {
	logger     hclog.Logger
	runtimeDir string
	records    *state.Store
	free       func() uint64 // memory available on this machine, in bytes; 0: unknown
	vigil      *vigil
	load       func() (*config.File, error)
	hurry      context.Context    // ended: stop being patient
	watch      *filewatch.Watcher // of the files whose touch is a reload
	inherited  *inheritance
	gunicorns  *gunicorn.Cache // the settings that gunicorn reported, by app
	logOptions func(*config.App) logs.Options
}

// remember keeps the operator's wish over a restart of the daemon.
func (h *house) remember(app string, stopped bool) {
	if err := h.records.SetStopped(app, stopped); err != nil {
		h.logger.Warn("cannot record the wish; it holds until tideover ends", "app", app, "error", err)
	}
}

// prepend puts a word before the value of a variable, so that what the user
// wrote there still has the last word.
func prepend(env []string, name, word string) []string {
	for i, kv := range env {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			env[i] = name + "=" + word + " " + value
			return env
		}
	}
	return append(env, name+"="+word)
}

// reload reads the configuration again and returns the app's part of it; nil
// when there is no file to read.
func (h *house) reload(app string) (*config.App, error) {
	if h.load == nil {
		return nil, nil
	}
	file, err := h.load()
	if err != nil {
		return nil, err
	}
	all := each(file)
	i := slices.IndexFunc(all, func(a *config.App) bool { return a.Name == app })
	if i < 0 {
		return nil, fmt.Errorf("app %s is no longer in %s; `tideover apply` removes it", app, file.Path)
	}
	return h.check(all[i])
}

// each lists the apps of a configuration, with instances as apps of their own.
func each(f *config.File) []*config.App {
	var all []*config.App
	for _, cfg := range f.Apps {
		all = append(all, cfg.Each()...)
	}
	return all
}

// plan says what a reload would do, and does nothing.
func (a *App) plan(r api.Request) api.Result {
	seen := a.seen.Load()
	out := api.Result{App: a.name, Verb: r.Verb, Result: "dry run", Exit: api.ExitOK, Phases: []api.PhaseResult{}, ChildOutput: []string{}}
	say := func(format string, args ...any) { out.Plan = append(out.Plan, fmt.Sprintf(format, args...)) }
	cfg, err := a.house.reload(a.name)
	if err != nil {
		out.Result, out.Exit, out.Error, out.Hint = "failed", api.ExitConfig, err.Error(), "nothing was changed"
		return out
	}
	if cfg == nil {
		cfg = seen.settings
	}
	say("command    %s", strings.Join(cfg.Command, " "))
	dir, err := filepath.EvalSymlinks(cfg.Directory)
	if err != nil {
		out.Result, out.Exit, out.Error = "failed", api.ExitError, "cannot use directory "+cfg.Directory+": "+plainPath(err).Error()
		return out
	}
	mode := cmp.Or(cfg.Reload, config.Overlap)
	if g := seen.current; g != nil {
		out.Generation = api.GenerationPair{From: g.number, To: g.number}
		if g.dir == dir {
			say("directory  %s (unchanged)", dir)
		} else {
			say("directory  %s -> %s", g.dir, dir)
		}
		need, _ := g.process.Memory()
		if free := a.house.free(); mode == config.Overlap && free > 0 && free < need {
			say("memory     generation %d uses %s, %s are free: too little for two; use `tideover restart %s`", g.number, mebibytes(need), mebibytes(free), a.name)
		}
	} else {
		say("directory  %s", dir)
	}
	say("mode       %s", mode)
	if hook := cfg.Hooks.BeforeStart; len(hook) > 0 {
		say("hook       %s, before the start", strings.Join(hook, " "))
	}
	return out
}
