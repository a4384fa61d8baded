package process

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Parent is another process that forks for this one, reaps, and is the subreaper of all: the
// monitor.
type Parent interface {
	// Pid is that of the parent.
	Pid() int
	// Spawn forks this program with argv[0] in a session of its own; files are its descriptors.
	Spawn(token, argv0 string, env []string, files []*os.File) (pid int, err error)
	// Collect reaps a child that has ended. The error is EAGAIN while it lives.
	Collect(token string) (syscall.WaitStatus, error)
	// HoldReaping has orphans stay zombies until resume is called.
	HoldReaping() (resume func())
	// OOMScoreAdj is that of a child whose Spec does not say another one; nil: the one of this process.
	OOMScoreAdj() *int
}

// ownParent is the Parent of the children of Start. It is a variable of the package like
// ownChildren: it says something about this whole process.
var ownParent atomic.Pointer[Parent]

// SetParent has another process fork and reap for this one. It is called before the first Start.
func SetParent(p Parent) { ownParent.Store(&p) }

// parent returns the process that forks for this one; nil: it does so itself.
func parent() Parent {
	if p := ownParent.Load(); p != nil {
		return *p
	}
	return nil
}

// defaultOOMScoreAdj is that of a child whose Spec does not say another one; nil: it inherits it.
func defaultOOMScoreAdj() *int {
	if p := parent(); p != nil {
		return p.OOMScoreAdj()
	}
	return nil
}

// OOMScoreAdj returns that of this process; nil: it cannot be read.
func OOMScoreAdj() *int {
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil
	}
	return &n
}

// parentPid returns the pid of the parent of the children of Start and of their orphans.
func parentPid() int {
	if p := parent(); p != nil {
		return p.Pid()
	}
	return os.Getpid()
}

// ownSessions returns the sessions of this process and of the parent of its children.
func ownSessions() ([]int, error) {
	session, err := unix.Getsid(0)
	if p := parent(); p == nil || err != nil {
		return []int{session}, err
	} else if other, err := unix.Getsid(p.Pid()); err == nil { // else it is dead
		return []int{session, other}, nil
	}
	return []int{session}, nil
}

// collect waits for a child, which has ended, and returns its wait status.
func collect(main *os.Process, token string) (syscall.WaitStatus, error) {
	p := parent()
	if p == nil {
		state, err := main.Wait()
		if err != nil {
			return 0, err
		}
		status, ok := state.Sys().(syscall.WaitStatus)
		if !ok {
			return 0, errors.ErrUnsupported
		}
		return status, nil
	}
	return p.Collect(token)
}

// StartTime returns the start time of a process, in clock ticks since the boot.
func StartTime(pid int) (uint64, error) {
	s, err := readStat(pid)
	return s.start, err
}
