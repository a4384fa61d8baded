//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// The supervisor is killed again and again under load, with websockets open, sometimes during a hold and
// during a reload. No request is lost or executed twice, no websocket ends, no process of the app is
// started again, and the status is right: also while the configuration file is faulty. A reload that is
// interrupted ends as old or as new; one that is interrupted in before_start as old, and the hook has ended.
// An upgrade brings its own relay, and cuts neither a request nor a websocket.
func TestFaultSupervisorKilled(t *testing.T) {
	t.Parallel()
	for name, front := range map[string]frontStarter{"alone": nil, "apache": apache(testenv.Apache{Params: "upgrade=websocket"})} {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			binary := r.env.Path("tideover")
			r.must(install(r, binary))
			s := newFixture(r, setup{binary: binary, front: front, gunicorn: testenv.UvicornWorker(""), release: testenv.Release{Number: 1},
				config: "hold.limit = 4000\nhold.timeout = \"60s\"\nready.timeout = \"12s\"\n" +
					`hooks.before_start = ["sh", "-c", "if test -e slow; then echo begun >>hooks; sleep 60; echo ended >>hooks; fi"]`})
			k := &supervisorKills{relayKills: relayKills{fixture: s}}
			k.run(binary, fullTimes(6, 100))
			s.shutdown()
		})
	}
}

// supervisorKills is a row in which the supervisor is killed.
type supervisorKills struct {
	relayKills
	slowest time.Duration // from a kill to the next status
}

func (k *supervisorKills) run(binary string, kills int) {
	k.Helper()
	k.client.Timeout = 2 * time.Minute // a busy machine is no loss
	rate := 200
	if !*full {
		rate = k.affordableRate(rate)
	}
	k.waitWorkers()
	k.before, k.children = k.statusAtRest(), k.appProcesses(binary)
	k.load = loadgen.Start(loadgen.Plan{Client: k.client, Rate: rate})
	websockets := k.openWebSockets(5)
	restoreFile := k.breakConfiguration()
	for n := range kills {
		if n%3 == 1 {
			k.must(k.daemonCall("hold", k.daemon.App, "--for", "1m"))
			k.waitHeld(1)
		}
		k.killSupervisor()
		if n%3 == 1 {
			k.waitHeld(1)
			k.release()
		}
		if now := k.status(); now.Generation != k.before.Generation || now.Pid != k.before.Pid || now.State != "running" {
			k.Errorf("after kill %d: %s, generation %d, pid %d; before: generation %d, pid %d", n, now.State, now.Generation, now.Pid, k.before.Generation, k.before.Pid)
		}
		k.checkWebSockets(websockets)
		k.events++
	}
	restoreFile()
	for _, ws := range websockets {
		ws.Close()
	}
	if children := k.appProcesses(binary); !slices.Equal(children, k.children) {
		k.Errorf("processes\n%s\nbefore\n%s", strings.Join(children, "\n"), strings.Join(k.children, "\n"))
	}
	for range fullTimes(2, 20) {
		k.killInReload()
	}
	k.killInHook()
	k.upgrade(binary)
	tally := k.load.Stop()
	k.report(tally)
	k.checkNothingLost(tally)
	k.checkNothingTwice(k.app)
	k.addNumbers("kills=%d first_status=%.2fs", kills, k.slowest.Seconds())
}

// checkWebSockets has each websocket echo a word. The server closes those that do not answer its pings meanwhile.
func (k *supervisorKills) checkWebSockets(all []*loadgen.WebSocket) {
	k.Helper()
	for i, ws := range all {
		if text, err := ws.Echo("ping", time.Minute); err != nil || !strings.HasSuffix(text, " echo=ping") {
			k.Fatalf("websocket %d after %d events: %q, %v", i, k.events, text, err)
		}
	}
}

// appProcesses are those of the app: neither the monitor, which runs from binary, nor the supervisor.
func (k *supervisorKills) appProcesses(binary string) []string {
	return slices.DeleteFunc(k.processes(), func(line string) bool {
		return strings.Contains(line, " tideover: ") || strings.Contains(line, " "+binary+" ")
	})
}

// breakConfiguration makes the configuration file faulty, until restore is called.
func (k *supervisorKills) breakConfiguration() (restore func()) {
	k.Helper()
	path := k.env.Path("tideover.toml")
	text, err := os.ReadFile(path)
	k.must(err)
	k.must(os.WriteFile(path, []byte("[app.\n"), 0o644))
	return func() { k.must(os.WriteFile(path, text, 0o644)) }
}

