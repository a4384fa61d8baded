package supervisor

import (
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// join is Sprintln without a line feed.
func join(words ...any) string { return strings.TrimSuffix(fmt.Sprintln(words...), "\n") }

// simSocket opens a public socket for simulated apps. Nothing connects to it.
func simSocket(t *testing.T) *os.File {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	l.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// simApps are a web app, one that must not run twice, and a plain process.
func simConfigs(t *testing.T) []*config.App {
	t.Helper()
	var all []*config.App
	for _, name := range []string{"web", "single", "plain"} {
		cfg, err := config.FromCommand(config.CommandOptions{Command: []string{"/bin/app", "{fd}"}, Directory: "/", Name: name, Listen: []string{"systemd:web"}})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Upstream, cfg.Log.Access, cfg.Live.Interval = "tcp", "off", 0
		cfg.Ready.Timeout, cfg.Hold.Timeout, cfg.Hold.Limit = 20*time.Second, 30*time.Second, 50
		cfg.Stop.Timeout, cfg.Drain.Timeout = 3*time.Second, 10*time.Second
		switch name {
		case "single":
			cfg.Reload = config.Replace
			cfg.Hooks.BeforeStart, cfg.Hooks.AfterReady = []string{"/bin/before"}, []string{"/bin/after"}
		case "plain":
			cfg.Listen, cfg.Ready.After = nil, time.Second
			cfg.Hooks.AfterReload, cfg.Hooks.OnFailure = []string{"/bin/after"}, []string{"/bin/failed"}
		}
		all = append(all, cfg)
	}
	return all
}

// A simulated app starts, is reloaded and stopped, and nothing is left.
func TestASimulatedLife(t *testing.T) {
	socket, apps := simSocket(t), simConfigs(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, socket, apps...)
		w.calm = true
		l := w.begin(0)
		for _, app := range l.s.Apps() {
			for _, verb := range []api.Verb{api.Start, api.Reload, api.Restart, api.Stop, api.Start} {
				r := l.s.Do(t.Context(), api.Request{Verb: verb, App: app, WaitDrain: true}, func(api.Phase) {})
				servers := 1
				if verb == api.Stop {
					servers = 0
				}
				w.mu.Lock()
				if n := len(w.serversLocked(app)); r.Exit != api.ExitOK || n != servers {
					w.faultLocked("%s of %s: %+v, %d processes", verb, app, r, n)
				}
				w.mu.Unlock()
			}
		}
		w.close()
	})
}

var (
	simulated = flag.Int("simulate", 4_000, "steps of TestSimulation; a million is the proof")
	simSeed   = flag.Uint64("seed", 0, "simulate this seed alone")
)

// simSteps is how many steps a seed has.
const simSteps = 400

// Whatever commands, exits, requests and deaths of supervisors come, and in whatever order: one generation
// serves, what serves is not stopped, each command has one result, each request one end, and when apps work
// again, each one that is to be up serves and nothing else is left.
func TestSimulation(t *testing.T) {
	t.Parallel()
	socket, apps := simSocket(t), simConfigs(t)
	simulate(t, func(t *testing.T, seed uint64) *world { return newWorld(t, seed, socket, apps...) })
}

// The same while configurations are applied: apps are added, removed and replaced, and their addresses change.
func TestSimulationOfApplies(t *testing.T) {
	t.Parallel()
	simulate(t, simConfigured(t, 0))
}

// simConfigured returns what makes worlds with a configuration that changes.
func simConfigured(t *testing.T, variant int) func(t *testing.T, seed uint64) *world {
	var addresses []any
	for range 5 {
		addresses = append(addresses, freeAddress(t))
	}
	return func(t *testing.T, seed uint64) *world {
		w := newWorld(t, seed, nil)
		w.path, w.names, w.addresses = filepath.Join(w.dir, "tideover.toml"), []string{"web", "single", "plain", "extra"}, addresses
		w.configure(variant)
		var err error
		if w.file, err = config.Load(w.path); err != nil {
			t.Fatal(err)
		}
		return w
	}
}

// simDefaults are the settings of all apps of a configuration.
const simDefaults = `
[defaults]
command = "/bin/app {fd}"
directory = "/"
upstream = "tcp"
live.interval = "0s"
ready.timeout = "20s"
hold.timeout = "30s"
hold.limit = 50
stop.timeout = "3s"
drain.timeout = "10s"
`

// simVariants are configurations. The addresses of the world are filled in.
var simVariants = []string{`
[app.web]
listen = "%[1]s"
[app.single]
listen = "%[2]s"
reload = "replace"
[app.plain]
command = "/bin/app"
ready.after = "1s"
reload = "replace"
`, `
[app.web]
listen = "%[1]s"
hold.limit = 40
[app.single]
listen = "%[2]s"
reload = "replace"
env.X = "1"
[app.plain]
command = "/bin/app"
ready.after = "1s"
reload = "replace"
env.X = "1"
`, `
[app.web]
listen = "%[1]s"
env.X = "1"
[app.extra]
listen = "%[3]s"
reload = "replace"
`, `
[app.web]
listen = "%[4]s"
[app.single]
listen = "%[2]s"
reload = "replace"
[app.plain]
listen = "%[5]s"
reload = "replace"
`, `
[app.web]
listen = "%[2]s"
[app.single]
listen = "%[1]s"
reload = "replace"
`, `
[app.web
`}

// simFaulty is the last of them.
const simFaulty = 5

// configure writes a configuration.
func (w *world) configure(variant int) {
	text := fmt.Sprintf(simDefaults+simVariants[variant], w.addresses...)
	if i := strings.Index(text, "%!("); i >= 0 {
		text = text[:i]
	}
	if err := os.WriteFile(w.path, []byte(text), 0o600); err != nil {
		w.fault("%v", err)
	}
}

// simulate runs worlds, each of a seed.
func simulate(t *testing.T, newWorld func(t *testing.T, seed uint64) *world) {
	counts := map[string]int{}
	defer func() { t.Log(counts) }()
	run := func(seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			s := &simulation{world: newWorld(t, seed), held: map[*simHold]struct{}{}}
			s.begin(0)
			for n := range simSteps {
				s.step(n)
				s.check()
				if len(s.faults) > 0 {
					break
				}
			}
			s.rest()
			s.close()
			s.addTo(counts)
		})
	}
	if *simSeed > 0 {
		run(*simSeed)
		return
	}
	for seed := uint64(1); seed <= uint64(*simulated/simSteps) && !t.Failed(); seed++ {
		run(seed)
	}
}
