package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is an error or a warning about one place of a configuration.
type Problem struct {
	File         string // empty when there is none to point at
	Line, Column int    // from 1; Column counts characters
	Length       int    // characters to underline
	Text         string // the source line; empty if it holds a secret
	App          string
	Message      string
	Hint         string // what to do about it
	Warning      bool
	Untrusted    bool // the file was not read because others can change it
	Empty        bool // apps are missing, as in a truncated file

	concerns string // the app, or the included file, that it concerns; empty: the whole configuration
}

// Error is the error of Load. It holds every problem.
type Error struct {
	Problems []Problem // errors and warnings, by file and line

	file *File // as far as it could be loaded; nil: nothing
}

// NewError returns an error with the problems, sorted by file and line.
func NewError(problems []Problem) *Error {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	return &Error{Problems: problems}
}

func (f *Error) Error() string {
	var b strings.Builder
	for i, p := range f.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// String returns the problem as "tideover check" prints it: place and message, then
// the source line with a mark under the part that is wrong.
//
//	tideover.toml:9:1: unknown key "hold_timeout" in [app.shop]
//	    9 │ hold_timeout = "30s"
//	      │ ^^^^^^^^^^^^  did you mean hold.timeout?
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.App != "" {
		b.WriteString(p.App + ": ")
	}
	b.WriteString(p.Message)
	p.quote(&b)
	return b.String()
}

// quote writes the source line and the mark below it.
func (p Problem) quote(b *strings.Builder) {
	if p.Line == 0 || p.Text == "" {
		if p.Hint != "" {
			b.WriteString("; " + p.Hint)
		}
		return
	}
	mark := strings.Repeat("^", max(p.Length, 1))
	if p.Hint != "" {
		mark += "  " + p.Hint
	}
	// A tab before the mark stays a tab, so that the mark has the indent of the text.
	var indent strings.Builder
	for i, r := range []rune(p.Text) {
		if i >= p.Column-1 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		indent.WriteRune(r)
	}
	fmt.Fprintf(b, "\n%5d │ %s\n      │ %s%s", p.Line, p.Text, indent.String(), mark)
}

// Errors returns the number of problems that are not warnings.
func (f *Error) Errors() int {
	n := 0
	for _, p := range f.Problems {
		if !p.Warning {
			n++
		}
	}
	return n
}

// Loaded returns the configuration as far as it could be loaded, for Inspect; nil: nothing.
func (f *Error) Loaded() *File { return f.file }

// AllowEmpty returns the configuration if its only errors are that apps are missing. These
// errors are among the warnings then.
func (f *Error) AllowEmpty() (*File, bool) {
	if f.file == nil || slices.ContainsFunc(f.Problems, func(p Problem) bool { return !p.Warning && !p.Empty }) {
		return nil, false
	}
	allowed := *f.file
	for _, p := range f.Problems {
		if p.Empty {
			p.Warning, p.Hint = true, ""
		}
		allowed.Warnings = append(allowed.Warnings, p)
	}
	return &allowed, true
}

// ForReload returns the configuration for a reload of one app, if every error concerns other apps,
// or included files. The apps with errors are left out, and the errors are among the warnings.
// Missing apps concern all.
func (f *Error) ForReload(app string) (*File, bool) {
	if f.file == nil || f.Errors() >= maxErrors {
		return nil, false
	}
	invalid := map[string]bool{}
	for _, p := range f.Problems {
		if !p.Warning && (p.Empty || p.concerns == "" || p.concerns == app) {
			return nil, false
		}
		invalid[p.concerns] = invalid[p.concerns] || !p.Warning
	}
	valid := *f.file
	valid.Apps = slices.DeleteFunc(slices.Clone(f.file.Apps), func(a *App) bool {
		return invalid[a.Name] || invalid[f.file.sourceOf(a.Name)] // an included file may have lost a line to a syntax error
	})
	for _, p := range f.Problems {
		if !p.Warning {
			p.Warning, p.Text, p.Hint = true, "", ""
			valid.Warnings = append(valid.Warnings, p)
		}
	}
	return &valid, true
}

// Untrusted reports whether a file was not read because others can change it.
func (f *Error) Untrusted() bool {
	return slices.ContainsFunc(f.Problems, func(p Problem) bool { return p.Untrusted })
}

// finding is a problem with one key of an app, before its place in the file is
// known.
type finding struct {
	key     string
	part    []string // path inside the value: the index of an element, the name of a member
	message string
	hint    string
	warning bool
	secret  bool // the source line must not be shown
}
