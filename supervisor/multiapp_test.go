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

// multiApp is a harness with several apps and a configuration that can be changed.
type multiApp struct {
	*harness
	mu     sync.Mutex // guards apps, err
	apps   []*config.App
	err    error
	daemon config.Daemon // of the next load
}

func openMultiApp(t *testing.T, apps ...appOption) *multiApp {
	t.Helper()
	w := &multiApp{harness: prepare(t)}
	for _, app := range apps {
		w.apps = append(w.apps, w.app(app))
	}
	file, _ := w.load()
	w.run(file, w.load)
	return w
}

// app is the settings of one more app: a web app at an address of its own, if
// nothing else is said.
func (w *multiApp) app(options ...appOption) *config.App {
	cfg := w.settings("web")
	cfg.Listen = []string{freeAddress(w.t)}
	for _, o := range options {
		o(cfg)
	}
	return cfg
}

func named(name string, more ...appOption) appOption {
	return func(a *config.App) {
		a.Name = name
		for _, o := range more {
			o(a)
		}
	}
}

// workerApp makes an app a process without a public address.
func workerApp(a *config.App) {
	a.Listen = nil
	a.Env["TESTPROGRAM"] = "worker"
	a.Ready.After = 50 * time.Millisecond
	usedPrograms.Store("worker", true)
}

func (w *multiApp) load() (*config.File, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var apps []*config.App
	for _, a := range w.apps {
		same := *a
		apps = append(apps, &same)
	}
	return &config.File{Path: "tideover.toml", Daemon: w.daemon, Apps: apps}, w.err
}

// change edits the configuration.
func (w *multiApp) change(edit func(apps []*config.App) []*config.App) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apps = edit(w.apps)
}

// edit changes one app's settings in the configuration.
func (w *multiApp) edit(name string, o appOption) {
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

func (w *multiApp) apply() api.ApplyResult {
	return w.s.Apply(context.Background(), api.ApplyRequest{By: api.Caller{Via: "test"}}, func(api.Phase) {})
}

// changesOf is a result in short: "shop:reload blog:removed".
func changesOf(r api.ApplyResult) string {
	var words []string
	for _, a := range r.Apps {
		words = append(words, a.App+":"+string(a.Change))
	}
	return strings.Join(words, " ")
}

func (w *multiApp) wantApplied(want string) api.ApplyResult {
	w.t.Helper()
	res := w.apply()
	if res.Exit != api.ExitOK || changesOf(res) != want {
		w.t.Fatalf("applied: %s; exit %d, %s %s; want %s", changesOf(res), res.Exit, res.Result, res.Error, want)
	}
	return res
}

// at returns a harness that sends its requests to another address.
func (w *multiApp) at(address string) *harness {
	r := *w.harness
	r.address = address
	return &r
}

// untilState waits for an app to be in a state.
func (w *multiApp) untilState(name string, want api.State) api.AppStatus {
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
