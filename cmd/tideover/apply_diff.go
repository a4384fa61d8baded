package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

// printApplied prints the outcome of apply: the difference on standard output,
// failures on standard error.
func printApplied(c *cli, r api.ApplyResult, dryRun bool) {
	if !c.json && !c.quiet && r.Exit != api.ExitConfig {
		s := c.results()
		io.WriteString(s.Out, formatDiff(s, r, dryRun, c.verbose))
	}
	printed := false // the error of the whole is that of an app
	for _, a := range r.Apps {
		if a.Result != nil && a.Result.Exit != api.ExitOK {
			printFailure(c, *a.Result)
			printed = printed || a.Result.Error == r.Error
		}
	}
	if r.Error != "" && !printed {
		s := c.errors()
		printFailureText(s, r.Error)
		if hint := withoutRepeated(r.Hint, r.Error); hint != "" {
			printHint(s, hint)
		}
	}
	c.printWarnings(r.Warnings)
	if r.Exit != api.ExitOK {
		printExit(c.errors(), r.Exit)
	}
}

// formatDiff is a line for each app, its settings below it, and a line of counts. What changes in the
// daemon itself comes first.
func formatDiff(s term.Screen, r api.ApplyResult, dryRun, verbose bool) string {
	var b strings.Builder
	for _, change := range r.Settings {
		b.WriteString(formatSetting(s, change))
	}
	width, apps := 0, r.Apps
	for _, a := range apps {
		if a.Change != api.Unchanged || verbose {
			width = max(width, len(a.App))
		}
	}
	counts := map[api.Change]int{}
	for _, a := range apps {
		counts[countAs(a.Change)]++
		if a.Change == api.Unchanged && !verbose {
			continue
		}
		sign := changeSign(a.Change)
		lead := sign.Text + " " + term.Pad(a.App, width) + "  "
		first := s.Paint(sign.Color, sign.Text) + " " + s.Paint(term.Bold, term.Pad(a.App, width)) + "  "
		if text := describeChange(a, dryRun); s.Terminal {
			b.WriteString(s.Paragraphs(first, lead, text))
		} else {
			b.WriteString(first + text + "\n")
		}
		for _, change := range a.Settings {
			b.WriteString(formatSetting(s, change))
		}
		for _, note := range a.Notes {
			b.WriteString(diffLine(s, "!", term.Yellow, note))
		}
	}
	b.WriteString(countChanges(counts, len(r.Settings), dryRun))
	return b.String()
}

// countAs counts every change of an app's settings as "changed".
func countAs(c api.Change) api.Change {
	switch c {
	case api.Added, api.Removed, api.Unchanged:
		return c
	}
	return "changed"
}

func changeSign(c api.Change) term.Cell {
	switch c {
	case api.Added:
		return term.Cell{Text: "+", Color: term.Green}
	case api.Removed:
		return term.Cell{Text: "-", Color: term.Red}
	case api.Unchanged:
		return term.Cell{Text: "=", Color: term.Faint}
	}
	return term.Cell{Text: "~", Color: term.Yellow}
}

// describeChange says what would be done to an app, or how it ended.
func describeChange(a api.AppChange, dryRun bool) string {
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
		words = [2]string{string(a.Change), string(a.Change)} // of a newer daemon
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
	text := words[1] + " after " + humanSeconds(r.Duration)
	if r.Generation.To > 0 {
		text = fmt.Sprintf("%s; generation %d is up after %s", words[1], r.Generation.To, humanSeconds(r.Duration))
	}
	if r.Requests.Held > 0 || r.Requests.Lost > 0 {
		text += " · " + describeRequests(r.Requests)
	}
	return text
}

// diffIndent is the indentation of a setting.
const diffIndent = "    "

// formatSetting is a setting before and after: in one line where it fits, else in
// two.
func formatSetting(s term.Screen, c api.SettingChange) string {
	takes := ""
	if words := describeTakes(c.Takes); words != "" {
		takes = "  # " + words
	}
	assigned := c.Key + " = "
	both := assigned + c.Before + " -> " + c.After
	switch {
	case c.Key == "env": // values may be secrets: only names are shown
		return diffLine(s, "~", term.Yellow, c.Key+": "+c.After+takes)
	case c.Before == "":
		return diffLine(s, "+", term.Green, assigned+c.After+takes)
	case c.After == "":
		return diffLine(s, "-", term.Red, assigned+c.Before+takes)
	case utf8.RuneCountInString(diffIndent+"~ "+both+takes) > s.Columns():
		return diffLine(s, "-", term.Red, assigned+c.Before) + diffLine(s, "+", term.Green, assigned+c.After+takes)
	}
	return diffLine(s, "~", term.Yellow, both+takes)
}

// diffLine is one line of a difference, broken between words on a terminal.
func diffLine(s term.Screen, sign string, paint term.Color, text string) string {
	first := diffIndent + s.Paint(paint, sign) + " "
	if !s.Terminal {
		return first + text + "\n"
	}
	return s.Paragraphs(first, diffIndent+"    ", text)
}

// describeTakes says when a changed setting takes effect.
func describeTakes(takes string) string {
	words, known := map[string]string{
		"live": "live", "reload": "by a reload", "listen": "opens its addresses anew", "boot": "when tideover starts again",
	}[takes]
	if !known {
		return takes
	}
	return words
}

// countChanges is a line such as "1 added, 2 changed, 14 unchanged". settings are those of the daemon
// that change.
func countChanges(counts map[api.Change]int, settings int, dryRun bool) string {
	var parts []string
	if settings > 0 {
		parts = append(parts, fmt.Sprintf("%d of [daemon] changed", settings))
	}
	for _, c := range []api.Change{api.Added, api.Removed, "changed", api.Unchanged} {
		if n := counts[c]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c))
		}
	}
	text := strings.Join(parts, ", ")
	switch {
	case text == "":
		text = "no apps"
	case len(parts) == 1 && counts[api.Unchanged] > 0:
		text = "no difference: " + text
	case dryRun:
		text += "; nothing is done yet"
	}
	return text + "\n"
}
