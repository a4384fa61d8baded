package confine

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Confine confines this process, all its threads, for the rest of its life. The role calls it
// first of all, with nothing open but 0, 1, 2 and the socket on which it receives more. It
// returns each measure and whether it holds. With an error the process may be confined in
// part, and the role must end: it has another user than it was to have, or could gain
// privileges by execve(2).
func Confine(o Options) ([]Measure, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, _ = time.Now().Zone() // reads /etc/localtime, which cannot be opened later
	if err := errors.Join(checkRoot(o.Root), checkDescriptors()); err != nil {
		return nil, err
	}
	c := confinement{options: o}
	// What is done for each thread comes first: in a program with cgo it reads /proc.
	c.dropBoundingSet()
	c.dropCapabilities()
	c.add("no_new_privs", allThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0), true)
	c.add("Landlock", restrictFiles(o), false)
	c.enterRoot()
	c.changeUser()
	c.forbidDumps()
	c.add("seccomp", loadFilter(o.Sockets), false)
	return c.measures, c.err
}

// confinement is one call of Confine.
type confinement struct {
	options  Options
	measures []Measure
	err      error // of the measures without which the role must not run
}

// add notes the outcome of a measure.
func (c *confinement) add(name string, err error, mandatory bool) {
	m := Measure{Name: name, Holds: err == nil}
	if err != nil {
		m.Reason = err.Error()
		if mandatory {
			c.err = cmp.Or(c.err, fmt.Errorf("%s: %w", name, err))
		}
	}
	c.measures = append(c.measures, m)
}

func checkRoot(root string) error {
	if !filepath.IsAbs(root) {
		return fmt.Errorf("the directory %q of a role is not absolute", root)
	}
	return nil
}

// errDirectory says that a directory is open.
var errDirectory = errors.New("a directory is open, by which a process leaves a chroot")

// checkDescriptors fails if this process has a descriptor of a directory.
func checkDescriptors() error {
	for _, fd := range descriptors() {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return fmt.Errorf("descriptor %d: %w", fd, errDirectory)
		}
	}
	return nil
}

// descriptors returns the numbers of this process's descriptors, and some that are not in use.
func descriptors() (all []int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err == nil {
		for _, e := range entries {
			if fd, err := strconv.Atoi(e.Name()); err == nil {
				all = append(all, fd)
			}
		}
		return all // one of them was that of /proc/self/fd
	}
	for fd := range 1024 { // without /proc; a role has few
		all = append(all, fd)
	}
	return all
}

// enterRoot makes Root the root of the file system, or the working directory alone.
func (c *confinement) enterRoot() {
	root := c.options.Root
	err := errors.New("the daemon may not change its user")
	if c.options.User != nil {
		if err = os.NewSyscallError("chroot", syscall.Chroot(root)); err == nil {
			root = "/"
		}
	}
	c.add("chroot", err, false)
	if err := os.Chdir(root); err != nil {
		c.err = cmp.Or(c.err, err)
	}
}

// dropBoundingSet takes all capabilities from the bounding set, so that no program that this
// process might execute gets any.
func (c *confinement) dropBoundingSet() {
	for capability := uintptr(0); ; capability++ {
		switch err := allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, capability, 0); {
		case errors.Is(err, unix.EINVAL) && capability > 0: // beyond the last one
			c.add("capability bounding set", nil, false)
			return
		case err != nil:
			c.add("capability bounding set", err, false)
			return
		}
	}
}

// changeUser gives up the supplementary groups, the group and the user.
func (c *confinement) changeUser() {
	u := c.options.User
	if u == nil {
		c.add("own user", errors.New("the daemon may not change its user"), false)
		return
	}
	c.add("own user", u.become(), true)
}

func (u *User) become() error {
	if u.UID <= 0 || u.GID <= 0 {
		return fmt.Errorf("uid %d, gid %d is root", u.UID, u.GID)
	}
	if err := syscall.Setgroups(nil); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if err := syscall.Setresgid(u.GID, u.GID, u.GID); err != nil {
		return os.NewSyscallError("setresgid", err)
	}
	if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil {
		return os.NewSyscallError("setresuid", err)
	}
	if left, err := capabilities(); err != nil || left != (capabilitySets{}) {
		return fmt.Errorf("setresuid has left capabilities, by the securebits of the daemon (%v)", err)
	}
	return nil
}

// dropCapabilities empties the ambient and the inheritable set, and where the user stays the
// permitted and the effective set, too: without root, a daemon has those that systemd or a file
// has given it. From root, setresuid(2) takes them.
func (c *confinement) dropCapabilities() {
	err := allThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0)
	if errors.Is(err, unix.EINVAL) {
		err = nil // before Linux 4.3
	}
	left, failed := capabilities()
	err = cmp.Or(err, failed)
	for i := range left {
		left[i].Inheritable = 0
		if c.options.User == nil {
			left[i] = unix.CapUserData{}
		}
	}
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	sets := &left
	err = cmp.Or(err, allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(sets)), 0))
	runtime.KeepAlive(header)
	runtime.KeepAlive(sets)
	c.add("no capabilities", err, true)
}

// forbidDumps keeps what this process has in memory from core files and from other processes of
// the same user (ptrace(2), /proc/PID/mem).
func (c *confinement) forbidDumps() {
	err := os.NewSyscallError("setrlimit", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}))
	if dumpable := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); dumpable != nil {
		err = errors.Join(err, os.NewSyscallError("prctl", dumpable))
	}
	c.add("no core dumps", err, false)
}

// allThreads makes a system call on each thread of this process.
func allThreads(number, a, b, c uintptr) error {
	if _, _, errno := psx.Syscall6(number, a, b, c, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
