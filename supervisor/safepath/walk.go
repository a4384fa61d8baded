package safepath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tideover/supervisor/process"
)

// maxLinks is the number of symlinks that Linux follows in one path (MAXSYMLINKS).
const maxLinks = 40

// ForeignError says that a path can be changed by a user other than root.
type ForeignError struct {
	Path   string // the component that can be changed
	Who    string // the user or group that can change it
	Remedy string // a command of the shell
}

func (e *ForeignError) Error() string { return fmt.Sprintf("%s can change %s", e.Who, e.Path) }

// location is a directory, and the name of a file in it that may not exist.
type location struct {
	dir  *os.File // O_PATH
	path string   // of the file, as it was asked for
	name string

	// shared: others can make entries in dir, but only root can exchange dir itself and
	// the entries of root. So a file counts only if root owns it and it has one name.
	shared bool
	// follow: name may be a symlink, because this process has no more rights than the
	// user that can change it.
	follow bool
}

func (l *location) close() { l.dir.Close() }

// walk resolves a path for root. It follows nothing that others can change.
type walk struct {
	user     *process.User // the app's user, which may be in the group of a directory; nil: root
	makeDirs bool          // missing directories are made, 0755
	strict   bool          // no group may write in a directory

	at    *os.File // O_PATH; the directory that is reached
	path  string   // of at
	rest  []string
	links int
}

// walkAsRoot returns the directory of path and the name in it. The error is a *ForeignError
// if others than root can change a component.
func walkAsRoot(path string, user *process.User, makeDirs bool) (*location, error) {
	return (&walk{user: user, makeDirs: makeDirs}).run(path)
}

func (w *walk) run(path string) (*location, error) {
	root, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	w.at, w.path, w.rest = root, "/", components(path)
	if len(w.rest) == 0 {
		root.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: unix.EISDIR}
	}
	for {
		l, err := w.step()
		if err != nil {
			w.at.Close()
			return nil, err
		}
		if l != nil {
			l.path = path
			return l, nil
		}
	}
}

// step takes the next component. It returns the location when that was the last one.
func (w *walk) step() (*location, error) {
	group, sticky, err := w.trust()
	if err != nil {
		return nil, err
	}
	name, last, shared := w.rest[0], len(w.rest) == 1, group != "" || sticky
	full := filepath.Join(w.path, name)
	here := &location{dir: w.at, name: name, shared: shared}
	next, err := openat(w.at, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) && last {
		return here, nil
	}
	if errors.Is(err, fs.ErrNotExist) && w.makeDirs {
		if err := mkdirat(w.at, name); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, &fs.PathError{Op: "mkdir", Path: full, Err: err}
		}
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: full, Err: err}
	}
	info, err := statOf(next)
	switch {
	case err != nil:
	case shared && info.Uid != 0:
		err = ownedBy(full, info.Uid)
	case info.Mode&unix.S_IFMT == unix.S_IFLNK && info.Uid != 0:
		err = ownedBy(full, info.Uid)
	case info.Mode&unix.S_IFMT == unix.S_IFLNK && group != "":
		err = &ForeignError{full, group, "chmod g-w " + w.path}
	case info.Mode&unix.S_IFMT == unix.S_IFLNK:
		err = w.follow(next)
	case last && shared && info.Mode&unix.S_IFMT == unix.S_IFREG && info.Nlink > 1:
		err = &ForeignError{full, "a user with a hard link to it", "rm " + full}
	case last:
		next.Close()
		return here, nil
	case info.Mode&unix.S_IFMT != unix.S_IFDIR:
		err = &fs.PathError{Op: "open", Path: full, Err: unix.ENOTDIR}
	default:
		w.at.Close()
		w.at, w.path, w.rest = next, full, w.rest[1:]
		return nil, nil
	}
	next.Close()
	return nil, err
}

