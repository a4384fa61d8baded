package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tideover/supervisor/api"
)

const nothing = "-"

// table is a line for each app, and one for each that needs somebody to look.
func table(s screen, apps []api.AppStatus) string {
	if len(apps) == 0 {
		return "no apps\n"
	}
	g := &grid{columns: []column{{head: "APP"}, {head: "STATE"}, {head: "GEN", right: true, matters: 3}, {head: "PID", right: true, matters: 2},
		{head: "UPTIME", right: true, matters: 4}}}
	web := slices.ContainsFunc(apps, isWeb)
	if web {
		g.columns = append(g.columns, column{head: "IN-FLIGHT", right: true, matters: 5}, column{head: "HELD", right: true, matters: 6})
	}
	crashed := slices.ContainsFunc(apps, func(a api.AppStatus) bool { return a.Restarts > 0 })
	if crashed {
		g.columns = append(g.columns, column{head: "CRASHES", right: true, matters: 4})
	}
	g.columns = append(g.columns, column{head: "LAST RELOAD", matters: 1})
	for _, a := range apps {
		row := plain(a.Name, string(a.State), orNothing(a.Generation), orNothing(a.Pid), uptime(a))
		row[1].color = stateColor(a.State)
		if web {
			row = append(row, requestsNow(a)...)
		}
		if crashed {
			row = append(row, cell{text: strconv.Itoa(a.Restarts)})
		}
		g.add(append(row, cell{text: lastReload(a.LastReload)})...)
	}
	var b strings.Builder
	b.WriteString(g.text(s))
	for _, a := range apps {
		if what := trouble(a); what != "" {
			if !strings.Contains(what, a.Name) {
				what = a.Name + ": " + what
			}
			b.WriteString(s.paragraphs(s.paint(yellow, "!")+" ", "! ", what))
		}
	}
	return b.String()
}

func isWeb(a api.AppStatus) bool { return len(a.Listen) > 0 }

// requestsNow is how many requests an app has, and how many wait for it. A plain
// process has nothing to do with any.
func requestsNow(a api.AppStatus) []cell {
	if !isWeb(a) {
		return plain(nothing, nothing)
	}
	cells := plain(strconv.Itoa(a.InFlight), strconv.Itoa(a.Held))
	if a.Held > 0 {
		cells[1].color = yellow
	}
	return cells
}

// trouble is in a few words what somebody should look at; empty: nothing.
func trouble(a api.AppStatus) string {
	switch {
	case a.Reason != "" && a.Next > 0:
		return a.Reason + "; the next try is in " + human(span(a.Next))
	case a.Reason != "" && a.State != api.Stopped:
		return a.Reason
	case len(a.Warnings) == 0:
		return ""
	}
	what := plural(len(a.Warnings), "warning")
	if a.LastReload != nil && a.LastReload.Exit != api.ExitOK {
		what = "last reload failed"
	} else if len(a.Warnings) == 1 {
		what = "a warning"
	}
	return a.Name + ": " + what + "; tideover status " + a.Name + " says more"
}

func orNothing(n int) string {
	if n == 0 {
		return nothing
	}
	return strconv.Itoa(n)
}

func uptime(a api.AppStatus) string {
	if a.Uptime == 0 {
		return nothing
	}
	return human(span(a.Uptime))
}

func stateColor(s api.State) color {
	switch s {
	case api.Running:
		return green
	case api.Failed, api.Backoff:
		return red
	case api.Stopped:
		return faint
	}
	return yellow
}

func lastReload(r *api.Result) string {
	if r == nil {
		return nothing
	}
	return r.Result + " in " + human(span(r.Duration))
}

// longForm is everything about one app.
func longForm(s screen, a api.AppStatus) string {
	var b strings.Builder
	head := string(a.State)
	if a.Generation > 0 {
		head += fmt.Sprintf(", generation %d for %s", a.Generation, uptime(a))
	}
	fmt.Fprintf(&b, "%s: %s\n", s.paint(bold, a.Name), s.paint(stateColor(a.State), head))
	line := func(what, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if lead := fmt.Sprintf("  %-11s ", what); s.terminal && what != "command" {
			b.WriteString(s.paragraphs(lead, lead, text))
		} else {
			b.WriteString(lead + text + "\n")
		}
	}
	if a.Reason != "" {
		line("because", "%s", a.Reason)
	}
	if a.Next > 0 {
		line("next try", "in %s", human(span(a.Next)))
	}
	if a.Says != "" {
		line("says", "%s", shown(a.Says))
	}
	line("command", "%s%s", typed(a.Command), asUser(a.User))
	line("directory", "%s", a.Directory)
	if len(a.Labels) > 0 {
		line("labels", "%s", list(a.Labels))
	}
	if a.Pid > 0 {
		tree := "" // of one that starts nobody has counted
		if a.Processes > 0 {
			tree = plural(a.Processes, "process") + ", " + size(a.Memory) + ", "
		}
		line("process", "pid %d, %s%s", a.Pid, tree, plural(a.Restarts, "crash"))
	}
	line("ready", "%s", a.Ready)
	if isWeb(a) {
		line("listens", "%s", list(a.Listen))
		traffic(line, a)
	}
	if r := a.LastReload; r != nil {
		clients := ""
		if isWeb(a) {
			clients = ", " + requests(r.Requests)
		}
		line("last reload", "%s, generation %d -> %d%s", lastReload(r), r.Generation.From, r.Generation.To, clients)
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

func traffic(line func(what, format string, args ...any), a api.AppStatus) {
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
