package confine

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// allowed are the system calls that a role may make with any arguments. What is not here, or in
// conditional, is EPERM. They are those of Go's runtime, and of what is done with descriptors
// that a process has already. All of them exist on amd64 and on arm64.
var allowed = []string{
	// Descriptors, of which none can be opened by a name.
	"read", "write", "readv", "writev", "pread64", "pwrite64", "close", "fstat", "lseek", "ftruncate", "fallocate", "fdatasync",
	"dup", "dup3", "pipe2", "splice", "sendfile",
	"epoll_create1", "epoll_ctl", "epoll_pwait", "ppoll", "eventfd2",
	// Sockets.
	"accept4", "shutdown", "getsockname", "getpeername", "getsockopt", "setsockopt", "recvfrom", "recvmsg", "sendto", "sendmsg",
	// Memory.
	"munmap", "mremap", "madvise", "mincore", "brk",
	// Threads and signals of this process.
	"futex", "sched_yield", "sched_getaffinity", "gettid", "getpid", "exit", "exit_group", "set_robust_list", "rseq", "membarrier",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
	// Time, and what is harmless.
	"clock_gettime", "clock_nanosleep", "nanosleep", "gettimeofday", "getrandom", "uname",
	"getuid", "geteuid", "getgid", "getegid", "getppid", "getrusage", "getrlimit",
}

// Flags of clone(2) that make a namespace.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET

// prSetVMA names a memory area; Go's runtime does so for its own.
const prSetVMA = 0x53564d41

// Conditions for an argument of a system call, counted from 0.

func equal(argument uint32, value uint64) seccomp.Condition {
	return seccomp.Condition{Argument: argument, Operation: seccomp.Equal, Value: value}
}

func anyBit(argument uint32, bits uint64) seccomp.Condition {
	return seccomp.Condition{Argument: argument, Operation: seccomp.BitsSet, Value: bits}
}

func noBit(argument uint32, bits uint64) seccomp.Condition {
	return seccomp.Condition{Argument: argument, Operation: seccomp.BitsNotSet, Value: bits}
}

// when allows a system call if all conditions hold.
func when(name string, conditions ...seccomp.Condition) seccomp.NameWithConditions {
	return seccomp.NameWithConditions{Name: name, Conditions: conditions}
}

// oneOf allows a system call if an argument has one of the values.
func oneOf(name string, argument uint32, values ...uint64) (list []seccomp.NameWithConditions) {
	for _, v := range values {
		list = append(list, when(name, equal(argument, v)))
	}
	return list
}

// conditional are the system calls that a role may make with some arguments only.
func conditional(sockets Sockets) []seccomp.NameWithConditions {
	own := uint64(os.Getpid())
	list := []seccomp.NameWithConditions{
		when("mmap", noBit(2, unix.PROT_EXEC)),
		when("mprotect", noBit(2, unix.PROT_EXEC)),
		when("clone", anyBit(0, unix.CLONE_THREAD), noBit(0, namespaces)),
		when("tgkill", equal(0, own)),
		when("kill", equal(0, own)),
		when("prlimit64", equal(0, 0), equal(2, 0)), // reads
	}
	list = append(list, oneOf("prctl", 0, prSetVMA, unix.PR_GET_NO_NEW_PRIVS, unix.PR_GET_SECCOMP, unix.PR_GET_DUMPABLE)...)
	list = append(list, oneOf("fcntl", 1, unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL, unix.F_GET_SEALS, unix.F_SETPIPE_SZ)...)
	list = append(list, oneOf("ioctl", 1, unix.TIOCINQ, unix.SIOCOUTQ)...)
	const otherKinds = 0xf &^ unix.SOCK_STREAM // of sockets
	if sockets == UnixSockets || sockets == UnixAndTCP {
		list = append(list, when("socket", equal(0, unix.AF_UNIX), anyBit(1, unix.SOCK_STREAM), noBit(1, otherKinds)))
	}
	if sockets == UnixAndTCP {
		for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
			for _, protocol := range []uint64{0, unix.IPPROTO_TCP} {
				list = append(list, when("socket", equal(0, family), anyBit(1, unix.SOCK_STREAM), noBit(1, otherKinds), equal(2, protocol)))
			}
		}
	}
	return list
}

// policy returns the filter for a role.
func policy(sockets Sockets) seccomp.Policy {
	names := slices.Concat(allowed, allowedHere)
	if sockets != NoSockets {
		names = append(names, "connect")
	}
	return seccomp.Policy{
		DefaultAction: seccomp.ActionErrno, // EPERM
		Syscalls: []seccomp.SyscallGroup{
			{Names: names, Action: seccomp.ActionAllow},
			{NamesWithCondtions: conditional(sockets), Action: seccomp.ActionAllow},
			// The C library calls clone(2) instead.
			{Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)},
		},
	}
}

// Flags of seccomp(2) that the library has no names for.
const (
	filterFlagSpecAllow  seccomp.FilterFlag = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW  // since 4.17. Without it kernels before 5.16 make every process with a filter slower
	filterFlagTSyncESRCH seccomp.FilterFlag = unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH // since 5.7. Without it the library takes a failure to reach each thread for success
)

// loadFilter installs the filter for all threads of this process.
func loadFilter(sockets Sockets) error {
	if !seccomp.Supported() {
		return errors.New("this kernel has no seccomp filters, or the container forbids them")
	}
	var err error
	for _, flags := range []seccomp.FilterFlag{filterFlagSpecAllow | filterFlagTSyncESRCH, filterFlagSpecAllow, 0} {
		err = seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync | flags, Policy: policy(sockets)})
		if !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}
