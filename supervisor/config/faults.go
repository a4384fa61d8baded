package config

import (
	"fmt"
	"slices"
	"strings"
)

func (f *Faults) Error() string {
	var b strings.Builder
	for i, p := range f.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// String is the problem as check prints it: its place and message, then the
// line with a mark under what is meant.
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
	// A tab before the mark stays a tab, so that both lines are indented alike.
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

// Errors counts the problems that are not warnings.
func (f *Faults) Errors() int {
	n := 0
	for _, p := range f.Problems {
		if !p.Warning {
			n++
		}
	}
	return n
}

func sortProblems(all []Problem) {
	slices.SortStableFunc(all, func(a, b Problem) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}
