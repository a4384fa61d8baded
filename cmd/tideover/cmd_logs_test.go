package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"tideover/supervisor/logs"
)

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

func TestLogsOnATerminal(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.lines = []logs.Line{{App: "shop", Generation: 8, Text: "\x1b[1mbold\x1b[0m \x1b[2J\x07"}, {App: "shop", Text: "plain"}}
	raw, _ := onTerminal(t, dir, nil, "logs")
	if !strings.Contains(raw, "\x1b[1mbold\x1b[0m \\x1b[2J\\x07\x1b[0m\n") {
		t.Errorf("%q", raw)
	}
	first, second, _ := strings.Cut(raw, "\n")
	if color := regexp.MustCompile(`^\x1b\[[0-9;]+m`); color.FindString(first) == "" || color.FindString(first) != color.FindString(second) {
		t.Errorf("an app's colour must be one and the same: %q", raw)
	}
}
