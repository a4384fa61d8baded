package config

import (
	"fmt"
	"slices"
)

// diagnostics is what an import has to say besides its result.
type diagnostics struct {
	notes    []Note
	problems []Problem
}

// addProblem says what supervisord would not accept.
func (a *diagnostics) addProblem(o *iniOption, err error) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range all.Unwrap() {
			a.addProblem(o, one)
		}
		return
	}
	a.problems = append(a.problems, iniProblem(o.file, o.line, o.source, fmt.Sprintf("[%s] %s: %s", o.section, o.name, err)))
}

// addNote says what became of an option, once.
func (a *diagnostics) addNote(o *iniOption, message string) {
	n := Note{File: o.file, Line: o.line, Section: o.section, Option: o.name, Message: message}
	if !slices.Contains(a.notes, n) {
		a.notes = append(a.notes, n)
	}
}

// addSectionNote says what became of a section.
func (a *diagnostics) addSectionNote(s *iniSection, message string) {
	a.notes = append(a.notes, Note{File: s.file, Line: s.line, Section: s.name, Message: message})
}

// omit leaves an option out, with the reason.
func (a *diagnostics) omit(b *block, o *iniOption, reason string) {
	a.addNote(o, reason)
	name := o.name
	if b.origin == "" {
		name = "[" + o.section + "] " + name
	}
	b.omitted = append(b.omitted, fmt.Sprintf("%s = %s: %s", name, oneLine(o.value), reason))
}

// omitSecret does the same without telling the value.
func (a *diagnostics) omitSecret(b *block, o *iniOption, reason string) {
	a.addNote(o, reason)
	b.omitted = append(b.omitted, fmt.Sprintf("[%s] %s: %s", o.section, o.name, reason))
}

// omitUnknown leaves out what supervisord itself did not know.
func (a *diagnostics) omitUnknown(b *block, o *iniOption, known []string) {
	reason := "supervisord does not know this option and ignored it"
	if near := Nearest(o.name, known); near != "" {
		reason += "; was " + near + " meant?"
	}
	a.omit(b, o, reason)
}
