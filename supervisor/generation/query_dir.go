package generation

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/gunicorn"
)

const (
	queryDirs    = "tideover-query-*" // in TMPDIR
	queryProgram = "query.py"
)

// A queryDir has gunicorn.QueryProgram, and the bytecode that Python may write beside it. Every user can
// read it and only the daemon's can change it: a wrapper such as gosu may run gunicorn as any user.
type queryDir struct {
	path string
	lock *os.File // the directory, locked as long as this process lives
}

// makeQueryDir makes one, and removes those of processes that were killed.
func makeQueryDir() (_ *queryDir, err error) {
	if err := checkOwnership(os.TempDir()); err != nil {
		return nil, err
	}
	removeStaleQueryDirs()
	path, err := os.MkdirTemp("", queryDirs)
	if err != nil {
		return nil, err
	}
	d := &queryDir{path: path}
	if d.lock, err = lockDir(path, unix.LOCK_EX); err == nil { // another process may be looking at it
		err = os.WriteFile(d.program(), gunicorn.QueryProgram, 0o644)
	}
	if err == nil {
		err = errors.Join(os.Chmod(d.program(), 0o644), os.Chmod(path, 0o755)) // the umask may have taken bits away
	}
	if err != nil {
		d.remove()
		return nil, err
	}
	return d, nil
}

func (d *queryDir) program() string { return filepath.Join(d.path, queryProgram) }

func (d *queryDir) remove() {
	os.RemoveAll(d.path)
	if d.lock != nil {
		d.lock.Close()
	}
}

// removeStaleQueryDirs removes the directories of this user that no process has locked. Another user can
// make one of such a name in TMPDIR, or a symlink, but replace none of this user's: see checkOwnership.
func removeStaleQueryDirs() {
	paths, _ := filepath.Glob(filepath.Join(os.TempDir(), queryDirs))
	for _, path := range paths {
		lock, err := lockDir(path, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue
		}
		info, err := lock.Stat()
		own := err == nil && int(info.Sys().(*syscall.Stat_t).Uid) == os.Geteuid()
		if own && wasLocked(path, info) {
			os.RemoveAll(path)
		}
		lock.Close()
	}
}

// wasLocked reports whether a directory has been locked before: the program is written after that. One
// that is older than a query can be has lost its process before.
func wasLocked(path string, info os.FileInfo) bool {
	_, err := os.Lstat(filepath.Join(path, queryProgram))
	return err == nil || time.Since(info.ModTime()) > queryTimeout
}

// lockDir opens a directory and locks it, as flock(2) does.
func lockDir(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, os.NewSyscallError("flock", err)
	}
	return f, nil
}
