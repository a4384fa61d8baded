package supervisor

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

func TestFirstRequestWaitsForTheFirstAnswer(t *testing.T) {
	t.Parallel()
	r := open(t, "web", env("TESTPROGRAM_IMPORT", "300ms"))
	if body := r.page(); !strings.Contains(body, "generation=1") {
		t.Errorf("answered by %q, want generation 1", body)
	}
	r.until("running, with one held and answered", func(s api.AppStatus) bool {
		return s.State == api.Running && s.Counters.Held == 1 && s.Counters.Answered == 1
	})
}

func TestReloadPutsNewCodeIntoServiceAndLosesNothing(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	current := filepath.Join(root, "current")
	release(t, current, filepath.Join(root, "1"))
	r := open(t, "web", func(a *config.App) { a.Directory = current }, env("TESTPROGRAM_IMPORT", "100ms"))
	old := pidOf(t, r.page())
	load := r.load(4)
	for i := range 5 {
		dir := filepath.Join(root, string(rune('2'+i)))
		release(t, current, dir)
		res := r.want(r.do(api.Reload), api.ExitOK)
		if body := r.page(); !strings.Contains(body, "dir="+dir) {
			t.Fatalf("after exit 0 the answer is %q, want release %s", body, dir)
		}
		if res.Requests.Lost > 0 || res.Generation.To != i+2 {
			t.Errorf("result %+v", res)
		}
	}
	r.noneLost(load)
	if syscall.Kill(old, 0) == nil {
		t.Errorf("the first generation (pid %d) lives on", old)
	}
}

func TestBrokenReloadKeepsTheOldAndSaysWhy(t *testing.T) {
	t.Parallel()
	r, swap := switchable(t, "web")
	old := pidOf(t, r.page())
	load := r.load(2)
	swap("broken")
	for range 3 {
		res := r.want(r.do(api.Reload), api.ExitKeptOld)
		if !strings.Contains(strings.Join(res.ChildOutput, "\n"), "no module named shop") {
			t.Errorf("the child's output is missing: %q", res.ChildOutput)
		}
		if !strings.Contains(res.Error, "exit status 3") || !strings.Contains(res.Hint, "changed in place") {
			t.Errorf("error %q, hint %q", res.Error, res.Hint)
		}
	}
	r.noneLost(load)
	if pid := pidOf(t, r.page()); pid != old {
		t.Errorf("pid %d answers, want the old one, %d", pid, old)
	}
	if st := r.status(); st.State != api.Running || len(st.Warnings) == 0 {
		t.Errorf("status %v, warnings %q", st.State, st.Warnings)
	}
	if pids := r.processes(); len(pids) != 1 {
		t.Errorf("processes %v, want the old one only", pids)
	}
}

// An app that takes a port, a lock or a database for itself cannot run twice at once.
func TestAReloadThatFailsBecauseTwoCopiesRunAdvisesReplace(t *testing.T) {
	t.Parallel()
	lock := filepath.Join(t.TempDir(), "lock")
	r := open(t, "web", func(a *config.App) {
		a.Command = append([]string{"/bin/sh", "-c", "mkdir " + lock + " || { echo '[Errno 98] Address already in use'; exit 1; }; exec \"$0\""}, a.Command...)
	})
	r.page()
	res := r.want(r.do(api.Reload), api.ExitKeptOld)
	if !strings.Contains(res.Hint, `reload = "replace"`) || strings.Contains(res.Hint, "repair") {
		t.Errorf("hint %q", res.Hint)
	}
	r.page()
}

func TestReloadThatNeverAnswersEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	r, swap := switchable(t, "web", func(a *config.App) { a.Ready.Timeout = 2 * time.Second })
	r.page()
	load := r.load(2)
	swap("silent")
	res := r.want(r.do(api.Reload), api.ExitKeptOld)
	if !strings.Contains(res.Error, "no answer") {
		t.Errorf("error %q", res.Error)
	}
	r.noneLost(load)
	if pids := r.processes(); len(pids) != 1 {
		t.Errorf("processes %v, want the old one only", pids)
	}
}

func TestReloadWarnsWhereTwoGenerationsDoNotFit(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	r.free = func() uint64 { return 1 << 10 }
	r.open("web")
	r.page()
	plan := r.s.Do(context.Background(), api.Request{Verb: api.Reload, DryRun: true}, func(api.Phase) {})
	if text := strings.Join(plan.Plan, "\n"); !strings.Contains(text, "tideover restart shop") {
		t.Errorf("the plan warns of nothing: %s", text)
	}
	res := r.want(r.do(api.Reload), api.ExitOK)
	if len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "tideover restart shop") {
		t.Errorf("warnings %q", res.Warnings)
	}
	if res := r.want(r.do(api.Restart), api.ExitOK); len(res.Warnings) != 0 {
		t.Errorf("a restart warns: %q", res.Warnings)
	}
}

