package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

// jsonLine is a record as one line of JSON.
func jsonLine(r api.Record) string {
	var line strings.Builder
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false) // as in documents
	_ = encoder.Encode(r)        // a Record has no value that cannot be encoded
	return line.String()
}

// recordLine is a record for people: when, which app, what, and why.
func recordLine(s term.Screen, r api.Record) string {
	color, what := describeRecord(r)
	head := r.Time.Local().Format("2006-01-02 15:04:05") + "  " + cmp.Or(r.App, "tideover") + "  "
	text := strings.Join(what, " · ")
	if s.Terminal {
		text = term.Sanitize(text)
	}
	return s.Paint(term.Faint, head) + s.Paint(color, text) + "\n"
}

// describeRecord is what a record says, in parts.
func describeRecord(r api.Record) (color term.Color, parts []string) {
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch r.Kind {
	case api.OperationBegun:
		add("%s begun", r.Verb)
	case api.OperationEnded:
		if color = term.Green; r.Exit != nil && *r.Exit != api.ExitOK {
			color = term.Red
		}
		add("%s %s in %s", r.Verb, r.Result, humanSeconds(r.Duration))
	case api.DrainEnded:
		add("%s: old generation gone after %s", r.Verb, humanSeconds(r.Duration))
	case api.AppStarted:
		if color = term.Green; r.Result != "ok" {
			color = term.Red
		}
		add("start %s (%s)", r.Result, r.Cause)
	case api.AppCrashed:
		color = term.Red
		add("crash after %s: %s", humanSeconds(r.Duration), r.Cause)
	case api.AppDown:
		color = term.Red
		add("left down: %s", r.Cause)
	case api.HoldBegun:
		color = term.Yellow
		add("hold for %s", humanSeconds(r.For))
	case api.HoldEnded:
		how := "released"
		if r.Expired {
			how = "hold expired"
		}
		add("%s after %s", how, humanSeconds(r.Duration))
	case api.ConfigApplied:
		add("configuration %s", cmp.Or(r.Result, "applied"))
		for _, c := range r.Changes {
			add("%s %s%s", c.App, c.Change, settingNames(c.Settings))
		}
		if len(r.Settings) > 0 {
			add("daemon%s", settingNames(r.Settings))
		}
	case api.DaemonChanged:
		add("tideover %s %s, pid %d", r.Version, r.Result, r.Pid)
	case api.RecordsLost:
		color = term.Yellow
		add("%s not recorded: %s", term.Plural(int(r.Count), "record"), r.Cause)
	default:
		add("%s", r.Kind) // of a newer daemon
	}
	if g := r.Generation; g != (api.GenerationPair{}) {
		add("generation %s", change(orDash(g.From), orDash(g.To)))
	}
	if v := r.Revision; v != (api.RevisionPair{}) {
		add("revision %s", change(cmp.Or(v.From, dash), cmp.Or(v.To, dash)))
	}
	if r.Requests != nil && r.Kind != api.OperationBegun {
		add("%s", describeRequests(*r.Requests))
	}
	if r.Cause != "" && (r.Kind == api.OperationBegun || r.Kind == api.OperationEnded) {
		add("because %s", r.Cause)
	}
	if r.Error != "" {
		add("%s", r.Error)
	}
	if r.By.Via != "" {
		add("by %s", r.By)
	}
	return color, parts
}

// change is "7 -> 8", or "8" where nothing has changed.
func change(from, to string) string {
	switch {
	case from == to, from == dash:
		return to
	case to == dash:
		return from
	}
	return from + " -> " + to
}

// settingNames are the keys of settings in parentheses.
func settingNames(settings []api.SettingChange) string {
	if len(settings) == 0 {
		return ""
	}
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.Key
	}
	return " (" + joinNames(names) + ")"
}
