package supervisordconf

import (
	"slices"
	"strings"
	"unicode"

	"tideover/supervisor/config"
	"tideover/supervisor/lazyregexp"
)

// iniFile is the content of one or several files, read as Python's RawConfigParser
// does with the settings of supervisord: the last duplicate wins, "=" or ":" follows
// the name of an option, an indented line continues a value, and ";" or "#" behind a
// blank begins a comment, even inside quotes.
type iniFile struct {
	sections []*iniSection // in order of their first header
	defaults *iniSection   // [DEFAULT], or nil
	problems []config.Problem
}

type iniSection struct {
	name    string
	file    string
	line    int
	options []*iniOption
}

type iniOption struct {
	section string
	name    string // lower case
	value   string
	file    string
	line    int
	source  string // the whole line

	lines []string // the lines of the value while it is read
}

// section returns the section with a name.
func (d *iniFile) section(name string) (*iniSection, bool) {
	i := slices.IndexFunc(d.sections, func(s *iniSection) bool { return s.name == name })
	if i < 0 {
		return nil, false
	}
	return d.sections[i], true
}

// option returns an option of a section, or else of [DEFAULT].
func (d *iniFile) option(s *iniSection, name string) (*iniOption, bool) {
	for _, from := range []*iniSection{s, d.defaults} {
		if from == nil {
			continue
		}
		if i := slices.IndexFunc(from.options, func(o *iniOption) bool { return o.name == name }); i >= 0 {
			return from.options[i], true
		}
	}
	return nil, false
}

// iniReader reads one file line by line.
type iniReader struct {
	into    *iniFile
	file    string
	line    int
	section *iniSection
	option  *iniOption
	indent  int
}

var iniHeader = lazyregexp.New(`^\[(.+)\]`)

// read adds the text of a file.
func (d *iniFile) read(file, text string) {
	r := &iniReader{into: d, file: file}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	for line := range strings.Lines(text) {
		r.line++
		if !r.readLine(strings.TrimSuffix(line, "\n")) {
			break
		}
	}
	for _, s := range append([]*iniSection{d.defaults}, d.sections...) {
		if s == nil {
			continue
		}
		for _, o := range s.options {
			if o.lines != nil {
				o.value, o.lines = strings.TrimRightFunc(strings.Join(o.lines, "\n"), isPythonSpace), nil
			}
		}
	}
}

// readLine reads one line. It returns false if the rest of the file cannot be read.
func (r *iniReader) readLine(line string) bool {
	kept, commented := withoutComment(line)
	value := strings.TrimFunc(kept, isPythonSpace)
	if value == "" {
		if !commented && r.option != nil {
			r.option.lines = append(r.option.lines, "")
		}
		return true
	}
	indent := strings.IndexFunc(line, func(c rune) bool { return !isPythonSpace(c) })
	if r.option != nil && indent > r.indent {
		r.option.lines = append(r.option.lines, value)
		return true
	}
	r.indent = indent
	if header := iniHeader.FindStringSubmatch(value); header != nil {
		r.startSection(header[1])
		return true
	}
	if r.section == nil {
		r.addProblem(line, "this stands before the first [section]")
		return false
	}
	at := strings.IndexAny(value, "=:")
	if at < 0 {
		r.addProblem(line, "neither a [section] nor option = value")
		return true
	}
	name := strings.ToLower(strings.TrimRightFunc(value[:at], isPythonSpace))
	if name == "" {
		r.addProblem(line, "there is no name in front of the "+value[at:at+1])
	}
	r.startOption(name, strings.TrimLeftFunc(value[at+1:], isPythonSpace), line)
	return true
}

func (r *iniReader) startSection(name string) {
	r.option = nil
	if name == "DEFAULT" {
		if r.into.defaults == nil {
			r.into.defaults = &iniSection{name: name, file: r.file, line: r.line}
		}
		r.section = r.into.defaults
		return
	}
	found, ok := r.into.section(name)
	if !ok {
		found = &iniSection{name: name, file: r.file, line: r.line}
		r.into.sections = append(r.into.sections, found)
	}
	r.section = found
}

// startOption begins an option. A duplicate replaces the value of the first one and
// keeps its position.
func (r *iniReader) startOption(name, value, source string) {
	o := iniOption{section: r.section.name, name: name, file: r.file, line: r.line, source: source, lines: []string{value}}
	i := slices.IndexFunc(r.section.options, func(o *iniOption) bool { return o.name == name })
	if i < 0 {
		r.section.options = append(r.section.options, &o)
		r.option = &o
		return
	}
	*r.section.options[i] = o
	r.option = r.section.options[i]
}

func (r *iniReader) addProblem(line, message string) {
	r.into.problems = append(r.into.problems, iniProblem(r.file, r.line, line, message))
}

// iniProblem returns a problem that marks a whole line.
func iniProblem(file string, line int, source, message string) config.Problem {
	text := strings.TrimLeftFunc(source, isPythonSpace)
	return config.Problem{File: file, Line: line, Column: len([]rune(source)) - len([]rune(text)) + 1,
		Length: len([]rune(strings.TrimRightFunc(text, isPythonSpace))), Text: source, Message: message}
}

// withoutComment removes a comment from a line. As in Python, ";" and "#" are searched
// for in turns, and the first match counts, which may not be the leftmost one.
func withoutComment(line string) (rest string, commented bool) {
	if text := strings.TrimFunc(line, isPythonSpace); text != "" && (text[0] == ';' || text[0] == '#') {
		return "", true
	}
	next := map[byte]int{';': 0, '#': 0}
	for len(next) > 0 {
		first := -1
		for mark, from := range next {
			at := strings.IndexByte(line[from:], mark)
			if at < 0 {
				delete(next, mark)
				continue
			}
			at += from
			next[mark] = at + 1
			before := []rune(line[:at])
			if (at == 0 || isPythonSpace(before[len(before)-1])) && (first < 0 || at < first) {
				first = at
			}
		}
		if first >= 0 {
			return line[:first], true
		}
	}
	return line, false
}

// isPythonSpace reports whether Python's str.strip removes a character.
func isPythonSpace(c rune) bool { return unicode.IsSpace(c) || 0x1c <= c && c <= 0x1f }
