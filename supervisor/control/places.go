package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// mainSocket is the socket of a daemon that runs from a configuration; a
// daemon for one command has NAME.sock beside it.
const mainSocket = "control.sock"

// Places says where daemons are looked for.
type Places struct {
	Socket string   // this one and no other, when it is given
	Dirs   []string // else every live socket in these directories
	Users  []string // and in other users' runtime directories, whose names match these patterns
}

// DefaultDirs are the runtime directories of this user and of root's daemons,
// in this order.
func DefaultDirs(getenv func(string) string) []string {
	own := RuntimeDir(getenv)
	if shared := "/run/tideover"; own != shared {
		return []string{own, shared}
	}
	return []string{own}
}

// OtherUsers is where root finds the daemons of other users. Nobody else may
// look there.
func OtherUsers() []string {
	if os.Geteuid() != 0 {
		return nil
	}
	return []string{"/run/user/*/tideover", filepath.Join(os.TempDir(), "tideover-*")}
}

// RuntimeDir is where this user's daemons keep their sockets. An
// XDG_RUNTIME_DIR that a change of user has left over does not count.
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

// SocketPath is the control socket of the daemon for app in dir; no app is the
// daemon of a configuration.
func SocketPath(dir, app string) string {
	if app == "" {
		return filepath.Join(dir, mainSocket)
	}
	return filepath.Join(dir, app+".sock")
}

// candidate is a socket that may be a daemon's.
type candidate struct {
	path    string
	foreign bool
}

// sockets are the candidates, in each directory a configuration's daemon first,
// and the directories of daemons that are closed to us.
func (p Places) sockets() (all []candidate, closed []string) {
	add := func(dir string, foreign bool) {
		paths, err := socketsIn(dir)
		if errors.Is(err, fs.ErrPermission) {
			closed = append(closed, dir)
		}
		for _, path := range paths {
			all = append(all, candidate{path, foreign})
		}
	}
	for _, dir := range p.Dirs {
		if trusted(dir) {
			add(dir, false)
		}
	}
	for _, pattern := range p.Users {
		dirs, _ := filepath.Glob(pattern) // the only error is a malformed pattern
		for _, dir := range dirs {
			if !slices.Contains(p.Dirs, dir) && bearsItsOwner(dir) {
				add(dir, true)
			}
		}
	}
	return all, closed
}

// socketsIn are the control sockets in a directory. Others may lie there, apps' among them, which shall not be asked for a daemon's
// status: they have no lock beside them.
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

// trusted is whether only root or this user can have put the sockets there: a
// stranger's directory in /tmp could bear the name of ours.
func trusted(dir string) bool {
	owner, err := ownerOf(dir)
	return err == nil && (owner == 0 || owner == os.Geteuid())
}

// bearsItsOwner is whether the number in a directory's path, as in
// /run/user/1000/tideover and /tmp/tideover-1000, is that of its owner.
func bearsItsOwner(dir string) bool {
	owner, err := ownerOf(dir)
	number := strconv.Itoa(owner)
	return err == nil && (strings.HasSuffix(dir, "/"+number+"/tideover") || strings.HasSuffix(dir, "/tideover-"+number))
}

// ownerOf is who owns a directory that is no symbolic link.
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
