package main

import (
	"cmp"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"tideover/supervisor/control"
)

// socketPath is where this daemon listens for commands.
func (d *daemon) socketPath() string {
	path := cmp.Or(d.cli.socket, d.file.Daemon.Socket)
	if path == "" {
		return control.SocketPath(d.cli.dirs[0], d.name)
	}
	if absolute, err := filepath.Abs(path); err == nil {
		return absolute
	}
	return path
}

// stateDir is where records survive the daemon: beside the socket when that
// was chosen by hand, else the usual place.
func (d *daemon) stateDir(socket string) string {
	switch {
	case d.file.Daemon.StateDir != "":
		return d.file.Daemon.StateDir
	case d.cli.socket != "" || d.file.Daemon.Socket != "":
		return filepath.Dir(socket)
	case os.Geteuid() == 0:
		return "/var/lib/tideover"
	}
	uid := os.Geteuid()
	return userStateDir(uid, []string{d.cli.getenv("XDG_STATE_HOME")}, []string{d.cli.getenv("HOME"), accountHome(uid)}, filepath.Dir(socket))
}

// userStateDir is the first place that is the user's own. $HOME may be another
// user's: supervisord and sudo change the user and leave it as it was. Accounts
// of services often have no home they can write in; what is left then is the
// runtime directory, which lasts until the machine starts again, and so do the
// processes that the records are about.
func userStateDir(uid int, stateHomes, homes []string, runtime string) string {
	for _, home := range homes {
		if filepath.IsAbs(home) {
			stateHomes = append(stateHomes, filepath.Join(home, ".local/state"))
		}
	}
	for _, home := range stateHomes {
		if filepath.IsAbs(home) && mayFill(uid, home) {
			return filepath.Join(home, "tideover")
		}
	}
	return filepath.Join(runtime, "state")
}

// mayFill is whether dir is the user's own to write in, or can be made where
// it is.
func mayFill(uid int, dir string) bool {
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

// accountHome is the home directory in the user's account; empty: none.
func accountHome(uid int) string {
	account, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return "" // containers run under numbers that no account has
	}
	return account.HomeDir
}
