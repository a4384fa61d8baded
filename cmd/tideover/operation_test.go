package main

import (
	"strings"
	"testing"
	"time"

	"tideover/supervisor/api"
)

func TestReloadInALog(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.phases, d.results["shop"] = reloaded(), okResult()
	got := tideover(t, dir, "reload")
	got.want(t, 0, "app=shop reload=ok generation=8 duration_s=7.81 held=17 lost=0 held_max_s=0.006\n", `app=shop phase=start result=ok duration_s=0.41 pid=48213
app=shop phase=ready result=ok duration_s=2.31 tries=3 status=200
app=shop phase=swap result=ok duration_s=0.009
app=shop phase=drain result=ok duration_s=4.12 cut=0
`)
	for line := range strings.Lines(got.stdout + got.stderr) {
		if len(line) > 80 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
}

func TestFailedReloadTellsWhy(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.results["shop"] = keptOld()
	tideover(t, dir, "reload", "shop").want(t, 7, "", `tideover: generation 8 of shop did not come up: it ended with exit status 3; generation 7 still serves

  Last answer to the readiness probe:
    | HTTP/1.1 500 Internal Server Error
    | 
    | {"db": "gone"}

  Last lines of generation 8:
    | Traceback (most recent call last):
    | ModuleNotFoundError: No module named 'shop.wsgi'
hint: the release was changed in place
exit 7 (kept old)
`)
}

func TestReloadAsJSON(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.phases, d.results["shop"] = reloaded(), keptOld()
	got := tideover(t, dir, "reload", "--json", "-q")
	if got.exit != 7 {
		t.Errorf("exit %d", got.exit)
	}
	document := oneDocument(t, got.stdout)
	for _, key := range []string{"app", "result", "exit", "generation", "phases", "requests", "error", "child_output"} {
		if _, ok := document[key]; !ok {
			t.Errorf("no key %q in %s", key, got.stdout)
		}
	}
	if document["exit"] != 7.0 {
		t.Errorf("exit in the document: %v", document["exit"])
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.results["shop"] = api.Result{Result: "dry run", Plan: []string{"command unchanged", "memory is too small for two"}}
	tideover(t, dir, "reload", "--dry-run").want(t, 0, "shop: command unchanged\nshop: memory is too small for two\n", "")
}

func TestNoWaitLeavesWhenItHasBegun(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.forever, d.phases = true, reloaded()
	got := tideover(t, dir, "restart", "--no-wait")
	if got.exit != 0 || !strings.Contains(got.stdout, "restart=accepted") {
		t.Errorf("exit %d, %s%s", got.exit, got.stdout, got.stderr)
	}
}

func TestTimeoutEndsOnlyTheWaiting(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.forever = true
	tideover(t, dir, "stop", "--timeout", "50ms").want(t, 10, "",
		"tideover: stopped waiting; the stop of shop goes on\nhint: tideover status shop shows how it goes\nexit 10 (timeout)\n")
	got := tideover(t, dir, "stop", "--timeout", "50ms", "--json")
	if document := oneDocument(t, got.stdout); document["exit"] != 10.0 {
		t.Errorf("document: %s", got.stdout)
	}
}

func TestReloadOnATerminal(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.phases, d.results["shop"] = reloaded(), okResult()
	raw, exit := onTerminal(t, dir, nil, "reload")
	want := `shop  reload   generation 7 serves

  ✓ start     pid 48213                                                  410 ms
  ✓ ready     tries 3 · status 200                                        2.3 s
  ✓ swap                                                                   9 ms
  ✓ drain     cut 0                                                       4.1 s

✓ shop serves generation 8 after 7.8 s · held 17 (longest 6 ms) · lost 0
`
	if got := screenful(raw); exit != 0 || got != want {
		t.Errorf("exit %d\n%s\nwant:\n%s", exit, got, want)
	}
	if !strings.Contains(raw, "\x1b[32m✓\x1b[0m") {
		t.Errorf("no colours: %q", raw)
	}
}

func TestFailedReloadOnATerminal(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.phases, d.results["shop"] = reloaded()[:3], keptOld()
	d.phases[2].Name, d.phases = "ready", append(d.phases, api.Phase{From: 7, To: 8, Name: "ready", Result: "failed", Duration: time.Minute})
	harm := keptOld()
	harm.ChildOutput = []string{"title \x1b]0;gotcha\x07 and \x1b[31mred\x1b[0m"}
	d.results["shop"] = harm
	raw, exit := onTerminal(t, dir, nil, "reload")
	got := screenful(raw)
	for _, want := range []string{
		"  ✗ ready                                                                 1 min\n",
		"\n✗ generation 8 of shop did not come up: it ended with exit status 3; generation\n  7 still serves\n",
		"    │ HTTP/1.1 500 Internal Server Error\n",
		`    │ title \x1b]0;gotcha\x07 and red`,
		"exit 7 (kept old)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("exit %d, no %q in\n%s", exit, want, got)
		}
	}
}
