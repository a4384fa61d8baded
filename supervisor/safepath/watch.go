package safepath

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Watch is what a path resolves to, and what has to be watched to see a change of it.
type Watch struct {
	Dirs  []string // every directory on the path, those of symlinks and of their targets included
	Names []string // the names in them
	ID    FileID
}

// FileID identifies a file and its last change; the zero value: it does not exist.
type FileID struct {
	Device, Inode uint64
	Modified      int64 // nanoseconds
}

// Watches resolves paths. Where others can change a path, the helper resolves it, so that an
// app learns nothing of files that its user cannot reach.
func (o Opener) Watches(paths []string) ([]Watch, error) {
	watches := make([]Watch, len(paths))
	var others []int
	for i, path := range paths {
		l, err := o.locate(path, false)
		if err == nil {
			l.close()
		}
		if _, ok := o.delegates(err); ok {
			others = append(others, i)
			continue
		}
		watches[i] = watchAsSelf(path)
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

// watchAsSelf resolves a path with the rights of the calling process.
func watchAsSelf(path string) Watch {
	var w Watch
	w.walk(path)
	var st unix.Stat_t
	if unix.Stat(path, &st) == nil {
		w.ID = FileID{Device: uint64(st.Dev), Inode: st.Ino, Modified: st.Mtim.Nano()}
	}
	return w
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
