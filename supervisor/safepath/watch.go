package safepath

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Watch is what a path or pattern means now, and what has to be watched to see a change of it.
type Watch struct {
	Dirs  []string          // directories: those on the path (also of symlinks and of their targets), and those with files that match
	Names []string          // the names in them, and patterns of names (HasPattern)
	Files map[string]FileID // by path; those that do not exist are not in it

	Truncated bool // there are more files or directories than the limits allow
}

// FileID identifies a file and its last change.
type FileID struct {
	Device, Inode uint64
	Modified      int64 // nanoseconds
}

// Watches resolves paths and patterns (see expansion). Where others can change a path, the
// helper resolves it, so that an app learns nothing of files that its user cannot reach; it
// also resolves patterns and directories for every app that has a user of its own.
func (o Opener) Watches(paths []string) ([]Watch, error) {
	watches := make([]Watch, len(paths))
	var others []int
	e := newExpansion(o.mayList)
	for i, path := range paths {
		l, err := o.locate(fixedPart(path), false)
		if err == nil {
			l.close()
		}
		if _, ok := o.delegates(err); ok || o.hasOtherUser() && isSeveral(path) {
			others = append(others, i)
			continue
		}
		watches[i] = e.watch(path)
	}
	if len(others) == 0 {
		return watches, nil
	}
	r := request{Action: watchAction}
	for _, i := range others {
		r.Paths = append(r.Paths, paths[i])
	}
	answer, _, err := o.ask(r, openTimeout)
	if err != nil {
		return nil, err
	}
	for n, i := range others {
		if n < len(answer.Watches) {
			watches[i] = answer.Watches[n]
		}
	}
	return watches, nil
}

// hasOtherUser reports whether the helper can become the user of the app.
func (o Opener) hasOtherUser() bool {
	return o.User != nil && o.User.UID != 0 && os.Geteuid() == 0
}

// mayList reports whether the calling process may list a directory: as root, only if root
// alone can change the path.
func (o Opener) mayList(dir string) bool {
	if os.Geteuid() != 0 {
		return true
	}
	l, err := o.locate(filepath.Join(dir, "x"), false)
	if err == nil {
		l.close()
	}
	return err == nil
}

// isSeveral reports whether a path is a pattern, or leads to a directory now.
func isSeveral(path string) bool {
	if HasPattern(path) {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// stat returns the file to which a path leads.
func stat(path string) (st unix.Stat_t, ok bool) {
	ok = unix.Stat(path, &st) == nil
	return st, ok
}

func idOf(st unix.Stat_t) FileID {
	return FileID{Device: uint64(st.Dev), Inode: st.Ino, Modified: st.Mtim.Nano()}
}

// walk adds every directory that has to be watched, with the name in it. It resolves
// symlinks as the kernel does: the directory of each symlink is watched, and so are those
// of its target.
func (w *Watch) walk(path string) {
	at, rest := "/", components(filepath.Clean(path))
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		w.Dirs, w.Names = append(w.Dirs, at), append(w.Names, name)
		next := filepath.Join(at, name)
		to, err := os.Readlink(next)
		if err != nil {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return // ELOOP, until one of them changes
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(at, to)
		}
		at, rest = "/", append(components(filepath.Clean(to)), rest...)
	}
}
