package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Bounds of a TOML text. The decoder recurses once for each level, and it builds the full
// name of a key for every part of it. Within these bounds any text of maxFileSize is decoded
// in less than a second.
const (
	maxDepth     = 100      // tables and arrays inside one another
	maxKeyLength = 1000     // bytes of a dotted key
	maxKeyWork   = 16 << 20 // bytes of all full names that the decoder builds
	partWork     = 16       // what each part of a full name costs beside its bytes
)

// span is a piece of a text, in bytes.
type span struct{ start, end int }

// keyPos is where a key and its value are written.
type keyPos struct {
	key   span // the last part of a dotted key, or the header of a table
	value span // empty for a table with a header
}

// keyNode is a table, a key or an array element of a TOML text, and all that is inside it.
type keyNode struct {
	keyPos
	members  map[string]*keyNode
	elements []*keyNode
}

// member returns the member with a name. A new one gets the position.
func (n *keyNode) member(name string, at keyPos) (m *keyNode, isNew bool) {
	if m, ok := n.members[name]; ok {
		return m, false
	}
	if n.members == nil {
		n.members = map[string]*keyNode{}
	}
	m = &keyNode{keyPos: at}
	n.members[name] = m
	return m, true
}

// add adds an element to an array.
func (n *keyNode) add(at keyPos) *keyNode {
	e := &keyNode{keyPos: at}
	n.elements = append(n.elements, e)
	return e
}

// lookup returns the node at a path, or false and the innermost one around it. The part of
// the path for an array element is its index.
func (n *keyNode) lookup(path ...string) (*keyNode, bool) {
	for _, part := range path {
		next, ok := n.members[part]
		if i, err := strconv.Atoi(part); !ok && err == nil && 0 <= i && i < len(n.elements) {
			next, ok = n.elements[i], true
		}
		if !ok {
			return n, false
		}
		n = next
	}
	return n, true
}

// boundError says that a text exceeds a bound, and where.
type boundError struct {
	at      span
	message string
}

// scanPositions returns the positions of all tables, keys and array elements of a TOML
// text. It exists because the TOML decoder does not return positions, and because the text
// must be within the bounds before the decoder sees it. The positions are right if the text
// is valid TOML. Its time is linear in the length of any text.
func scanPositions(text string) (*keyNode, *boundError) {
	root := &keyNode{}
	s := &tomlScanner{text: text, root: root, table: container{node: root}}
	for s.skipBlank(); s.pos < len(s.text); s.skipBlank() {
		if s.text[s.pos] == '[' {
			s.header()
		} else {
			s.keyValue(s.table)
		}
	}
	return root, s.exceeded
}

// tomlScanner scans a TOML text once, from start to end. Each step moves on, also in an
// invalid text.
type tomlScanner struct {
	text     string
	pos      int
	root     *keyNode
	table    container // of the last header
	work     int
	exceeded *boundError // the first; it ends the scan
}

// container is a table or a value, and the size of its full name.
type container struct {
	node         *keyNode
	parts, bytes int
}

// inside is the container of a node inside c.
func (c container) inside(node *keyNode, name string) container {
	return container{node, c.parts + 1, c.bytes + len(name)}
}

// charge counts the full name of c, times times.
func (s *tomlScanner) charge(c container, times int, at span) {
	s.work += times * (c.bytes + partWork*c.parts)
	switch {
	case c.parts > maxDepth:
		s.exceed(at, fmt.Sprintf("tables and arrays are nested more than %d deep", maxDepth))
	case s.work > maxKeyWork:
		s.exceed(at, fmt.Sprintf("the keys up to here and the names of the tables around them are longer than %s in all", FormatSize(maxKeyWork)))
	}
}

// exceed ends the scan.
func (s *tomlScanner) exceed(at span, message string) {
	if s.exceeded == nil {
		s.exceeded = &boundError{at, message}
	}
	s.pos = len(s.text)
}

