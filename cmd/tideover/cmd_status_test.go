package main

import (
	"strings"
	"testing"

	"tideover/supervisor/api"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	result := okResult()
	d.status.Apps[0].LastReload = &result
	shop := &d.status.Apps[0]
	shop.Capacity, shop.CPUShare, shop.RequestsPerSecond, shop.FailingPerSecond = 16, 0.42, 213.4, 0.3
	d.status.ConfigChanged = "/etc/tideover/tideover.toml"
	d.status.Apps = append(d.status.Apps, api.AppStatus{Name: "blog", State: api.Backoff, Listen: []string{":8001"}, Held: 41,
		Warnings: []string{"generation 7 serves as long as its workers live;\nso repair it"}})
	failed := keptOld()
	d.status.Apps = append(d.status.Apps, api.AppStatus{Name: "wiki", State: api.Running, Warnings: []string{"one", "two"}, LastReload: &failed},
		api.AppStatus{Name: "celery:1", State: api.Backoff, Restarts: 3, Reason: "it ended with exit status 1", Next: 4})
	tideover(t, dir, "ls").want(t, 0, `APP       STATE    GEN    PID      UPTIME     MEM  CPU  REQ/S  5XX/S  IN-FLIGHT  HELD  CRASHES  LAST RELOAD
shop      running    8  48213  4 min 12 s  412 MB  42%    213    0.3       9/16     0        0  ok in 7.8 s
blog      backoff    -      -           -       -    -      0      0          0    41        0  -
wiki      running    -      -           -       -    -      -      -          -     -        0  kept old in 7.8 s
celery:1  backoff    -      -           -       -    -      -      -          -     -        3  -
! blog: a warning; tideover status blog says more
! wiki: last reload failed; tideover status wiki says more
! celery:1: it ended with exit status 1; the next try is in 4 s
! /etc/tideover/tideover.toml was changed after it was applied; tideover apply --dry-run shows the difference
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
  process     pid 48213, 5 processes, 412 MB, CPU 0%, 0 crashes
  ready       GET / -> <500
  listens     127.0.0.1:8000
  connections 12
  requests    9 in flight, 0 tunnels
  rate        0/s, 0/s with a status of 500 or above
  held        3, the oldest for 1.5 s (at most 1000, for 30 s)
              held by operator (cli uid 0)
  so far      0 requests, 0 answered, 0 held, 0 resent
              0 expired, 0 overflowed, 0 refused, 0 client left
              0 bad request, 0 bad gateway, 0 timed out, 0 cut
  last reload ok in 7.8 s, generation 7 -> 8, held 17 (longest 6 ms) · lost 0
  ! generation 7 serves as long as its workers live, and a worker that restarts would load the broken code:
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

func TestStatusOfAnotherUsersAppOnATerminal(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.status.Apps[0].Directory, d.status.Apps[0].Warnings = "/srv/\x1b]0;gotcha\x07", []string{"ring\x07"}
	raw, exit := onTerminal(t, dir, nil, "status", "shop")
	if exit != 0 || strings.ContainsAny(raw, "\x07") || !strings.Contains(raw, `/srv/\x1b]0;gotcha\x07`) || !strings.Contains(raw, `ring\x07`) {
		t.Errorf("exit %d, %q", exit, raw)
	}
}
