package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// source is one file of a configuration.
type source struct {
	path   string
	info   fs.FileInfo // of the file that was read
	text   string
	tree   map[string]any
	places map[string]place
}

// readSource reads a file. A fault in its syntax hides all others in it.
func readSource(path string) (*source, *Problem) {
	b, info, err := readFile(path)
	if err != nil {
		return nil, &Problem{File: path, Message: err.Error()}
	}
	s, fault := parseSource(path, strings.TrimPrefix(string(b), byteOrderMark))
	if fault != nil {
		return nil, fault
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
	s.places = places(s.text)
	return s, nil
}

// byteOrderMark is what some editors put in front of a text.
const byteOrderMark = "\ufeff"

// syntax says what the decoder could not read.
func (s *source) syntax(fault toml.ParseError) Problem {
	start := max(0, fault.Position.Start) // it is -1 in some messages
	p := s.problem(extent{start, start + max(1, fault.Position.Len)}, fault.Message)
	line, word := p.Text, s.text[min(start, len(s.text)):]
	switch {
	case looksLikeSupervisord(s.text):
		p.Message, p.Hint = "this is a supervisord.conf, not TOML", "tideover import "+filepath.Base(s.path)+" makes a tideover.toml of it"
		p.Column, p.Length = 1, utf8.RuneCountInString(line)
	case strings.HasPrefix(fault.Message, "expected value") && strings.TrimSpace(line[strings.IndexByte(line, '=')+1:]) == "":
		p.Message = "there is nothing behind the ="
	case strings.HasPrefix(fault.Message, "expected value") && word != "" && isLetter(word[0]):
		p.Hint = "a text is written in quotes"
	case fault.Usage != "":
		p.Hint = firstLine(fault.Usage)
	}
	return p
}

func (s *source) problem(e extent, message string) Problem {
	e.start = min(max(e.start, 0), len(s.text))
	e.end = min(max(e.start, e.end), len(s.text))
	p := Problem{File: s.path, Message: message}
	p.Line, p.Column, p.Length, p.Text = locate(s.text, e)
	return p
}

// at finds where a key is written: the nearest thing around it, if not itself.
func (s *source) at(path []string) place {
	for n := len(path); n > 0; n-- {
		if p, ok := s.places[joinKey(path[:n]...)]; ok {
			return p
		}
	}
	return place{}
}

// include lists the files that patterns mean, in order and each once. A pattern
// without wildcards must mean one.
func (s *source) include(patterns []string) (paths []string, faults []Problem) {
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
			p := s.at([]string{"include", fmt.Sprint(i)})
			faults = append(faults, s.problem(p.value, err.Error()))
		}
		for _, path := range found {
			if path != s.path && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths, faults
}

func hasWildcard(pattern string) bool {
	for _, r := range pattern {
		if r == '*' || r == '?' || r == '[' {
			return true
		}
	}
	return false
}

// Discover finds the configuration where none is named: TIDEOVER_CONFIG, then
// ./tideover.toml, then $XDG_CONFIG_HOME/tideover/tideover.toml unless root,
// then /etc/tideover/tideover.toml. A file TIDEOVER_CONFIG names need not
// exist: that is for Load to say.
func Discover() (path string, ok bool) {
	if path := os.Getenv("TIDEOVER_CONFIG"); path != "" {
		return path, true
	}
	candidates := []string{"tideover.toml"}
	if dir, err := os.UserConfigDir(); err == nil && os.Geteuid() != 0 {
		candidates = append(candidates, filepath.Join(dir, "tideover", "tideover.toml"))
	}
	for _, path := range append(candidates, "/etc/tideover/tideover.toml") {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, true
		}
	}
	return "", false
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
