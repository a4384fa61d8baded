package safepath

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits of what the patterns and directories of one app are watched for.
const (
	MaxWatchedFiles = 10_000
	MaxWatchedDirs  = 1_000
	maxEntries      = 100_000 // of directories that are read
)

// HasPattern reports whether a path has a pattern of filepath.Match, or "**".
func HasPattern(path string) bool { return strings.ContainsAny(path, "*?[") }

// fixedPart is the part of a path before its first pattern.
func fixedPart(path string) string {
	if !HasPattern(path) {
		return path
	}
	fixed, _ := splitPattern(path)
	return fixed
}

func splitPattern(path string) (dir string, parts []string) {
	parts = components(filepath.Clean(path))
	i := slices.IndexFunc(parts, HasPattern)
	return "/" + filepath.Join(parts[:i]...), parts[i:]
}

// expansion finds the files that paths mean:
//
//   - the path of a file is this file;
//   - the path of a directory means all files in it and in all directories below it;
//   - in a pattern, each component is one of filepath.Match, or "**": any number of
//     directories.
//
// Only a component that begins with a dot matches names that do. Names that end with "~",
// __pycache__ and node_modules match no wildcard: Python, editors and package managers write
// them while an app starts. A symlink to a directory is not followed below "**".
type expansion struct {
	mayList              func(dir string) bool
	files, dirs, entries int // that are left
}

func newExpansion(mayList func(dir string) bool) *expansion {
	return &expansion{mayList: mayList, files: MaxWatchedFiles, dirs: MaxWatchedDirs, entries: maxEntries}
}

// watch resolves a path or a pattern with the rights of the calling process.
func (e *expansion) watch(path string) Watch {
	w := Watch{Files: map[string]FileID{}}
	if HasPattern(path) {
		dir, parts := splitPattern(path)
		w.walk(dir)
		e.expand(&w, dir, parts)
		return w
	}
	w.walk(path)
	switch st, ok := stat(path); {
	case !ok:
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		e.expand(&w, path, []string{"**"})
	default:
		w.Files[path] = idOf(st)
	}
	return w
}

// expand adds the files below dir that match parts.
func (e *expansion) expand(w *Watch, dir string, parts []string) {
	part, rest := parts[0], parts[1:]
	if part == "**" && len(rest) == 0 {
		rest = []string{"*"}
	}
	entries := e.list(w, dir, part)
	if part == "**" {
		e.match(w, dir, rest[0], rest[1:], entries)
		w.Names = append(w.Names, rest[0])
	} else {
		e.match(w, dir, part, rest, entries)
	}
	for _, entry := range entries {
		if part == "**" && entry.IsDir() && matches("*", entry.Name()) {
			e.expand(w, filepath.Join(dir, entry.Name()), parts)
		}
	}
}

// match adds the files in dir that match part, or goes on with rest in the directories that do.
func (e *expansion) match(w *Watch, dir, part string, rest []string, entries []os.DirEntry) {
	for _, entry := range entries {
		if !matches(part, entry.Name()) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		st, ok := stat(path)
		kind := st.Mode & unix.S_IFMT
		switch {
		case !ok:
		case len(rest) > 0 && kind == unix.S_IFDIR:
			e.expand(w, path, rest)
		case len(rest) == 0 && kind == unix.S_IFREG:
			if e.files--; e.files < 0 {
				w.Truncated = true
				return
			}
			w.Files[path] = idOf(st)
		}
	}
}

// list reads a directory, which is watched for names that match part.
func (e *expansion) list(w *Watch, dir, part string) []os.DirEntry {
	if part == "**" {
		part = "*"
	}
	if e.dirs--; e.dirs < 0 || e.entries <= 0 || e.files <= 0 {
		w.Truncated = true
		return nil
	}
	if !e.mayList(dir) {
		return nil
	}
	w.Dirs, w.Names = append(w.Dirs, dir), append(w.Names, part)
	opened, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer opened.Close()
	entries, err := opened.ReadDir(e.entries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	if e.entries -= len(entries); e.entries < 0 {
		w.Truncated = true
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries
}

// matches reports whether a name matches a component of a pattern.
func matches(part, name string) bool {
	if !HasPattern(part) {
		return part == name
	}
	hidden := strings.HasPrefix(name, ".") && !strings.HasPrefix(part, ".")
	if hidden || strings.HasSuffix(name, "~") || name == "__pycache__" || name == "node_modules" {
		return false
	}
	ok, _ := filepath.Match(part, name) // a malformed pattern is an error of the configuration
	return ok
}

// MayMatch reports whether a name is one of the names of a Watch, or matches a pattern there.
func MayMatch(part, name string) bool { return matches(part, name) }
