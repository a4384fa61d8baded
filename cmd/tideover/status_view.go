package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

// dash stands for a value that there is not.
const dash = "-"

// statusTable is a line for each app, and below a line for each app that needs
// attention.
func statusTable(s term.Screen, apps []api.AppStatus) string {
	if len(apps) == 0 {
		return "no apps\n"
	}
	t := &term.Table{Columns: []term.Column{
		{Head: "APP"},
		{Head: "STATE"},
		{Head: "GEN", Right: true, Priority: 3},
		{Head: "PID", Right: true, Priority: 2},
		{Head: "UPTIME", Right: true, Priority: 4},
	}}
	used := slices.ContainsFunc(apps, func(a api.AppStatus) bool { return a.Memory > 0 })
	if used {
		t.Columns = append(t.Columns, term.Column{Head: "MEM", Right: true, Priority: 2}, term.Column{Head: "CPU", Right: true, Priority: 2})
	}
	web := slices.ContainsFunc(apps, isWeb)
	if web && used {
		t.Columns = append(t.Columns, term.Column{Head: "REQ/S", Right: true, Priority: 3}, term.Column{Head: "5XX/S", Right: true, Priority: 3})
	}
	if web {
		t.Columns = append(t.Columns,
			term.Column{Head: "IN-FLIGHT", Right: true, Priority: 5},
			term.Column{Head: "HELD", Right: true, Priority: 6})
	}
	crashed := slices.ContainsFunc(apps, func(a api.AppStatus) bool { return a.Restarts > 0 })
	if crashed {
		t.Columns = append(t.Columns, term.Column{Head: "CRASHES", Right: true, Priority: 4})
	}
	revised := slices.ContainsFunc(apps, func(a api.AppStatus) bool { return a.Revision != "" })
	if revised {
		t.Columns = append(t.Columns, term.Column{Head: "REVISION", Priority: 2})
	}
	t.Columns = append(t.Columns, term.Column{Head: "LAST RELOAD", Priority: 1})
	for _, a := range apps {
		row := term.Cells(a.Name, string(a.State), orDash(a.Generation), orDash(a.Pid), uptime(a))
		row[1].Color = stateColor(a.State)
		if used {
			row = append(row, usageCells(a)...)
		}
		if web && used {
			row = append(row, rateCells(a)...)
		}
		if web {
			row = append(row, requestCells(a)...)
		}
		if crashed {
			row = append(row, term.Cell{Text: strconv.Itoa(a.Restarts)})
		}
		if revised {
			row = append(row, term.Cell{Text: cmp.Or(a.Revision, dash)})
		}
		t.Add(append(row, term.Cell{Text: lastReload(a.LastReload)})...)
	}
	var b strings.Builder
	b.WriteString(t.Text(s))
	for _, a := range apps {
		if what := attention(a); what != "" {
			if !strings.Contains(what, a.Name) {
				what = a.Name + ": " + what
			}
			b.WriteString(s.Paragraphs(s.Paint(term.Yellow, "!")+" ", "! ", what))
		}
	}
	return b.String()
}

// isWeb reports whether requests are relayed to the app, and counted.
func isWeb(a api.AppStatus) bool { return len(a.Listen) > 0 && a.Relay == "" }

// usageCells are the memory and the CPU time of the processes; dashes where they are not known.
func usageCells(a api.AppStatus) []term.Cell {
	if a.Memory == 0 {
		return term.Cells(dash, dash)
	}
	return term.Cells(term.Bytes(a.Memory), fmt.Sprintf("%.0f%%", 100*a.CPUShare))
}

// rateCells are the requests in a second, and those of them with a status of 500 or above.
func rateCells(a api.AppStatus) []term.Cell {
	if !isWeb(a) {
		return term.Cells(dash, dash)
	}
	cells := term.Cells(rate(a.RequestsPerSecond), rate(a.FailingPerSecond))
	if a.FailingPerSecond > 0 {
		cells[1].Color = term.Red
	}
	return cells
}

