package supervisor

import (
	"errors"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
)

var errNoProgram = errors.New("the monitor has not started the program")

// An upgrade that fails is one that never was: what stood still goes on, and nothing is held meanwhile.
func TestUpgradeThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	r := open(t, "web", func(a *config.App) { a.Hooks.AfterReady = shell("echo beside; exec sleep 1000") })
	pid, before := pidOf(t, r.page()), r.status().Counters.Held
	load := r.load(4)
	for range 5 {
		err := r.s.Replace(handoff.Upgrade{}, func() error {
			r.page()
			return errNoProgram
		})
		if !errors.Is(err, errNoProgram) {
			t.Fatal(err)
		}
	}
	if now := pidOf(t, r.page()); now != pid {
		t.Errorf("pid %d answers, want %d", now, pid)
	}
	r.noneLost(load)
	if held := r.status().Counters.Held - before; held != 0 {
		t.Errorf("%d requests were held", held)
	}
	r.want(r.do(api.Reload), api.ExitOK)
}

// An app that is down does not keep an upgrade from coming about.
func TestUpgradeOfAnAppThatIsDown(t *testing.T) {
	t.Parallel()
	r, swap := switchable(t, "broken", func(a *config.App) { a.Ready.Timeout = 2 * time.Second })
	r.until("failed", func(s api.AppStatus) bool { return s.State == api.Failed })
	if err := r.s.Replace(handoff.Upgrade{}, func() error { return errNoProgram }); !errors.Is(err, errNoProgram) {
		t.Fatal(err)
	}
	swap("web")
	r.want(r.do(api.Start), api.ExitOK)
}

// A shutdown is not kept waiting by an upgrade that waits for an operation.
func TestShutdownOvertakesAnUpgrade(t *testing.T) {
	t.Parallel()
	r, swap := switchable(t, "web")
	r.page()
	swap("silent")
	reloaded := r.begin(api.Reload, "start")
	given := make(chan error, 1)
	go func() {
		given <- r.s.Replace(handoff.Upgrade{}, func() error { t.Error("the program was started"); return nil })
	}()
	r.s.Shutdown(false)
	if err := <-given; err == nil || errors.Is(err, errNoProgram) {
		t.Error("the upgrade came about")
	}
	<-reloaded
	<-r.stopped
}
