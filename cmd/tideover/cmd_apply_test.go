package main

import (
	"strings"
	"testing"

	"tideover/supervisor/api"
)

// applied is a configuration with a change of each kind.
func applied() api.ApplyResult {
	serves := func(took float64, generation int) *api.Result {
		r := okResult()
		r.Duration, r.Generation.To = took, generation
		return &r
	}
	long := strings.Repeat("-w 4 ", 20)
	return api.ApplyResult{Result: "ok", Apps: []api.AppChange{
		{App: "blog", Change: api.Added, Result: &api.Result{Result: "ok", Duration: 1.2, Generation: api.GenerationPair{To: 1}}},
		{App: "shop", Change: api.ByReload, Result: serves(7.8, 8), Settings: []api.SettingChange{
			{Key: "command", Before: `"gunicorn ` + long + `a"`, After: `"gunicorn ` + long + `b"`, Takes: "reload"},
			{Key: "env", After: "DEBUG added, TOKEN changed", Takes: "reload"},
			{Key: "hold.timeout", Before: `"30s"`, After: `"20s"`, Takes: "live"},
			{Key: "nice", After: "5", Takes: "reload"},
			{Key: "user", Before: `"www"`, Takes: "reload"},
		}},
		{App: "celery:1", Change: api.ByLive},
		{App: "old", Change: api.Removed},
		{App: "wiki", Change: api.Unchanged},
	}, Warnings: []string{"daemon.log_level is different"}}
}

func TestApply(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.applied = applied()
	long := strings.Repeat("-w 4 ", 20)
	tideover(t, dir, "apply").want(t, 0, `+ blog      added; generation 1 is up after 1.2 s
~ shop      reloaded; generation 8 is up after 7.8 s · held 17 (longest 6 ms) · lost 0
    - command = "gunicorn `+long+`a"
    + command = "gunicorn `+long+`b"  # by a reload
    ~ env: DEBUG added, TOKEN changed  # by a reload
    ~ hold.timeout = "30s" -> "20s"  # live
    + nice = 5  # by a reload
    - user = "www"  # by a reload
~ celery:1  changed live
- old       removed
1 added, 1 removed, 2 changed, 1 unchanged
`, "warning: daemon.log_level is different\n")
	for i := range d.applied.Apps {
		d.applied.Apps[i].Result, d.applied.Apps[i].Settings = nil, nil
	}
	d.applied.Warnings = nil
	tideover(t, dir, "apply", "--dry-run", "-v").want(t, 0, `+ blog      would be added
~ shop      would be reloaded
~ celery:1  would change live
- old       would drain and stop
= wiki      unchanged
1 added, 1 removed, 2 changed, 1 unchanged; nothing is done yet
`, "")
	if tideover(t, dir, "reread", "-q").want(t, 0, "", ""); d.notes() != "apply false\napply true\napply true" {
		t.Errorf("asked for\n%s", d.notes())
	}
}

func TestApplyThatFails(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.applied = applied()
	failed := keptOld()
	failed.Hint, failed.Probe, failed.ChildOutput = "", "", []string{"Traceback"}
	d.applied.Apps, d.applied.Warnings = d.applied.Apps[1:2], nil
	d.applied.Apps[0].Result, d.applied.Apps[0].Settings = &failed, nil
	d.applied.Result, d.applied.Exit, d.applied.Error = "failed", api.ExitKeptOld, failed.Error
	d.phases = reloaded()[:1]
	tideover(t, dir, "apply").want(t, 7, "~ shop  kept old\n1 changed\n", `tideover: generation 8 of shop did not come up: it ended with exit status 3; generation 7 still serves

  Last lines of generation 8:
    | Traceback
exit 7 (kept old)
`)
	got := tideover(t, dir, "apply", "--json", "-q")
	if document := oneDocument(t, got.stdout); got.exit != 7 || document["exit"] != 7.0 || document["apps"] == nil {
		t.Errorf("exit %d, %s", got.exit, got.stdout)
	}
	d.applied = api.ApplyResult{Result: "failed", Exit: api.ExitConfig, Hint: "nothing was changed",
		Error: "a.toml:1:1: unknown key \"x\"\n    1 │ x = 1\n      │ ^  did you mean y?"}
	tideover(t, dir, "apply").want(t, 5, "", `tideover: the configuration is not valid
a.toml:1:1: unknown key "x"
    1 │ x = 1
      │ ^  did you mean y?
hint: nothing was changed
exit 5 (config)
`)
	d.forever = true
	tideover(t, dir, "apply", "--timeout", "50ms").want(t, 10, "",
		"tideover: stopped waiting; apply goes on\nhint: tideover status shows how it goes\nexit 10 (timeout)\n")
}

func TestApplyAllowsAnEmptyConfigurationOnlyOnDemand(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.applied = api.ApplyResult{Result: "ok", Apps: []api.AppChange{}}
	tideover(t, dir, "apply", "-q").want(t, 0, "", "")
	tideover(t, dir, "apply", "-q", "--allow-empty").want(t, 0, "", "")
	if got := d.notes(); got != "apply false\nallow-empty\napply false" {
		t.Errorf("asked for\n%s", got)
	}
}
