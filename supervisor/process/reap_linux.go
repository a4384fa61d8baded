package process

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ours are the children that Start has made and not collected yet. The kernel keeps one list of children for each process, so
// there is one of these.
var ours = children{collected: map[int]chan struct{}{}}

type children struct {
	mu        sync.RWMutex
	collected map[int]chan struct{} // closed when the child was waited for
}

// start forks while nobody can take the child for a stranger.
func (c *children) start(fork func() (*os.Process, error)) (*os.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := fork()
	if err == nil {
		c.collected[p.Pid] = make(chan struct{})
	}
	return p, err
}

// adopt counts a child in that was made before this program was.
func (c *children) adopt(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collected[pid] = make(chan struct{})
}

func (c *children) forget(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.collected[pid])
	delete(c.collected, pid)
}

// pids are theirs, and their sessions'.
func (c *children) pids() map[int]bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make(map[int]bool, len(c.collected)+2)
	for pid := range c.collected {
		list[pid] = true
	}
	return list
}

// retryTime is when a child of os/exec that hides strangers behind it is looked at again.
const retryTime = 50 * time.Millisecond

// Reap makes this process the one to whom orphans of its descendants fall, and collects them when they die, until ctx ends;
// then it returns nil. A child that Start has made is left to its Process; so is every child in this process's own session, for
// that is where os/exec's are.
func Reap(ctx context.Context) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the subreaper: %w", err)
	}
	if session, err := unix.Getsid(0); err == nil && session == 0 {
		// It lies outside of our pid namespace, as does that of strangers who are put into it: to be told from ours they need
		// another one. It fails only for the leader of a group, who then leaves those strangers uncollected.
		unix.Setsid()
	}
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	defer signal.Stop(died)
	for {
		collected, again := reapStrangers()
		var retry <-chan time.Time
		if again {
			retry = time.After(retryTime)
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

// reapStrangers collects zombies until there is none, or one that is not ours to collect: the kernel shows only the first. It
// returns what to wait for in that case: the channel of a child of Start, or a while.
func reapStrangers() (collected <-chan struct{}, again bool) {
	session, _ := unix.Getsid(0)
	for {
		pid := firstZombie()
		if pid == 0 {
			return nil, false
		}
		if collected, again := reapStranger(pid, session); collected != nil || again {
			return collected, again
		}
	}
}

func reapStranger(pid, session int) (<-chan struct{}, bool) {
	ours.mu.RLock()
	defer ours.mu.RUnlock()
	if collected, ok := ours.collected[pid]; ok {
		return collected, false
	}
	if s, err := readStat(pid); err == nil && s.session == session {
		return nil, true
	}
	unix.Wait4(pid, nil, unix.WNOHANG, nil)
	return nil, false
}

// childInfo is siginfo_t as waitid fills it in, on 64 bits.
type childInfo struct {
	signo, errno, code, _ int32
	pid                   int32
	_                     [108]byte
}

// firstZombie looks without collecting; 0: there is none.
func firstZombie() int {
	var info childInfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		switch err {
		case nil:
			return int(info.pid)
		case unix.EINTR:
		default:
			return 0
		}
	}
}
