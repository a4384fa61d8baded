package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"tideover/supervisor/api"
)

// tell says how an operation ended: success in one line on standard output,
// failure with all that helps on standard error.
func tell(c *cli, r api.Result) {
	switch {
	case len(r.Plan) > 0:
		tellPlan(c, r)
	case r.Exit != api.ExitOK:
		explain(c, r)
		sayExit(c.errors(), r.Exit)
	case c.json || c.quiet:
	default:
		tellSuccess(c, r)
	}
}

func tellSuccess(c *cli, r api.Result) {
	s := c.results()
	if !s.terminal {
		io.WriteString(s.out, resultLine(r))
	} else {
		what := fmt.Sprintf("%s serves generation %d", r.App, r.Generation.To)
		if r.Verb == api.Stop {
			what = r.App + " is stopped"
		}
		fmt.Fprintf(s.out, "\n%s %s after %s · %s\n", s.paint(green, "✓"), what, human(span(r.Duration)), requests(r.Requests))
	}
	c.warn(r.Warnings)
}

// resultLine is a result for scripts, in one line where it fits: with fewer
// digits if need be, and else with what clients saw in a line of its own.
func resultLine(r api.Result) string {
	clients := []api.Attr{{Key: "held", Value: strconv.Itoa(r.Requests.Held)}, {Key: "lost", Value: strconv.Itoa(r.Requests.Lost)},
		{Key: "held_max_s", Value: number(r.Requests.HeldMax)}}
	for duration := number(r.Duration); ; duration = strings.TrimSuffix(duration[:len(duration)-1], ".") {
		what := []api.Attr{{Key: "app", Value: r.App}, {Key: string(r.Verb), Value: r.Result}}
		if r.Exit != api.ExitOK {
			what = append(what, api.Attr{Key: "exit", Value: strconv.Itoa(int(r.Exit))})
		}
		what = append(what, api.Attr{Key: "generation", Value: strconv.Itoa(r.Generation.To)}, api.Attr{Key: "duration_s", Value: duration})
		if line, whole := keyValues(append(what, clients...)); whole {
			return line + "\n"
		}
		if !strings.Contains(duration, ".") {
			what[len(what)-1].Value = number(r.Duration)
			first, _ := keyValues(what)
			second, _ := keyValues(append(what[:1:1], clients...))
			return first + "\n" + second + "\n"
		}
	}
}

// requests is what an operation meant for clients.
func requests(r api.RequestCounts) string {
	held := fmt.Sprintf("held %d", r.Held)
	if r.Held > 0 {
		held += " (longest " + human(span(r.HeldMax)) + ")"
	}
	return fmt.Sprintf("%s · lost %d", held, r.Lost)
}

func (c *cli) warn(warnings []string) {
	s := c.errors()
	for _, w := range warnings {
		s.say(yellow, s.mark("!", "warning:"), w)
	}
}

func tellPlan(c *cli, r api.Result) {
	if c.json {
		return
	}
	for _, sentence := range r.Plan {
		fmt.Fprintf(c.stdout, "%s: %s\n", r.App, sentence)
	}
	c.warn(r.Warnings)
}

// explain says what happened, what still serves, what the new code said last
// and what to do.
func explain(c *cli, r api.Result) {
	s := c.errors()
	s.sayFault(s.mark("\n✗", "tideover:"), r.Error)
	if heard := trimmed(strings.Split(r.Probe, "\n")); len(heard) > 0 && r.Probe != noAnswer {
		fmt.Fprintln(s.out, "\n  Last answer to the readiness probe:")
		quote(s, heard)
	}
	if output := trimmed(r.ChildOutput); len(output) > 0 {
		fmt.Fprintf(s.out, "\n  Last lines of generation %d:\n", r.Generation.To)
		quote(s, output)
	}
	if hint := unsaid(r.Hint, r.Error); hint != "" {
		fmt.Fprintln(s.out)
		for line := range strings.Lines(hint) {
			io.WriteString(s.out, s.paragraphs("  ", "  ", line))
		}
	}
	c.warn(r.Warnings)
}

// sayExit says the exit code that scripts see.
func sayExit(s screen, exit api.Exit) {
	fmt.Fprintf(s.out, "%s\n", s.paint(faint, fmt.Sprintf("exit %d (%s)", exit, exitName(exit))))
}

// noAnswer is what the daemon gives as the probe's last answer when there was
// none. The error has said that.
const noAnswer = "no answer at all"

// trimmed leaves out the blank lines around a text.
func trimmed(lines []string) []string {
	blank := func(line string) bool { return strings.TrimSpace(line) == "" }
	for len(lines) > 0 && blank(lines[0]) {
		lines = lines[1:]
	}
	for len(lines) > 0 && blank(lines[len(lines)-1]) {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func quote(s screen, texts []string) {
	for _, text := range texts {
		if s.terminal {
			text = shown(text)
		}
		fmt.Fprintf(s.out, "    %s %s\n", s.mark("│", "|"), text)
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
