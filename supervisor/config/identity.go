package config

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
	"syscall"

	"tideover/supervisor/lazyregexp"
	"tideover/supervisor/process"
)

// identity is a user and groups, as the kernel checks them when a file is opened.
type identity struct {
	name string
	uid  uint32
	gids []uint32
}

// otherUsers owns no file and belongs to no group.
var otherUsers = identity{name: "everybody", uid: 1<<32 - 2}

// Permissions, as in the last digit of a file mode.
const (
	read    = 4
	execute = 1
)

// canAccess reports whether the mode of a file grants all permissions in want. ACLs
// are not considered.
func (i identity) canAccess(info fs.FileInfo, want fs.FileMode) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || i.isGranted(info.Mode(), stat.Uid, stat.Gid, want)
}

// isGranted is canAccess for the mode, owner and group of a file.
func (i identity) isGranted(mode fs.FileMode, uid, gid uint32, want fs.FileMode) bool {
	mode = mode.Perm()
	switch {
	case i.uid == 0:
		return true
	case uid == i.uid:
		mode >>= 6
	case slices.Contains(i.gids, gid):
		mode >>= 3
	}
	return mode&want == want
}

// canEnter reports whether the user can list a directory and search all directories
// above it, both along the path as written and with its symlinks resolved. If not, at
// is the first directory that denies it.
func (i identity) canEnter(dir string) (at string, ok bool) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return dir, false
	}
	for _, p := range slices.Compact([]string{filepath.Clean(dir), resolved}) {
		for above := filepath.Dir(p); ; above = filepath.Dir(above) {
			if info, err := os.Stat(above); err != nil || !i.canAccess(info, execute) {
				return above, false
			}
			if above == filepath.Dir(above) {
				break
			}
		}
	}
	info, err := os.Stat(resolved)
	return resolved, err == nil && i.canAccess(info, read|execute)
}

// lookupUser looks up a user and a group by name or number. An empty name means the
// effective user, an empty group the groups of the user.
func lookupUser(name, group string) (identity, error) {
	if name == "" {
		name = strconv.Itoa(os.Geteuid())
	}
	entry, err := user.Lookup(name)
	number, notNumber := strconv.ParseUint(name, 10, 32)
	if err != nil && notNumber == nil {
		entry, err = user.LookupId(name)
	}
	id := identity{name: name, uid: uint32(number)}
	var unknown user.UnknownUserIdError
	switch {
	case errors.As(err, &unknown) && (group != "" || int(number) == os.Geteuid()):
	case err != nil:
		return id, fmt.Errorf("there is no user %q on this machine", name)
	default:
		ids, _ := entry.GroupIds()
		id = identity{name: entry.Username, uid: numeric(entry.Uid)}
		for _, gid := range ids {
			id.gids = append(id.gids, numeric(gid))
		}
	}
	if group == "" {
		return id, nil
	}
	gid, err := lookupGroup(group)
	id.gids = append(id.gids, gid)
	return id, err
}

// OtherUser reports whether the app runs as another user than the daemon. A user that
// does not exist is another one.
func (a *App) OtherUser() bool {
	if a.User == "" {
		return false
	}
	user, err := process.ResolveUser(a.User, a.Group)
	return err != nil || int(user.UID) != os.Geteuid()
}

// NoNewPrivileges reports whether the app's processes run with no_new_privs: as the key
// says; if it is not set, where the app has another user than the daemon.
func (a *App) NoNewPrivileges() bool {
	if a.NoNewPrivs != nil {
		return *a.NoNewPrivs
	}
	return a.OtherUser()
}

func lookupGroup(name string) (uint32, error) {
	if entry, err := user.LookupGroup(name); err == nil {
		return numeric(entry.Gid), nil
	}
	number, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q on this machine", name)
	}
	return uint32(number), nil
}

func numeric(id string) uint32 {
	n, _ := strconv.ParseUint(id, 10, 32) // a number, as it is from /etc/passwd or /etc/group
	return uint32(n)
}

var (
	secretName   = lazyregexp.New(`(?i)passw(or)?d|secret|token|credential|api_?key|(access|private|signing|encryption|fernet)_?key|_(pass|pw|pwd|dsn)$`)
	passwordInIt = lazyregexp.New(`://[^/\s:@]*:[^/\s@]+@`) // redis://:password@host
)

func holdsPassword(text string) bool { return passwordInIt.MatchString(text) }

// secretNames returns the names of the variables that seem to hold a secret.
func secretNames(env map[string]string) []string {
	var names []string
	for name, value := range env {
		if value != "" && !strings.HasPrefix(value, "/") && secretName.MatchString(name) || holdsPassword(value) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
