package monitor

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/zombie"
)

// keepZombie is how long a child that has ended stays a zombie when no supervisor collects its
// status. Until then its pid is no other process's.
const keepZombie = 2 * time.Second

// child is a process that a supervisor has ordered.
type child struct {
	token  string
	pid    int
	died   time.Time // when it was seen as a zombie; zero: it lives
	reaped bool
	status syscall.WaitStatus // once reaped
}

// children are the processes that a supervisor has ordered and whose status was not collected.
type children struct {
	byToken map[string]*child
	byPid   map[int]*child // those that are not reaped
}

func newChildren() *children {
	return &children{byToken: map[string]*child{}, byPid: map[int]*child{}}
}

// spawn forks a child. The order is that of kindSpawn. It must be called on the thread that lives
// as long as this process: the end of the thread that forked a child ends a child with PDEATHSIG.
func (c *children) spawn(order *frame) (pid int, err error) {
	words := strings.Split(order.text, "\x00")
	if len(words) < 3 || words[0] == "" || len(order.files) < 1 {
		return 0, unix.EINVAL
	}
	if order.lost {
		return 0, unix.EMFILE
	}
	token, argv0, env := words[0], words[1], words[2:len(words)-1]
	if c.byToken[token] != nil {
		return 0, unix.EEXIST
	}
	pid, err = fork(order.files[0], []string{argv0}, env, order.files[1:])
	if err != nil {
		return 0, err
	}
	k := &child{token: token, pid: pid}
	c.byToken[token], c.byPid[pid] = k, k
	return pid, nil
}

// fork executes an executable in a session of its own, with files as the descriptors from 0 on.
func fork(executable descriptor, argv, env []string, files []descriptor) (pid int, err error) {
	fds := make([]uintptr, len(files))
	highest := 0
	for i, d := range files {
		fds[i] = uintptr(d)
		highest = max(highest, int(d))
	}
	// ForkExec gives the child's descriptors numbers above all of fds while it sorts them.
	fd, err := unix.FcntlInt(uintptr(executable), unix.F_DUPFD_CLOEXEC, highest+2*len(files)+2)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", fd), argv, &syscall.ProcAttr{Env: env, Files: fds, Sys: &syscall.SysProcAttr{Setsid: true}})
}

// collect reaps a child that has ended, forgets it and returns its status.
func (c *children) collect(token string) (syscall.WaitStatus, error) {
	k := c.byToken[token]
	if k == nil {
		return 0, unix.ESRCH
	}
	if !k.reaped && !c.reap(k) {
		return 0, unix.EAGAIN
	}
	delete(c.byToken, token)
	return k.status, nil
}

// reap reaps a child if it has ended.
func (c *children) reap(k *child) bool {
	pid, err := wait4(k.pid, &k.status)
	if pid != k.pid && err == nil {
		return false
	}
	k.reaped = true
	delete(c.byPid, k.pid)
	return true
}

// reapOrphans reaps what no supervisor has ordered, except the supervisor, and children that were
// zombies for keepZombie. The kernel shows one zombie at a time, so that one that stays hides
// others: again says to look again later.
func (c *children) reapOrphans(supervisor int, now time.Time) (again bool) {
	for {
		pid := zombie.First()
		if pid == 0 {
			return false
		}
		if pid == supervisor {
			return true
		}
		k := c.byPid[pid]
		switch {
		case k == nil:
			wait4(pid, nil)
		case k.died.IsZero():
			k.died = now
			return true
		case now.Sub(k.died) < keepZombie:
			return true
		default:
			c.reap(k)
		}
	}
}

// alive reports whether the main process of any child lives.
func (c *children) alive() bool {
	for _, k := range c.byPid {
		if k.died.IsZero() {
			return true
		}
	}
	return false
}

// signal sends a signal to the main process of each child, or to its process group.
func (c *children) signal(sig syscall.Signal, groups bool) {
	for pid := range c.byPid {
		if groups {
			unix.Kill(-pid, sig)
		}
		unix.Kill(pid, sig)
	}
}

// wait4 waits for one child without blocking.
func wait4(pid int, status *syscall.WaitStatus) (int, error) {
	for {
		got, err := syscall.Wait4(pid, status, syscall.WNOHANG, nil)
		if err != syscall.EINTR {
			return got, err
		}
	}
}