// killSupervisor kills the supervisor and returns when another one answers.
func (k *supervisorKills) killSupervisor() {
	k.Helper()
	began := time.Now()
	k.must(k.daemon.KillSupervisor(k.timeout(30 * time.Second)))
	k.status()
	k.slowest = max(k.slowest, time.Since(began))
}

// status is that of the app, which the next supervisor answers if there is none now.
func (k *supervisorKills) status() (now testenv.AppStatus) {
	k.Helper()
	k.must(testenv.Poll(k.timeout(20*time.Second), 5*time.Millisecond, func() (err error) {
		now, err = k.daemon.Status(k.timeout(10 * time.Second))
		return err
	}))
	return now
}

func (k *supervisorKills) daemonCall(args ...string) error {
	outcome, err := k.daemon.Call(k.timeout(operationTimeout), args...)
	if err == nil && outcome.Exit != 0 {
		err = errors.New(outcome.String())
	}
	return err
}

// killInReload kills the supervisor in the middle of a reload. One generation serves afterwards: the one
// from before, or the next one.
func (k *supervisorKills) killInReload() {
	k.Helper()
	before := k.status()
	ended := make(chan struct{})
	ctx := k.timeout(operationTimeout)
	go func() {
		defer close(ended)
		_, _ = k.daemon.Call(ctx, "reload", k.daemon.App) // its connection ends
	}()
	k.must(testenv.Poll(k.timeout(30*time.Second), time.Millisecond, func() error {
		if now := k.status(); now.Generation == before.Generation && now.State != "reloading" {
			return fmt.Errorf("the app is %s", now.State)
		}
		return nil
	}))
	k.killSupervisor()
	<-ended
	k.must(testenv.Poll(k.timeout(60*time.Second), 20*time.Millisecond, func() error {
		now := k.status()
		if now.State != "running" || now.Generation != before.Generation && now.Generation != before.Generation+1 {
			return fmt.Errorf("the app is %s, generation %d; before generation %d", now.State, now.Generation, before.Generation)
		}
		return nil
	}))
}

// killInHook kills the supervisor while before_start runs. The hook ends with it, and the generation from
// before serves.
func (k *supervisorKills) killInHook() {
	k.Helper()
	before := k.status()
	slow, hooks := filepath.Join(k.app.Dir, "slow"), filepath.Join(k.app.Dir, "hooks")
	k.must(os.WriteFile(slow, nil, 0o644))
	ended := make(chan struct{})
	ctx := k.timeout(operationTimeout)
	go func() {
		defer close(ended)
		_, _ = k.daemon.Call(ctx, "reload", k.daemon.App) // its connection ends
	}()
	k.must(testenv.Poll(k.timeout(30*time.Second), 10*time.Millisecond, func() error {
		_, err := os.Stat(hooks)
		return err
	}))
	k.killSupervisor()
	<-ended
	k.must(os.Remove(slow))
	if now := k.status(); now.Generation != before.Generation || now.Pid != before.Pid || now.State != "running" {
		k.Errorf("after a kill in before_start: %s, generation %d; before: generation %d", now.State, now.Generation, before.Generation)
	}
	for _, pid := range k.daemon.Processes() {
		if line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); strings.HasPrefix(string(line), "sleep\x0060") {
			k.Errorf("the hook of the former supervisor runs, pid %d", pid)
		}
	}
	outcome, err := k.daemon.Call(k.timeout(operationTimeout), "reload", k.daemon.App)
	k.must(err)
	if outcome.Exit != 0 {
		k.Errorf("the next reload: %s", outcome.String())
	}
}

