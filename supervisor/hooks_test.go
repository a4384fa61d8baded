package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
)

// shell is a command for a hook, or for a plain process.
func shell(script string) []string { return []string{"sh", "-c", script} }

// notesFile is a file that hooks write lines into.
type notesFile string

func newNotesFile(t *testing.T) notesFile { return notesFile(filepath.Join(t.TempDir(), "notes")) }

// note is the shell command that adds a line.
func (n notesFile) note(words string) string { return `echo "` + words + `" >> ` + string(n) }

func (n notesFile) lines() []string {
	text, _ := os.ReadFile(string(n))
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
}

// until waits for a line that contains some words, and returns it.
func (n notesFile) until(r *harness, words string) (line string) {
	r.t.Helper()
	r.until("noted "+words, func(api.AppStatus) bool {
		for _, line = range n.lines() {
			if strings.Contains(line, words) {
				return true
			}
		}
		return false
	})
	return line
}

// exitCodeFile is what a hook waits for: it exits with the code that stands in a file,
// as soon as one does.
type exitCodeFile string

func newExitCodeFile(t *testing.T) exitCodeFile {
	return exitCodeFile(filepath.Join(t.TempDir(), "code"))
}

func (d exitCodeFile) set(t *testing.T, code string) {
	t.Helper()
	if err := os.WriteFile(string(d)+".new", []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(string(d)+".new", string(d)); err != nil {
		t.Fatal(err)
	}
}

func (d exitCodeFile) wait() string {
	return "until test -s " + string(d) + "; do sleep 0.02; done; exit $(cat " + string(d) + ")"
}

func TestHooksKnowWhyTheyRun(t *testing.T) {
	t.Parallel()
	before, after := newNotesFile(t), newNotesFile(t)
	facts := "$TIDEOVER_HOOK $TIDEOVER_APP $TIDEOVER_GENERATION $TIDEOVER_REASON ${TIDEOVER_RELOAD_FROM:-none}"
	r := open(t, "web", func(a *config.App) {
		a.Hooks.BeforeStart = shell(before.note(facts + " $TIDEOVER_DIRECTORY=$(pwd) $TESTPROGRAM_MARKER"))
		a.Hooks.AfterReady = shell(after.note(facts + " $TIDEOVER_PID"))
		a.Hooks.AfterReload = shell(after.note(facts + " $TIDEOVER_PID"))
	})
	r.page()
	reloaded := r.want(r.do(api.Reload), api.ExitOK)
	if names := phases(reloaded); !slices.Equal(names, []string{"hook", "start", "ready", "swap", "hook", "done"}) {
		t.Errorf("phases %q", names)
	}
	r.want(r.do(api.Restart), api.ExitOK)
	third := pidOf(t, r.page())
	if line := after.until(r, "after_ready shop 3 restart 2"); !strings.HasSuffix(line, " "+itoa(third)) { // the end of its generation kills it
		t.Errorf("after_ready was told %q, want pid %d", line, third)
	}
	kill(t, third, syscall.SIGKILL)
	r.until("a fourth generation", func(s api.AppStatus) bool { return s.Generation == 4 })
	r.want(r.do(api.Stop), api.ExitOK)
	r.want(r.do(api.Start), api.ExitOK)

	for i, want := range []string{"1 start none", "2 reload 1", "3 restart 2", "4 crash none", "5 start none"} {
		lines := before.lines()
		if i >= len(lines) || !strings.HasPrefix(lines[i], "before_start shop "+want+" ") {
			t.Fatalf("before_start %d was told %q, want %q", i+1, lines, want)
		}
		words := strings.Fields(lines[i])
		if dir, cwd, _ := strings.Cut(words[5], "="); dir != cwd || dir != r.status().Directory {
			t.Errorf("it ran in %s, and was told %s", cwd, dir)
		}
	}
	after.until(r, "after_ready shop 5 start none")
	after.until(r, "after_reload shop 2 reload 1")
	after.until(r, "after_reload shop 3 restart 2")
}

func phases(r api.Result) (names []string) {
	for _, p := range r.Phases {
		names = append(names, p.Name)
	}
	return names
}

func TestFailingBeforeStartChangesNothing(t *testing.T) {
	t.Parallel()
	code := newExitCodeFile(t)
	code.set(t, "0")
	r := open(t, "web", func(a *config.App) {
		a.Hooks.BeforeStart = shell("echo migrating; echo no such table >&2; " + code.wait())
	})
	old := pidOf(t, r.page())
	load := r.load(2)
	code.set(t, "3")
	res := r.want(r.do(api.Reload), api.ExitKeptOld)
	if !strings.Contains(res.Error, "before_start failed with exit status 3") || !strings.Contains(res.Error, "generation 1 still serves") {
		t.Errorf("error %q", res.Error)
	}
	if !slices.Equal(res.ChildOutput, []string{"migrating", "no such table"}) {
		t.Errorf("last words %q", res.ChildOutput)
	}
	if names := phases(res); !slices.Equal(names, []string{"hook"}) {
		t.Errorf("phases %q", names)
	}
	if pid := pidOf(t, r.page()); pid != old {
		t.Errorf("pid %d answers, want %d", pid, old)
	}
	if lines := r.output(); !slices.Contains(lines, "before_start: no such table") {
		t.Errorf("the log has %q", lines)
	}

	// A restart has nothing left to keep: it goes on trying, and clients wait.
	r.want(r.do(api.Restart), api.ExitDown)
	// The first retry is immediate: until its hook has failed, too, the reason is that it runs.
	r.until("waiting after the failure of the hook", func(s api.AppStatus) bool { return strings.Contains(s.Reason, "before_start failed") })
	code.set(t, "0")
	r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
	r.noneLost(load)
}

// output is what stands in the app's log.
func (r *harness) output() (lines []string) {
	r.t.Helper()
	err := r.s.Logs(context.Background(), api.LogQuery{Lines: 1000}, func(l logs.Line) bool {
		lines = append(lines, l.Text)
		return true
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return lines
}

// The command of a rollout runs as a hook does, before the directory of the next generation is resolved.
func TestTheCommandOfARolloutRunsBeforeTheReload(t *testing.T) {
	t.Parallel()
	notes, releases := newNotesFile(t), t.TempDir()
	current, next := filepath.Join(releases, "current"), filepath.Join(releases, "v2")
	for _, err := range []error{os.Mkdir(filepath.Join(releases, "v1"), 0o755), os.Mkdir(next, 0o755), os.Symlink("v1", current)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, "web", func(a *config.App) { a.Directory = current })
	r.page()
	reload := func(script string) api.Result {
		return r.s.Do(t.Context(), api.Request{Verb: api.Reload, Revision: "v2", Command: shell(script)}, func(api.Phase) {})
	}
	failed := r.want(reload("echo no route to git; exit 3"), api.ExitKeptOld)
	if want := "the command of the rollout failed with exit status 3"; !strings.HasPrefix(failed.Error, want) || !slices.Equal(failed.ChildOutput, []string{"no route to git"}) {
		t.Errorf("%q, %q", failed.Error, failed.ChildOutput)
	}
	if st := r.status(); st.Generation != 1 || st.State != api.Running {
		t.Errorf("after a command that has failed: %+v", st)
	}
	done := r.want(reload(notes.note("$TIDEOVER_HOOK $TIDEOVER_REVISION $TIDEOVER_RELOAD_FROM $(pwd)")+"; ln -sfn v2 "+current), api.ExitOK)
	if names := phases(done); !slices.Equal(names, []string{"command", "start", "ready", "swap", "done"}) {
		t.Errorf("phases %q", names)
	}
	if want := []string{"rollout v2 1 " + filepath.Join(releases, "v1")}; !slices.Equal(notes.lines(), want) {
		t.Errorf("it was told %q, want %q", notes.lines(), want)
	}
	if dir := r.status().Directory; dir != next {
		t.Errorf("the new generation runs in %s", dir)
	}
}

// Until the old generation is being stopped, its caller can withdraw a reload that replaces it.
func TestAReplacementThatIsWithdrawnInTimeStopsNothing(t *testing.T) {
	t.Parallel()
	code := newExitCodeFile(t)
	r := open(t, "web", func(a *config.App) { a.Reload = config.Replace })
	pid := pidOf(t, r.page())
	withdrawn, begun, done := make(chan struct{}), make(chan struct{}), make(chan api.Result, 1)
	go func() {
		var once sync.Once
		done <- r.s.Do(context.Background(), api.Request{Verb: api.Reload, Withdrawn: withdrawn, Command: shell(code.wait())}, func(api.Phase) { once.Do(func() { close(begun) }) })
	}()
	<-begun
	queued := make(chan api.Result, 1)
	go func() {
		queued <- r.s.Do(context.Background(), api.Request{Verb: api.Reload, Withdrawn: withdrawn}, func(api.Phase) {})
	}()
	close(withdrawn)
	code.set(t, "0")
	for _, c := range []<-chan api.Result{done, queued} {
		if res := r.want(<-c, api.ExitTimeout); res.Result != api.GivenUp {
			t.Errorf("%+v", res)
		}
	}
	if now := pidOf(t, r.page()); now != pid {
		t.Errorf("the generation with pid %d was stopped", pid)
	}
}

func TestHangingHookIsKilledWithItsTree(t *testing.T) {
	t.Parallel()
	code := newExitCodeFile(t)
	code.set(t, "0")
	r := open(t, "web", func(a *config.App) {
		a.Hooks.BeforeStart = shell("test $(cat " + string(code) + ") = 0 && exit; setsid sleep 1000 & sleep 1000 & wait")
		a.Hooks.Timeout = 3 * time.Second
	})
	r.page()
	code.set(t, "1")
	res := r.want(r.do(api.Reload), api.ExitKeptOld)
	if !strings.Contains(res.Error, "before_start was killed after 3 s (hooks.timeout)") {
		t.Errorf("error %q", res.Error)
	}
	if pids := r.processes(); len(pids) != 1 {
		t.Errorf("processes %v, want the old generation's only", pids)
	}
}

// begin asks for an operation, and returns when a phase of it has begun.
func (r *harness) begin(v api.Verb, phase string) <-chan api.Result {
	r.t.Helper()
	begun, done := make(chan struct{}), make(chan api.Result, 1)
	var once sync.Once
	go func() {
		done <- r.s.Do(context.Background(), api.Request{Verb: v, By: api.Caller{Via: "test"}}, func(p api.Phase) {
			if p.Name == phase {
				once.Do(func() { close(begun) })
			}
		})
	}()
	select {
	case <-begun:
	case res := <-done:
		r.t.Fatalf("%s came to no %s: %+v", v, phase, res)
	}
	return done
}

func TestAppGoesOnWhileAHookRuns(t *testing.T) {
	t.Parallel()
	code := newExitCodeFile(t)
	code.set(t, "0")
	r := open(t, "web", func(a *config.App) { a.Hooks.BeforeStart = shell(code.wait()) })
	old := pidOf(t, r.page())
	if err := os.Remove(string(code)); err != nil {
		t.Fatal(err)
	}
	done := r.begin(api.Reload, "hook")
	if st := r.status(); st.State != api.Reloading || st.Generation != 1 {
		t.Errorf("status %+v", st)
	}
	r.page()
	kill(t, old, syscall.SIGKILL) // new requests are held from here on
	r.until("without a generation", func(s api.AppStatus) bool { return s.Generation == 0 })
	body := make(chan string, 1)
	go func() {
		_, text := r.get("/")
		body <- text
	}()
	r.until("holding a request", func(s api.AppStatus) bool { return s.Held == 1 })
	code.set(t, "0")
	r.want(<-done, api.ExitOK)
	if text := <-body; !strings.Contains(text, "generation=2") {
		t.Errorf("the held request got %q", text)
	}
}

func TestStopOvertakesAHook(t *testing.T) {
	t.Parallel()
	code := newExitCodeFile(t)
	code.set(t, "0")
	r := open(t, "web", func(a *config.App) { a.Hooks.BeforeStart = shell(code.wait()) })
	r.page()
	if err := os.Remove(string(code)); err != nil {
		t.Fatal(err)
	}
	done := r.begin(api.Reload, "hook")
	r.want(r.do(api.Stop), api.ExitOK)
	if res := <-done; res.Exit == api.ExitOK || !strings.Contains(res.Error, "overtaken") {
		t.Errorf("the overtaken reload says %+v", res)
	}
	if pids := r.processes(); len(pids) != 0 {
		t.Errorf("processes %v after stop", pids)
	}
	if st := r.status(); st.State != api.Stopped {
		t.Errorf("status %+v", st)
	}
}

func TestFailingAfterReloadIsAWarning(t *testing.T) {
	t.Parallel()
	r := open(t, "web", func(a *config.App) { a.Hooks.AfterReload = shell("echo no route to slack; exit 7") })
	r.page()
	res := r.want(r.do(api.Reload), api.ExitOK)
	if len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "after_reload failed with exit status 7") || !strings.HasSuffix(res.Warnings[0], ": no route to slack") {
		t.Errorf("warnings %q", res.Warnings)
	}
	if p := res.Phases[len(res.Phases)-2]; p.Name != "hook" || p.Result != "failed" {
		t.Errorf("phases %+v", res.Phases)
	}
}

func TestOnFailureTellsWhatFailed(t *testing.T) {
	t.Parallel()
	notes := newNotesFile(t)
	r, swap := switchable(t, "web", func(a *config.App) {
		a.Hooks.OnFailure = shell(notes.note("$TIDEOVER_HOOK $TIDEOVER_REASON $TIDEOVER_GENERATION ${TIDEOVER_RELOAD_FROM:-none}: $TIDEOVER_ERROR"))
	})
	r.page()
	swap("broken")
	r.want(r.do(api.Reload), api.ExitKeptOld)
	if line := notes.until(r, "on_failure reload 2 1"); !strings.Contains(line, "exit status 3") || !strings.Contains(line, "generation 1 still serves") {
		t.Errorf("it was told %q", line)
	}
	kill(t, pidOf(t, r.page()), syscall.SIGKILL)
	notes.until(r, "on_failure crash 3 none: generation 3 of shop did not come up")
	r.until("failed", func(s api.AppStatus) bool { return s.State == api.Failed })
	notes.until(r, "on_failure crash 7 none")
	if lines := notes.lines(); len(lines) != 3 {
		t.Errorf("it was told %q; not of each try, but of the first and of giving up", lines)
	}
	r.want(r.do(api.Restart), api.ExitDown)
	notes.until(r, "on_failure restart 8 none")
}

func TestOnFailureNeedsNeitherDirectoryNorEnvFile(t *testing.T) {
	t.Parallel()
	notes := newNotesFile(t)
	r := open(t, "web", func(a *config.App) {
		a.Directory, a.EnvFile = "/nowhere/current", []string{"/nowhere/env"}
		a.Hooks.OnFailure = shell(notes.note("$TIDEOVER_REASON in $(pwd): $TIDEOVER_ERROR"))
	})
	if line := notes.until(r, "start in /:"); !strings.Contains(line, "directory /nowhere/current: no such file or directory") {
		t.Errorf("it was told %q", line)
	}
}

func TestAfterReadyEndsWithItsGeneration(t *testing.T) {
	t.Parallel()
	notes := newNotesFile(t)
	r := open(t, "web", func(a *config.App) {
		a.Hooks.AfterReady = shell(notes.note("warming $TIDEOVER_GENERATION") + "; sleep 1000")
	})
	notes.until(r, "warming 1")
	r.want(r.do(api.Reload), api.ExitOK)
	notes.until(r, "warming 2")
	r.until("without the first one's hook", func(api.AppStatus) bool { return len(r.processes()) == 3 }) // the app, the hook's shell, its sleep
	r.want(r.do(api.Stop), api.ExitOK)
	r.until("without a process", func(api.AppStatus) bool { return len(r.processes()) == 0 })
}

func TestHookOfADeadDaemonIsEnded(t *testing.T) {
	t.Parallel()
	notes := newNotesFile(t)
	r := prepare(t)
	r.open("web", func(a *config.App) { a.Hooks.BeforeStart = shell(notes.note("$TIDEOVER_TREE") + "; exec sleep 1000") })
	notes.until(r, "")
	token := notes.lines()[0]
	text, err := os.ReadFile(filepath.Join(r.state, "shop.json"))
	if err != nil || !strings.Contains(string(text), token) {
		t.Errorf("the hook's token %s is not on record (%v): %s", token, err, text)
	}
	r.s.Shutdown(true)
	<-r.stopped
	if text, err = os.ReadFile(filepath.Join(r.state, "shop.json")); err != nil || strings.Contains(string(text), token) {
		t.Errorf("an ended hook is on record (%v): %s", err, text)
	}
}
