package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/control"
	"tideover/supervisor/logs"
)

// want checks an outcome: exit code, and words that must be there.
func (o outcome) want(t *testing.T, exit api.Exit, stdout, stderr string) {
	t.Helper()
	if o.exit != int(exit) {
		t.Errorf("exit %d, want %d", o.exit, exit)
	}
	if o.stdout != stdout {
		t.Errorf("stdout:\n%s\nwant:\n%s", o.stdout, stdout)
	}
	if o.stderr != stderr {
		t.Errorf("stderr:\n%s\nwant:\n%s", o.stderr, stderr)
	}
}

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
	tideover(t, dir, "reload", "shop").want(t, 7, "", `tideover: generation 8 of shop did not come up: it ended with exit status 3;
  generation 7 still serves

  Last answer to the readiness probe:
    | HTTP/1.1 500 Internal Server Error
    | 
    | {"db": "gone"}

  Last lines of generation 8:
    | Traceback (most recent call last):
    | ModuleNotFoundError: No module named 'shop.wsgi'

  the release was changed in place
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

// oneDocument checks that text is exactly one JSON object.
func oneDocument(t *testing.T, text string) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	var document map[string]any
	if err := decoder.Decode(&document); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	if decoder.More() {
		t.Errorf("something follows the document: %q", text)
	}
	return document
}

func TestUnknownNamesStopEverything(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	tideover(t, dir, "reload", "shop", "shpo").want(t, 6, "", "tideover: there is no app named \"shpo\"\nhint: did you mean shop?\n")
	if d.notes() != "" {
		t.Errorf("asked for %q although a name was wrong", d.notes())
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
		"tideover: stopped waiting; the stop of shop goes on\nhint: tideover status shop shows how it goes\n")
	got := tideover(t, dir, "stop", "--timeout", "50ms", "--json")
	if document := oneDocument(t, got.stdout); document["exit"] != 10.0 {
		t.Errorf("document: %s", got.stdout)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	result := okResult()
	d.status.Apps[0].LastReload = &result
	d.status.Apps = append(d.status.Apps, api.AppStatus{Name: "blog", State: api.Backoff, Listen: []string{":8001"}, Held: 41,
		Warnings: []string{"generation 7 serves as long as its workers live;\nso repair it"}})
	failed := keptOld()
	d.status.Apps = append(d.status.Apps, api.AppStatus{Name: "wiki", State: api.Running, Warnings: []string{"one", "two"}, LastReload: &failed},
		api.AppStatus{Name: "celery:1", State: api.Backoff, Restarts: 3, Reason: "it ended with exit status 1", Next: 4})
	tideover(t, dir, "ls").want(t, 0, `APP       STATE    GEN    PID      UPTIME  IN-FLIGHT  HELD  CRASHES  LAST RELOAD
shop      running    8  48213  4 min 12 s          9     0        0  ok in 7.8 s
blog      backoff    -      -           -          0    41        0  -
wiki      running    -      -           -          -     -        0  kept old in 7.8 s
celery:1  backoff    -      -           -          -     -        3  -
! blog: a warning; tideover status blog says more
! wiki: last reload failed; tideover status wiki says more
! celery:1: it ended with exit status 1; the next try is in 4 s
`, "")
}

func TestStatusOfOneApp(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	result := okResult()
	d.status.Apps[0].LastReload = &result
	d.status.Apps[0].Warnings = []string{"generation 7 serves as long as its workers live, and a worker that restarts would load the broken code:\nrepair it"}
	d.status.Apps[0].Held, d.status.Apps[0].HeldOldest, d.status.Apps[0].Holds = 3, 1.5, []string{"operator (cli uid 0)"}
	tideover(t, dir, "status", "shop").want(t, 0, `shop: running, generation 8 for 4 min 12 s
  command     venv/bin/gunicorn shop.wsgi
  directory   /srv/shop
  process     pid 48213, 5 processes, 412 MB, 0 crashes
  ready       GET / -> <500
  listens     127.0.0.1:8000
  requests    9 in flight, 0 tunnels
  held        3, the oldest for 1.5 s (at most 1000, for 30 s)
              held by operator (cli uid 0)
  so far      0 requests, 0 answered, 0 held, 0 resent
              0 expired, 0 overflowed, 0 refused, 0 client left
              0 bad request, 0 bad gateway, 0 timed out, 0 cut
  last reload ok in 7.8 s, generation 7 -> 8, held 17 (longest 6 ms) · lost 0
  ! generation 7 serves as long as its workers live, and a worker that restarts
    would load the broken code:
    repair it
`, "")
}

func TestStatusKeysAreFixed(t *testing.T) {
	t.Parallel()
	_, dir := shopDaemon(t)
	document := oneDocument(t, tideover(t, dir, "status", "--json").stdout)
	app := document["apps"].([]any)[0].(map[string]any)
	for _, key := range []string{"name", "state", "generation", "pid", "uptime_s", "listen", "in_flight", "held", "last_reload", "counters"} {
		if _, ok := app[key]; !ok {
			t.Errorf("no key %q", key)
		}
	}
	counters := app["counters"].(map[string]any)
	for _, key := range []string{"requests", "answered", "held", "expired", "overflowed", "client_left", "resent", "cut", "bad_request", "bad_gateway"} {
		if _, ok := counters[key]; !ok {
			t.Errorf("no counter %q", key)
		}
	}
}

func TestAppsOfSeveralDaemons(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.results["shop"] = okResult()
	other := &fakeDaemon{status: api.Status{Apps: []api.AppStatus{serving("blog")}},
		results: map[string]api.Result{"blog": okResult()},
		lines:   []logs.Line{{App: "blog", Generation: 3, Text: "hello"}}}
	other.serve(t, control.SocketPath(dir, "blog"))

	if got := tideover(t, dir, "status"); !strings.Contains(got.stdout, "shop") || !strings.Contains(got.stdout, "blog") {
		t.Errorf("status: %s", got.stdout)
	}
	if got := tideover(t, dir, "reload", "blog", "-q"); got.exit != 0 || other.notes() != "reload blog" {
		t.Errorf("reload: exit %d, asked %q", got.exit, other.notes())
	}
	tideover(t, dir, "reload").want(t, 6, "", "tideover: 2 daemons run: shop (pid 4710); blog (pid 0)\nhint: name one of shop, blog\n")
	asked := other.notes()
	if got := tideover(t, dir, "reload", "--all"); got.exit != 6 || !strings.Contains(got.stderr, "--socket "+control.SocketPath(dir, "blog")) {
		t.Errorf("--all of two: exit %d, %s", got.exit, got.stderr)
	}
	if d.notes() != "" || other.notes() != asked {
		t.Errorf("what was not named was asked: %q, %q", d.notes(), other.notes())
	}
	if got := tideover(t, dir, "reload", "-q", "--all", "-c", socketIn(dir, "tideover.toml")); got.exit != 0 || d.notes() != "reload shop" {
		t.Errorf("--all of a configuration's: exit %d, asked %q, %s", got.exit, d.notes(), got.stderr)
	}
	if got := tideoverWith(t, dir, []string{"TIDEOVER_APP=blog"}, "reload"); got.exit != 0 {
		t.Errorf("TIDEOVER_APP: exit %d, %s", got.exit, got.stderr)
	}
	tideover(t, dir, "logs").want(t, 0, "blog.3 | hello\n", "")
	if got := tideover(t, dir, "shutdown"); got.exit != 6 || !strings.Contains(got.stderr, control.SocketPath(dir, "blog")) {
		t.Errorf("shutdown of two: exit %d, %s", got.exit, got.stderr)
	}
	if got := tideover(t, dir, "__complete", "reload", ""); !strings.HasPrefix(got.stdout, "shop\nblog\n") {
		t.Errorf("completion: %s", got.stdout)
	}
}

func TestHoldAndRelease(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.begun = api.HoldReport{Drained: true, Waited: 0.4, For: 20}
	d.ended = api.HoldReport{Held: 3.1, Requests: api.RequestCounts{Held: 88, HeldMax: 3.1}}
	tideover(t, dir, "pause", "shop", "--for", "20s").want(t, 0, "shop: holding for 20 s; nothing is in flight after 400 ms\n", "")
	tideover(t, dir, "resume").want(t, 0, "shop: released after 3.1 s · held 88 (longest 3.1 s) · lost 0\n", "")
	if d.notes() != "hold shop 20s\nrelease shop" {
		t.Errorf("asked for\n%s", d.notes())
	}
}

func TestHoldWhileACommandRuns(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.begun = api.HoldReport{Drained: true, For: 30}
	d.ended = api.HoldReport{Held: 3.1}
	got := tideover(t, dir, "hold", "shop", "--", "sh", "-c", "echo migrated; echo warning >&2; exit 3")
	got.want(t, 3, "migrated\n", `shop: holding; nothing is in flight after 0 ms
warning
shop: released after 3.1 s · held 0 · lost 0
`)
	if d.notes() != "hold shop 0s\nhold ended" {
		t.Errorf("asked for\n%s", d.notes())
	}
	if got := tideover(t, dir, "hold", "--json", "--", "sh", "-c", "echo migrated"); got.exit != 0 {
		t.Errorf("exit %d", got.exit)
	} else if document := oneDocument(t, got.stdout); document["held_for_s"] != 3.1 {
		t.Errorf("document %s", got.stdout)
	}
	for command, exit := range map[string]int{"kill -TERM $$": 128 + 15, "exit 0": 0} {
		if got := tideover(t, dir, "hold", "-q", "--", "sh", "-c", command); got.exit != exit {
			t.Errorf("%s: exit %d, want %d", command, got.exit, exit)
		}
	}
	if got := tideover(t, dir, "hold", "--", "/no/such/command"); got.exit != 127 || !strings.HasSuffix(d.notes(), "hold ended") {
		t.Errorf("a command that is not there: exit %d, asked\n%s", got.exit, d.notes())
	}
}

func TestCommandIsNotRunBeforeAllHasFinished(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.begun = api.HoldReport{InFlight: 2, For: 30}
	proof := socketIn(dir, "ran")
	got := tideover(t, dir, "hold", "--", "touch", proof)
	if got.exit != 10 || !strings.Contains(got.stderr, "2 requests of shop still in flight, so the command was not run") {
		t.Errorf("exit %d, %s", got.exit, got.stderr)
	}
	if _, err := os.Stat(proof); err == nil {
		t.Error("the command ran")
	}
}

func TestCommandOutlivesItsLease(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.begun = api.HoldReport{Drained: true, For: 0.05}
	d.ended = api.HoldReport{Held: 0.05, Expired: true}
	got := tideover(t, dir, "hold", "--", "sleep", "0.3")
	if got.exit != 0 || !strings.Contains(got.stderr, "the hold ended by itself after 50 ms; the command goes on") {
		t.Errorf("exit %d, %s", got.exit, got.stderr)
	}
}

func TestSignal(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	tideover(t, dir, "signal", "shop", "ttin").want(t, 0, "shop: SIGTTIN sent\n", "")
	tideover(t, dir, "signal", "SIGUSR1").want(t, 0, "shop: SIGUSR1 sent\n", "")
	tideover(t, dir, "signal", "shop", "KILL").want(t, 0, "shop: SIGKILL sent; it is started again, unless its restart key forbids that\n", "")
	tideover(t, dir, "signal", "22").want(t, 0, "shop: SIGTTOU sent\n", "")
	tideover(t, dir, "signal", "shop", "SIGNOPE").want(t, 2, "", "tideover: \"SIGNOPE\" is no signal\nhint: say it like TTIN, HUP or USR1\n")
	if lines := strings.Split(d.notes(), "\n"); len(lines) != 4 {
		t.Errorf("asked for\n%s", d.notes())
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.lines = []logs.Line{{Time: time.Unix(0, 0), App: "shop", Generation: 8, Text: "GET / 200"}, {App: "shop", Generation: 8, Stream: 1, Text: "oh\x1b]0;dear\x07"}}
	tideover(t, dir, "logs", "shop").want(t, 0, "shop.8 | GET / 200\nshop.8 : oh\x1b]0;dear\x07\n", "")
	document := oneDocument(t, tideover(t, dir, "logs", "--json").stdout)
	if lines, ok := document["lines"].([]any); !ok || len(lines) != 2 {
		t.Errorf("document: %v", document)
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	tideover(t, dir, "shutdown").want(t, 0, "everything is stopped\n", "")
	if d.notes() != "shutdown" {
		t.Errorf("asked for %q", d.notes())
	}
	d.stop()
}

func TestNoDaemon(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	for _, verb := range []string{"status", "reload", "logs", "hold", "release", "shutdown", "stop"} {
		got := tideover(t, dir, verb)
		got.want(t, 3, "", "tideover: no daemon runs (looked in "+dir+")\nhint: start one: tideover run -- gunicorn app:app\n")
		if document := oneDocument(t, tideover(t, dir, verb, "--json").stdout); document["exit"] != 3.0 {
			t.Errorf("%s --json: %v", verb, document)
		}
	}
	got := tideover(t, dir, "-S", socketIn(dir, "x.sock"), "status")
	got.want(t, 3, "", "tideover: no daemon on "+socketIn(dir, "x.sock")+"\nhint: start one: tideover run -- gunicorn app:app\n")
}
