package daemon

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
	"tideover/supervisor/control"
	"tideover/supervisor/safepath"
)

// socketPath is where the daemon listens for commands.
func (d *daemon) socketPath() string {
	path := cmp.Or(d.Socket, d.Config.Daemon.Socket)
	if path == "" {
		path = control.SocketPath(cmp.Or(d.Config.Daemon.RuntimeDir, d.RuntimeDir), d.App)
	}
	if absolute, err := filepath.Abs(path); err == nil {
		return absolute
	}
	return path
}

// checkDirectories refuses directories that others can change: root would make, replace and remove
// files in another one.
func (d *daemon) checkDirectories(socketPath string) error {
	dirs := []string{filepath.Dir(socketPath), d.stateDir(socketPath)}
	if d.Config.Daemon.Spool > 0 {
		dirs = append(dirs, d.Config.Daemon.SpoolDir)
	}
	return checkOnlyOurs(dirs...)
}

// checkOnlyOurs refuses directories that others can change.
func checkOnlyOurs(dirs ...string) error {
	for _, dir := range dirs {
		if _, err := (safepath.Opener{}).Access(filepath.Join(dir, "x")); err != nil {
			return &api.Error{Exit: api.ExitConfig, Message: fmt.Sprintf("cannot use the directory %s: %v", dir, err)}
		}
	}
	return nil
}

// stateDir is where files that outlive the daemon are kept: beside a control
// socket that was chosen by hand, else at the usual place.
func (d *daemon) stateDir(socket string) string {
	switch {
	case d.Config.Daemon.StateDir != "":
		return d.Config.Daemon.StateDir
	case d.Socket != "" || d.Config.Daemon.Socket != "":
		return filepath.Dir(socket)
	case os.Geteuid() == 0:
		if dir := d.Getenv("XDG_STATE_HOME"); control.OnlyRootCanChange(dir) {
			return filepath.Join(dir, "tideover")
		}
		return "/var/lib/tideover"
	}
	uid := os.Geteuid()
	homes := []string{d.Getenv("HOME"), accountHome(uid)}
	return userStateDir(uid, []string{d.Getenv("XDG_STATE_HOME")}, homes, filepath.Dir(socket))
}

// userStateDir is the first directory that belongs to the user. $HOME may
// belong to another one: supervisord and sudo change the user and keep the
// variable. The account of a service often has no home it can write in; then
// the state is kept in the runtime directory, which the next boot empties, and
// no process that the state describes survives a boot.
func userStateDir(uid int, stateHomes, homes []string, runtime string) string {
	for _, home := range homes {
		if filepath.IsAbs(home) {
			stateHomes = append(stateHomes, filepath.Join(home, ".local/state"))
		}
	}
	for _, home := range stateHomes {
		if filepath.IsAbs(home) && isWritableBy(uid, home) {
			return filepath.Join(home, "tideover")
		}
	}
	return filepath.Join(runtime, "state")
}

// isWritableBy reports whether dir, or the nearest parent that exists, belongs
// to uid and may be written by this process.
func isWritableBy(uid int, dir string) bool {
	info, err := os.Stat(dir)
	for err != nil && dir != "/" {
		dir = filepath.Dir(dir)
		info, err = os.Stat(dir)
	}
	if err != nil || !info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != uid {
		return false
	}
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// accountHome is the home directory in the user's account; empty: there is no
// account, as for the user ids of many containers.
func accountHome(uid int) string {
	account, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return ""
	}
	return account.HomeDir
}
