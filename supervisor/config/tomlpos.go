package config

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// span is a piece of a text, in bytes.
type span struct{ start, end int }

// keyPos is where a key and its value are written.
type keyPos struct {
	key   span // the last part of a dotted key, or the header of a table
	value span // empty for a table with a header
}

// keySeparator joins the parts of a key, which may contain dots.
const keySeparator = "\x00"

// scanPositions returns the positions of all tables, keys and array elements of a TOML
// text, by their joined key; an element's last part is its index. It exists because the
// TOML decoder does not return positions. The text must be valid TOML.
func scanPositions(text string) map[string]keyPos {
	s := &tomlScanner{text: text, found: map[string]keyPos{}, tables: map[string]int{}}
	for s.skipBlank(); s.pos < len(s.text); s.skipBlank() {
		if s.text[s.pos] == '[' {
			s.header()
		} else {
			s.keyValue(s.table)
		}
	}
	return s.found
}

func joinKey(parts ...string) string { return strings.Join(parts, keySeparator) }

// tomlScanner scans a valid TOML text once, from start to end.
type tomlScanner struct {
	text   string
	pos    int
	table  []string
	found  map[string]keyPos
	tables map[string]int // number of [[name]] headers so far
}

// skipBlank skips blanks, line feeds and comments.
func (s *tomlScanner) skipBlank() {
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

func (s *tomlScanner) skipSpaces() {
	for s.pos < len(s.text) && (s.text[s.pos] == ' ' || s.text[s.pos] == '\t') {
		s.pos++
	}
}

// header reads [a.b] or [[a.b]].
func (s *tomlScanner) header() {
	start := s.pos
	array := strings.HasPrefix(s.text[s.pos:], "[[")
	s.skip(1, array)
	parts, _ := s.key()
	s.skipSpaces()
	s.skip(1, array)
	if array {
		name := joinKey(parts...)
		parts = append(parts, strconv.Itoa(s.tables[name]))
		s.tables[name]++
	}
	s.table = parts
	for i := range parts {
		s.record(parts[:i+1], keyPos{key: span{start, s.pos}})
	}
}

func (s *tomlScanner) skip(n int, twice bool) {
	if twice {
		n *= 2
	}
	s.pos = min(s.pos+n, len(s.text))
}

// record stores the position of a key, unless it has one.
func (s *tomlScanner) record(parts []string, p keyPos) {
	name := joinKey(parts...)
	if _, ok := s.found[name]; !ok {
		s.found[name] = p
	}
}

// keyValue reads key = value.
func (s *tomlScanner) keyValue(table []string) {
	parts, extents := s.key()
	path := append(append([]string{}, table...), parts...)
	s.skipSpaces()
	s.skip(1, false) // =
	s.skipSpaces()
	value := s.value(path)
	for i, e := range extents {
		s.record(path[:len(table)+i+1], keyPos{key: e, value: value})
	}
}

// key reads a dotted key and returns its parts with their positions.
func (s *tomlScanner) key() (parts []string, extents []span) {
	for {
		s.skipSpaces()
		start := s.pos
		parts = append(parts, s.keyPart())
		extents = append(extents, span{start, s.pos})
		s.skipSpaces()
		if s.pos >= len(s.text) || s.text[s.pos] != '.' {
			return parts, extents
		}
		s.pos++
	}
}

func (s *tomlScanner) keyPart() string {
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

// quoted skips a string of any of the four TOML kinds.
func (s *tomlScanner) quoted() {
	quote := s.text[s.pos : s.pos+1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(s.text[s.pos:], long) {
		s.pos += 3
		s.skipUntil(long, quote)
		for strings.HasPrefix(s.text[s.pos:], quote) {
			s.pos++ // the string may end with one or two quotes
		}
		return
	}
	s.pos++
	s.skipUntil(quote, quote)
}

func (s *tomlScanner) skipUntil(end, quote string) {
	for s.pos < len(s.text) && !strings.HasPrefix(s.text[s.pos:], end) {
		if s.text[s.pos] == '\\' && quote == `"` {
			s.pos++
		}
		s.skip(1, false)
	}
	s.skip(len(end), false)
}

// value reads a value and records the positions inside it.
func (s *tomlScanner) value(path []string) span {
	start := s.pos
	if s.pos >= len(s.text) {
		return span{start, start}
	}
	switch s.text[s.pos] {
	case '"', '\'':
		s.quoted()
	case '[':
		s.pos++
		for n := 0; s.nextElement(']'); n++ {
			element := append(append([]string{}, path...), strconv.Itoa(n))
			e := s.value(element)
			s.record(element, keyPos{key: e, value: e})
		}
	case '{':
		s.pos++
		for s.nextElement('}') {
			s.keyValue(path)
		}
	default:
		for s.pos < len(s.text) && strings.IndexByte(",]}#\r\n", s.text[s.pos]) < 0 {
			s.pos++
		}
		return span{start, start + len(strings.TrimRight(s.text[start:s.pos], " \t"))}
	}
	return span{start, s.pos}
}

// nextElement moves to the next element of an array or inline table. It returns false
// behind the end.
func (s *tomlScanner) nextElement(end byte) bool {
	s.skipBlank()
	if s.pos < len(s.text) && s.text[s.pos] == ',' {
		s.pos++
		s.skipBlank()
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

// lineAndColumn returns the line and column of a piece of text, both from 1, its
// length in characters, cut at the end of the line, and the whole line.
func lineAndColumn(text string, e span) (line, column, length int, source string) {
	start := strings.LastIndexByte(text[:e.start], '\n') + 1
	line = strings.Count(text[:start], "\n") + 1
	source, _, _ = strings.Cut(text[start:], "\n")
	source = strings.TrimRight(source, "\r")
	column = utf8.RuneCountInString(text[start:e.start]) + 1
	end := max(e.start, min(e.end, start+len(source)))
	return line, column, utf8.RuneCountInString(text[e.start:end]), source
}
