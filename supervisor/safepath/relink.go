package safepath

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"tideover/supervisor/process"
)

// ErrMoved says that a symlink does not lead where it led before: somebody has changed it.
var ErrMoved = errors.New("it was changed meanwhile")

// Relink has the symlink at path lead to another target, in one step: at any moment it leads to one of
// the two. from is its text now; a symlink with another text is not touched (ErrMoved). The
// directory of path has no symlinks.
//
// Where only root can change the path, root does it, and the symlink keeps its owner. Elsewhere a
// helper process does it that is the owner of the symlink, so that the kernel decides whether it may;
// or the owner of the directory where the symlink is root's: that user could have replaced it.
func Relink(path, from, to string) error {
	dir, name := filepath.Split(filepath.Clean(path))
	if os.Geteuid() != 0 {
		return relinkAsSelf(path, from, to)
	}
	l, err := (&walk{strict: true}).run(filepath.Join(dir, "x")) // the name is not followed
	if err == nil {
		defer l.close()
		if !l.shared {
			return relinkAt(l.dir, path, name, from, to)
		}
	}
	var foreign *ForeignError
	if err != nil && !errors.As(err, &foreign) {
		return err
	}
	owner, err := ownerOf(path)
	if err != nil {
		return err
	}
	r := request{Action: relinkAction, Paths: []string{path}, From: from, To: to}
	a, _, err := Opener{User: owner}.ask(r, openTimeout)
	if err == nil {
		err = a.err(0)
	}
	if err != nil && err.Error() == ErrMoved.Error() {
		return ErrMoved // errors lose their identity on the way
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (as %s, because others than root can change the path)", err, userName(owner.UID))
	}
	return err
}

// ownerOf returns the user as whom the symlink at path is replaced.
func ownerOf(path string) (*process.User, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if st.Uid == 0 {
		if err := unix.Lstat(filepath.Dir(path), &st); err != nil {
			return nil, &fs.PathError{Op: "lstat", Path: filepath.Dir(path), Err: err}
		}
	}
	if st.Uid == 0 {
		return nil, fmt.Errorf("root does not replace it, because others can change %s", filepath.Dir(path))
	}
	if u, err := process.ResolveUser(strconv.FormatUint(uint64(st.Uid), 10), ""); err == nil {
		return u, nil
	}
	return &process.User{UID: st.Uid, GID: st.Gid}, nil // it has no entry in /etc/passwd
}

// relinkAsSelf is Relink with the rights of the calling process.
func relinkAsSelf(path, from, to string) error {
	dir, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { dir.Close() }()
	for _, c := range components(filepath.Dir(path)) {
		next, err := openat(dir, c, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return &fs.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
		}
		dir.Close()
		dir = next
	}
	return relinkAt(dir, path, filepath.Base(path), from, to)
}

// relinkAt replaces the symlink with this name in dir. path is for errors.
func relinkAt(dir *os.File, path, name, from, to string) error {
	d := int(dir.Fd())
	fault := func(op string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }
	var st unix.Stat_t
	if err := unix.Fstatat(d, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fault("lstat", err)
	}
	if text, err := readlinkat(d, name); err != nil {
		return fault("readlink", err)
	} else if text != from {
		return ErrMoved
	}
	fresh := ".tideover-" + rand.Text()
	if err := unix.Symlinkat(to, d, fresh); err != nil {
		return fault("symlink", err)
	}
	defer unix.Unlinkat(d, fresh, 0) // it is the former one after the exchange, and absent after the rename
	if os.Geteuid() == 0 {
		if err := unix.Fchownat(d, fresh, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fault("chown", err)
		}
	}
	err := unix.Renameat2(d, fresh, d, name, unix.RENAME_EXCHANGE)
	if err == unix.EINVAL || err == unix.ENOSYS || err == unix.ENOTSUP { // the file system cannot exchange
		err = unix.Renameat(d, fresh, d, name)
		if err != nil {
			err = fault("rename", err)
		}
		return err
	}
	if err != nil {
		return fault("rename", err)
	}
	if text, err := readlinkat(d, fresh); err == nil && text == from {
		return nil
	}
	if err := unix.Renameat2(d, fresh, d, name, unix.RENAME_EXCHANGE); err != nil {
		return fault("rename", err)
	}
	return ErrMoved
}

func readlinkat(dir int, name string) (string, error) {
	text := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, text)
	return string(text[:max(n, 0)]), err
}