// rate shows a number of requests in a second.
func rate(n float64) string {
	if n == 0 || n >= 100 {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.1f", n)
}

// inFlight is the number of requests in flight, and of how many.
func inFlight(a api.AppStatus) string {
	if a.Capacity == 0 {
		return strconv.Itoa(a.InFlight)
	}
	return strconv.Itoa(a.InFlight) + "/" + strconv.Itoa(a.Capacity)
}

// requestCells are the counts of requests in flight and held; dashes where none is
// relayed.
func requestCells(a api.AppStatus) []term.Cell {
	if !isWeb(a) {
		return term.Cells(dash, dash)
	}
	cells := term.Cells(inFlight(a), strconv.Itoa(a.Held))
	if a.Held > 0 {
		cells[1].Color = term.Yellow
	}
	return cells
}

// attention is why an operator should look at an app; empty: no reason.
func attention(a api.AppStatus) string {
	switch {
	case a.Drained != nil && a.Reason == "":
		return a.Name + " is " + describeDrained(a.Drained)
	case a.Reason != "" && a.Next > 0:
		return a.Reason + "; the next try is in " + humanSeconds(a.Next)
	case a.Reason != "" && a.State != api.Stopped:
		return a.Reason
	case len(a.Warnings) == 0:
		return ""
	}
	what := term.Plural(len(a.Warnings), "warning")
	if a.LastReload != nil && a.LastReload.Exit != api.ExitOK {
		what = "last reload failed"
	} else if len(a.Warnings) == 1 {
		what = "a warning"
	}
	return a.Name + ": " + what + "; tideover status " + a.Name + " says more"
}

// describeDrained says since when, by which command and until when load balancers are told to send
// nothing.
func describeDrained(d *api.Drained) string {
	until := "until tideover undrain"
	if d.Left > 0 {
		until = "for another " + humanSeconds(d.Left)
	}
	return fmt.Sprintf("drained for %s, %s (%s)", humanSeconds(time.Since(d.Since).Seconds()), until, d.By)
}

func orDash(n int) string {
	if n == 0 {
		return dash
	}
	return strconv.Itoa(n)
}

func uptime(a api.AppStatus) string {
	if a.Uptime == 0 {
		return dash
	}
	return humanSeconds(a.Uptime)
}

func stateColor(s api.State) term.Color {
	switch s {
	case api.Running:
		return term.Green
	case api.Failed, api.Backoff:
		return term.Red
	case api.Stopped:
		return term.Faint
	}
	return term.Yellow
}

func lastReload(r *api.Result) string {
	if r == nil {
		return dash
	}
	return r.Result + " in " + humanSeconds(r.Duration)
}

// statusDetails is the long form of one app.
func statusDetails(s term.Screen, a api.AppStatus) string {
	var b strings.Builder
	head := string(a.State)
	if a.Generation > 0 {
		head += fmt.Sprintf(", generation %d for %s", a.Generation, uptime(a))
	}
	fmt.Fprintf(&b, "%s: %s\n", s.Paint(term.Bold, a.Name), s.Paint(stateColor(a.State), head))
	line := func(what, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if lead := fmt.Sprintf("  %-11s ", what); s.Terminal && what != "command" {
			b.WriteString(s.Paragraphs(lead, lead, text))
		} else {
			b.WriteString(lead + text + "\n")
		}
	}
	if a.Reason != "" {
		line("because", "%s", a.Reason)
	}
	if a.Next > 0 {
		line("next try", "in %s", humanSeconds(a.Next))
	}
	if a.Says != "" {
		line("says", "%s", term.Sanitize(a.Says))
	}
	line("command", "%s%s", shellQuoted(a.Command), asUser(a.User))
	line("directory", "%s", a.Directory)
	if a.Revision != "" {
		line("revision", "%s", a.Revision)
	}
	if len(a.Labels) > 0 {
		line("labels", "%s", joinNames(a.Labels))
	}
	if a.Pid > 0 {
		tree := "" // empty while the app starts: not counted yet
		if a.Processes > 0 {
			tree = term.Plural(a.Processes, "process") + ", " + term.Bytes(a.Memory)
			if a.MemoryMax > 0 {
				tree += " of " + term.Bytes(a.MemoryMax)
			}
			tree += fmt.Sprintf(", CPU %.0f%%, ", 100*a.CPUShare)
		}
		line("process", "pid %d, %s%s", a.Pid, tree, term.Plural(a.Restarts, "crash"))
	}
	if c := a.LastCrash; c != nil {
		line("last crash", "generation %d, %s ago: %s", c.Generation, humanSeconds(time.Since(c.At).Seconds()), c.Cause)
	}
	line("ready", "%s", a.Ready)
	switch {
	case isWeb(a):
		line("listens", "%s", joinNames(a.Listen))
		printTraffic(line, a)
	case len(a.Listen) > 0:
		line("listens", "%s", joinNames(a.Listen))
		line("requests", "not counted: relay = %q, the app has the socket itself", a.Relay)
	}
	if r := a.LastReload; r != nil {
		clients := ""
		if isWeb(a) {
			clients = ", " + describeRequests(r.Requests)
		}
		line("last reload", "%s, generation %d -> %d%s", lastReload(r), r.Generation.From, r.Generation.To, clients)
		if r.Cause != "" {
			line("", "because %s", r.Cause)
		}
	}
	for _, w := range a.Warnings {
		b.WriteString(s.Paragraphs("  "+s.Paint(term.Yellow, "!")+" ", "  ! ", w))
	}
	return b.String()
}

// shellQuoted is a command line for a shell.
func shellQuoted(command []string) string {
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

func printTraffic(line func(what, format string, args ...any), a api.AppStatus) {
	line("connections", "%d", a.Connections)
	of := ""
	if a.Capacity > 0 {
		of = " of " + strconv.Itoa(a.Capacity)
	}
	line("requests", "%d%s in flight, %s", a.InFlight, of, term.Plural(a.Tunnels, "tunnel"))
	line("rate", "%s/s, %s/s with a status of 500 or above", rate(a.RequestsPerSecond), rate(a.FailingPerSecond))
	for _, d := range a.Draining {
		line("", "%d in flight, %s in generation %d, which drains", d.InFlight, term.Plural(d.Tunnels, "tunnel"), d.Generation)
	}
	waiting := ""
	if a.Held > 0 {
		waiting = ", the oldest for " + humanSeconds(a.HeldOldest)
	}
	line("held", "%d%s (at most %d, for %s)", a.Held, waiting, a.HoldLimit, humanSeconds(a.HoldFor))
	if a.Drained != nil {
		line("balancers", "are told to send nothing: %s", describeDrained(a.Drained))
	}
	for _, h := range a.Holds {
		line("", "held by %s", h)
	}
	c := a.Counters
	line("so far", "%d requests, %d answered, %d held, %d resent", c.Requests, c.Answered, c.Held, c.Resent)
	line("", "%d expired, %d overflowed, %d refused, %d client left", c.Expired, c.Overflowed, c.Refused, c.ClientLeft)
	line("", "%d bad request, %d bad gateway, %d timed out, %d cut", c.BadRequest, c.BadGateway, c.TimedOut, c.Cut)
}
