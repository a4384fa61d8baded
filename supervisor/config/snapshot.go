package config

import (
	"os"
	"path/filepath"
)

// Snapshot is the text of the files of a configuration: it can be loaded again after they have changed.
type Snapshot struct {
	Path    string              `json:"path"`
	Texts   map[string]string   `json:"texts"`             // by path
	Matched map[string][]string `json:"matched,omitempty"` // files, by pattern of include
}

// Snapshot returns the text of the files as they were read.
func (f *File) Snapshot() *Snapshot {
	s := &Snapshot{Path: f.Path, Texts: map[string]string{}, Matched: map[string][]string{}}
	for _, src := range f.sources {
		s.Texts[src.path] = src.text
	}
	for _, i := range f.Includes {
		s.Matched[absolute(filepath.Dir(f.Path), i.Pattern)] = i.matched
	}
	return s
}

// Load loads the configuration. Problems are warnings: it was in force. The error is that of a text that
// this program cannot read at all.
func (s *Snapshot) Load() (*File, error) {
	l := newLoader(s.Path)
	l.environ, l.kept = os.Environ(), s
	l.load(s.Path)
	l.file.drafts = l.apps
	if l.main == nil {
		return nil, NewError(l.problems)
	}
	for _, p := range l.problems {
		p.Warning = true
		l.file.Warnings = append(l.file.Warnings, p)
	}
	return l.file, nil
}

// read reads a file of the configuration. The source is nil where nothing of it can be known.
func (l *loader) read(path string) (*source, []Problem) {
	if l.kept == nil {
		return readSource(path)
	}
	text, known := l.kept.Texts[path]
	if !known { // it was not read then either
		return nil, nil
	}
	return parseSource(path, text)
}

// glob returns the files that a pattern of include matches.
func (l *loader) glob(pattern string) ([]string, error) {
	if l.kept == nil {
		return filepath.Glob(pattern)
	}
	return l.kept.Matched[pattern], nil
}