// upgrade puts another file in the place of the program. Supervisor and relay are processes of it then, and
// the websockets of the relay before go on.
func (k *supervisorKills) upgrade(binary string) {
	k.Helper()
	websockets := k.openWebSockets(2)
	before := k.status()
	k.must(install(k.row, binary))
	k.must(k.daemon.Signal(syscall.SIGUSR2))
	k.must(testenv.Poll(k.timeout(60*time.Second), 20*time.Millisecond, func() error {
		missing := []string{"tideover: supervisor", "tideover: relay"}
		for _, pid := range k.daemon.Processes() {
			name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
			if exe, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe"); exe == binary {
				missing = slices.DeleteFunc(missing, func(role string) bool { return strings.HasPrefix(string(name), role) })
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("not of the new program: %s", strings.Join(missing, ", "))
		}
		return nil
	}))
	if now := k.status(); now.Generation != before.Generation || now.Pid != before.Pid || now.State != "running" {
		k.Errorf("after an upgrade: %s, generation %d; before: generation %d", now.State, now.Generation, before.Generation)
	}
	k.checkWebSockets(websockets)
	for _, ws := range websockets {
		ws.Close()
	}
	k.events++
}

// Upgrades to another file each time, one after the other, with websockets, uploads, requests of three seconds,
// requests that are held, and idle connections: nothing is lost, cut or closed, and no process of the app is
// started again.
func TestFaultUpgradesUnderLoad(t *testing.T) {
	r := begin(t)
	binary := r.env.Path("tideover")
	r.must(install(r, binary))
	s := newFixture(r, setup{binary: binary, gunicorn: testenv.UvicornWorker(""), release: testenv.Release{Number: 1}, config: "hold.limit = 4000\nhold.timeout = \"60s\"\n"})
	k := &supervisorKills{relayKills: relayKills{fixture: s}}
	k.client.Timeout = 2 * time.Minute
	rate := 200
	if !*full {
		rate = k.affordableRate(rate)
	}
	k.waitWorkers()
	before, children := k.statusAtRest(), k.appProcesses(binary)
	idle := make([]*kept, fullTimes(200, 10_000))
	for i := range idle {
		c, err := keep(r.Context(), string(s.back))
		r.must(err)
		t.Cleanup(func() { c.Close() })
		r.must(asks(c, "/?idle"))
		idle[i] = c
	}
	k.load = loadgen.Start(loadgen.Plan{Client: k.client, Rate: rate})
	websockets := k.openWebSockets(5)
	upgrades, longest := fullTimes(4, 100), time.Duration(0)
	for n := range upgrades {
		k.load.Send(loadgen.Kind{Name: "get of 3 s", Query: "s=3"})
		k.load.Send(loadgen.Kind{Name: "upload", Query: "s=3", Body: 300_000})
		if n%3 == 1 {
			k.must(k.daemonCall("hold", k.daemon.App, "--for", "1m"))
			k.waitHeld(1)
		}
		k.must(install(r, binary))
		began := time.Now()
		k.must(k.daemonCall("upgrade"))
		longest = max(longest, time.Since(began))
		if n%3 == 1 {
			k.waitHeld(1)
			k.release()
		}
		if now := k.status(); now.Generation != before.Generation || now.Pid != before.Pid || now.State != "running" {
			k.Errorf("after upgrade %d: %s, generation %d, pid %d; before: generation %d, pid %d", n, now.State, now.Generation, now.Pid, before.Generation, before.Pid)
		}
		k.checkWebSockets(websockets)
		k.events++
	}
	for _, ws := range websockets {
		ws.Close()
	}
	for _, c := range idle {
		r.must(asks(c, "/?idle"))
	}
	if now := k.appProcesses(binary); !slices.Equal(now, children) {
		k.Errorf("processes\n%s\nbefore\n%s", strings.Join(now, "\n"), strings.Join(children, "\n"))
	}
	tally := k.load.Stop()
	k.report(tally)
	k.checkNothingLost(tally)
	k.checkNothingTwice(k.app)
	k.addNumbers("upgrades=%d connections=%d closed=0 longest_upgrade=%.2fs", upgrades, len(idle), longest.Seconds())
	s.shutdown()
}

// The monitor alone is killed. The apps are served all the same, until another daemon is started, which ends
// the one without a monitor at once.
func TestADaemonWithoutItsMonitorIsRelieved(t *testing.T) {
	s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}})
	supervisor := s.daemon.RolePid("supervisor")
	s.must(s.daemon.Signal(syscall.SIGKILL))
	<-s.daemon.Exited()
	s.must(s.isRelease(1))
	s.must(s.daemon.StartAgain())
	s.waitRelease(40*time.Second, 1)
	s.awaitExit(supervisor)
	if said := s.daemon.Tail(100); !strings.Contains(said, "former daemon relieved") {
		t.Errorf("the log says nothing of the former daemon:\n%s", said)
	}
	s.shutdown()
}
