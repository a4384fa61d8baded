package metrics

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the dashboard and the list of series anew")

const (
	exampleDir = "../../examples/prometheus/"
	dashboard  = exampleDir + "dashboard.json"
	list       = exampleDir + "README.md"
)

type object = map[string]any

// dashboardText is the dashboard of Grafana: a panel for each family that has one.
func dashboardText(t *testing.T) string {
	t.Helper()
	source := object{"type": "prometheus", "uid": "${source}"}
	var panels []object
	for _, f := range families {
		p := f.panel
		if p.query == "" {
			continue
		}
		n := len(panels)
		panels = append(panels, object{
			"id": n + 1, "type": "timeseries", "title": p.title, "description": f.help, "datasource": source,
			"gridPos":     object{"h": 8, "w": 8, "x": 8 * (n % 3), "y": 8 * (n / 3)},
			"fieldConfig": object{"defaults": object{"unit": p.unit, "min": 0}, "overrides": []any{}},
			"targets":     []object{{"refId": "A", "datasource": source, "expr": p.query, "legendFormat": p.names}},
		})
	}
	text, err := json.MarshalIndent(object{
		"title": "tideover", "uid": "tideover", "schemaVersion": 39, "tags": []string{"tideover"}, "refresh": "30s", "editable": true,
		"time": object{"from": "now-1h", "to": "now"}, "panels": panels,
		"templating": object{"list": []object{
			{"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
			{"name": "app", "type": "query", "datasource": source, "query": "label_values(tideover_app_state, app)", "includeAll": true, "multi": true,
				"allValue": ".*", "refresh": 2, "current": object{"text": "All", "value": "$__all"}},
		}},
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

// listText is the page of the example, with a table of all families.
func listText() string {
	var b strings.Builder
	b.WriteString(`# Prometheus and Grafana

` + "`[daemon] admin = \"127.0.0.1:9464\"`" + ` makes tideover answer ` + "`GET /metrics`" + ` there. ` + "`prometheus.yml`" + ` scrapes it, ` + "`alerts.yml`" + ` has alerts (` + "`promtool test rules alerts_test.yml`" + ` tries
them), ` + "`dashboard.json`" + ` is imported into Grafana. Without Prometheus: ` + "`curl --unix-socket /run/tideover/control.sock http://t/metrics`" + `.

Counters of requests and durations go on over reloads, restarts, crashes and upgrades of tideover. Each request is counted once, when it has ended; those under way are ` + "`tideover_app_in_flight`" + ` and
` + "`tideover_app_held`" + `. The endings are those of ` + "`tideover status --json`" + `; all but ` + "`answered`" + ` and ` + "`client_left`" + ` are tideover's own doing. ` + "`in_flight / capacity`" + ` is how busy the workers are.

This page and the dashboard are made of the table in supervisor/metrics: ` + "`go test ./supervisor/metrics -update`" + `.

| series | type | labels | |
|---|---|---|---|
`)
	for _, f := range families {
		b.WriteString("| `" + f.name + "` | " + string(f.kind) + " | " + strings.Join(f.labels, ", ") + " | " + f.help + " |\n")
	}
	return b.String()
}

func TestTheExampleHasWhatTheTableHas(t *testing.T) {
	for path, want := range map[string]string{dashboard: dashboardText(t), list: listText()} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != want {
			t.Errorf("%s is not what the table says (%v): go test ./supervisor/metrics -update", path, err)
		}
	}
}

// seriesName finds names of series in a query.
var seriesName = regexp.MustCompile(`\btideover_[a-z_]+`)

func TestQueriesNameSeriesOfTheTable(t *testing.T) {
	alerts, err := os.ReadFile(exampleDir + "alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	queries := string(alerts)
	for _, f := range families {
		queries += f.panel.query + "\n"
	}
	for _, name := range seriesName.FindAllString(queries, -1) {
		if !slices.ContainsFunc(families, func(f *family) bool {
			base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
			return f.name == name || f.name == base && (f.kind == histogram || f.kind == summary)
		}) {
			t.Errorf("no series %s", name)
		}
	}
}

func TestPromtoolAcceptsTheAlerts(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("no promtool: the row in scripts/e2e has one")
		return
	}
	for _, args := range [][]string{{"check", "config", exampleDir + "prometheus.yml"}, {"test", "rules", exampleDir + "alerts_test.yml"}} {
		if output, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, output)
		}
	}
}
