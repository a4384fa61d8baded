package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// identity is a user as the kernel sees one who opens files.
type identity struct {
	name string
	uid  uint32
	gids []uint32
}

// everybody is a user who owns nothing and belongs to no group.
var everybody = identity{name: "everybody", uid: 1<<32 - 2}

// What somebody may want to do with a file, as in the last digit of its mode.
const (
	read    = 4
	execute = 1
)

// may reports whether the mode of a file allows somebody all of want. Access
// lists and the like are not seen.
func (i identity) may(info fs.FileInfo, want fs.FileMode) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || i.uid == 0 {
		return true
	}
	mode := info.Mode().Perm()
	switch {
	case stat.Uid == i.uid:
		mode >>= 6
	case slices.Contains(i.gids, stat.Gid):
		mode >>= 3
	}
	return mode&want == want
}

// canReach reports whether somebody can list a directory and go through all
// above it, along the way that is written and the one that symlinks make of
// it; otherwise at is the directory that stops him.
func (i identity) canReach(dir string) (at string, ok bool) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return dir, false
	}
	for _, way := range slices.Compact([]string{filepath.Clean(dir), resolved}) {
		for above := filepath.Dir(way); ; above = filepath.Dir(above) {
			if info, err := os.Stat(above); err != nil || !i.may(info, execute) {
				return above, false
			}
			if above == filepath.Dir(above) {
				break
			}
		}
	}
	info, err := os.Stat(resolved)
	return resolved, err == nil && i.may(info, read|execute)
}

// identify looks up a user and group by name or number. Empty means our own
// user, and the user's own groups.
func identify(name, group string) (identity, error) {
	if name == "" {
		name = strconv.Itoa(os.Geteuid())
	}
	entry, err := user.Lookup(name)
	number, notNumber := strconv.ParseUint(name, 10, 32)
	if err != nil && notNumber == nil {
		entry, err = user.LookupId(name)
	}
	who := identity{name: name, uid: uint32(number)}
	var unknown user.UnknownUserIdError
	switch {
	case errors.As(err, &unknown) && (group != "" || int(number) == os.Geteuid()):
	case err != nil:
		return who, fmt.Errorf("there is no user %q on this machine", name)
	default:
		ids, _ := entry.GroupIds()
		who = identity{name: entry.Username, uid: numeric(entry.Uid)}
		for _, id := range ids {
			who.gids = append(who.gids, numeric(id))
		}
	}
	if group == "" {
		return who, nil
	}
	gid, err := identifyGroup(group)
	who.gids = append(who.gids, gid)
	return who, err
}

func identifyGroup(name string) (uint32, error) {
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
	n, _ := strconv.ParseUint(id, 10, 32) // of /etc/passwd
	return uint32(n)
}

var (
	secretName   = regexp.MustCompile(`(?i)passw(or)?d|secret|token|credential|api_?key|(access|private|signing|encryption|fernet)_?key|_(pass|pw|pwd|dsn)$`)
	passwordInIt = regexp.MustCompile(`://[^/\s:@]*:[^/\s@]+@`) // redis://:password@host
)

func holdsPassword(text string) bool { return passwordInIt.MatchString(text) }

// secretsOf lists the names of variables that hold something secret.
func secretsOf(env map[string]string) []string {
	var names []string
	for name, value := range env {
		if value != "" && !strings.HasPrefix(value, "/") && secretName.MatchString(name) || holdsPassword(value) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
