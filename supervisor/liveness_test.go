package supervisor

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// foundSoon finds a dead generation in less than a second.
func foundSoon(a *config.App) {
	a.Live.Interval, a.Live.Timeout = 300*time.Millisecond, 150*time.Millisecond
}

// checkCrash checks the reason that status gives for the second generation.
func (r *harness) checkCrash(cause string) {
	r.t.Helper()
	st := r.status()
	if st.Restarts != 1 || st.LastCrash == nil || st.LastCrash.Generation != 1 || !strings.Contains(st.LastCrash.Cause, cause) {
		r.t.Errorf("%d crashes, the last one %+v, want %q", st.Restarts, st.LastCrash, cause)
	}
}

// freeze stops a process with SIGSTOP, and returns when each of its threads has stopped.
func (r *harness) freeze(pid int) {
	r.t.Helper()
	kill(r.t, pid, syscall.SIGSTOP)
	r.until("stopped by SIGSTOP", func(api.AppStatus) bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, thread := range threads {
			if text, err := os.ReadFile(thread); err != nil || !strings.Contains(string(text), ") T ") {
				return false
			}
		}
		return true
	})
}

func TestAStoppedAppIsReplacedWhenItIsAsked(t *testing.T) {
	t.Parallel()
	r := open(t, "web", foundSoon)
	pid := pidOf(t, r.page())
	r.freeze(pid)
	if again := pidOf(t, r.page()); again == pid {
		t.Error("the stopped process answers")
	}
	r.checkCrash("all of its processes are stopped")
}

func TestAStoppedAppWithAPathIsReplacedUnasked(t *testing.T) {
	t.Parallel()
	r := open(t, "web", foundSoon, func(a *config.App) { a.Live.Path = "/live" })
	r.freeze(pidOf(t, r.page()))
	r.until("replaced", func(s api.AppStatus) bool { return s.State == api.Running && s.Generation == 2 })
	r.checkCrash("all of its processes are stopped")
}

// A request that a process has accepted keeps it from being dead, also when others wait.
func TestAnAppThatIsBusyIsNotReplaced(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "/live"} {
		r := open(t, "sequential", foundSoon, func(a *config.App) { a.Live.Path = path })
		busy := r.slow()
		waited := make(chan string)
		go func() {
			_, body := r.get("/")
			waited <- body
		}()
		r.until("two in flight", func(s api.AppStatus) bool { return s.InFlight == 2 })
		<-time.After(10 * 300 * time.Millisecond) // nothing happens meanwhile
		if st := r.status(); st.Generation != 1 || st.Restarts > 0 {
			t.Errorf("live.path %q: generation %d, %+v", path, st.Generation, st.LastCrash)
		}
		busy.finish()
		if body := <-waited; body == "" {
			t.Error("the request behind it got no answer")
		}
	}
}

// The daemon sees it at the next connection. Requests are held from then on.
func TestAnAppThatClosesItsOwnSocketIsReplaced(t *testing.T) {
	t.Parallel()
	for _, placeholder := range []string{"{port}", "{socket}"} {
		t.Run(placeholder, func(t *testing.T) {
			t.Parallel()
			r := open(t, "listener", listeningItself(placeholder, "x"), foundSoon)
			pid := pidOf(t, r.page())
			kill(t, pid, syscall.SIGUSR1)
			r.until("replaced", func(s api.AppStatus) bool {
				r.get("/")
				return s.State == api.Running && s.Generation == 2
			})
			r.checkCrash("none of its processes listens")
		})
	}
}

func TestADeadAppThatIsNotToBeRestartedStaysDown(t *testing.T) {
	t.Parallel()
	r := open(t, "web", foundSoon, func(a *config.App) { a.Restart = config.RestartNever })
	r.freeze(pidOf(t, r.page()))
	if status, body := r.get("/"); status != http.StatusServiceUnavailable && status != http.StatusBadGateway {
		t.Errorf("%d %s", status, body)
	}
	st := r.until("failed", func(s api.AppStatus) bool { return s.State == api.Failed })
	if !strings.Contains(st.Reason, "stopped (SIGSTOP)") || !strings.Contains(st.Reason, `restart = "never"`) {
		t.Errorf("reason %q", st.Reason)
	}
}

// live.interval = "0s" leaves a dead app alone; a change of the key needs no new generation.
func TestLivenessSettingsTakeEffectAtOnce(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop", func(a *config.App) { a.Live.Interval = 0 }))
	address := w.apps[0].Listen[0]
	w.untilAnswered("tcp", address)
	pid := w.untilState("shop", api.Running).Pid
	w.freeze(pid)
	answered := make(chan string)
	go func() { answered <- w.at(address).page() }()
	w.until("in flight", func(s api.AppStatus) bool { return s.InFlight == 1 })
	w.edit("shop", foundSoon)
	w.wantApplied("shop:live")
	if again := pidOf(t, <-answered); again == pid {
		t.Error("the stopped process answers")
	}
}
