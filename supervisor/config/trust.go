package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// untrustedError says why a file is not used as a configuration: another user could have
// written it.
type untrustedError struct{ message, hint string }

func (e *untrustedError) Error() string { return e.message }

// openConfig opens a configuration file. Its commands run with the rights of the daemon, so
// root takes no file that another user can change (openTrusted), and other users none that
// every user can write. Permissions are those of the open descriptor.
func openConfig(path string) (*os.File, error) {
	if os.Geteuid() == 0 {
		return openTrusted(path, 0)
	}
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 && !readOnly(int(f.Fd())) {
		f.Close()
		return nil, &untrustedError{"every user may write it", "chmod o-w " + path}
	}
	return f, nil
}

// maxLinks is how many symbolic links a path may have, as in the kernel.
const maxLinks = 40

// openTrusted opens a file for reading if only root and uid can change which file the path
// leads to and what it contains; else the error is an *untrustedError. Every directory and
// symbolic link on the way and the file must belong to root or to uid. No other group than
// that of gid 0, and no other user, may write in the file or in a directory, except in one
// with the sticky bit. Each component is opened relative to the descriptor of the one before
// and checked on its own descriptor, so that nothing can be exchanged in between. path is
// absolute.
func openTrusted(path string, uid uint32) (*os.File, error) {
	w := &trustedWalk{uid: uid, asked: path, path: "/"}
	defer func() { unix.Close(w.dir) }()
	var err error
	if w.dir, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	rest, links := components(path), 0
	for len(rest) > 0 {
		target, err := w.enter(rest[0], len(rest) == 1)
		rest = rest[1:]
		switch {
		case err != nil:
			return nil, err
		case w.file != nil:
			return w.file, nil
		case target == "":
			continue
		}
		if links++; links > maxLinks {
			return nil, unix.ELOOP
		}
		if filepath.IsAbs(target) {
			if err := w.restart(); err != nil {
				return nil, err
			}
		}
		rest = append(components(target), rest...)
	}
	fd, err := unix.Openat(w.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// components are the names in a path.
func components(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// trustedWalk is the state of openTrusted.
type trustedWalk struct {
	uid   uint32
	asked string // the path that openTrusted was given
	dir   int    // O_PATH descriptor of the directory that was reached
	path  string
	file  *os.File // that was reached
}

func (w *trustedWalk) restart() error {
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	unix.Close(w.dir)
	w.dir, w.path = root, "/"
	return nil
}

// enter goes on to the directory or, as the last component, to the file with a name. For a
// symbolic link it returns its target.
func (w *trustedWalk) enter(name string, last bool) (target string, err error) {
	path := filepath.Join(w.path, name)
	if err := w.check(w.dir, w.path); err != nil {
		return "", err
	}
	fd, err := unix.Openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		unix.Close(fd)
		return "", err
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		unix.Close(w.dir)
		w.dir, w.path = fd, path
		return "", nil
	case unix.S_IFLNK:
		defer unix.Close(fd)
		if err := w.checkOwner(stat.Uid, path); err != nil {
			return "", err
		}
		buffer := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", buffer)
		if err != nil {
			return "", err
		}
		return string(buffer[:n]), nil
	}
	unix.Close(fd)
	if !last {
		return "", &fs.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
	}
	return "", w.open(name, path)
}

// open opens the file that the walk leads to.
func (w *trustedWalk) open(name, path string) error {
	fd, err := unix.Openat(w.dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var stat unix.Stat_t
	err = unix.Fstat(fd, &stat)
	if err == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG { // no other file is read
		err = w.check(fd, path)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	w.file = os.NewFile(uintptr(fd), path)
	return nil
}

// check checks the owner and the permissions of an open file or directory.
func (w *trustedWalk) check(fd int, path string) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if err := w.checkOwner(stat.Uid, path); err != nil {
		return err
	}
	sticky := stat.Mode&unix.S_IFMT == unix.S_IFDIR && stat.Mode&unix.S_ISVTX != 0
	if stat.Mode&0o022 == 0 || sticky || readOnly(fd) {
		return nil
	}
	what := w.name(path)
	if stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		what = "in " + path
	}
	// With an ACL, the bits of the group are the most that any named user or group has.
	switch {
	case stat.Mode&0o002 != 0:
		return &untrustedError{"every user may write " + what, "chmod o-w " + path}
	case hasACL(fd):
		return &untrustedError{"an ACL lets others write " + what, "setfacl -b " + path}
	case stat.Gid != 0:
		return &untrustedError{"the group " + groupName(stat.Gid) + " may write " + what, "chmod g-w " + path}
	}
	return nil
}

// name names a component in messages, which begin with the path that was asked for.
func (w *trustedWalk) name(path string) string {
	if path == w.asked {
		return "it"
	}
	return path
}

func (w *trustedWalk) checkOwner(owner uint32, path string) error {
	if owner == 0 || owner == w.uid {
		return nil
	}
	return &untrustedError{fmt.Sprintf("%s belongs to %s, and root uses only what root alone can change", w.name(path), userName(owner)),
		"chown root " + path + ", or move the file to /etc/tideover"}
}

// readOnly reports whether a file is on a mount where nothing can be written, such as the
// ConfigMaps of Kubernetes, whose directories have mode 0777.
func readOnly(fd int) bool {
	var stat unix.Statfs_t
	return unix.Fstatfs(fd, &stat) == nil && stat.Flags&unix.ST_RDONLY != 0
}

// hasACL reports whether a file has a POSIX ACL. The path in /proc is used because
// fgetxattr(2) takes no O_PATH descriptor. An error counts as an ACL, unless it says that
// there is none.
func hasACL(fd int) bool {
	_, err := unix.Getxattr("/proc/self/fd/"+strconv.Itoa(fd), "system.posix_acl_access", nil)
	return !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP)
}

func userName(uid uint32) string {
	number := strconv.Itoa(int(uid))
	if account, err := user.LookupId(number); err == nil {
		return account.Username
	}
	return "uid " + number
}

func groupName(gid uint32) string {
	number := strconv.Itoa(int(gid))
	if group, err := user.LookupGroupId(number); err == nil {
		return group.Name
	}
	return number
}
