package metrics

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"tideover/proxy"
	"tideover/proxy/remote"
	"tideover/supervisor/api"
)

// full is a snapshot in which everything has a value.
func full() Snapshot {
	buckets := make([]uint64, len(proxy.Buckets())+1)
	for i := range buckets {
		buckets[i] = uint64(i)
	}
	h := remote.Histogram{Buckets: buckets, Sum: 90 * time.Second}
	app := App{Name: "shop", State: api.Running, Generation: 12, Revision: "1a2b3c", Directory: "/srv/shop/releases/7\xff", Ready: time.Unix(1_800_000_000, 0),
		Capacity: 4, InFlight: 6, Tunnels: 1, Draining: 1, Processes: 5, Memory: 1 << 28, CPU: time.Minute, MemoryMax: 1 << 30, Starts: 12, StartsFailed: 1, Crashes: 2,
		LastReload: &api.Result{Exit: api.ExitKeptOld, Ended: time.Unix(1_800_000_100, 0)},
		Operations: []Operation{{api.Reload, "ok", 9}, {api.Reload, "kept old", 1}}, Phases: []Phase{{api.Reload, "ready", 9, time.Second}},
		LinesDropped: 3, Web: true, Connections: 7, Sending: 1, Held: 2, HeldOldest: time.Second, HoldLimit: 1000, Holds: 1,
		Requests: remote.Metrics{Endings: []proxy.EndingCount{{Ending: "answered", Status: 200, Requests: 100}, {Ending: "client_left", Requests: 1}}, Client: h, App: h, Hold: h},
		Counters: remote.Counters{Resent: 1, Streamed: 2, Blocked: 3, Evicted: 4, Connections: 5, Tunnels: 6}}
	return Snapshot{Version: "1.0", Began: time.Unix(1_800_000_000, 0), ConfigChanged: true, Connections: 7, ConnectionLimit: 1000,
		Processes: []Process{{"supervisor", os.Getpid()}, {"relay", 1 << 30}}, Apps: []App{app, {Name: "celery", State: api.Stopped}}}
}

func text(t *testing.T, s Snapshot) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEverySeriesOfTheTableIsWrittenWithItsTypeAndHelp(t *testing.T) {
	written := text(t, full())
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(written))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		got := parsed[f.name]
		if got == nil {
			t.Errorf("%s is not written", f.name)
			continue
		}
		if kind := strings.ToLower(got.GetType().String()); kind != string(f.kind) || got.GetHelp() == "" {
			t.Errorf("%s: type %s, want %s; help %q", f.name, kind, f.kind, got.GetHelp())
		}
	}
	for _, line := range []string{
		`tideover_app_requests_total{app="shop",code="200",ending="answered"} 100`,
		`tideover_app_requests_total{app="shop",code="",ending="client_left"} 1`,
		`tideover_app_waiting{app="shop"} 2`,
		`tideover_app_request_duration_seconds_bucket{app="shop",le="0.005"} 0`,
		`tideover_app_request_duration_seconds_bucket{app="shop",le="60"} 120`,
		`tideover_app_request_duration_seconds_bucket{app="shop",le="+Inf"} 136`,
		`tideover_app_request_duration_seconds_sum{app="shop"} 90`,
		`tideover_app_operations_total{app="shop",result="kept_old",verb="reload"} 1`,
		`tideover_app_last_reload_success{app="shop"} 0`,
		`tideover_app_state{app="celery",state="stopped"} 1`,
	} {
		if !slices.Contains(strings.Split(written, "\n"), line) {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(written, `tideover_app_held{app="celery"}`) || strings.Contains(written, `process="relay"`) {
		t.Error("a plain process has requests, or a process that does not exist has numbers")
	}
}

// The same names come in every scrape, also of an app that has had no request.
func TestAnAppWithoutRequestsCanBeWritten(t *testing.T) {
	written := text(t, Snapshot{Apps: []App{{Name: "shop", Web: true, State: api.Starting}}})
	if !strings.Contains(written, `tideover_app_request_duration_seconds_count{app="shop"} 0`) {
		t.Error(written)
	}
}

func TestPromtoolFindsNothing(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		lintNames(t)
		return
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text(t, full()))
	if output, err := cmd.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("%v\n%s", err, output)
	}
}

// lintNames checks the rules of promtool that concern names, where there is no promtool.
func lintNames(t *testing.T) {
	for _, f := range families {
		if total := strings.HasSuffix(f.name, "_total"); total != (f.kind == counter) {
			t.Errorf("%s is a %s", f.name, f.kind)
		}
		if strings.HasSuffix(f.name, "_info") && f.kind != gauge || strings.Contains(f.name, "__") || strings.ToLower(f.name) != f.name {
			t.Errorf("%s: name", f.name)
		}
	}
}
