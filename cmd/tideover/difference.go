package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"tideover/supervisor/api"
)

// tellApplied says what applying a configuration came to: the difference on
// standard output, what went wrong on standard error.
func tellApplied(c *cli, r api.ApplyResult, dryRun bool) {
	if !c.json && !c.quiet && r.Exit != api.ExitConfig {
		s := c.results()
		io.WriteString(s.out, difference(s, r.Apps, dryRun, c.verbose))
	}
	told := false
	for _, a := range r.Apps {
		if a.Result != nil && a.Result.Exit != api.ExitOK {
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
	if r.Exit != api.ExitOK {
		sayExit(c.errors(), r.Exit)
	}
}

// difference is each app's part in it, and a line that counts them.
func difference(s screen, apps []api.AppChange, dryRun, verbose bool) string {
	var b strings.Builder
	width := 0
	for _, a := range apps {
		if a.Change != api.Unchanged || verbose {
			width = max(width, len(a.App))
		}
	}
	counts := map[api.Change]int{}
	for _, a := range apps {
		counts[countedAs(a.Change)]++
		if a.Change == api.Unchanged && !verbose {
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
func countedAs(c api.Change) api.Change {
	switch c {
	case api.Added, api.Removed, api.Unchanged:
		return c
	}
	return "changed"
}

func signOf(c api.Change) cell {
	switch c {
	case api.Added:
		return cell{"+", green}
	case api.Removed:
		return cell{"-", red}
	case api.Unchanged:
		return cell{"=", faint}
	}
	return cell{"~", yellow}
}

// became is an app's change in words: what would be done, or how it ended.
func became(a api.AppChange, dryRun bool) string {
	words, known := map[api.Change][2]string{
		api.Added:     {"would be added", "added"},
		api.Removed:   {"would drain and stop", "removed"},
		api.Unchanged: {"unchanged", "unchanged"},
		api.ByLive:    {"would change live", "changed live"},
		api.ByReload:  {"would be reloaded", "reloaded"},
		api.ByReopen:  {"would be reloaded, on other addresses", "reloaded, on other addresses"},
		api.ByReplace: {"would be replaced", "replaced"},
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
	case r.Exit != api.ExitOK:
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
func setting(s screen, c api.SettingChange) string {
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
func tallyChanges(counts map[api.Change]int, dryRun bool) string {
	var parts []string
	for _, c := range []api.Change{api.Added, api.Removed, "changed", api.Unchanged} {
		if n := counts[c]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c))
		}
	}
	said := strings.Join(parts, ", ")
	switch {
	case said == "":
		said = "no apps"
	case len(parts) == 1 && counts[api.Unchanged] > 0:
		said = "no difference: " + said
	case dryRun:
		said += "; nothing is done yet"
	}
	return said + "\n"
}
