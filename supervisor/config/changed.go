package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ChangedFile returns the path of the first file of the configuration whose text is another one than
// that which was read, which has been removed, or which an include matches now and did not then;
// empty: nothing has changed. A file that cannot be read now counts as not changed.
func (f *File) ChangedFile() string {
	for _, s := range f.sources {
		if s.changed() {
			return s.path
		}
	}
	if f.main == nil {
		return ""
	}
	for _, i := range f.Includes {
		found, err := filepath.Glob(absolute(filepath.Dir(f.main.path), i.Pattern))
		if err != nil {
			continue
		}
		for _, path := range found {
			if !slices.Contains(i.matched, path) {
				return path
			}
		}
		for _, path := range i.matched {
			if !slices.Contains(found, path) {
				return path
			}
		}
	}
	return ""
}

// changed reports whether the file has another text now. It is read only if it is not the same file
// with the same size and time.
func (s *source) changed() bool {
	now, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil || s.info != nil && os.SameFile(now, s.info) && now.Size() == s.info.Size() && now.ModTime().Equal(s.info.ModTime()) {
		return false
	}
	text, _, err := readConfig(s.path)
	return err == nil && strings.TrimPrefix(string(text), byteOrderMark) != s.text
}
