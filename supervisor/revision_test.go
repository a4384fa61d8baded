package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// reloadTo is a reload with a word for what is deployed.
func (r *harness) reloadTo(revision string) api.Result {
	return r.s.Do(context.Background(), api.Request{Verb: api.Reload, Revision: revision, By: api.Caller{Via: "test"}}, func(api.Phase) {})
}

func TestTheRevisionIsKnownToTheAppItsHooksAndTheStatus(t *testing.T) {
	t.Parallel()
	notes := newNotesFile(t)
	release := t.TempDir()
	word := filepath.Join(release, "word")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(word, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("v1\n")
	r := open(t, "web", func(a *config.App) {
		a.Revision = shell("echo from $TIDEOVER_APP.$TIDEOVER_GENERATION >&2; cat " + word)
		a.Hooks.BeforeStart = shell(notes.note("before ${TIDEOVER_REVISION:-none}"))
		a.Hooks.AfterReady = shell(notes.note("after ${TIDEOVER_REVISION:-none}"))
	})
	r.page()
	if got := r.status().Revision; got != "v1" {
		t.Errorf("status has revision %q", got)
	}
	notes.until(r, "after v1")
	environ, err := os.ReadFile("/proc/" + itoa(r.status().Pid) + "/environ")
	if err != nil || !strings.Contains(string(environ), "\x00TIDEOVER_REVISION=v1\x00") {
		t.Errorf("the app's environment has no revision (%v)", err)
	}
	if lines := r.output(); !strings.Contains(strings.Join(lines, "\n"), "revision: from shop.1") {
		t.Errorf("the log has %q", lines)
	}

	write("v2\nmore\n")
	if res := r.want(r.do(api.Reload), api.ExitOK); res.Revision != (api.RevisionPair{From: "v1", To: "v2"}) {
		t.Errorf("reload: %+v", res.Revision)
	}
	if res := r.want(r.reloadTo("v2+hotfix"), api.ExitOK); res.Revision != (api.RevisionPair{From: "v2", To: "v2+hotfix"}) {
		t.Errorf("reload --revision: %+v", res.Revision)
	}
	notes.until(r, "before v2+hotfix")
	for _, bad := range []string{"two words", "-rf", "../../etc"} {
		if res := r.want(r.reloadTo(bad), api.ExitUsage); !strings.Contains(res.Error, "cannot be a revision") {
			t.Errorf("%q: %s", bad, res.Error)
		}
	}

	// A word that cannot be learnt costs a warning and no start.
	if err := os.Remove(word); err != nil {
		t.Fatal(err)
	}
	res := r.want(r.do(api.Reload), api.ExitOK)
	if res.Revision != (api.RevisionPair{From: "v2+hotfix"}) || !strings.Contains(strings.Join(res.Warnings, "\n"), "it ended with exit status 1") {
		t.Errorf("%+v, warnings %q", res.Revision, res.Warnings)
	}
	notes.until(r, "before none")
	write("$(reboot)\n")
	if res := r.want(r.do(api.Restart), api.ExitOK); res.Revision.To != "" || !strings.Contains(strings.Join(res.Warnings, "\n"), "does not begin with a letter or a digit") {
		t.Errorf("%+v, warnings %q", res.Revision, res.Warnings)
	}
}

func TestTheRevisionOfAFailedReleaseIsInItsResultAndItsHook(t *testing.T) {
	t.Parallel()
	notes := newNotesFile(t)
	fails := filepath.Join(t.TempDir(), "fails")
	r := open(t, "web", func(a *config.App) {
		a.Hooks.BeforeStart = shell("! test -e " + fails)
		a.Hooks.OnFailure = shell(notes.note("failed ${TIDEOVER_REVISION:-none}"))
	})
	r.want(r.reloadTo("good"), api.ExitOK)
	if err := syscall.Mkfifo(fails, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := r.want(r.reloadTo("bad"), api.ExitKeptOld); res.Revision != (api.RevisionPair{From: "good", To: "bad"}) {
		t.Errorf("%+v", res.Revision)
	}
	notes.until(r, "failed bad")
	if got := r.status().Revision; got != "good" {
		t.Errorf("status has revision %q", got)
	}
}

func TestASymlinkedReleaseIsNamedByItsDirectory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	current := filepath.Join(root, "current")
	link := func(name string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		os.Remove(current)
		if err := os.Symlink(name, current); err != nil {
			t.Fatal(err)
		}
	}
	link("2026-11-27")
	r := open(t, "web", func(a *config.App) { a.Directory = current })
	r.page()
	link("2026-11-28")
	if res := r.want(r.do(api.Reload), api.ExitOK); res.Revision != (api.RevisionPair{From: "2026-11-27", To: "2026-11-28"}) {
		t.Errorf("%+v", res.Revision)
	}
}
