package confine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultUser is the account of the roles, where it exists.
const DefaultUser = "tideover"

// Ids without an account are taken from the range that systemd uses for DynamicUser=.
const (
	firstFreeID = 61184
	lastFreeID  = 65519
)

// User is the user and the group of a role. It has no supplementary groups.
type User struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// FindUser returns the user that the roles are to become: the account of that name, or of
// DefaultUser if name is empty and there is one, else an id that no account, no process and no
// group has. It is nil when this process may not change its user.
func FindUser(name string) (*User, error) {
	if !mayChangeUser() {
		return nil, nil
	}
	if name == "" {
		if account, err := user.Lookup(DefaultUser); err == nil {
			return userOf(account)
		}
		return findFreeID()
	}
	account, err := user.Lookup(name)
	if err != nil {
		if id, bad := strconv.Atoi(name); bad == nil && id > 0 {
			return &User{id, id}, nil
		}
		return nil, fmt.Errorf("there is no user %s on this machine", name)
	}
	return userOf(account)
}

func userOf(account *user.User) (*User, error) {
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return nil, err
	}
	if uid == 0 || gid == 0 {
		return nil, fmt.Errorf("the user %s is root, or in the group of root", account.Username)
	}
	return &User{uid, gid}, nil
}

// mayChangeUser reports whether this process has what setuid(2), setgid(2) and setgroups(2) need.
func mayChangeUser() bool { return hasCapability(unix.CAP_SETUID) && hasCapability(unix.CAP_SETGID) }

// MayGiveFiles reports whether this process may give files of any owner to a group.
func MayGiveFiles() bool { return hasCapability(unix.CAP_CHOWN) && hasCapability(unix.CAP_FOWNER) }

// hasCapability reports whether a capability, of the first 32, is effective in this process.
func hasCapability(number int) bool {
	sets, err := capabilities()
	return err == nil && sets[0].Effective&(1<<number) != 0
}

// capabilitySets are the permitted, effective and inheritable set: the first 32, and the others.
type capabilitySets [2]unix.CapUserData

// capabilities returns those of this thread.
func capabilities() (sets capabilitySets, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	err = unix.Capget(&header, &sets[0])
	return sets, os.NewSyscallError("capget", err)
}

// findFreeID returns the first id that is free, as user and as group, in this user namespace.
func findFreeID() (*User, error) {
	taken, err := idsOfOthers()
	if err != nil {
		return nil, err
	}
	for id := firstFreeID; id <= lastFreeID; id++ {
		text := strconv.Itoa(id)
		if taken[id] || !isMapped(id) {
			continue
		}
		if _, err := user.LookupId(text); err == nil {
			continue
		}
		if _, err := user.LookupGroupId(text); err == nil {
			continue
		}
		return &User{id, id}, nil
	}
	return nil, fmt.Errorf("no user id from %d to %d is free: make a system account %q, or name one in daemon.relay_user",
		firstFreeID, lastFreeID, DefaultUser)
}

// idsOfOthers returns the user ids of all processes but the children of this one: after an
// upgrade, those are roles of the former program.
func idsOfOthers() (map[int]bool, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	names = slices.DeleteFunc(names, func(name string) bool { return name[0] < '0' || name[0] > '9' })
	if err != nil || len(names) == 0 {
		return nil, errors.Join(err, errors.New("cannot read /proc"))
	}
	taken := map[int]bool{}
	buffer := make([]byte, statusSize)
	for _, pid := range names {
		fields := readStatus("/proc/"+pid+"/status", buffer, "PPid", "Uid") // empty: the process has exited
		if len(fields["PPid"]) > 0 && fields["PPid"][0] == strconv.Itoa(os.Getpid()) {
			continue
		}
		for _, uid := range fields["Uid"] {
			if id, err := strconv.Atoi(uid); err == nil {
				taken[id] = true
			}
		}
	}
	return taken, nil
}

// isMapped reports whether this user namespace has an id, as user and as group.
func isMapped(id int) bool {
	for _, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a kernel without user namespaces
		}
		mapped := false
		for line := range strings.Lines(string(text)) {
			var first, outside, count int
			if n, _ := fmt.Sscan(line, &first, &outside, &count); n == 3 && id >= first && id-first < count {
				mapped = true
			}
		}
		if !mapped {
			return false
		}
	}
	return true
}

// statusSize is the length of a buffer for readStatus, which is enough for most lines.
const statusSize = 4096

// readStatus reads a status file of /proc: the words behind some of the names. It is empty if the file
// cannot be read.
func readStatus(path string, buffer []byte, names ...string) map[string][]string {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	fields := map[string][]string{}
	lines := bufio.NewScanner(file)
	lines.Buffer(buffer, bufio.MaxScanTokenSize)
	for lines.Scan() {
		name, rest, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		if i := slices.IndexFunc(names, func(wanted string) bool { return wanted == string(name) }); i >= 0 {
			fields[names[i]] = strings.Fields(string(rest))
		}
	}
	return fields
}
