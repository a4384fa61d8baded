package supervisor

import (
	"testing"
	"testing/synctest"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/process"
)

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
			w := newWorld(t, 1, socket, apps...)
			w.calm = true
			l := w.begin(0)
			do := func(verb api.Verb) { l.s.Do(t.Context(), api.Request{Verb: verb, App: "web"}, func(api.Phase) {}) }
			do(api.Start)
			for range maxDraining { // each generation has a request to finish
				w.mu.Lock()
				w.relay.apps[1].arriveLocked(w, true, 8*time.Second)
				w.mu.Unlock()
				do(api.Reload)
			}
			w.boot = 10 * time.Second // longer than the drains take
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				do(verb)
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
