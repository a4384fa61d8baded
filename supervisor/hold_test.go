package supervisor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

func TestHoldLetsInFlightFinishAndHoldsTheRest(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.page()
	slow := r.slow()
	leased := make(chan *Lease, 1)
	go func() {
		lease, err := r.s.Hold(context.Background(), "", api.HoldRequest{For: time.Minute, Attached: true, By: api.Caller{Via: "test"}})
		if err != nil {
			t.Error(err)
		}
		leased <- lease
	}()
	r.until("holding", func(s api.AppStatus) bool { return s.State == api.Holding && s.InFlight == 1 })
	held := make(chan string, 1)
	go func() { held <- r.page() }()
	r.until("one held", func(s api.AppStatus) bool { return s.Held == 1 })
	select {
	case <-leased:
		t.Fatal("hold returned while a request was in flight")
	default:
	}
	if body := slow.finish(); !strings.HasPrefix(body, "slow") {
		t.Errorf("the request in flight got %q", body)
	}
	lease := <-leased
	if rep := lease.Report(); !rep.Drained || rep.InFlight != 0 {
		t.Errorf("report %+v: want it drained", rep)
	}
	rep := lease.End()
	<-held
	if rep.Requests.Held != 1 || rep.Requests.Lost != 0 || rep.Expired {
		t.Errorf("report %+v", rep)
	}
	if again := lease.End(); again != rep {
		t.Errorf("ended twice: %+v, then %+v", rep, again)
	}
}

func TestHoldWaitsForInFlightNoLongerThanItsLease(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.page()
	slow := r.slow()
	lease, err := r.s.Hold(t.Context(), "", api.HoldRequest{For: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if rep := lease.Report(); rep.Drained || rep.InFlight != 1 {
		t.Errorf("report %+v: want one still in flight", rep)
	}
	if body := slow.finish(); !strings.HasPrefix(body, "slow") {
		t.Errorf("the request in flight got %q", body)
	}
}

func TestLeaseEndsByItself(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.page()
	const length = time.Second
	began := time.Now()
	lease, err := r.s.Hold(t.Context(), "shop", api.HoldRequest{For: length})
	if err != nil {
		t.Fatal(err)
	}
	r.page() // is held, and answered when the lease is over
	if waited := time.Since(began); waited < length {
		t.Errorf("answered %v after the begin of a lease of %v", waited, length)
	}
	<-lease.Ended()
	if rep := lease.End(); !rep.Expired || rep.Requests.Held != 1 {
		t.Errorf("report %+v", rep)
	}
}

// A member of socket_group may hold, but not for ever.
func TestNoHoldIsLongerThanTheConfigurationAllows(t *testing.T) {
	t.Parallel()
	r := open(t, "web", func(a *config.App) { a.Hold.MaxFor, a.Hold.Timeout = time.Second, 5*time.Second })
	r.page()
	for _, attached := range []bool{false, true} {
		_, err := r.s.Hold(t.Context(), "shop", api.HoldRequest{For: time.Second + 1, Attached: attached})
		var refused *api.Error
		if !errors.As(err, &refused) || refused.Exit != api.ExitUsage || !strings.Contains(refused.Message, "hold.max_for") || !strings.Contains(refused.Message, "1 s at most") {
			t.Errorf("attached %v: %#v", attached, err)
		}
		for _, length := range []time.Duration{0, time.Second} {
			lease, err := r.s.Hold(t.Context(), "shop", api.HoldRequest{For: length, Attached: attached})
			if err != nil {
				t.Fatal(err)
			}
			if rep := lease.End(); rep.For != 1 {
				t.Errorf("attached %v, for %s: %+v", attached, length, rep)
			}
		}
	}
}

func TestHoldOutlivesAReload(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.page()
	if _, err := r.s.Hold(t.Context(), "", api.HoldRequest{For: 20 * time.Second}); err != nil {
		t.Fatal(err)
	}
	r.want(r.do(api.Reload), api.ExitOK)
	held := make(chan string, 1)
	go func() { held <- r.page() }()
	r.until("one held", func(s api.AppStatus) bool { return s.Held == 1 })
	if _, err := r.s.Release("shop", api.Caller{}); err != nil {
		t.Fatal(err)
	}
	if body := <-held; !strings.Contains(body, "generation=2") {
		t.Errorf("answered by %q, want the new generation", body)
	}
}

// One holds, another one releases: the history has both.
func TestTheHistoryHasTheOneWhoReleases(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.page()
	holder, releaser := api.Caller{Via: api.ViaClient, UID: 7}, api.Caller{Via: api.ViaPage, Address: "10.0.0.7"}
	if _, err := r.s.Hold(t.Context(), "shop", api.HoldRequest{For: 20 * time.Second, By: holder}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.s.Release("shop", releaser); err != nil {
		t.Fatal(err)
	}
	by := map[api.RecordKind]api.Caller{}
	until := func(record api.Record) bool {
		by[record.Kind] = record.By
		return record.Kind != api.HoldEnded
	}
	if err := r.s.History(t.Context(), api.HistoryQuery{Follow: true}, until); err != nil {
		t.Fatal(err)
	}
	if by[api.HoldBegun] != holder || by[api.HoldEnded] != releaser {
		t.Errorf("hold by %v, release by %v", by[api.HoldBegun], by[api.HoldEnded])
	}
}

func TestHoldOfAStoppedAppIsRefused(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.page()
	r.want(r.do(api.Stop), api.ExitOK)
	_, err := r.s.Hold(context.Background(), "", api.HoldRequest{})
	if e, ok := err.(*api.Error); !ok || e.Exit != api.ExitNotRunning {
		t.Errorf("error %v, want exit %d", err, api.ExitNotRunning)
	}
}
