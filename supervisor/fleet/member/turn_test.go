package member

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/fleet"
)

// fakeApps is a supervisor with one app.
type fakeApps struct {
	status api.AppStatus
	result api.Result
	after  api.AppStatus // the reload
	asked  []string
	stops  bool // the reload waits for a drain before it stops the old generation
}

func (f *fakeApps) Status(context.Context, ...string) (api.Status, error) {
	return api.Status{Apps: []api.AppStatus{f.status}}, nil
}

func (f *fakeApps) Check(ctx context.Context, apps ...string) (api.Status, error) {
	return f.Status(ctx, apps...)
}

func (f *fakeApps) DoAttached(_ context.Context, r api.Request, withdrawn <-chan struct{}, _ func(api.Phase)) (api.Result, error) {
	f.asked = append(f.asked, strings.TrimSpace(string(r.Verb)+" "+r.Revision+" "+strings.Join(r.Command, " ")))
	if f.stops {
		<-withdrawn
		return api.Result{Result: api.GivenUp, Exit: api.ExitTimeout}, nil
	}
	f.status = f.after
	return f.result, nil
}

func (f *fakeApps) Drain(_ context.Context, _ string, r api.DrainRequest) (api.DrainReport, error) {
	f.asked = append(f.asked, "drain for "+r.For.String())
	return api.DrainReport{}, nil
}

func (f *fakeApps) Undrain(context.Context, string) (api.DrainReport, error) {
	f.asked = append(f.asked, "undrain")
	return api.DrainReport{}, nil
}

func (f *fakeApps) Turn(context.Context) error {
	f.asked = append(f.asked, "turn")
	return nil
}

func (f *fakeApps) SetFleet(context.Context, api.Fleet) error { return nil }

// takeTurn takes a turn with a lease that has just been renewed, and is not renewed any more.
func takeTurn(t *testing.T, apps *fakeApps, wish fleet.Wish) (done fleet.Done) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSession(nil, "p")
		s.current, s.until = lease{"p.1", 1, make(chan struct{})}, time.Now().Add(leaseTime)
		apps.status.Name, apps.after.Name = "shop", "shop"
		wish.App = "shop"
		done = turnWork{apps: apps, session: s, id: "p.1", wish: wish}.run(t.Context())
	})
	return done
}

// A host that may have lost its place while it waited stops nothing.
func TestATurnWhoseLeaseIsLostBeforeTheReloadIsGivenUp(t *testing.T) {
	apps := &fakeApps{}
	if done := takeTurn(t, apps, fleet.Wish{Drain: 20}); done.Outcome != fleet.Untouched {
		t.Errorf("%+v", done)
	}
	if want := []string{"drain for 1m20s", "undrain"}; !slices.Equal(apps.asked, want) {
		t.Errorf("%q", apps.asked)
	}
}

func TestATurnDrainsReloadsAndComparesTheGenerations(t *testing.T) {
	apps := &fakeApps{result: api.Result{Generation: api.GenerationPair{From: 1, To: 2}, Requests: api.RequestCounts{Held: 3}},
		after: api.AppStatus{State: api.Running, Generation: 2}}
	done := takeTurn(t, apps, fleet.Wish{Drain: 5, MinHealthy: 10, Revision: "v2"})
	if done.Outcome != fleet.OK || done.Generation != 2 || done.Held != 3 || done.Duration != 15 {
		t.Errorf("%+v", done)
	}
	if want := []string{"drain for 1m5s", "reload v2", "undrain"}; !slices.Equal(apps.asked, want) {
		t.Errorf("%q", apps.asked)
	}
	apps.after.State = api.Backoff
	if done := takeTurn(t, apps, fleet.Wish{MinHealthy: 10}); done.Outcome != fleet.Failed || done.Exit != 1 || !strings.Contains(done.Reason, "backoff") {
		t.Errorf("%+v", done)
	}
}

// A reload that stops the old generation first is given up when the lease ends before that.
func TestAReloadThatHasStoppedNothingIsGivenUpWithTheLease(t *testing.T) {
	apps := &fakeApps{stops: true}
	done := takeTurn(t, apps, fleet.Wish{Command: []string{"./fetch", "v2"}})
	if done.Outcome != fleet.Untouched || done.Duration != leaseTime.Seconds() {
		t.Errorf("%+v", done)
	}
	if want := []string{"reload  ./fetch v2"}; !slices.Equal(apps.asked, want) {
		t.Errorf("%q", apps.asked)
	}
}

func TestAFailedReloadFailsTheTurnWithTheLastLines(t *testing.T) {
	apps := &fakeApps{result: api.Result{Exit: api.ExitKeptOld, Result: "kept old", Error: "it did not come up", ChildOutput: slices.Repeat([]string{"line"}, 50)}}
	done := takeTurn(t, apps, fleet.Wish{MinHealthy: 10})
	if done.Outcome != fleet.Failed || done.Exit != 7 || done.Reason != "kept old: it did not come up" || len(done.Output) != maxLines {
		t.Errorf("%+v", done)
	}
}
