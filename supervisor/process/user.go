package process

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// User is the user and groups that a process runs with.
type User struct {
	UID, GID          uint32
	Groups            []uint32 // supplementary groups, without GID
	Name, Home, Shell string
}

// Env returns the variables that a login sets, HOME, USER, LOGNAME and SHELL, as far as
// they are known.
func (u *User) Env() []string {
	var env []string
	for _, v := range [][2]string{{"HOME", u.Home}, {"USER", u.Name}, {"LOGNAME", u.Name}, {"SHELL", u.Shell}} {
		if v[1] != "" {
			env = append(env, v[0]+"="+v[1])
		}
	}
	return env
}

// ResolveUser looks up a user with its supplementary groups. name and group may be numeric
// ids; an id without an entry in /etc/passwd needs a group. An empty name is the daemon's
// own user, an empty group the primary group of the user. Without cgo only /etc/passwd and
// /etc/group are read; users of LDAP and the like need numeric ids.
func ResolveUser(name, group string) (*User, error) {
	u, err := lookupUser(name, group)
	if err != nil || group == "" {
		return u, err
	}
	if u.GID, err = lookupGroup(group); err != nil {
		return nil, err
	}
	return u, nil
}

func lookupUser(name, group string) (*User, error) {
	if name == "" {
		name = strconv.Itoa(os.Getuid())
	}
	id, err := strconv.ParseUint(name, 10, 32)
	numeric := err == nil
	entry, err := user.Lookup(name)
	if err != nil && numeric {
		entry, err = user.LookupId(name)
	}
	var unknownName user.UnknownUserError
	var unknownID user.UnknownUserIdError
	switch {
	case errors.As(err, &unknownID) && (group != "" || int(id) == os.Getuid()):
		return &User{UID: uint32(id), GID: uint32(os.Getgid()), Name: name}, nil
	case errors.As(err, &unknownID):
		return nil, fmt.Errorf("user id %s has no entry in /etc/passwd: name its group, too", name)
	case errors.As(err, &unknownName):
		return nil, fmt.Errorf("there is no user %q in /etc/passwd; a numeric id would do", name)
	case err != nil:
		return nil, fmt.Errorf("user %q: %w", name, err)
	}
	return fromEntry(entry)
}

func fromEntry(entry *user.User) (*User, error) {
	u := &User{Name: entry.Username, Home: entry.HomeDir, Shell: shellOf(entry.Username)}
	list, err := entry.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %q: %w", entry.Username, err)
	}
	uid, uerr := strconv.ParseUint(entry.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(entry.Gid, 10, 32)
	u.UID, u.GID = uint32(uid), uint32(gid)
	errs := []error{uerr, gerr}
	for _, text := range list {
		g, err := strconv.ParseUint(text, 10, 32)
		u.Groups, errs = append(u.Groups, uint32(g)), append(errs, err)
	}
	return u, errors.Join(errs...)
}

func lookupGroup(group string) (uint32, error) {
	entry, err := user.LookupGroup(group)
	text := group
	if err == nil {
		text = entry.Gid
	}
	gid, perr := strconv.ParseUint(text, 10, 32)
	if perr != nil {
		return 0, fmt.Errorf("there is no group %q in /etc/group; a numeric id would do", group)
	}
	return uint32(gid), nil
}

// shellOf returns the last field of the line in /etc/passwd, which os/user does not read.
func shellOf(name string) string {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Split(s.Text(), ":"); len(fields) == 7 && fields[0] == name {
			return fields[6]
		}
	}
	return ""
}