func TestReloadIsStrictAboutTheAnswer(t *testing.T) {
	t.Parallel()
	r, swap := switchable(t, "unwell", func(a *config.App) { a.Ready.Timeout = 3 * time.Second })
	if status, _ := r.get("/"); status != http.StatusInternalServerError {
		t.Fatalf("status %d: at a first start any valid answer serves", status)
	}
	if st := r.status(); len(st.Warnings) == 0 {
		t.Error("it serves an error and warns nobody")
	}
	res := r.want(r.do(api.Reload), api.ExitKeptOld)
	if !strings.Contains(res.Probe, "500") {
		t.Errorf("the probe's last answer is missing: %q", res.Probe)
	}
	swap("web")
	r.want(r.do(api.Reload), api.ExitOK)
}

func TestRestartHoldsWhileNothingCanAnswer(t *testing.T) {
	t.Parallel()
	r := open(t, "web", env("TESTPROGRAM_IMPORT", "200ms"))
	r.page()
	load := r.load(4)
	for range 3 {
		before := pidOf(t, r.page())
		res := r.want(r.do(api.Restart), api.ExitOK)
		if res.Requests.Held == 0 {
			t.Error("nothing was held, so the load proves nothing")
		}
		if pid := pidOf(t, r.page()); pid == before {
			t.Error("the same process answers")
		}
	}
	r.noneLost(load)
}

func TestCrashIsHeldOver(t *testing.T) {
	t.Parallel()
	r := open(t, "web", env("TESTPROGRAM_IMPORT", "50ms"))
	r.page()
	for range 3 {
		st := r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
		kill(t, st.Pid, syscall.SIGKILL)
		r.until("another generation", func(s api.AppStatus) bool { return s.Generation > st.Generation })
		if pid := pidOf(t, r.page()); pid == st.Pid {
			t.Fatal("the dead one answers")
		}
	}
	r.until("crashed three times, with everybody answered", func(s api.AppStatus) bool { // which is counted just after the client has its bytes
		return s.Restarts == 3 && s.Counters.Answered == s.Counters.Requests
	})
}

func TestFailedAnswersAtOnceAndReloadRepairs(t *testing.T) {
	t.Parallel()
	r, swap := switchable(t, "broken", func(a *config.App) { a.Ready.Timeout = 2 * time.Second })
	r.until("failed", func(s api.AppStatus) bool { return s.State == api.Failed })
	if status, body := r.get("/"); status != http.StatusServiceUnavailable {
		t.Errorf("a failed app answers %d: %s", status, body)
	}
	if held := r.status().Counters.Held; held != 0 {
		t.Errorf("a failed app holds: %d requests", held)
	}
	swap("web")
	res := r.want(r.do(api.Reload), api.ExitOK)
	if res.Duration > failedRetryInterval.Seconds()/4 {
		t.Errorf("whole again after %.1f s: it waited for something", res.Duration)
	}
	r.page()
}

func TestStopKeepsTheDoorOpen(t *testing.T) {
	t.Parallel()
	r := open(t, "ignores TERM", func(a *config.App) { a.Stop.Timeout = 200 * time.Millisecond })
	r.page()
	r.want(r.do(api.Stop), api.ExitOK)
	if pids := r.processes(); len(pids) != 0 {
		t.Errorf("processes %v after stop", pids)
	}
	resp, err := r.http.Get("http://" + r.address)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a stopped app answers %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	r.want(r.do(api.Reload), api.ExitNotRunning)
	r.want(r.do(api.Start), api.ExitOK)
	r.page()
	r.want(r.do(api.Start), api.ExitOK)
}

func TestStopOvertakesAReload(t *testing.T) {
	t.Parallel()
	r, swap := switchable(t, "web")
	r.page()
	swap("silent")
	reloaded := make(chan api.Result, 1)
	started := make(chan struct{})
	go func() {
		var once sync.Once
		reloaded <- r.s.Do(context.Background(), api.Request{Verb: api.Reload}, func(p api.Phase) {
			if p.Name == "ready" {
				once.Do(func() { close(started) })
			}
		})
	}()
	<-started
	r.want(r.do(api.Stop), api.ExitOK)
	if res := <-reloaded; res.Exit == api.ExitOK {
		t.Errorf("the overtaken reload claims success: %+v", res)
	}
	if pids := r.processes(); len(pids) != 0 {
		t.Errorf("processes %v", pids)
	}
}

