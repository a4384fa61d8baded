package generation

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"tideover/supervisor/state"
)

// maxLinks is the number of symlinks that Linux follows in one path (MAXSYMLINKS).
const maxLinks = 40

// ResolveDirectory returns a path without its symlinks, and these, in the order in which they were
// followed. Nothing is opened.
func ResolveDirectory(path string) (dir string, links []state.Link, err error) {
	at, rest := "/", components(path)
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil {
			return "", nil, err
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		if len(links) == maxLinks {
			return "", nil, &os.PathError{Op: "open", Path: next, Err: syscall.ELOOP}
		}
		to, err := os.Readlink(next)
		if err != nil {
			return "", nil, err
		}
		links = append(links, state.Link{Path: next, To: to})
		if filepath.IsAbs(to) {
			at = "/"
		}
		rest = append(components(to), rest...)
	}
	return at, links, nil
}

// components splits a path. ".." stays, because it means another directory behind a symlink.
func components(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(c string) bool { return c == "" || c == "." })
}
