package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"tideover/supervisor"
)

// tellApplied says what applying a configuration came to: the difference on
// standard output, what went wrong on standard error.
func tellApplied(c *cli, r supervisor.ApplyResult, dryRun bool) {
	if !c.json && !c.quiet && r.Exit != supervisor.ExitConfig {
		s := c.results()
		io.WriteString(s.out, difference(s, r.Apps, dryRun, c.verbose))
	}
	told := false
	for _, a := range r.Apps {
		if a.Result != nil && a.Result.Exit != supervisor.ExitOK {
			explain(c, *a.Result)
			told = told || a.Result.Error == r.Error
		}
	}
	if r.Error != "" && !told {
		s := c.errors()
		s.sayFault(s.mark("\n✗", "tideover:"), r.Error)
		if hint := unsaid(r.Hint, r.Error); hint != "" {
			io.WriteString(s.out, s.paragraphs("  ", "  ", hint))
		}
	}
	c.warn(r.Warnings)
	if r.Exit != supervisor.ExitOK {
		sayExit(c.errors(), r.Exit)
	}
}

// difference is each app's part in it, and a line that counts them.
func difference(s screen, apps []supervisor.AppChange, dryRun, verbose bool) string {
	var b strings.Builder
	width := 0
	for _, a := range apps {
		if a.Change != supervisor.Unchanged || verbose {
			width = max(width, len(a.App))
		}
	}
	counts := map[supervisor.Change]int{}
	for _, a := range apps {
		counts[countedAs(a.Change)]++
		if a.Change == supervisor.Unchanged && !verbose {
			continue
		}
		sign := signOf(a.Change)
		lead := sign.text + " " + pad(a.App, width) + "  "
		first := s.paint(sign.color, sign.text) + " " + s.paint(bold, pad(a.App, width)) + "  "
		if said := became(a, dryRun); s.terminal {
			b.WriteString(s.paragraphs(first, lead, said))
		} else {
			b.WriteString(first + said + "\n")
		}
		for _, change := range a.Settings {
			b.WriteString(setting(s, change))
		}
	}
	b.WriteString(tallyChanges(counts, dryRun))
	return b.String()
}

// countedAs puts together what is a change of an app's settings.
func countedAs(c supervisor.Change) supervisor.Change {
	switch c {
	case supervisor.Added, supervisor.Removed, supervisor.Unchanged:
		return c
	}
	return "changed"
}

func signOf(c supervisor.Change) cell {
	switch c {
	case supervisor.Added:
		return cell{"+", green}
	case supervisor.Removed:
		return cell{"-", red}
	case supervisor.Unchanged:
		return cell{"=", faint}
	}
	return cell{"~", yellow}
}

// became is an app's change in words: what would be done, or how it ended.
func became(a supervisor.AppChange, dryRun bool) string {
	words, known := map[supervisor.Change][2]string{
		supervisor.Added:     {"would be added", "added"},
		supervisor.Removed:   {"would drain and stop", "removed"},
		supervisor.Unchanged: {"unchanged", "unchanged"},
		supervisor.ByLive:    {"would change live", "changed live"},
		supervisor.ByReload:  {"would be reloaded", "reloaded"},
		supervisor.ByReopen:  {"would be reloaded, on other addresses", "reloaded, on other addresses"},
		supervisor.ByReplace: {"would be replaced", "replaced"},
	}[a.Change]
	if !known {
		words = [2]string{string(a.Change), string(a.Change)} // a younger daemon's word
	}
	r := a.Result
	switch {
	case dryRun:
		return words[0]
	case r == nil:
		return words[1]
	case r.Exit != supervisor.ExitOK:
		return r.Result
	}
	said := words[1] + " after " + human(span(r.Duration))
	if r.Generation.To > 0 {
		said = fmt.Sprintf("%s; generation %d is up after %s", words[1], r.Generation.To, human(span(r.Duration)))
	}
	if r.Requests.Held > 0 || r.Requests.Lost > 0 {
		said += " · " + requests(r.Requests)
	}
	return said
}

// setting is one setting before and after: in a line where it fits, else below
// one another.
func setting(s screen, c supervisor.SettingChange) string {
	takes := ""
	if words := takenBy(c.Takes); words != "" {
		takes = "  # " + words
	}
	assigned := c.Key + " = "
	both := assigned + c.Before + " -> " + c.After
	switch {
	case c.Key == "env": // its difference is told in words: values may be secrets
		return s.difference("~", yellow, c.Key+": "+c.After+takes)
	case c.Before == "":
		return s.difference("+", green, assigned+c.After+takes)
	case c.After == "":
		return s.difference("-", red, assigned+c.Before+takes)
	case utf8.RuneCountInString(indent+"~ "+both+takes) > s.room():
		return s.difference("-", red, assigned+c.Before) + s.difference("+", green, assigned+c.After+takes)
	}
	return s.difference("~", yellow, both+takes)
}

// difference is a line of what changes, and below it, on a terminal, what does
// not fit.
func (s screen) difference(sign string, paint color, text string) string {
	first := indent + s.paint(paint, sign) + " "
	if !s.terminal {
		return first + text + "\n"
	}
	return s.paragraphs(first, indent+"    ", text)
}

// takenBy is when a setting comes into force.
func takenBy(takes string) string {
	words, known := map[string]string{
		"live": "live", "reload": "by a reload", "listen": "opens its addresses anew", "boot": "when tideover starts again",
	}[takes]
	if !known {
		return takes
	}
	return words
}

// tallyChanges is a line such as "1 added, 2 changed, 14 unchanged".
func tallyChanges(counts map[supervisor.Change]int, dryRun bool) string {
	var parts []string
	for _, c := range []supervisor.Change{supervisor.Added, supervisor.Removed, "changed", supervisor.Unchanged} {
		if n := counts[c]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c))
		}
	}
	said := strings.Join(parts, ", ")
	switch {
	case said == "":
		said = "no apps"
	case len(parts) == 1 && counts[supervisor.Unchanged] > 0:
		said = "no difference: " + said
	case dryRun:
		said += "; nothing is done yet"
	}
	return said + "\n"
}
