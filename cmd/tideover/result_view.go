package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

// printResult prints how an operation ended: success as a line on standard
// output, failure with its causes on standard error.
func printResult(c *cli, r api.Result) {
	switch {
	case len(r.Plan) > 0:
		printPlan(c, r)
	case r.Exit != api.ExitOK:
		printFailure(c, r)
		printExit(c.errors(), r.Exit)
	case c.json || c.quiet:
	default:
		printSuccess(c, r)
	}
}

func printSuccess(c *cli, r api.Result) {
	s := c.results()
	if !s.Terminal {
		io.WriteString(s.Out, resultLine(r))
	} else {
		what, requests := fmt.Sprintf("%s serves generation %d", r.App, r.Generation.To), " · "+describeRequests(r.Requests)
		if r.Plain {
			what, requests = fmt.Sprintf("%s runs generation %d", r.App, r.Generation.To), ""
		}
		if r.Revision.To != "" {
			what += ", revision " + r.Revision.To
		}
		if r.Verb == api.Stop {
			what = r.App + " is stopped"
		}
		fmt.Fprintf(s.Out, "\n%s %s after %s%s%s\n",
			s.Paint(term.Green, "✓"), what, humanSeconds(r.Duration), requests, describeDraining(r.Drain))
	}
	c.printWarnings(r.Warnings)
}

// resultLine is a result for scripts. A line of more than term.MaxLine columns
// gets fewer decimals, and becomes two lines where that is not enough.
func resultLine(r api.Result) string {
	counts := []api.Attr{
		{Key: "held", Value: strconv.Itoa(r.Requests.Held)},
		{Key: "lost", Value: strconv.Itoa(r.Requests.Lost)},
		{Key: "held_max_s", Value: term.Seconds(r.Requests.HeldMax)},
	}
	if r.Plain {
		counts = nil
	}
	for duration := term.Seconds(r.Duration); ; duration = strings.TrimSuffix(duration[:len(duration)-1], ".") {
		attrs := []api.Attr{{Key: "app", Value: r.App}, {Key: string(r.Verb), Value: r.Result}}
		if r.Exit != api.ExitOK {
			attrs = append(attrs, api.Attr{Key: "exit", Value: strconv.Itoa(int(r.Exit))})
		}
		attrs = append(attrs,
			api.Attr{Key: "generation", Value: strconv.Itoa(r.Generation.To)},
			api.Attr{Key: "duration_s", Value: duration})
		if line, complete := keyValues(append(attrs, counts...)); complete {
			return line + "\n" + revisionLine(r)
		}
		if !strings.Contains(duration, ".") {
			attrs[len(attrs)-1].Value = term.Seconds(r.Duration)
			first, _ := keyValues(attrs)
			second, _ := keyValues(append(attrs[:1:1], counts...))
			return first + "\n" + second + "\n" + revisionLine(r)
		}
	}
}

// revisionLine is a line of its own for the revision; empty: none is known.
func revisionLine(r api.Result) string {
	if r.Revision.To == "" {
		return ""
	}
	line, _ := keyValues([]api.Attr{api.String("app", r.App), api.String("revision", r.Revision.To)})
	return line + "\n"
}

// describeRequests counts the requests that an operation held and lost.
func describeRequests(r api.RequestCounts) string {
	held := fmt.Sprintf("held %d", r.Held)
	if r.Held > 0 {
		held += " (longest " + humanSeconds(r.HeldMax) + ")"
	}
	return fmt.Sprintf("%s · lost %d", held, r.Lost)
}

// describeDraining says that the old generation has requests; empty: it has none.
func describeDraining(d *api.Drain) string {
	if d == nil || d.Result != "running" || d.InFlight == 0 {
		return ""
	}
	return fmt.Sprintf(" · generation %d finishes %s", d.Generation, term.Plural(d.InFlight, "request"))
}

func printPlan(c *cli, r api.Result) {
	if c.json {
		return
	}
	for _, sentence := range r.Plan {
		fmt.Fprintf(c.stdout, "%s: %s\n", r.App, sentence)
	}
	c.printWarnings(r.Warnings)
}

// printFailure prints the error, the last answer to the readiness probe, the last
// lines of the new generation, and the remedy.
func printFailure(c *cli, r api.Result) {
	s := c.errors()
	printFailureText(s, r.Error)
	if answer := trimBlankLines(strings.Split(r.Probe, "\n")); len(answer) > 0 && r.Probe != noAnswer {
		fmt.Fprintln(s.Out, "\n  Last answer to the readiness probe:")
		printQuoted(s, answer)
	}
	if output := trimBlankLines(r.ChildOutput); len(output) > 0 {
		fmt.Fprintf(s.Out, "\n  Last lines of generation %d:\n", r.Generation.To)
		printQuoted(s, output)
	}
	if hint := withoutRepeated(r.Hint, r.Error); hint != "" {
		fmt.Fprint(s.Out, s.Mark("\n", ""))
		printHint(s, hint)
	}
	c.printWarnings(r.Warnings)
}

// printExit prints the exit code and its name.
func printExit(s term.Screen, exit api.Exit) {
	text := fmt.Sprintf("exit %d", exit)
	if name := exitName(exit); name != "" {
		text += " (" + name + ")"
	}
	fmt.Fprintln(s.Out, s.Paint(term.Faint, text))
}

// noAnswer is the daemon's text for a probe that was never answered. The error
// says so already.
const noAnswer = "no answer at all"

// trimBlankLines removes blank lines at both ends.
func trimBlankLines(lines []string) []string {
	blank := func(line string) bool { return strings.TrimSpace(line) == "" }
	for len(lines) > 0 && blank(lines[0]) {
		lines = lines[1:]
	}
	for len(lines) > 0 && blank(lines[len(lines)-1]) {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// printQuoted prints the output of another program.
func printQuoted(s term.Screen, lines []string) {
	for _, text := range lines {
		if s.Terminal {
			text = term.Sanitize(text)
		}
		fmt.Fprintf(s.Out, "    %s %s\n", s.Mark("│", "|"), text)
	}
}

func exitName(e api.Exit) string {
	names := map[api.Exit]string{
		api.ExitOK: "ok", api.ExitError: "error", api.ExitUsage: "usage", api.ExitNotRunning: "not running",
		api.ExitDenied: "denied", api.ExitConfig: "config", api.ExitNoSuchApp: "no such app",
		api.ExitKeptOld: "kept old", api.ExitDown: "down", api.ExitBusy: "busy", api.ExitTimeout: "timeout",
	}
	return names[e]
}
