package control

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mainSocket is the socket of a daemon with a configuration. A daemon for one
// command has NAME.sock in the same directory.
const mainSocket = "control.sock"

// DefaultDirs are the runtime directories of this user and of root, in this
// order. Root with an XDG_RUNTIME_DIR of its own has only that: its commands must not reach
// the apps of the same names of the host's daemon.
func DefaultDirs(getenv func(string) string) []string {
	own := RuntimeDir(getenv)
	if shared := "/run/tideover"; own != shared && os.Geteuid() != 0 {
		return []string{own, shared}
	}
	return []string{own}
}

// UserDirs are the runtime directories in which a user's daemons may be.
func UserDirs(uid int) []string {
	return []string{fmt.Sprintf("/run/user/%d/tideover", uid), filepath.Join(os.TempDir(), fmt.Sprintf("tideover-%d", uid)), "/run/tideover"}
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
// XDG_RUNTIME_DIR is ignored when it belongs to another user, as after su(1). Root's
// is /run/tideover, unless XDG_RUNTIME_DIR is another one than that of the login
// session, which is removed at its end, and OnlyRootCanChange.
func RuntimeDir(getenv func(string) string) string {
	uid, dir := os.Geteuid(), getenv("XDG_RUNTIME_DIR")
	if uid == 0 {
		if dir != "/run/user/0" && OnlyRootCanChange(dir) {
			return filepath.Join(dir, "tideover")
		}
		return "/run/tideover"
	}
	if owner, err := ownerOf(dir); err == nil && owner == uid && filepath.IsAbs(dir) {
		return filepath.Join(dir, "tideover")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("tideover-%d", uid))
}

// OnlyRootCanChange reports whether a directory and every directory above it belong
// to root, no other user may write in it, and in none of those above it without the
// sticky bit. No component is a symbolic link. Each is looked at after the one above
// it, which only root can change then.
func OnlyRootCanChange(dir string) bool {
	if !filepath.IsAbs(dir) || dir != filepath.Clean(dir) {
		return false
	}
	for i := 1; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		info, err := os.Lstat(dir[:i])
		if err != nil || !info.IsDir() || info.Sys().(*syscall.Stat_t).Uid != 0 {
			return false
		}
		if sticky := info.Mode()&fs.ModeSticky != 0 && i < len(dir); info.Mode().Perm()&0o022 != 0 && !sticky {
			return false
		}
	}
	return true
}

// SocketPath is the control socket of the daemon for app in dir. An empty app is
// the daemon with a configuration.
func SocketPath(dir, app string) string {
	if app == "" {
		return filepath.Join(dir, mainSocket)
	}
	return filepath.Join(dir, app+".sock")
}

// maxSockets is how many sockets of a directory are looked at. Another user may have
// made any number.
const maxSockets = 100

// socketsIn lists the control sockets in a directory, mainSocket first. Only
// sockets with a lock file beside them count: private sockets of apps may be in
// the same directory, and must not be asked for a status.
func socketsIn(dir string) (paths []string, err error) {
	opened, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	entries, err := opened.ReadDir(10 * maxSockets)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	names := map[string]bool{}
	for _, entry := range entries {
		names[entry.Name()] = true
	}
	for _, entry := range entries {
		if entry.Type() != fs.ModeSocket || !strings.HasSuffix(entry.Name(), ".sock") || !names[entry.Name()+lockSuffix] {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		if entry.Name() == mainSocket {
			paths = slices.Insert(paths, 0, path)
		} else {
			paths = append(paths, path)
		}
	}
	return paths[:min(len(paths), maxSockets)], err
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
