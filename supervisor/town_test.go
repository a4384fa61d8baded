package supervisor

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// town is a rig over several apps whose configuration can be changed.
type town struct {
	*rig
	mu   sync.Mutex // guards apps, err
	apps []*config.App
	err  error
}

func openTown(t *testing.T, apps ...with) *town {
	t.Helper()
	w := &town{rig: prepare(t)}
	for _, app := range apps {
		w.apps = append(w.apps, w.app(app))
	}
	file, _ := w.load()
	w.run(file, w.load)
	return w
}

// app is the settings of one more app: a web app at an address of its own, if
// nothing else is said.
func (w *town) app(options ...with) *config.App {
	cfg := w.settings("web")
	cfg.Listen = []string{freeAddress(w.t)}
	for _, o := range options {
		o(cfg)
	}
	return cfg
}

func named(name string, more ...with) with {
	return func(a *config.App) {
		a.Name = name
		for _, o := range more {
			o(a)
		}
	}
}

// plain makes an app a plain process.
func plain(a *config.App) {
	a.Listen = nil
	a.Env["ZOO"] = "worker"
	a.Ready.After = 50 * time.Millisecond
	used.Store("worker", true)
}

func (w *town) load() (*config.File, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var apps []*config.App
	for _, a := range w.apps {
		same := *a
		apps = append(apps, &same)
	}
	return &config.File{Path: "tideover.toml", Apps: apps}, w.err
}

// change edits the configuration.
func (w *town) change(edit func(apps []*config.App) []*config.App) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apps = edit(w.apps)
}

// edit changes one app's settings in the configuration.
func (w *town) edit(name string, o with) {
	w.change(func(apps []*config.App) []*config.App {
		i := slices.IndexFunc(apps, func(a *config.App) bool { return a.Name == name })
		changed := *apps[i]
		changed.Env = map[string]string{}
		for k, v := range apps[i].Env {
			changed.Env[k] = v
		}
		o(&changed)
		apps[i] = &changed
		return apps
	})
}

func (w *town) apply() api.ApplyResult {
	return w.s.Apply(context.Background(), api.ApplyRequest{By: "test"}, func(api.Phase) {})
}

// told is a result in short: "shop:reload blog:removed".
func told(r api.ApplyResult) string {
	var words []string
	for _, a := range r.Apps {
		words = append(words, a.App+":"+string(a.Change))
	}
	return strings.Join(words, " ")
}

func (w *town) wantApplied(want string) api.ApplyResult {
	w.t.Helper()
	res := w.apply()
	if res.Exit != api.ExitOK || told(res) != want {
		w.t.Fatalf("applied: %s; exit %d, %s %s; want %s", told(res), res.Exit, res.Result, res.Error, want)
	}
	return res
}

// at is a rig whose requests go to another address.
func (w *town) at(address string) *rig {
	r := *w.rig
	r.address = address
	return &r
}

// named waits for an app to be in a state.
func (w *town) untilState(name string, want api.State) api.AppStatus {
	w.t.Helper()
	var found api.AppStatus
	w.until(name+" "+string(want), func(api.AppStatus) bool {
		st, err := w.s.Status(name)
		if err != nil {
			return false
		}
		found = st.Apps[0]
		return found.State == want
	})
	return found
}
