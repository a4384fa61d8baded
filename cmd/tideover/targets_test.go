package main

import (
	"strings"
	"testing"

	"tideover/supervisor/api"
	"tideover/supervisor/control"
	"tideover/supervisor/logs"
)

func TestUnknownNamesStopEverything(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	tideover(t, dir, "reload", "shop", "shpo").want(t, 6, "", "tideover: there is no app named \"shpo\"\nhint: did you mean shop?\nexit 6 (no such app)\n")
	if d.notes() != "" {
		t.Errorf("asked for %q although a name was wrong", d.notes())
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
	tideover(t, dir, "reload").want(t, 6, "", "tideover: 2 daemons run: shop (pid 4710); blog (pid 0)\nhint: name one of shop, blog\nexit 6 (no such app)\n")
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

func TestNoDaemon(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	for _, verb := range []string{"status", "reload", "logs", "hold", "release", "shutdown", "stop"} {
		got := tideover(t, dir, verb)
		got.want(t, 3, "", "tideover: no daemon runs (looked in "+dir+")\nhint: start one: tideover run -- gunicorn app:app\nexit 3 (not running)\n")
		if document := oneDocument(t, tideover(t, dir, verb, "--json").stdout); document["exit"] != 3.0 {
			t.Errorf("%s --json: %v", verb, document)
		}
	}
	got := tideover(t, dir, "-S", socketIn(dir, "x.sock"), "status")
	got.want(t, 3, "", "tideover: no daemon on "+socketIn(dir, "x.sock")+"\nhint: start one: tideover run -- gunicorn app:app\nexit 3 (not running)\n")
}
