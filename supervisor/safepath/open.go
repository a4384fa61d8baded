package safepath

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxFileSize is far more than a file has that ReadFile is for: settings or a page.
const maxFileSize = 1 << 20

// File is a file that was read.
type File struct {
	Text     []byte
	Mode     fs.FileMode
	UID, GID uint32
}

// newFileMode is the mode of a new file if none is given.
const newFileMode = 0o640

// locateAsSelf returns the location of a path for a process that has no more rights than
// the users that can change it. It follows symlinks.
func locateAsSelf(path string, makeDirs bool) (*location, error) {
	dir := filepath.Dir(path)
	if makeDirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	d, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			at.Path = path
		}
		return nil, err
	}
	return &location{dir: d, path: path, name: filepath.Base(path), follow: true}, nil
}

// open opens the file. It does not wait, neither for the other end of a FIFO nor for a
// terminal.
func (l *location) open(flags int, mode fs.FileMode) (*os.File, unix.Stat_t, error) {
	flags |= unix.O_NONBLOCK | unix.O_NOCTTY
	if !l.follow {
		flags |= unix.O_NOFOLLOW
	}
	f, err := openat(l.dir, l.name, flags, mode)
	var st unix.Stat_t
	if err == unix.ENXIO && unix.Fstatat(int(l.dir.Fd()), l.name, &st, 0) == nil {
		if err = notRegular(st.Mode); st.Mode&unix.S_IFMT == unix.S_IFIFO { // no process reads from it
			f, err = openat(l.dir, l.name, flags&^unix.O_ACCMODE|unix.O_RDWR, mode)
		}
	}
	if err != nil {
		return nil, unix.Stat_t{}, l.fault("open", err)
	}
	st, err = statOf(f)
	if err == nil && l.shared && (st.Uid != 0 || st.Nlink > 1) {
		err = ownedBy(l.path, st.Uid) // it was exchanged after the walk
	}
	if err != nil {
		f.Close()
		return nil, st, err
	}
	return f, st, nil
}

func (l *location) fault(op string, err error) error {
	return &fs.PathError{Op: op, Path: l.path, Err: err}
}

// OpenTrusted opens a file for reading if only root can change it and every directory on its
// path. Unlike an Opener it counts the file itself, and directories that a group can write
// in. Else the error is a *ForeignError. The path is absolute.
func OpenTrusted(path string) (*os.File, error) {
	l, err := (&walk{strict: true}).run(path)
	if err != nil {
		return nil, err
	}
	defer l.close()
	f, st, err := l.open(unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG { // the caller reads no other file
		err = foreignTo(f, path, st)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// read reads a regular file, or its first bytes if limit is not 0.
func (l *location) read(limit int) (File, error) {
	f, st, err := l.open(unix.O_RDONLY, 0)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return File{}, l.fault("read", notRegular(st.Mode))
	}
	most := maxFileSize + 1
	if limit > 0 {
		most = limit
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(most)))
	if err != nil {
		return File{}, err
	}
	if len(text) > maxFileSize {
		return File{}, l.fault("read", errors.New("it is larger than 1MiB"))
	}
	return File{Text: text, Mode: fs.FileMode(st.Mode).Perm(), UID: st.Uid, GID: st.Gid}, nil
}

// appendTo opens a log file, and makes it if it does not exist.
func (l *location) appendTo(mode fs.FileMode) (*os.File, error) {
	if mode == 0 {
		mode = newFileMode
	}
	flags := unix.O_APPEND | unix.O_WRONLY
	f, st, err := l.open(flags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		create := unix.O_CREAT
		if !l.follow {
			create |= unix.O_EXCL
		}
		f, st, err = l.open(flags|create, mode)
	}
	if err != nil {
		return nil, err
	}
	if !isWritable(st.Mode) {
		f.Close()
		return nil, l.fault("open", notRegular(st.Mode))
	}
	return f, nil
}

// isWritable reports whether a log can be written to a file with this mode. Where another user
// can change the path, only a regular file is accepted; see checkLog.
func isWritable(mode uint32) bool {
	kind := mode & unix.S_IFMT
	return kind == unix.S_IFREG || kind == unix.S_IFCHR || kind == unix.S_IFIFO
}

// probe is the error of appendTo; it does not make the file.
func (l *location) probe() error {
	f, st, err := l.open(unix.O_APPEND|unix.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := unix.Faccessat(int(l.dir.Fd()), ".", unix.W_OK|unix.X_OK, 0); err != nil {
			return l.fault("create", err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	f.Close()
	if !isWritable(st.Mode) {
		return l.fault("open", notRegular(st.Mode))
	}
	return nil
}

// probeMissing reports whether a directory that is missing could be made.
func probeMissing(dir string, err error) error {
	for errors.Is(err, fs.ErrNotExist) && dir != "/" {
		dir = filepath.Dir(dir)
		refused := unix.Access(dir, unix.W_OK|unix.X_OK)
		if refused == nil {
			return nil
		}
		err = &fs.PathError{Op: "create a file in", Path: dir, Err: refused}
	}
	return err
}

// write replaces the file by a new one.
func (l *location) write(text []byte, mode fs.FileMode) error {
	fresh := l.name + ".new"
	if err := unix.Unlinkat(int(l.dir.Fd()), fresh, 0); err != nil && err != unix.ENOENT {
		return l.fault("remove", err)
	}
	f, err := openat(l.dir, fresh, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, mode)
	if err != nil {
		return l.fault("create", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := unix.Renameat(int(l.dir.Fd()), fresh, int(l.dir.Fd()), l.name); err != nil {
		return l.fault("rename", err)
	}
	return nil
}

// remove unlinks the file.
func (l *location) remove() error {
	if err := unix.Unlinkat(int(l.dir.Fd()), l.name, 0); err != nil {
		return l.fault("remove", err)
	}
	return nil
}

func notRegular(mode uint32) error {
	kind := "a device"
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		kind = "a directory"
	case unix.S_IFIFO:
		kind = "a pipe"
	case unix.S_IFSOCK:
		kind = "a socket"
	}
	return &NotRegularError{kind}
}

// NotRegularError says that a path leads to a file of another kind.
type NotRegularError struct{ Kind string }

func (e *NotRegularError) Error() string { return fmt.Sprintf("it is %s, not a file", e.Kind) }