// skipBlank skips blanks, line feeds and comments.
func (s *tomlScanner) skipBlank() {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '#':
			s.skipComment()
		case strings.IndexByte(" \t\r\n", c) >= 0:
			s.pos++
		default:
			return
		}
	}
}

func (s *tomlScanner) skipComment() {
	if n := strings.IndexByte(s.text[s.pos:], '\n'); n >= 0 {
		s.pos += n
	} else {
		s.pos = len(s.text)
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
	at := keyPos{key: span{start, s.pos}}
	table := container{node: s.root}
	for _, name := range parts {
		node, _ := table.node.member(name, at)
		table = table.inside(node, name)
	}
	if array {
		table = table.inside(table.node.add(at), "")
	}
	s.table = table
	s.charge(table, len(parts), at.key)
}

func (s *tomlScanner) skip(n int, twice bool) {
	if twice {
		n *= 2
	}
	s.pos = min(s.pos+n, len(s.text))
}

// keyValue reads key = value.
func (s *tomlScanner) keyValue(table container) {
	parts, extents := s.key()
	if len(parts) == 0 {
		return
	}
	s.skipSpaces()
	s.skip(1, false) // =
	s.skipSpaces()
	at := table
	var added []*keyNode
	for i, name := range parts {
		node, isNew := at.node.member(name, keyPos{key: extents[i]})
		if isNew {
			added = append(added, node)
		}
		at = at.inside(node, name)
	}
	s.charge(at, len(parts), span{extents[0].start, extents[len(extents)-1].end})
	value := s.value(at)
	for _, n := range added {
		n.value = value
	}
}

// key reads a dotted key and returns its parts with their positions; none if it is too
// long.
func (s *tomlScanner) key() (parts []string, extents []span) {
	for {
		s.skipSpaces()
		start := s.pos
		parts = append(parts, s.keyPart())
		extents = append(extents, span{start, s.pos})
		if first := extents[0].start; s.pos-first > maxKeyLength {
			s.exceed(span{first, s.pos}, fmt.Sprintf("a key is longer than %d bytes", maxKeyLength))
			return nil, nil
		}
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

// skipUntil skips the rest of a string and its end. A string of one line ends with the line
// at the latest.
func (s *tomlScanner) skipUntil(end, quote string) {
	for s.pos < len(s.text) && !strings.HasPrefix(s.text[s.pos:], end) {
		if s.text[s.pos] == '\n' && len(end) == 1 {
			return // not TOML
		}
		if s.text[s.pos] == '\\' && quote == `"` {
			s.pos++
		}
		s.skip(1, false)
	}
	s.skip(len(end), false)
}

// value reads a value and stores the positions inside it.
func (s *tomlScanner) value(at container) span {
	start := s.pos
	if s.pos >= len(s.text) {
		return span{start, start}
	}
	switch s.text[s.pos] {
	case '"', '\'':
		s.quoted()
	case '[':
		s.pos++
		s.charge(at, 1, span{start, s.pos})
		for s.nextElement(']') {
			element := at.inside(at.node.add(keyPos{}), "")
			e := s.value(element)
			element.node.keyPos = keyPos{key: e, value: e}
		}
	case '{':
		s.pos++
		s.charge(at, 1, span{start, s.pos})
		for s.nextElement('}') {
			s.keyValue(at)
		}
	default:
		return s.bare()
	}
	return span{start, s.pos}
}

// bare reads a number, a date or a boolean. It reads at least one byte.
func (s *tomlScanner) bare() span {
	start := s.pos
	for s.pos < len(s.text) && strings.IndexByte(",]}#\r\n", s.text[s.pos]) < 0 {
		s.pos++
	}
	end := start + len(strings.TrimRight(s.text[start:s.pos], " \t"))
	if s.pos == start {
		s.skip(1, false) // not TOML
	}
	return span{start, end}
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
