package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// source is one file of a configuration, decoded.
type source struct {
	path      string
	info      fs.FileInfo // of the file that was read; nil in Check
	text      string
	tree      map[string]any
	positions map[string]keyPos
}

// readSource reads a file. A syntax error hides all other problems in it.
func readSource(path string) (*source, *Problem) {
	b, info, err := ReadFile(path)
	if err != nil {
		return nil, &Problem{File: path, Message: err.Error()}
	}
	s, problem := parseSource(path, strings.TrimPrefix(string(b), byteOrderMark))
	if problem != nil {
		return nil, problem
	}
	s.info = info
	return s, nil
}

func parseSource(path, text string) (*source, *Problem) {
	s := &source{path: path, text: text}
	_, err := toml.Decode(s.text, &s.tree)
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		p := s.syntax(syntax)
		return nil, &p
	}
	if err != nil {
		return nil, &Problem{File: path, Message: err.Error()}
	}
	s.positions = scanPositions(s.text)
	return s, nil
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
	p.Line, p.Column, p.Length, p.Text = lineAndColumn(s.text, e)
	return p
}

// find returns where a key is written. If it is not, this is the innermost table or
// value around it.
func (s *source) find(path []string) keyPos {
	for n := len(path); n > 0; n-- {
		if p, ok := s.positions[joinKey(path[:n]...)]; ok {
			return p
		}
	}
	return keyPos{}
}

// include returns the files that patterns match, in order and each once. A pattern
// without wildcards must match a file.
func (s *source) include(patterns []string) (paths []string, problems []Problem) {
	for i, pattern := range patterns {
		full := absolute(filepath.Dir(s.path), pattern)
		found, err := filepath.Glob(full)
		switch {
		case err != nil:
			err = fmt.Errorf("%q is not a pattern of file names", pattern)
		case len(found) == 0 && full == filepath.Clean(full) && !hasWildcard(pattern):
			err = fmt.Errorf("there is no file %s", full)
		}
		if err != nil {
			p := s.find([]string{"include", fmt.Sprint(i)})
			problems = append(problems, s.problem(p.value, err.Error()))
		}
		for _, path := range found {
			if path != s.path && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths, problems
}

func hasWildcard(pattern string) bool {
	for _, r := range pattern {
		if r == '*' || r == '?' || r == '[' {
			return true
		}
	}
	return false
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
