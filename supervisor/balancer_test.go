package supervisor

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// health is the status of the answer to the health check of front-ends.
func (r *harness) health() int {
	r.t.Helper()
	answer, err := r.http.Get("http://" + r.address + "/-/alive")
	if err != nil {
		r.t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

func alive(a *config.App) { a.Hold.Alive = "/-/alive" }

func TestADrainedAppServesAndSaysThatItShouldNotBeAsked(t *testing.T) {
	t.Parallel()
	r := open(t, "web", alive)
	r.page()
	if got := r.health(); got != http.StatusOK {
		t.Fatalf("health %d before", got)
	}
	report, err := r.s.Drain("", api.DrainRequest{By: "test"})
	if err != nil || report.App != "shop" || report.For != 0 || len(report.Notices) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	for range 2 { // over a reload, and an apply of the settings that comes with it
		if got := r.health(); got != http.StatusServiceUnavailable {
			t.Errorf("health %d while drained", got)
		}
		r.page()
		if d := r.status().Drained; d == nil || d.By != "test" || d.Left != 0 || r.status().State != api.Running {
			t.Errorf("status %+v", d)
		}
		r.want(r.do(api.Reload), api.ExitOK)
	}
	if report, err := r.s.Undrain("shop", "test"); err != nil || report.Lasted == 0 {
		t.Errorf("%+v, %v", report, err)
	}
	if got := r.health(); got != http.StatusOK || r.status().Drained != nil {
		t.Errorf("health %d after", got)
	}
	if report, err := r.s.Undrain("shop", "test"); err != nil || report.Lasted != 0 {
		t.Errorf("again: %+v, %v", report, err)
	}
}

func TestADrainEndsByItself(t *testing.T) {
	t.Parallel()
	r := open(t, "web", alive)
	r.page()
	if _, err := r.s.Drain("shop", api.DrainRequest{For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if d := r.status().Drained; d == nil || d.Left < 3000 {
		t.Errorf("status %+v", d)
	}
	if report, err := r.s.Drain("shop", api.DrainRequest{For: 50 * time.Millisecond}); err != nil || report.For != 0.05 {
		t.Fatalf("%+v, %v", report, err)
	}
	r.until("not drained", func(s api.AppStatus) bool { return s.Drained == nil })
	if got := r.health(); got != http.StatusOK {
		t.Errorf("health %d after", got)
	}
}

func TestADrainLastsOverARestartOfTheDaemon(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	for i, left := range []time.Duration{0, time.Hour, time.Nanosecond, time.Nanosecond} {
		r.open("web", alive)
		r.page()
		if d := r.status().Drained; (d != nil) != (i == 1 || i == 2) {
			t.Errorf("start %d: %+v", i, d)
		}
		if left != time.Nanosecond || i == 2 {
			if _, err := r.s.Drain("shop", api.DrainRequest{For: left}); err != nil {
				t.Fatal(err)
			}
		}
		if i == 2 {
			r.until("not drained", func(s api.AppStatus) bool { return s.Drained == nil })
		}
		r.close()
	}
}

func TestAPlainProcessIsNotDrained(t *testing.T) {
	t.Parallel()
	r := open(t, "plain", func(a *config.App) { a.Listen = nil })
	var refused *api.Error
	if _, err := r.s.Drain("shop", api.DrainRequest{}); !errors.As(err, &refused) || refused.Exit != api.ExitUsage {
		t.Errorf("%v", err)
	}
}
