package listener

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// A PrivateDir is a directory of private unix sockets that another process of tideover, the relay,
// has as its root, or as its working directory where it may not have another root. That process
// reaches the sockets in it, and no others, by names relative to it. Only the daemon's user can
// change the directory. The directory above it exists and is the daemon's own, too.
type PrivateDir struct {
	Path  string // absolute
	Group int    // gid of the other process; 0: it has the daemon's user
}

// Prepare makes the directory, or gives it the mode and the group that it must have. It is an error
// if another user has made it.
func (d *PrivateDir) Prepare() error {
	if err := os.Mkdir(d.Path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	// Changed by its descriptor: it may be replaced meanwhile.
	dir, err := os.OpenFile(d.Path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d: remove it", d.Path, uid)
	}
	mode := os.FileMode(0o700)
	if d.Group != 0 {
		if err := dir.Chown(-1, d.Group); err != nil {
			return err
		}
		mode = 0o750
	}
	return dir.Chmod(mode | info.Mode().Perm()&0o001) // see OpenForOthers
}

// OpenForOthers lets every user pass through the directory to a directory of theirs in it. What is
// in it cannot be listed by them, and the daemon's sockets in it cannot be connected to.
func (d *PrivateDir) OpenForOthers() error {
	above := filepath.Dir(d.Path)
	for _, dir := range []string{d.Path, above} {
		info, err := os.Lstat(dir)
		if err == nil && info.IsDir() && info.Mode().Perm()&0o001 == 0 {
			err = os.Chmod(dir, info.Mode().Perm()|0o001)
		}
		if err != nil {
			return err
		}
	}
	for dir := above; dir != "/"; {
		dir = filepath.Dir(dir)
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("other users cannot pass to %s: %s has mode %04o", above, dir, info.Mode().Perm())
		}
	}
	return nil
}

// Name returns how the other process reaches the socket at a path.
func (d *PrivateDir) Name(path string) (string, error) {
	name, err := filepath.Rel(d.Path, path)
	if err == nil && !filepath.IsLocal(name) {
		err = fmt.Errorf("%s is not in %s", path, d.Path)
	}
	return name, err
}

// Admit lets the other process connect to a unix socket of any owner: its group becomes that of
// the file, and may read and write it. pin is an O_PATH descriptor of the socket, so that no
// symlink is followed.
func (d *PrivateDir) Admit(pin int) error {
	if d.Group == 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(pin, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errNotSocket
	}
	if int(st.Gid) != d.Group {
		if err := unix.Fchownat(pin, "", -1, d.Group, unix.AT_EMPTY_PATH); err != nil {
			return os.NewSyscallError("fchownat", err)
		}
	}
	const access = 0o060
	if st.Mode&access == access {
		return nil
	}
	return os.Chmod(procFD(pin), os.FileMode(st.Mode).Perm()|access)
}
