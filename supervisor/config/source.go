package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"tideover/supervisor/lazyregexp"
)

// source is one file of a configuration, decoded.
type source struct {
	path      string
	info      fs.FileInfo // of the file that was read; nil in Check
	text      string
	lines     []int // where each line begins
	tree      map[string]any
	positions *keyNode
	unread    []string // keys of lines with a syntax error, as they are written
}

// maxLine is the length of a line in bytes. The column of a problem costs a scan of its line.
const maxLine = 64 << 10

// maxQuoted is the length of a line in bytes that a problem quotes.
const maxQuoted = 1000

// readSource reads a file. The source is nil where nothing of the file can be known.
func readSource(path string) (*source, []Problem) {
	b, info, err := readConfig(path)
	var untrusted *untrustedError
	if errors.As(err, &untrusted) {
		return nil, []Problem{{File: path, Message: untrusted.message, Hint: untrusted.hint, Untrusted: true}}
	}
	if err != nil {
		return nil, []Problem{{File: path, Message: err.Error()}}
	}
	s, problems := parseSource(path, strings.TrimPrefix(string(b), byteOrderMark))
	if s != nil {
		s.info = info
	}
	return s, problems
}

// readConfig is ReadFile for a configuration (openConfig).
func readConfig(path string) ([]byte, fs.FileInfo, error) {
	f, err := openConfig(path)
	if err != nil {
		return nil, nil, readError(err)
	}
	defer f.Close()
	return readOpen(f)
}

// maxSyntaxErrors is how many syntax errors of a file are reported. Each costs a parse.
const maxSyntaxErrors = 10

// parseSource decodes a text. The decoder ends at the first syntax error; where that is in a line
// "key = value", the line is left out, and what follows is decoded as well. The source is nil
// where a syntax error is elsewhere: what follows it cannot be known.
func parseSource(path, text string) (*source, []Problem) {
	s := &source{path: path, text: text, lines: lineStarts(text)}
	var problems []Problem
	for decoded := text; ; {
		positions, exceeded := scanPositions(decoded)
		if exceeded != nil {
			return nil, append(problems, s.problem(exceeded.at, exceeded.message))
		}
		if i := s.longLine(); i >= 0 {
			return nil, []Problem{s.problem(span{i, i}, "the line is longer than "+FormatSize(maxLine))}
		}
		s.positions = positions
		err := s.decode(decoded)
		var syntax toml.ParseError
		switch {
		case err == nil:
			return s, problems
		case !errors.As(err, &syntax):
			return nil, append(problems, Problem{File: path, Message: err.Error()})
		}
		problems = append(problems, s.syntax(syntax))
		var ok bool
		if decoded, ok = s.withoutLine(decoded, syntax.Position.Start); !ok || len(problems) == maxSyntaxErrors {
			return nil, problems
		}
	}
}

// assignment is a line that sets a key.
var assignment = lazyregexp.New(`^\s*([A-Za-z0-9_."'-]+)\s*=`)

// withoutLine replaces the line of an offset by blanks, so that the places of all others stay. It
// reports false for a line that sets no key, and for one of supervisord.conf.
func (s *source) withoutLine(text string, at int) (blanked string, ok bool) {
	line := sort.SearchInts(s.lines, max(0, at)+1)
	start, end := s.lines[line-1], len(text)
	if line < len(s.lines) {
		end = s.lines[line] - 1
	}
	key := assignment.FindStringSubmatch(text[start:end])
	if key == nil || looksLikeSupervisord(s.text) {
		return text, false
	}
	s.unread = append(s.unread, key[1])
	return text[:start] + strings.Repeat(" ", end-start) + text[end:], true
}

// longLine is where a line begins that is longer than maxLine; -1: there is none.
func (s *source) longLine() int {
	for i, start := range s.lines {
		end := len(s.text)
		if i+1 < len(s.lines) {
			end = s.lines[i+1] - 1
		}
		if end-start > maxLine {
			return start
		}
	}
	return -1
}

// decode decodes the text. The decoder panics where it finds a fault of its own; a file must
// not end the daemon.
func (s *source) decode(text string) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("it cannot be decoded: %v", fault)
		}
	}()
	s.tree = nil
	_, err = toml.Decode(text, &s.tree)
	return err
}

// lineStarts returns where each line of a text begins.
func lineStarts(text string) []int {
	starts := []int{0}
	for i := strings.IndexByte(text, '\n'); i >= 0; {
		next := starts[len(starts)-1] + i + 1
		starts = append(starts, next)
		i = strings.IndexByte(text[next:], '\n')
	}
	return starts
}

// byteOrderMark is written at the start of a file by some editors.
const byteOrderMark = "\ufeff"

// syntax returns the problem for a syntax error.
func (s *source) syntax(err toml.ParseError) Problem {
	start := max(0, err.Position.Start) // it is -1 in some messages
	p := s.problem(span{start, start + max(1, err.Position.Len)}, err.Message)
	line, word := p.Text, s.text[min(start, len(s.text)):]
	switch {
	case looksLikeSupervisord(s.text):
		p.Message, p.Hint = "this is a supervisord.conf, not TOML", "tideover import "+filepath.Base(s.path)+" makes a tideover.toml of it"
		p.Column, p.Length = 1, utf8.RuneCountInString(line)
	case strings.HasPrefix(err.Message, "expected value") && strings.TrimSpace(line[strings.IndexByte(line, '=')+1:]) == "":
		p.Message = "there is nothing behind the ="
	case strings.HasPrefix(err.Message, "expected value") && word != "" && isLetter(word[0]):
		p.Hint = "a text is written in quotes"
	case err.Usage != "":
		p.Hint = firstLine(err.Usage)
	}
	return p
}

// problem returns a problem at a piece of the text.
func (s *source) problem(e span, message string) Problem {
	e.start = min(max(e.start, 0), len(s.text))
	e.end = min(max(e.start, e.end), len(s.text))
	p := Problem{File: s.path, Message: message}
	p.Line, p.Column, p.Length, p.Text = s.lineAndColumn(e)
	return p
}

// lineAndColumn returns the line and column of a piece of the text, both from 1, its length
// in characters, cut at the end of the line, and the whole line; not one that is longer than
// maxQuoted.
func (s *source) lineAndColumn(e span) (line, column, length int, quoted string) {
	line = sort.SearchInts(s.lines, e.start+1)
	start := s.lines[line-1]
	quoted, _, _ = strings.Cut(s.text[start:], "\n")
	quoted = strings.TrimRight(quoted, "\r")
	column = utf8.RuneCountInString(s.text[start:e.start]) + 1
	end := max(e.start, min(e.end, start+len(quoted)))
	length = utf8.RuneCountInString(s.text[e.start:end])
	if len(quoted) > maxQuoted {
		quoted = ""
	}
	return line, column, length, quoted
}

// find returns where a key is written. If it is not, this is the innermost table or
// value around it.
func (s *source) find(path []string) keyPos {
	node, _ := s.positions.lookup(path...)
	return node.keyPos
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
