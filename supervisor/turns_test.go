package supervisor

import (
	"context"
	"strings"
	"testing"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// queueing is an app on a host whose own reloads take turns with other hosts.
func queueing(t *testing.T) *harness {
	t.Helper()
	r := prepare(t)
	r.run(&config.File{Apps: []*config.App{r.settings("web")}, Fleet: config.Fleet{Etcd: []string{"http://127.0.0.1:1"}, Local: config.LocalQueue}}, nil)
	r.page()
	return r
}

// waiting begins a reload that waits, and passes what it is told.
func (r *harness) waiting(ctx context.Context) (told <-chan string, done <-chan api.Result) {
	words, result := make(chan string, 100), make(chan api.Result, 1)
	go func() {
		result <- r.s.Do(ctx, api.Request{Verb: api.Reload}, func(p api.Phase) {
			if p.Name == "queue" {
				words <- p.Attrs[0].Value
			}
		})
	}()
	return words, result
}

func TestALocalReloadWaitsForItsTurnAndIsToldForWhat(t *testing.T) {
	t.Parallel()
	r := queueing(t)
	told, done := r.waiting(t.Context())
	if first := <-told; first != "the process that speaks with etcd" {
		t.Errorf("told %q", first)
	}
	for _, f := range []api.Fleet{{Error: "etcd is away"}, {Behind: "the turn of web2"}} {
		r.s.SetFleet(f)
		if why := <-told; why != f.Error+f.Behind {
			t.Errorf("told %q, want %+v", why, f)
		}
	}
	if st, _ := r.s.Status(); st.Turns == nil || st.Turns.Waiting != 1 || st.Apps[0].Generation != 1 {
		t.Errorf("%+v", st)
	}
	r.want(r.do(api.Restart), api.ExitOK) // it takes no turn
	if err := r.s.Turn(t.Context()); err != nil {
		t.Error(err)
	}
	if res := r.want(<-done, api.ExitOK); res.Generation.To != 3 {
		t.Errorf("%+v", res.Generation)
	}
	if st, _ := r.s.Status(); st.Turns != nil {
		t.Errorf("%+v", st.Turns)
	}
	r.want(r.s.Do(t.Context(), api.Request{Verb: api.Reload, InTurn: true}, func(api.Phase) {}), api.ExitOK)
}

func TestACallerThatLeavesTakesNoTurn(t *testing.T) {
	t.Parallel()
	r := queueing(t)
	ctx, leave := context.WithCancel(t.Context())
	told, done := r.waiting(ctx)
	<-told
	leave()
	r.want(<-done, api.ExitTimeout)
	if err := r.s.Turn(t.Context()); err != nil || r.status().Generation != 1 {
		t.Errorf("%v, generation %d", err, r.status().Generation)
	}
	res := r.want(r.s.Do(t.Context(), api.Request{Verb: api.Reload, NoQueue: true}, func(api.Phase) {}), api.ExitBusy)
	if !strings.Contains(res.Error, "fleet.local") {
		t.Errorf("%q", res.Error)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	stays := make(chan api.Result, 1)
	begun := make(chan struct{}, 1)
	go func() {
		stays <- r.s.Do(gone, api.Request{Verb: api.Reload, NoWait: true}, func(p api.Phase) {
			if p.Name == "queue" {
				begun <- struct{}{}
			}
		})
	}()
	<-begun
	if err := r.s.Turn(t.Context()); err != nil {
		t.Error(err)
	}
	<-stays
	r.until("reloaded", func(s api.AppStatus) bool { return s.Generation == 2 })
}

func TestALocalReloadGoesOnWhenTheConfigurationLetsIt(t *testing.T) {
	t.Parallel()
	r := queueing(t)
	told, done := r.waiting(t.Context())
	<-told
	file := *r.s.shared.source.inForce.Load()
	file.Fleet.Local = config.LocalNow
	r.s.shared.source.inForce.Store(&file)
	r.s.turns.wake()
	r.want(<-done, api.ExitOK)
}
