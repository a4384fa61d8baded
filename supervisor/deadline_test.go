package supervisor

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// With a stop_timeout, the shutdown of apps that stop one after another and hang is over in
// time, however long their own timeouts are.
func TestAStopTimeoutBoundsAppsThatStopOneAfterAnother(t *testing.T) {
	t.Parallel()
	const limit = 4 * time.Second
	r := prepare(t)
	r.tune = func(o *Options) { o.StopTimeout = limit }
	var apps []*config.App
	for _, name := range []string{"db", "cache", "queue"} {
		app := *r.settings("silent")
		app.Name, app.Listen, app.Ready.After = name, nil, 0
		if len(apps) > 0 {
			app.After = []string{apps[len(apps)-1].Name}
		}
		apps = append(apps, &app)
	}
	r.run(&config.File{Apps: apps}, nil)
	r.until("all run", func(api.AppStatus) bool {
		st, err := r.s.Status()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range st.Apps {
			if a.State != api.Running {
				return false
			}
		}
		return true
	})
	following := stopsAfter(r.s.registry.all())
	for e, n := range following {
		if want := map[string]int{"queue": 2, "cache": 1, "db": 0}[e.app.name]; n != want {
			t.Errorf("%d apps stop after %s, want %d", n, e.app.name, want)
		}
	}
	began := time.Now()
	r.s.Shutdown(false)
	<-r.stopped
	if took := time.Since(began); took > limit {
		t.Errorf("the shutdown took %v", took)
	}
}

// A request in flight has the time that stop_timeout leaves, and is served when it is done
// within it. An old generation that drains is bounded, too.
func TestAStopTimeoutEndsDrains(t *testing.T) {
	t.Parallel()
	const limit = 3 * time.Second
	r := prepare(t)
	r.tune = func(o *Options) { o.StopTimeout = limit }
	r.open("web")
	r.page()
	old := r.slowRequest(http.MethodPost)
	defer old.finish()
	r.want(r.do(api.Reload), api.ExitOK)
	current := r.slow()
	began := time.Now()
	r.s.Announce()
	if got := r.s.ShutdownTimeout(); got > limit || got < limit-time.Second {
		t.Errorf("what is left of %v: %v", limit, got)
	}
	r.page() // before Shutdown everything is served
	r.s.Shutdown(false)
	if answer := current.finish(); !strings.HasPrefix(answer, "slow pid=") {
		t.Errorf("a request that is done in time: %s", answer)
	}
	<-r.stopped
	if took := time.Since(began); took > limit {
		t.Errorf("the shutdown took %v", took)
	}
}

// A check says whether a request would be answered now.
func TestACheckAsksTheApp(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	check := func(want bool, text string) {
		t.Helper()
		st, err := r.s.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a := st.Apps[0]
		if a.Answers == nil || *a.Answers != want || !strings.Contains(a.Answer, text) {
			t.Errorf("answers: %v, %q; want %v, %q", a.Answers != nil && *a.Answers, a.Answer, want, text)
		}
	}
	r.page()
	check(true, "GET / -> 200 OK")
	l, err := r.s.Hold(t.Context(), "shop", api.HoldRequest{For: time.Minute, By: api.Caller{Via: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	check(false, "its requests are held: operator")
	l.End()
	check(true, "200")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if st, _ := r.s.Check(ctx); *st.Apps[0].Answers {
		t.Error("an app that was not asked answers")
	}
	r.want(r.do(api.Stop), api.ExitOK)
	check(false, "it is stopped")
	r.want(r.do(api.Start), api.ExitOK)
	check(true, "200")
	r.s.Announce()
	check(false, "tideover is shutting down")
	r.page()
}

// An app has failed after as many failed starts as failed_after says, and not before.
func TestFailedAfterIsTheNumberOfFailedStarts(t *testing.T) {
	t.Parallel()
	for after, want := range map[int]int{0: maxFailedStarts, 1: 1, 2: 2, 7: 7} {
		r := restart{backoff: backoff{failedAfter: after}}
		for range 2 {
			for n := 1; n <= want; n++ {
				if got := r.startFailed(); got.failed != (n == want) {
					t.Errorf("failed_after = %d, start %d: failed %v", after, n, got.failed)
				}
			}
			r.resetBackoff()
		}
	}
}
