package supervisor

import (
	"context"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

func TestBegunWithTheFirstAnswer(t *testing.T) {
	t.Parallel()
	r := open(t, "web", env("TESTPROGRAM_IMPORT", "1s"))
	if r.s.StartupComplete() {
		t.Error("begun before the app has answered")
	}
	r.page()
	r.awaitBegun()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.s.CheckAlive(ctx); err != nil {
		t.Error(err)
	}
	r.page()
	select {
	case <-r.s.ShuttingDown():
		t.Error("leaving before anybody said so")
	default:
	}
	r.s.Shutdown(false)
	<-r.s.ShuttingDown()
}

// One that starts again and again has begun with its first failure, long before
// it is given up.
func TestBegunWithTheFirstFailure(t *testing.T) {
	t.Parallel()
	r := open(t, "broken")
	r.awaitBegun()
	r = open(t, "web", func(a *config.App) { a.Autostart = false })
	r.awaitBegun()
}

func (r *harness) awaitBegun() {
	r.t.Helper()
	r.until("begun", func(api.AppStatus) bool { return r.s.StartupComplete() })
}
