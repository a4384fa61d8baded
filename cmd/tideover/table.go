package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"tideover/supervisor"
)

const nothing = "-"

// table is a line for each app.
func table(s screen, apps []supervisor.AppStatus) string {
	rows := [][]string{{"APP", "STATE", "GEN", "PID", "UPTIME", "IN-FLIGHT", "HELD", "LAST RELOAD"}}
	for _, a := range apps {
		rows = append(rows, []string{a.Name, string(a.State), orNothing(a.Generation), orNothing(a.Pid), uptime(a),
			strconv.Itoa(a.InFlight), strconv.Itoa(a.Held), lastReload(a.LastReload)})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			padded := cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if numeric := i >= 2 && i <= 6; numeric {
				padded = strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + cell
			}
			if n > 0 && i == 1 {
				padded = s.paint(stateColor(apps[n-1].State), padded)
			}
			line.WriteString(padded + "  ")
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	for _, a := range apps {
		if len(a.Warnings) > 0 {
			fmt.Fprintf(&b, "%s %s: %s; tideover status %[2]s says more\n", s.paint(yellow, "!"), a.Name, trouble(a))
		}
	}
	return b.String()
}

// trouble is an app's warnings in a few words.
func trouble(a supervisor.AppStatus) string {
	switch {
	case a.LastReload != nil && a.LastReload.Exit != supervisor.ExitOK:
		return "last reload failed"
	case len(a.Warnings) == 1:
		return "a warning"
	}
	return plural(len(a.Warnings), "warning")
}

func orNothing(n int) string {
	if n == 0 {
		return nothing
	}
	return strconv.Itoa(n)
}

func uptime(a supervisor.AppStatus) string {
	if a.Uptime == 0 {
		return nothing
	}
	return human(span(a.Uptime))
}

func stateColor(s supervisor.State) color {
	switch s {
	case supervisor.Running:
		return green
	case supervisor.Failed, supervisor.Backoff:
		return red
	case supervisor.Stopped:
		return faint
	}
	return yellow
}

func lastReload(r *supervisor.Result) string {
	if r == nil {
		return nothing
	}
	return r.Result + " in " + human(span(r.Duration))
}

// longForm is everything about one app.
func longForm(s screen, a supervisor.AppStatus) string {
	var b strings.Builder
	head := string(a.State)
	if a.Generation > 0 {
		head += fmt.Sprintf(", generation %d for %s", a.Generation, uptime(a))
	}
	fmt.Fprintf(&b, "%s: %s\n", s.paint(bold, a.Name), s.paint(stateColor(a.State), head))
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s %s\n", what, fmt.Sprintf(format, args...))
	}
	if a.Reason != "" {
		line("because", "%s", a.Reason)
	}
	if a.Next > 0 {
		line("next try", "in %s", human(span(a.Next)))
	}
	line("command", "%s%s", typed(a.Command), asUser(a.User))
	line("directory", "%s", a.Directory)
	if a.Pid > 0 {
		line("process", "pid %d, %s, %s, %s", a.Pid, plural(a.Processes, "process"), size(a.Memory), plural(a.Restarts, "crash"))
	}
	line("ready", "%s", a.Ready)
	if len(a.Listen) > 0 {
		line("listens", "%s", strings.Join(a.Listen, ", "))
		traffic(line, a)
	}
	if r := a.LastReload; r != nil {
		line("last reload", "%s, generation %d -> %d, %s", lastReload(r), r.Generation.From, r.Generation.To, requests(r.Requests))
	}
	for _, w := range a.Warnings {
		b.WriteString(s.paragraphs("  "+s.paint(yellow, "!")+" ", "  ! ", w))
	}
	return b.String()
}

// typed is a command as one would type it.
func typed(command []string) string {
	words := make([]string, len(command))
	for i, word := range command {
		if words[i] = word; word == "" || strings.ContainsAny(word, " \t\n'\"\\$&|;<>()*?#~`!{}[]") {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

func asUser(name string) string {
	if name == "" {
		return ""
	}
	return "   as " + name
}

func traffic(line func(what, format string, args ...any), a supervisor.AppStatus) {
	line("requests", "%d in flight, %s", a.InFlight, plural(a.Tunnels, "tunnel"))
	waiting := ""
	if a.Held > 0 {
		waiting = ", the oldest for " + human(span(a.HeldOldest))
	}
	line("held", "%d%s (at most %d, for %s)", a.Held, waiting, a.HoldLimit, human(span(a.HoldFor)))
	for _, h := range a.Holds {
		line("", "held by %s", h)
	}
	c := a.Counters
	line("so far", "%d requests, %d answered, %d held, %d resent", c.Requests, c.Answered, c.Held, c.Resent)
	line("", "%d expired, %d overflowed, %d refused, %d client left", c.Expired, c.Overflowed, c.Refused, c.ClientLeft)
	line("", "%d bad request, %d bad gateway, %d timed out, %d cut", c.BadRequest, c.BadGateway, c.TimedOut, c.Cut)
}
