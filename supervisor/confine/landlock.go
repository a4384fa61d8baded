package confine

import (
	"errors"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// restrictFiles forbids, by Landlock, every operation on files below the root, TCP sockets that
// bind, and, if the role makes none, those that connect, and abstract unix sockets of processes
// outside. Unix sockets below o.Root can be connected to. Signals are left to seccomp: the rule
// of Landlock stops those between threads of one process on kernels before 6.15.
func restrictFiles(o Options) error {
	if version, err := ll.LandlockGetABIVersion(); err != nil || version < 1 {
		return errors.New("this kernel has no Landlock, or it is turned off")
	}
	config := landlock.V9
	config.HandledAccessNet = ll.AccessNetBindTCP
	if o.Sockets != UnixAndTCP {
		config.HandledAccessNet |= ll.AccessNetConnectTCP
	}
	config.Scoped = ll.ScopeAbstractUnixSocket
	return config.BestEffort().Restrict(landlock.PathAccess(ll.AccessFSResolveUnix, o.Root))
}