func TestReloadsAreCoalesced(t *testing.T) {
	t.Parallel()
	r := open(t, "web", env("TESTPROGRAM_IMPORT", "50ms"))
	r.page()
	var callers sync.WaitGroup
	results := make(chan api.Result, 30)
	for range cap(results) {
		callers.Go(func() { results <- r.do(api.Reload) })
	}
	callers.Wait()
	close(results)
	highest := 0
	for res := range results {
		r.want(res, api.ExitOK)
		highest = max(highest, res.Generation.To)
	}
	if st := r.status(); st.Generation > 5 || highest != st.Generation {
		t.Errorf("30 calls made %d generations (highest told %d)", st.Generation, highest)
	}
}

func TestCallerThatWillNotQueueIsTold(t *testing.T) {
	t.Parallel()
	r := open(t, "web", env("TESTPROGRAM_IMPORT", "300ms"))
	r.page()
	begun, done := make(chan struct{}), make(chan api.Result, 1)
	go func() {
		var once sync.Once
		done <- r.s.Do(context.Background(), api.Request{Verb: api.Reload}, func(api.Phase) { once.Do(func() { close(begun) }) })
	}()
	<-begun
	r.want(r.s.Do(context.Background(), api.Request{Verb: api.Reload, NoQueue: true}, func(api.Phase) {}), api.ExitBusy)
	r.want(<-done, api.ExitOK)
}

func TestNoProcessIsLeft(t *testing.T) {
	t.Parallel()
	r := open(t, "daemonises")
	r.page()
	if pids := r.processes(); len(pids) != 2 {
		t.Fatalf("processes %v, want the app and its daemon", pids)
	}
	r.want(r.reload(true), api.ExitOK)
	if pids := r.processes(); len(pids) != 2 {
		t.Errorf("processes %v after a reload, want those of one generation", pids)
	}
}

func TestPlainProcess(t *testing.T) {
	t.Parallel()
	r := open(t, "worker", func(a *config.App) { a.Listen, a.Ready.After = nil, 50*time.Millisecond })
	r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
	r.want(r.do(api.Restart), api.ExitOK)
	if st := r.status(); st.Generation != 2 {
		t.Errorf("generation %d, want 2", st.Generation)
	}
}

func TestOperatorsStopSurvivesTheDaemon(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	r.open("web")
	r.page()
	r.want(r.do(api.Stop), api.ExitOK)
	r.close()
	r.open("web")
	if st := r.status(); st.State != api.Stopped {
		t.Errorf("state %s, want stopped", st.State)
	}
	r.want(r.do(api.Start), api.ExitOK)
	if st := r.status(); st.Generation != 2 {
		t.Errorf("generation %d: a number was used twice", st.Generation)
	}
}

func TestSecondDaemonOnTheSameRecordsIsRefused(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.page()
	other := *r
	other.address = freeAddress(t)
	_, err := New(&config.File{Apps: []*config.App{other.settings("web")}}, r.s.options)
	if err == nil || !strings.Contains(err.Error(), "runs as") {
		t.Errorf("error %v", err)
	}
	r.page()
}

// release makes dir and lets the symlink current point to it, as deploys do.
func release(t *testing.T, current, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	next := current + ".next"
	if err := os.Symlink(dir, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, current); err != nil {
		t.Fatal(err)
	}
}

// switchable starts an app and returns a function that changes its code in place.
func switchable(t *testing.T, first string, options ...appOption) (*harness, func(program string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "switch")
	swap := func(program string) {
		usedPrograms.Store(program, true)
		if err := os.WriteFile(file, []byte(program), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	swap(first)
	return open(t, "switched", append([]appOption{env("TESTPROGRAM_SWITCH", file)}, options...)...), swap
}

func TestStartWaitsForWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	r := open(t, "web", env("TESTPROGRAM_IMPORT", "300ms"))
	r.until("starting", func(st api.AppStatus) bool { return st.Pid != 0 })
	res := r.want(r.do(api.Start), api.ExitOK)
	if res.Generation.To != 1 {
		t.Errorf("start made generation %d of one that was on its way", res.Generation.To)
	}
	if st := r.status(); st.State != api.Running || st.Generation != 1 {
		t.Errorf("status %+v", st)
	}
}
