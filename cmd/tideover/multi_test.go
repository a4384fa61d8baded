package main

import (
	"strings"
	"testing"

	"tideover/supervisor/api"
)

func TestEachAppHasItsTurn(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.status.Apps = append(d.status.Apps, serving("blog"), serving("admin"), serving("wiki"))
	d.status.Apps[2].State, d.status.Apps[1].Labels = api.Stopped, []string{"web"}
	d.results["shop"], d.results["blog"], d.results["wiki"] = okResult(), keptOld(), okResult()
	got := tideover(t, dir, "reload", "--all", "--json")
	if got.exit != 7 {
		t.Errorf("exit %d, want 7", got.exit)
	}
	if d.notes() != "reload shop\nreload blog\nreload wiki" {
		t.Errorf("asked for\n%s", d.notes())
	}
	results, ok := oneDocument(t, got.stdout)["results"].([]any)
	if !ok || len(results) != 4 || results[2].(map[string]any)["result"] != "skipped" {
		t.Errorf("document: %s", got.stdout)
	}
	if !strings.HasSuffix(got.stderr, "\ntideover: reload of 4 apps: 2 ok, 1 kept old (blog), 1 skipped (admin)\nexit 7 (kept old)\n") {
		t.Errorf("stderr: %s", got.stderr)
	}
	got = tideover(t, dir, "reload", "wiki", "web")
	want := "app=blog reload=\"kept old\" exit=7 generation=8 duration_s=7.81\napp=blog held=17 lost=0 held_max_s=0.006\n" +
		"app=wiki reload=ok generation=8 duration_s=7.81 held=17 lost=0 held_max_s=0.006\n"
	if got.exit != 7 || got.stdout != want {
		t.Errorf("exit %d, in the order of the configuration:\n%s", got.exit, got.stdout)
	}
	// A label is several apps, also where it is one today; a name is one.
	if document := oneDocument(t, tideover(t, dir, "reload", "web", "--json", "-q").stdout); document["results"] == nil {
		t.Errorf("document of a label: %v", document)
	}
	if document := oneDocument(t, tideover(t, dir, "reload", "blog", "--json", "-q").stdout); document["app"] != "blog" {
		t.Errorf("document of a name: %v", document)
	}
}

func TestNobodyWaitsForTheRest(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.status.Apps, d.forever = append(d.status.Apps, serving("blog")), true
	got := tideover(t, dir, "stop", "all", "--timeout", "100ms", "--json")
	if got.exit != 10 || d.notes() != "stop shop" {
		t.Errorf("exit %d, asked for %q", got.exit, d.notes())
	}
	if results, ok := oneDocument(t, got.stdout)["results"].([]any); !ok || len(results) != 2 || results[1].(map[string]any)["result"] != "not begun" {
		t.Errorf("document: %s", got.stdout)
	}
}

func TestSeveralOnATerminal(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.status.Apps = append(d.status.Apps, serving("celery:1"))
	d.phases, d.results["shop"], d.results["celery:1"] = reloaded()[:2], okResult(), keptOld()
	raw, exit := onTerminal(t, dir, nil, "reload", "--all")
	want := `  ✓ shop      start     pid 48213                                        410 ms
  ✓ celery:1  start     pid 48213                                        410 ms

✗ generation 8 of shop did not come up: it ended with exit status 3; generation
  7 still serves

  Last answer to the readiness probe:
    │ HTTP/1.1 500 Internal Server Error
    │
    │ {"db": "gone"}

  Last lines of generation 8:
    │ Traceback (most recent call last):
    │ ModuleNotFoundError: No module named 'shop.wsgi'

  the release was changed in place

APP       RESULT    GEN   TOOK  HELD  LONGEST  LOST
shop      ok          8  7.8 s    17     6 ms     0
celery:1  kept old    8  7.8 s    17     6 ms     0

✗ reload of 2 apps: 1 ok, 1 kept old (celery:1)
exit 7 (kept old)
`
	if got := screenful(raw); exit != 7 || got != want {
		t.Errorf("exit %d\n%s\nwant:\n%s", exit, got, want)
	}
}
