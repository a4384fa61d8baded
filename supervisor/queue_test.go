package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// hangingStarts makes every start from the second one on hang in its hook, and returns a
// function that lets one go on.
func hangingStarts(t *testing.T) (appOption, func()) {
	t.Helper()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	option := func(a *config.App) {
		a.Hooks.BeforeStart = []string{"sh", "-c", `[ "$TIDEOVER_GENERATION" = 1 ] || cat ` + pipe}
		a.Hooks.Timeout = 0
	}
	return option, func() {
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits for the hook to open it
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// queued adds an operation behind the one that runs and returns when it waits there.
func (r *harness) queued(ctx context.Context, request api.Request) <-chan api.Result {
	waits, done := make(chan struct{}), make(chan api.Result, 1)
	go func() {
		done <- r.s.Do(ctx, request, func(p api.Phase) {
			if p.Name == "queue" {
				close(waits)
			}
		})
	}()
	<-waits
	return done
}

// reloading begins a reload that hangs, and returns when it does.
func (r *harness) reloading() <-chan api.Result {
	done := make(chan api.Result, 1)
	go func() { done <- r.do(api.Reload) }()
	r.until("reloading", func(s api.AppStatus) bool { return s.State == api.Reloading })
	return done
}

// A stop overtakes a reload that runs and hangs, and all that waits behind it.
func TestAStopDoesNotWaitForQueuedOperations(t *testing.T) {
	t.Parallel()
	hang, _ := hangingStarts(t)
	r := open(t, "web", hang)
	r.page()
	running := r.reloading()
	leaves, leave := context.WithCancel(t.Context())
	abandoned := r.queued(leaves, api.Request{Verb: api.Reload, By: api.Caller{Via: "test"}})
	leave()
	if got := <-abandoned; got.Exit != api.ExitTimeout {
		t.Errorf("the client that has left: %+v", got)
	}
	waiting := r.queued(t.Context(), api.Request{Verb: api.Restart, By: api.Caller{Via: "test"}})
	detached := r.queued(t.Context(), api.Request{Verb: api.Reload, By: api.Caller{Via: "test"}, NoWait: true})
	r.want(r.do(api.Stop), api.ExitOK)
	for _, done := range []<-chan api.Result{running, waiting, detached} {
		r.want(<-done, api.ExitError)
	}
	if s := r.status(); s.State != api.Stopped {
		t.Errorf("after the stop: %+v", s)
	}
	if pids := r.processes(); len(pids) > 0 {
		t.Errorf("after the stop processes live: %v", pids)
	}
}

// A client that leaves takes its request out of the queue; one with --no-wait does not.
func TestARequestIsDroppedWhenItsClientLeaves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		noWait bool
		want   int // generation in the end
	}{{"leaves", false, 2}, {"does not wait", true, 3}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hang, goOn := hangingStarts(t)
			r := open(t, "web", hang)
			r.page()
			running := r.reloading()
			leaves, leave := context.WithCancel(t.Context())
			left := r.queued(leaves, api.Request{Verb: api.Restart, By: api.Caller{Via: "test"}, NoWait: c.noWait})
			leave()
			<-left
			last := r.queued(t.Context(), api.Request{Verb: api.Start, By: api.Caller{Via: "test"}})
			goOn()
			r.want(<-running, api.ExitOK)
			if c.noWait {
				goOn()
			}
			r.want(<-last, api.ExitOK)
			if s := r.status(); s.Generation != c.want {
				t.Errorf("generation %d serves, want %d", s.Generation, c.want)
			}
		})
	}
}

// A reload whose configuration cannot be read, as on a file system that hangs, keeps neither
// a crash from being noticed nor a stop.
func TestAReloadThatCannotReadItsSettingsIsOvertaken(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	file := &config.File{Apps: []*config.App{r.settings("web")}}
	hang := make(chan struct{})
	r.run(file, func() (*config.File, error) {
		<-hang
		return file, nil
	})
	t.Cleanup(func() { close(hang) })
	first := pidOf(t, r.page())
	reload := make(chan api.Result, 1)
	go func() { reload <- r.do(api.Reload) }()
	behind := r.queuedBehind(api.Request{Verb: api.Restart, By: api.Caller{Via: "test"}})
	kill(t, first, syscall.SIGKILL)
	if pid := pidOf(t, r.page()); pid == first {
		t.Error("the crash was not noticed")
	}
	r.want(r.do(api.Stop), api.ExitOK)
	r.want(<-reload, api.ExitError)
	r.want(<-behind, api.ExitError)
}

// queuedBehind is queued for an operation that may not have begun.
func (r *harness) queuedBehind(request api.Request) <-chan api.Result {
	r.until("an operation runs", func(api.AppStatus) bool { return r.s.registry.all()[0].app.snapshot.Load().verb != "" })
	return r.queued(r.t.Context(), request)
}

// A caller that asks again with the id of its request joins the operation, or gets the result that it had.
func TestAnIdIsOneOperation(t *testing.T) {
	t.Parallel()
	r := open(t, "web", func(a *config.App) { a.Hooks.BeforeStart = shell("sleep 0.3") })
	r.page()
	request := api.Request{Verb: api.Reload, ID: "one", By: api.Caller{Via: "test"}}
	known := request
	known.Known = true
	ask := func(q api.Request) api.Result { return r.s.Do(context.Background(), q, func(api.Phase) {}) }
	if got := ask(known); got.Result != api.Unknown || got.Exit == api.ExitOK {
		t.Errorf("what nobody has asked for: %+v", got)
	}
	first := make(chan api.Result, 1)
	go func() { first <- ask(request) }()
	r.until("reloading", func(st api.AppStatus) bool { return st.Operation != nil })
	again := ask(known)
	once := <-first
	for _, got := range []api.Result{once, again, ask(request), ask(known)} {
		if got.Exit != api.ExitOK || got.Generation.To != 2 || !got.Ended.Equal(once.Ended) {
			t.Errorf("%+v", got)
		}
	}
	if got := r.do(api.Reload); got.Generation.To != 3 {
		t.Errorf("a request without the id: %+v", got)
	}
	count := 0
	if err := r.s.History(t.Context(), api.HistoryQuery{}, func(e api.Record) bool {
		if e.Kind == api.OperationEnded {
			count++
		}
		return true
	}); err != nil || count != 2 {
		t.Errorf("%d operations in the history, %v", count, err)
	}
}

// The hold of a caller that asks again is the one that it has.
func TestAnIdIsOneHold(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.page()
	request := api.HoldRequest{ID: "one", Attached: true, For: time.Minute}
	first, err := r.s.Hold(t.Context(), "shop", request)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.s.Hold(t.Context(), "shop", request)
	if err != nil || again.Report().Held == 0 || len(r.status().Holds) != 1 {
		t.Fatalf("%+v, %v, holds %v", again, err, r.status().Holds)
	}
	if report := first.End(); report.Expired || len(r.status().Holds) != 0 {
		t.Errorf("%+v", report)
	}
	later, err := r.s.Hold(t.Context(), "shop", request)
	if err != nil || len(r.status().Holds) != 0 {
		t.Fatalf("a hold that has ended: %v, holds %v", err, r.status().Holds)
	}
	if got, want := later.End(), first.End(); got.Held != want.Held {
		t.Errorf("%+v, want %+v", got, want)
	}
}
