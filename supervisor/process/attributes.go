package process

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// limitNames are the names for Spec.Limits.
var limitNames = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE,
	"nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS,
	"rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING,
	"stack": unix.RLIMIT_STACK,
}

func setLimit(name string, soft, hard uint64) error {
	resource, ok := limitNames[name]
	if !ok {
		return &os.PathError{Op: "setrlimit", Path: name, Err: unix.EINVAL}
	}
	if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: soft, Max: hard}); err != nil {
		return &os.PathError{Op: "setrlimit", Path: fmt.Sprintf("%s=%d:%d", name, soft, hard), Err: err}
	}
	return nil
}

// SetCredentials sets the groups and ids of the user, in this order, and verifies that the
// old ones cannot be restored.
func SetCredentials(u *User) error {
	if u == nil {
		return nil
	}
	uid, gid := int(u.UID), int(u.GID)
	if os.Geteuid() != 0 && os.Geteuid() == uid && os.Getegid() == gid {
		return nil // without privileges only this user is possible
	}
	groups := []int{gid}
	for _, g := range u.Groups {
		if int(g) != gid {
			groups = append(groups, int(g))
		}
	}
	refused := func(what string, err error) error {
		return &os.PathError{Op: "become", Path: u.name(), Err: fmt.Errorf("%s: %w", what, err)}
	}
	if err := syscall.Setgroups(groups); err != nil {
		return refused("setgroups", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return refused("setresgid", err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return refused("setresuid", err)
	}
	if !verifyCredentials(uid, gid, groups) {
		return refused("verification", unix.EPERM)
	}
	return nil
}

// verifyCredentials reports whether all ids and groups are set, and setuid(0) fails.
func verifyCredentials(uid, gid int, groups []int) bool {
	ru, eu, su := unix.Getresuid()
	rg, eg, sg := unix.Getresgid()
	now, err := syscall.Getgroups()
	slices.Sort(now)
	slices.Sort(groups)
	if err != nil || ru != uid || eu != uid || su != uid || rg != gid || eg != gid || sg != gid || !slices.Equal(now, groups) {
		return false
	}
	return uid == 0 || unix.Setuid(0) != nil
}

func (u *User) name() string {
	if u.Name != "" {
		return u.Name
	}
	return strconv.FormatUint(uint64(u.UID), 10)
}

// kernelAction is struct sigaction of the kernel on amd64 and arm64.
type kernelAction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// defaultSignals resets ignored and blocked signals, which execve would leave so. execve
// itself resets those with a handler.
func defaultSignals() error {
	const ignored, last = 1, 64
	for sig := uintptr(1); sig <= last; sig++ {
		var action kernelAction
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0)
		if errno != 0 || action.handler != ignored {
			continue
		}
		action = kernelAction{}
		_, _, errno = unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
		if errno != 0 {
			return os.NewSyscallError("rt_sigaction", errno)
		}
	}
	return os.NewSyscallError("rt_sigprocmask", unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil))
}
