package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/logs"
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

// Phases of several apps may be under way at once; the line of one that goes on
// comes back when another's has ended.
func TestPhasesSideBySide(t *testing.T) {
	t.Parallel()
	var out sharedBuffer
	view := newLiveProgress(term.Screen{Out: &out, Terminal: true, Width: 60}, 4)
	for _, p := range []api.Phase{{App: "shop", Name: "ready"}, {App: "blog", Name: "start"}, {App: "blog", Name: "start", Result: "ok"}} {
		view.phase(p)
	}
	lines := strings.Split(screenful(out.String()), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "  ✓ blog  start") || !strings.Contains(lines[1], "shop  ready") {
		t.Errorf("%q", lines)
	}
}

func TestNarrowTable(t *testing.T) {
	t.Parallel()
	last := okResult()
	apps := []api.AppStatus{serving("shop"), serving("a-name-of-thirty-two-characters-")}
	apps[0].LastReload = &last
	for width, want := range map[int]string{
		120: "APP                               STATE    GEN    PID      UPTIME  IN-FLIGHT  HELD  LAST RELOAD\n" +
			"shop                              running    8  48213  4 min 12 s          9     0  ok in 7.8 s\n" +
			"a-name-of-thirty-two-characters-  running    8  48213  4 min 12 s          9     0  -\n",
		80: "APP                               STATE    GEN      UPTIME  IN-FLIGHT  HELD\n" +
			"shop                              running    8  4 min 12 s          9     0\n" +
			"a-name-of-thirty-two-characters-  running    8  4 min 12 s          9     0\n",
		60: "APP                    STATE        UPTIME  IN-FLIGHT  HELD\n" +
			"shop                   running  4 min 12 s          9     0\n" +
			"a-name-of-thirty-two…  running  4 min 12 s          9     0\n",
		30: "APP             STATE    HELD\n" +
			"shop            running     0\n" +
			"a-name-of-thi…  running     0\n",
	} {
		if got := statusTable(term.Screen{Terminal: true, Width: width}, apps); got != want {
			t.Errorf("%d columns:\n%s\nwant\n%s", width, got, want)
		}
	}
}

// On a terminal the status is looked at on a page of its own, which is gone when
// it is over; what was seen last stays.
func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	_, dir := shopDaemon(t)
	raw, exit := onTerminal(t, dir, nil, "status", "--watch=100ms", "--timeout", "1s", "--color", "never")
	pages, last, ended := strings.Cut(raw, term.LeaveAlternate)
	if exit != 0 || !ended || !strings.HasPrefix(pages, term.EnterAlternate) || strings.Count(pages, "\x1b[H") < 2 {
		t.Errorf("exit %d, %q", exit, raw)
	}
	if !strings.HasPrefix(last, "APP ") || strings.Count(last, "\n") != 2 || strings.Contains(last, "\x1b") {
		t.Errorf("what stays: %q", last)
	}
	if !strings.Contains(pages, "\x1b[K\nshop  running") {
		t.Errorf("lines are not cleared: %q", pages)
	}
}

// A daemon that goes away while it is looked at is waited for.
func TestWatchOutlastsTheDaemon(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	seen, ended := make(chan string, 100), make(chan int, 1)
	ctx, end := context.WithCancel(t.Context())
	go func() {
		exit := Main{Dirs: []string{dir}}.Run(ctx, []string{"status", "--watch=100ms"}, nil, writer(func(page string) { seen <- page }), os.Stderr, nil)
		close(seen)
		ended <- exit
	}()
	await := func(words string) {
		t.Helper()
		for page := range seen {
			if strings.Contains(page, words) {
				return
			}
		}
		t.Fatalf("%q was never shown", words)
	}
	await("shop  running")
	d.stop()
	await("no daemon runs")
	again := &fakeDaemon{status: d.status}
	again.serve(t, socketIn(dir, "again.sock"))
	await("shop  running")
	end()
	for range seen { // what was written meanwhile
	}
	if exit := <-ended; exit != 0 {
		t.Errorf("exit %d", exit)
	}
}

// writer is a function that is written to.
type writer func(string)

func (w writer) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}

func TestSignalSeveral(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.status.Apps = append(d.status.Apps, serving("celery:1"), serving("celery:2"))
	tideover(t, dir, "signal", "celery", "TTIN").want(t, 0, "celery:1: SIGTTIN sent\ncelery:2: SIGTTIN sent\n", "")
	tideover(t, dir, "signal", "TTIN", "celery:*", "-q").want(t, 0, "", "")
	if document := oneDocument(t, tideover(t, dir, "signal", "shop", "USR1", "--json").stdout); document["app"] != "shop" || document["exit"] != 0.0 {
		t.Errorf("%v", document)
	}
	if got := tideoverWith(t, dir, []string{"TIDEOVER_APP=shop"}, "signal", "USR1"); got.stdout != "shop: SIGUSR1 sent\n" {
		t.Errorf("$TIDEOVER_APP: %+v", got)
	}
}

func TestHoldTakesOneApp(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.status.Apps = append(d.status.Apps, serving("celery:1"), serving("celery:2"))
	tideover(t, dir, "hold", "celery").want(t, 6, "", "tideover: celery is several apps: celery:1, celery:2\nhint: name one of them\n")
	if d.notes() != "" {
		t.Errorf("asked for %q", d.notes())
	}
}

func TestLogsOfSeveralAppsStandBelowOneAnother(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.status.Apps = append(d.status.Apps, serving("celery:1"))
	d.lines = []logs.Line{{App: "shop", Generation: 8, Text: "one"}, {App: "celery:1", Generation: 8, Stream: 1, Text: "two"}}
	raw, _ := onTerminal(t, dir, []string{"NO_COLOR=1"}, "logs")
	if raw != "shop.8     │ one\ncelery:1.8 ┆ two\n" {
		t.Errorf("%q", raw)
	}
	if got := tideover(t, dir, "logs"); got.stdout != "shop.8 | one\ncelery:1.8 : two\n" {
		t.Errorf("into a pipe: %q", got.stdout)
	}
}

func TestIntervalBehindASpace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args, names string
		every       time.Duration
	}{{"shop 5s", "shop", 5 * time.Second}, {"200ms", "", 200 * time.Millisecond}, {"shop", "shop", time.Second}, {"", "", time.Second}} {
		every := interval(time.Second)
		if names := every.takeFrom(strings.Fields(c.args)); strings.Join(names, " ") != c.names || time.Duration(every) != c.every {
			t.Errorf("%q: %q every %v", c.args, names, time.Duration(every))
		}
	}
}
