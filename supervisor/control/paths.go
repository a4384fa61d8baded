package control

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// mainSocket is the socket of a daemon with a configuration. A daemon for one
// command has NAME.sock in the same directory.
const mainSocket = "control.sock"

// DefaultDirs are the runtime directories of this user and of root, in this
// order.
func DefaultDirs(getenv func(string) string) []string {
	own := RuntimeDir(getenv)
	if shared := "/run/tideover"; own != shared {
		return []string{own, shared}
	}
	return []string{own}
}

// OtherUserDirs are the patterns of other users' runtime directories; nil for
// every user but root.
func OtherUserDirs() []string {
	if os.Geteuid() != 0 {
		return nil
	}
	return []string{"/run/user/*/tideover", filepath.Join(os.TempDir(), "tideover-*")}
}

// RuntimeDir is where this user's daemons have their control sockets.
// XDG_RUNTIME_DIR is ignored when it belongs to another user, as after su(1).
func RuntimeDir(getenv func(string) string) string {
	uid := os.Geteuid()
	if uid == 0 {
		return "/run/tideover"
	}
	dir := getenv("XDG_RUNTIME_DIR")
	if owner, err := ownerOf(dir); err == nil && owner == uid && filepath.IsAbs(dir) {
		return filepath.Join(dir, "tideover")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("tideover-%d", uid))
}

// SocketPath is the control socket of the daemon for app in dir. An empty app is
// the daemon with a configuration.
func SocketPath(dir, app string) string {
	if app == "" {
		return filepath.Join(dir, mainSocket)
	}
	return filepath.Join(dir, app+".sock")
}

// socketsIn lists the control sockets in a directory, mainSocket first. Only
// sockets with a lock file beside them count: private sockets of apps may be in
// the same directory, and must not be asked for a status.
func socketsIn(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	locked := func(name string) bool {
		return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name+lockSuffix })
	}
	for _, entry := range entries {
		if entry.Type() != fs.ModeSocket || !strings.HasSuffix(entry.Name(), ".sock") || !locked(entry.Name()) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		if entry.Name() == mainSocket {
			paths = slices.Insert(paths, 0, path)
		} else {
			paths = append(paths, path)
		}
	}
	return paths, err
}

// isTrusted reports whether a directory belongs to root or to this user: another
// user could have made one of the same name in /tmp.
func isTrusted(dir string) bool {
	owner, err := ownerOf(dir)
	return err == nil && (owner == 0 || owner == os.Geteuid())
}

// pathMatchesOwner reports whether the number in a path such as
// /run/user/1000/tideover or /tmp/tideover-1000 is the uid of its owner.
func pathMatchesOwner(dir string) bool {
	owner, err := ownerOf(dir)
	number := strconv.Itoa(owner)
	return err == nil && (strings.HasSuffix(dir, "/"+number+"/tideover") || strings.HasSuffix(dir, "/tideover-"+number))
}

// ownerOf is the uid of a directory's owner. A symbolic link is an error.
func ownerOf(dir string) (uid int, err error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return 0, err
	}
	if !info.IsDir() {
		return 0, fmt.Errorf("%s is no directory", dir)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid), nil
}
