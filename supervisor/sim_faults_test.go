package supervisor

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/process"
)

// newDraining makes a world in which the web app serves, and two generations of it drain that were replaced in the
// middle of a request.
func newDraining(t *testing.T, socket *os.File, apps []*config.App) (*world, *life) {
	w := newWorld(t, 1, socket, apps...)
	w.calm = true
	l := w.begin(0)
	l.s.Do(t.Context(), api.Request{Verb: api.Start, App: "web"}, func(api.Phase) {})
	for range maxDraining {
		w.set(func() { w.relay.apps[1].arriveLocked(w, true, 8*time.Second) })
		l.s.Do(t.Context(), api.Request{Verb: api.Reload, App: "web"}, func(api.Phase) {})
	}
	return w, l
}

// crash ends the process of an app that was started last.
func (w *world) crash(app string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var last *child
	for _, c := range w.serversLocked(app) {
		if last == nil || c.pid > last.pid {
			last = c
		}
	}
	last.exitLocked(process.Outcome{Code: 1})
}

// wantServers checks how many processes an app has in the end.
func (w *world) wantServers(app string, want int) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if all := w.serversLocked(app); len(all) != want {
		w.faultLocked("%s has %d processes, want %d", app, len(all), want)
	}
}

// A crash while an operation waits for generations that are stopped starts nothing that is then forgotten.
func TestAGenerationThatIsStartedBesideAnOperationIsNotForgotten(t *testing.T) {
	socket, apps := simSocket(t), simConfigs(t)
	for _, verb := range []api.Verb{api.Reload, api.Restart} {
		synctest.Test(t, func(t *testing.T) {
			w, l := newDraining(t, socket, apps)
			w.set(func() { w.boot = 10 * time.Second }) // longer than the drains take
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				l.s.Do(t.Context(), api.Request{Verb: verb, App: "web"}, func(api.Phase) {})
			}()
			time.Sleep(time.Second)
			w.crash("web")
			<-ended
			time.Sleep(time.Minute)
			w.wantServers("web", 1)
			w.close()
		})
	}
}

// A supervisor knows what the one before it was stopping: reloads make no more than three processes.
func TestAReloadWaitsForWhatAFormerSupervisorWasStopping(t *testing.T) {
	socket, apps := simSocket(t), simConfigs(t)
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDraining(t, socket, apps)
		w.set(w.killLocked)
		l := w.begin(0)
		if r := l.s.Do(t.Context(), api.Request{Verb: api.Reload, App: "web"}, func(api.Phase) {}); r.Exit != api.ExitOK { // a fork is checked
			w.fault("%+v", r)
		}
		w.close()
	})
}

// Where no generation serves a reload does not wait for those that are stopped: requests are held.
func TestAReloadDoesNotWaitForDrainsWhileRequestsAreHeld(t *testing.T) {
	socket, apps := simSocket(t), simConfigs(t)
	synctest.Test(t, func(t *testing.T) {
		w, l := newDraining(t, socket, apps)
		w.set(func() { w.boot = time.Second })
		w.crash("web")
		synctest.Wait()
		began := time.Now()
		r := l.s.Do(t.Context(), api.Request{Verb: api.Reload, App: "web"}, func(api.Phase) {})
		if took := time.Since(began); r.Exit != api.ExitOK || took > 2*time.Second {
			w.fault("after %v: %+v", took, r)
		}
		w.close()
	})
}

// An app stays a web app, or a plain process, until an apply: a supervisor that takes over would not know
// where it listens.
func TestAReloadDoesNotMakeAWebAppAPlainProcess(t *testing.T) {
	configured := simConfigured(t, 3) // plain is a web app
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, 1)
		w.calm = true
		l := w.begin(0)
		l.s.Do(t.Context(), api.Request{Verb: api.Start, App: "plain"}, func(api.Phase) {})
		w.configure(0)
		if r := l.s.Do(t.Context(), api.Request{Verb: api.Reload, App: "plain"}, func(api.Phase) {}); r.Exit != api.ExitConfig {
			w.fault("%+v", r)
		}
		w.wantServers("plain", 1)
		w.close()
	})
}

// An apply that is asked for before the apps run waits for them.
func TestAnApplyBeforeTheAppsRunIsCarriedOut(t *testing.T) {
	configured := simConfigured(t, 0)
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, 1)
		w.calm = true
		l := w.newLife(0)
		options, _, err := l.restore()
		if err != nil {
			t.Fatal(err)
		}
		if l.s, err = New(l.file, options); err != nil {
			t.Fatal(err)
		}
		w.configure(2)
		applied := make(chan api.ApplyResult, 1)
		go func() { applied <- l.s.Apply(t.Context(), api.ApplyRequest{}, func(api.Phase) {}) }()
		synctest.Wait()
		go func() {
			defer close(l.ended)
			defer l.s.close()
			_ = l.s.keep(l.dead)
		}()
		if r := <-applied; r.Exit != api.ExitOK {
			w.fault("%+v", r)
		}
		w.close()
	})
}

// An app that an apply has made is started with the settings that were applied, although the file is faulty by
// then: the one in its place has been stopped.
func TestAnAppliedAppStartsAlthoughTheFileIsFaultyByThen(t *testing.T) {
	configured := simConfigured(t, 0)
	synctest.Test(t, func(t *testing.T) {
		w := configured(t, 1)
		w.calm = true
		l := w.begin(0)
		time.Sleep(time.Minute)
		w.configure(3) // plain becomes a web app
		applied := make(chan api.ApplyResult, 1)
		go func() { applied <- l.s.Apply(t.Context(), api.ApplyRequest{}, func(api.Phase) {}) }()
		synctest.Wait()
		w.configure(simFaulty)
		r := <-applied
		time.Sleep(time.Minute)
		if a, err := l.s.registry.app("plain"); err != nil || a.snapshot.Load().current == nil {
			w.fault("plain does not run: %+v", r)
		}
		w.close()
	})
}
