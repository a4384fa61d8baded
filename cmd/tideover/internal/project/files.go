package project

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"tideover/supervisor/process"
	"tideover/supervisor/safepath"
)

// files reads the files of a project, each once. What they say goes into a configuration and onto the
// screen, so root must not read a file that a symlink of the project's user leads to: that user
// opens it.
type files struct {
	opener safepath.Opener
	texts  map[string]string
	unread error
}

// newFiles opens files as the owner of the project, or of the code that its symlink "current" leads to.
func newFiles(o Options) *files {
	f := &files{texts: map[string]string{}}
	if os.Geteuid() != 0 {
		return f
	}
	for _, directory := range []string{o.Directory, o.Directory + "/current"} {
		if uid := uidOf(directory); uid != 0 {
			f.opener.User, f.unread = process.ResolveUser(strconv.Itoa(int(uid)), "")
			return f
		}
	}
	return f
}

// batch is how many files one helper process reads: its answer has a limit.
const batch = 16

// load reads files that have not been read yet.
func (f *files) load(paths []string) {
	paths = slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		_, ok := f.texts[path]
		return ok
	})
	for some := range slices.Chunk(paths, batch) {
		for i, r := range f.opener.ReadFiles(some) {
			f.texts[some[i]] = string(r.Text)
			if r.Err != nil && !errors.Is(r.Err, fs.ErrNotExist) && f.unread == nil {
				f.unread = r.Err
			}
		}
	}
}

// read returns the text of a regular file; "" if it cannot be read.
func (f *files) read(path string) string {
	f.load([]string{path})
	return f.texts[path]
}

// ReadFile reads a file as Find did.
func (f Found) ReadFile(path string) ([]byte, error) {
	file, err := f.files.opener.ReadFile(path)
	return file.Text, err
}
