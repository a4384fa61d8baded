package config

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// extent is a piece of a text, in bytes.
type extent struct{ start, end int }

// place is where a key and its value are written.
type place struct {
	key   extent // its last part; of a table its header
	value extent // empty for a table with a header
}

// separator joins the parts of a key, which may hold dots themselves.
const separator = "\x00"

// places finds the place of everything in a TOML text by its key: tables,
// keys, and elements of arrays by number. The decoder knows these places, but
// does not tell them. The text must be valid TOML.
func places(text string) map[string]place {
	s := &scanner{text: text, found: map[string]place{}, tables: map[string]int{}}
	for s.blank(); s.pos < len(s.text); s.blank() {
		if s.text[s.pos] == '[' {
			s.header()
		} else {
			s.pair(s.table)
		}
	}
	return s.found
}

func joinKey(parts ...string) string { return strings.Join(parts, separator) }

type scanner struct {
	text   string
	pos    int
	table  []string
	found  map[string]place
	tables map[string]int // how many [[name]] there were
}

// blank skips blanks, line feeds and comments.
func (s *scanner) blank() {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '#':
			s.pos += strings.IndexByte(s.text[s.pos:]+"\n", '\n')
		case strings.IndexByte(" \t\r\n", c) >= 0:
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) spaces() {
	for s.pos < len(s.text) && (s.text[s.pos] == ' ' || s.text[s.pos] == '\t') {
		s.pos++
	}
}

// header reads [a.b] or [[a.b]].
func (s *scanner) header() {
	start := s.pos
	array := strings.HasPrefix(s.text[s.pos:], "[[")
	s.skip(1, array)
	parts, _ := s.key()
	s.spaces()
	s.skip(1, array)
	if array {
		name := joinKey(parts...)
		parts = append(parts, strconv.Itoa(s.tables[name]))
		s.tables[name]++
	}
	s.table = parts
	for i := range parts {
		s.note(parts[:i+1], place{key: extent{start, s.pos}})
	}
}

func (s *scanner) skip(n int, twice bool) {
	if twice {
		n *= 2
	}
	s.pos = min(s.pos+n, len(s.text))
}

// note keeps the first place of a key.
func (s *scanner) note(parts []string, p place) {
	name := joinKey(parts...)
	if _, ok := s.found[name]; !ok {
		s.found[name] = p
	}
}

// pair reads key = value.
func (s *scanner) pair(table []string) {
	parts, extents := s.key()
	path := append(append([]string{}, table...), parts...)
	s.spaces()
	s.skip(1, false) // =
	s.spaces()
	value := s.value(path)
	for i, e := range extents {
		s.note(path[:len(table)+i+1], place{key: e, value: value})
	}
}

// key reads a dotted key.
func (s *scanner) key() (parts []string, extents []extent) {
	for {
		s.spaces()
		start := s.pos
		parts = append(parts, s.keyPart())
		extents = append(extents, extent{start, s.pos})
		s.spaces()
		if s.pos >= len(s.text) || s.text[s.pos] != '.' {
			return parts, extents
		}
		s.pos++
	}
}

func (s *scanner) keyPart() string {
	start := s.pos
	if s.pos < len(s.text) && (s.text[s.pos] == '"' || s.text[s.pos] == '\'') {
		s.quoted()
		raw := s.text[start:s.pos]
		if name, err := strconv.Unquote(raw); raw[0] == '"' && err == nil {
			return name
		}
		return strings.Trim(raw, raw[:1])
	}
	for s.pos < len(s.text) && strings.IndexByte(" \t\r\n.=]", s.text[s.pos]) < 0 {
		s.pos++
	}
	return s.text[start:s.pos]
}

// quoted skips a string of any of the four sorts.
func (s *scanner) quoted() {
	quote := s.text[s.pos : s.pos+1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(s.text[s.pos:], long) {
		s.pos += 3
		s.until(long, quote)
		for strings.HasPrefix(s.text[s.pos:], quote) {
			s.pos++ // one or two quotes may stand at the end of the string
		}
		return
	}
	s.pos++
	s.until(quote, quote)
}

func (s *scanner) until(end, quote string) {
	for s.pos < len(s.text) && !strings.HasPrefix(s.text[s.pos:], end) {
		if s.text[s.pos] == '\\' && quote == `"` {
			s.pos++
		}
		s.skip(1, false)
	}
	s.skip(len(end), false)
}

// value reads a value and notes the places inside of it.
func (s *scanner) value(path []string) extent {
	start := s.pos
	if s.pos >= len(s.text) {
		return extent{start, start}
	}
	switch s.text[s.pos] {
	case '"', '\'':
		s.quoted()
	case '[':
		s.pos++
		for n := 0; s.more(']'); n++ {
			element := append(append([]string{}, path...), strconv.Itoa(n))
			e := s.value(element)
			s.note(element, place{key: e, value: e})
		}
	case '{':
		s.pos++
		for s.more('}') {
			s.pair(path)
		}
	default:
		for s.pos < len(s.text) && strings.IndexByte(",]}#\r\n", s.text[s.pos]) < 0 {
			s.pos++
		}
		return extent{start, start + len(strings.TrimRight(s.text[start:s.pos], " \t"))}
	}
	return extent{start, s.pos}
}

// more goes to the next element of an array or table, or behind its end.
func (s *scanner) more(end byte) bool {
	s.blank()
	if s.pos < len(s.text) && s.text[s.pos] == ',' {
		s.pos++
		s.blank()
	}
	if s.pos >= len(s.text) {
		return false
	}
	if s.text[s.pos] == end {
		s.pos++
		return false
	}
	return true
}

// locate turns a piece of text into line and column, both from 1, and a length
// in characters that stays on the line.
func locate(text string, e extent) (line, column, length int, source string) {
	start := strings.LastIndexByte(text[:e.start], '\n') + 1
	line = strings.Count(text[:start], "\n") + 1
	source, _, _ = strings.Cut(text[start:], "\n")
	source = strings.TrimRight(source, "\r")
	column = utf8.RuneCountInString(text[start:e.start]) + 1
	end := max(e.start, min(e.end, start+len(source)))
	return line, column, utf8.RuneCountInString(text[e.start:end]), source
}
