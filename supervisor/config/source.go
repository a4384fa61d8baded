package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/BurntSushi/toml"
)

// source is one file of a configuration.
type source struct {
	path   string
	text   string
	tree   map[string]any
	places map[string]place
}

// readSource reads a file. A fault in its syntax hides all others in it.
func readSource(path string) (*source, *Problem) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Problem{File: path, Message: "there is no such file"}
	}
	if err != nil {
		return nil, &Problem{File: path, Message: err.Error()}
	}
	s := &source{path: path, text: string(b)}
	_, err = toml.Decode(s.text, &s.tree)
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		p := s.problem(extent{syntax.Position.Start, syntax.Position.Start + max(1, syntax.Position.Len)}, syntax.Message)
		if syntax.Usage != "" {
			p.Hint = firstLine(syntax.Usage)
		}
		return nil, &p
	}
	if err != nil {
		return nil, &Problem{File: path, Message: err.Error()}
	}
	s.places = places(s.text)
	return s, nil
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

// include lists the files that patterns mean, in order. A pattern without
// wildcards must mean one.
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
		paths = append(paths, found...)
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