// trust says which others can make entries in the directory that is reached, although only
// root can exchange it: a group to which the app's user does not belong, or every user if
// it is sticky. In a sticky directory the entries of root stay, in the other one a member
// of the group can rename them. The error is a *ForeignError.
func (w *walk) trust() (group string, sticky bool, err error) {
	info, err := statOf(w.at)
	if err != nil {
		return "", false, err
	}
	byGroup := info.Mode&writeGroup != 0 && w.user != nil && inGroup(w.user, info.Gid)
	err = foreignTo(w.at, w.path, info)
	switch {
	case err == nil && byGroup && !isReadOnly(w.at): // the app's user is in root's group
		return "", false, &ForeignError{w.path, "group " + groupName(info.Gid), "chmod g-w " + w.path}
	case err == nil:
		return "", false, nil
	}
	sticky = info.Mode&unix.S_ISVTX != 0
	switch {
	case info.Uid != 0:
		return "", false, err
	case info.Mode&writeOthers != 0 && sticky:
		return "", true, nil
	case info.Mode&writeOthers != 0 || hasACL(w.at) || w.strict && !sticky || byGroup:
		return "", false, err
	}
	return "group " + groupName(info.Gid), sticky, nil
}

// The permissions to write in a mode.
const writeGroup, writeOthers = 0o020, 0o002

// foreignTo returns a *ForeignError if another user than root can write to a file or in a
// directory.
func foreignTo(f *os.File, path string, info unix.Stat_t) error {
	switch {
	case isReadOnly(f):
		return nil
	case info.Uid != 0:
		return ownedBy(path, info.Uid)
	case info.Mode&writeOthers != 0:
		return &ForeignError{path, "every user", "chmod o-w " + path}
	case info.Mode&writeGroup == 0:
		return nil
	case hasACL(f): // then the bits of the group are the most that any user of the list has
		return &ForeignError{path, "a user of its ACL", "setfacl -b " + path}
	case info.Gid != 0:
		return &ForeignError{path, "group " + groupName(info.Gid), "chmod g-w " + path}
	}
	return nil
}

func ownedBy(path string, uid uint32) *ForeignError {
	return &ForeignError{path, userName(uid), "chown root " + path}
}

// follow replaces the first component by the target of the symlink. Only root can change
// the symlink.
func (w *walk) follow(link *os.File) error {
	full := filepath.Join(w.path, w.rest[0])
	if w.links++; w.links > maxLinks {
		return &fs.PathError{Op: "open", Path: full, Err: unix.ELOOP}
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(link.Fd()), "", target)
	if err != nil {
		return &fs.PathError{Op: "readlink", Path: full, Err: err}
	}
	to := string(target[:n])
	if filepath.IsAbs(to) {
		root, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		w.at.Close()
		w.at, w.path = root, "/"
	}
	w.rest = append(components(to), w.rest[1:]...)
	if len(w.rest) == 0 {
		return &fs.PathError{Op: "open", Path: full, Err: unix.EISDIR}
	}
	return nil
}

// components splits a path. ".." stays, because it means another directory behind a
// symlink.
func components(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(c string) bool { return c == "" || c == "." })
}

func openat(dir *os.File, name string, flags int, mode fs.FileMode) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC, uint32(mode.Perm()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

func mkdirat(dir *os.File, name string) error { return unix.Mkdirat(int(dir.Fd()), name, 0o755) }

func statOf(f *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, os.NewSyscallError("fstat", err)
	}
	return st, nil
}

// isReadOnly reports whether a directory is on a mount where nothing can be written, such as
// the secrets of Kubernetes, whose directories have mode 0777.
func isReadOnly(dir *os.File) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(dir.Fd()), &st) == nil && st.Flags&unix.ST_RDONLY != 0
}

// hasACL reports whether a directory has a POSIX access list. The path in /proc is used because
// fgetxattr(2) takes no O_PATH descriptor. An error counts as an access list, unless it says
// that there is none.
func hasACL(dir *os.File) bool {
	_, err := unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), "system.posix_acl_access", nil)
	return !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP)
}

func inGroup(u *process.User, gid uint32) bool { return u.GID == gid || slices.Contains(u.Groups, gid) }

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
