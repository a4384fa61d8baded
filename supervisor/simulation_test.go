package supervisor

import (
	"flag"
	"fmt"
	"net"
	"os"
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
	counts := map[string]int{}
	defer func() { t.Log(counts) }()
	run := func(seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			s := &simulation{world: newWorld(t, seed, socket, apps...), held: map[*simHold]struct{}{}}
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
