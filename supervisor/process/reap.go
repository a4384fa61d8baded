package process

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/zombie"
)

// ownChildren are the children that Start has started and that are not reaped yet. It is
// a variable of the package because the kernel has one list of children for a process.
var ownChildren = childTable{collected: map[int]chan struct{}{}}

type childTable struct {
	// reaping is held to reap an orphan, and for reading during a scan, which must see the
	// zombie of an orphan that has exited. It is locked before mu.
	reaping sync.RWMutex

	mu        sync.RWMutex
	collected map[int]chan struct{} // by pid; closed when the child is reaped
	subreaper bool                  // Reap runs: orphans of the children become children of this process
}

// start calls fork and adds the child. The lock is held meanwhile, so that Reap does not
// take a child that exits at once for an orphan.
func (c *childTable) start(fork func() (*os.Process, error)) (*os.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := fork()
	if err == nil {
		c.collected[p.Pid] = make(chan struct{})
	}
	return p, err
}

// adopt adds a child that an earlier supervisor has started.
func (c *childTable) adopt(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collected[pid] = make(chan struct{})
}

func (c *childTable) forget(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.collected[pid])
	delete(c.collected, pid)
}

// pids returns the pids of the children, which are also their session ids.
func (c *childTable) pids() map[int]bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make(map[int]bool, len(c.collected)+2)
	for pid := range c.collected {
		list[pid] = true
	}
	return list
}

// holdReaping has orphans that have ended stay zombies until resume is called.
func holdReaping() (resume func()) {
	if p := parent(); p != nil {
		return p.HoldReaping()
	}
	ownChildren.reaping.RLock()
	return ownChildren.reaping.RUnlock
}

func (c *childTable) setSubreaper(is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subreaper = is
}

func (c *childTable) isSubreaper() bool {
	if parent() != nil { // which is the subreaper
		return true
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.subreaper
}

// reapRetry is the interval of looking again while a zombie of os/exec hides the others.
const reapRetry = 50 * time.Millisecond

// Reap makes this process the subreaper of its descendants and reaps orphans until ctx
// ends; then it returns nil. With a Parent, which does so, it does nothing. It does not reap the children of Start, which their Process
// waits for, nor children in this process's own session, which os/exec waits for.
func Reap(ctx context.Context) error {
	if parent() != nil {
		<-ctx.Done()
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the subreaper: %w", err)
	}
	ownChildren.setSubreaper(true)
	defer ownChildren.setSubreaper(false)
	if session, err := unix.Getsid(0); err == nil && session == 0 {
		// The session is outside of this pid namespace, like that of processes that enter the
		// namespace (docker exec), and both are shown as 0. A new session distinguishes them.
		// Setsid fails for a group leader; then such processes are not reaped.
		unix.Setsid()
	}
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	defer signal.Stop(died)
	for {
		collected, again := reapOrphans()
		var retry <-chan time.Time
		if again {
			retry = time.After(reapRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-died:
		case <-collected:
		case <-retry:
		}
	}
}

// reapOrphans reaps zombies until there is none or the first one must not be reaped here;
// the kernel shows only the first. In this case it returns the channel of a child of Start
// to wait for, or again, which means to retry after reapRetry.
func reapOrphans() (collected <-chan struct{}, again bool) {
	session, _ := unix.Getsid(0)
	for {
		pid := zombie.First()
		if pid == 0 {
			return nil, false
		}
		if collected, again := reapOrphan(pid, session); collected != nil || again {
			return collected, again
		}
	}
}

// reapOrphan reaps one zombie unless it is a child of Start or os/exec.
func reapOrphan(pid, session int) (<-chan struct{}, bool) {
	ownChildren.reaping.Lock()
	defer ownChildren.reaping.Unlock()
	ownChildren.mu.RLock()
	defer ownChildren.mu.RUnlock()
	if collected, ok := ownChildren.collected[pid]; ok {
		return collected, false
	}
	if s, err := readStat(pid); err == nil && s.session == session {
		return nil, true
	}
	unix.Wait4(pid, nil, unix.WNOHANG, nil)
	return nil, false
}
