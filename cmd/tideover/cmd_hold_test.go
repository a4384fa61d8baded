package main

import (
	"os"
	"strings"
	"testing"

	"tideover/supervisor/api"
)

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

func TestHoldTakesOneApp(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.status.Apps = append(d.status.Apps, serving("celery:1"), serving("celery:2"))
	tideover(t, dir, "hold", "celery").want(t, 6, "", "tideover: celery is several apps: celery:1, celery:2\nhint: name one of them\nexit 6 (no such app)\n")
	if d.notes() != "" {
		t.Errorf("asked for %q", d.notes())
	}
}
