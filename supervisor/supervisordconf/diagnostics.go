package supervisordconf

import (
	"fmt"
	"slices"

	"tideover/supervisor/config"
)

// diagnostics collects the notes and problems of an import.
type diagnostics struct {
	notes    []Note
	problems []config.Problem
}

// addProblem adds one problem for each error in an option.
func (a *diagnostics) addProblem(o *iniOption, err error) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range all.Unwrap() {
			a.addProblem(o, one)
		}
		return
	}
	a.problems = append(a.problems, iniProblem(o.file, o.line, o.source, fmt.Sprintf("[%s] %s: %s", o.section, o.name, err)))
}

// addNote adds a note about an option, unless there is the same one already.
func (a *diagnostics) addNote(o *iniOption, message string) {
	n := Note{File: o.file, Line: o.line, Section: o.section, Option: o.name, Message: message}
	if !slices.Contains(a.notes, n) {
		a.notes = append(a.notes, n)
	}
}

// addSectionNote adds a note about a section.
func (a *diagnostics) addSectionNote(s *iniSection, message string) {
	a.notes = append(a.notes, Note{File: s.file, Line: s.line, Section: s.name, Message: message})
}

// omit adds an option to those that are not carried over.
func (a *diagnostics) omit(b *block, o *iniOption, reason string) {
	a.addNote(o, reason)
	name := o.name
	if b.origin == "" {
		name = "[" + o.section + "] " + name
	}
	b.omitted = append(b.omitted, fmt.Sprintf("%s = %s: %s", name, oneLine(o.value), reason))
}

// omitUnknown omits an option that supervisord does not know. known are the names that
// it knows.
func (a *diagnostics) omitUnknown(b *block, o *iniOption, known []string) {
	reason := "supervisord does not know this option and ignored it"
	if near := config.Nearest(o.name, known); near != "" {
		reason += "; was " + near + " meant?"
	}
	a.omit(b, o, reason)
}
