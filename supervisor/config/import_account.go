package config

import (
	"fmt"
	"slices"
)

// account is what an import has to say besides its result.
type account struct {
	notes  []Note
	faults []Problem
}

// fault says what supervisord would not accept.
func (a *account) fault(o *iniOption, err error) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range all.Unwrap() {
			a.fault(o, one)
		}
		return
	}
	a.faults = append(a.faults, iniProblem(o.file, o.line, o.source, fmt.Sprintf("[%s] %s: %s", o.section, o.name, err)))
}

// note says what became of an option, once.
func (a *account) note(o *iniOption, message string) {
	n := Note{File: o.file, Line: o.line, Section: o.section, Option: o.name, Message: message}
	if !slices.Contains(a.notes, n) {
		a.notes = append(a.notes, n)
	}
}

// noteSection says what became of a section.
func (a *account) noteSection(s *iniSection, message string) {
	a.notes = append(a.notes, Note{File: s.file, Line: s.line, Section: s.name, Message: message})
}

// leave leaves an option out, with the reason.
func (a *account) leave(b *block, o *iniOption, reason string) {
	a.note(o, reason)
	name := o.name
	if b.from == "" {
		name = "[" + o.section + "] " + name
	}
	b.left = append(b.left, fmt.Sprintf("%s = %s: %s", name, oneLine(o.value), reason))
}

// leaveSecret does the same without telling the value.
func (a *account) leaveSecret(b *block, o *iniOption, reason string) {
	a.note(o, reason)
	b.left = append(b.left, fmt.Sprintf("[%s] %s: %s", o.section, o.name, reason))
}

// leaveUnknown leaves out what supervisord itself did not know.
func (a *account) leaveUnknown(b *block, o *iniOption, known []string) {
	reason := "supervisord does not know this option and ignored it"
	if near := nearest(o.name, known); near != "" {
		reason += "; was " + near + " meant?"
	}
	a.leave(b, o, reason)
}
