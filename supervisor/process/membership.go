package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Without a cgroup the members of a tree are found by one walk over /proc, by these rules.
//
// Proven members, of any user:
//   - the main process
//   - the processes of its session, as long as no other process can have its pid. A session
//     cannot be entered: a process is in it because it or an ancestor has made it or was
//     forked in it.
//   - members of the scan before, by pid and start time. The last scan before the main
//     process is reaped finds what is then in its session.
//   - children of proven members
//   - processes in the session of a proven member. This session was made inside the tree:
//     the session of the main process was made for it, and a descendant is in the session of
//     its parent or has made its own.
//
// A stray has left its session, and its parent has exited before a scan has seen both. The
// kernel has made it a child of the next living subreaper above it, which is the daemon (see
// Reap). It is a member only if its real, effective and saved uid are those of the app, if it
// has not started before the main process, and if
//   - TIDEOVER_TREE in its environment is the token of the tree. A process that is not of
//     this uid cannot have changed it.
//   - or, for a daemon that is a subreaper and not process 1, no other tree of the daemon
//     can have started it: its TIDEOVER_TREE is of no other tree, and all other trees of this
//     uid are younger. Of several such trees the one that ends last ends the stray. While trees
//     of a former supervisor are to be adopted the others are not known (AwaitAdoption).
//
// So a process of another user is never a stray. Children of a stray, and processes in a
// session whose leader is a member, are members only if they are of this uid.
//
// These cases cannot be decided without a cgroup, and such processes are not killed:
//   - a process has changed its user and left the session, and its parent has exited, before
//     a scan has seen it
//   - a stray has no token (its environment was cleared or overwritten), and the daemon is
//     process 1 of its namespace, where processes that docker exec has started become
//     children of the daemon, too; or the daemon has died, so that the stray has become a
//     child of process 1
//   - the daemon and the main process have died: a process of its session without a token

// treeVariable is the environment variable that contains the token of a tree.
const treeVariable = "TIDEOVER_TREE"

// class is the reason why a process is a member.
type class int8

const (
	foreign class = iota // no member
	stray
	proven
)

// member is a process of the last scan.
type member struct {
	start uint64
	class class
}

// ownTrees are the trees of this process that were not found empty yet. It is a variable of
// the package, because one process is the parent of the orphans of all trees.
var ownTrees = treeTable{live: map[*tree]extent{}}

type treeTable struct {
	mu    sync.Mutex
	live  map[*tree]extent
	ended uint64 // number of trees that were removed
	// incomplete says that there are trees of a former supervisor that were not adopted yet.
	incomplete bool
}

// AwaitAdoption says that there are trees of a former supervisor. Until done is called a tree has no orphan
// without its token: it may be of one that is adopted later.
func AwaitAdoption() (done func()) {
	ownTrees.setIncomplete(true)
	return func() { ownTrees.setIncomplete(false) }
}

func (o *treeTable) setIncomplete(incomplete bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.incomplete = incomplete
}

// isIncomplete reports whether a tree that is not known may have started an orphan.
func (o *treeTable) isIncomplete() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.incomplete
}

// extent is what the scan for another tree must know of a tree.
type extent struct {
	uid   uint32
	token string
	main  stat           // zero before the fork
	known map[int]member // not changed any more
}

// set adds or updates a tree.
func (o *treeTable) set(t *tree, e extent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.live[t] = e
}

func (o *treeTable) remove(t *tree) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.live, t)
	o.ended++
}

// removeUnless removes a tree, unless other trees were removed since their number was ended.
func (o *treeTable) removeUnless(t *tree, ended uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended != ended {
		return false
	}
	delete(o.live, t)
	o.ended++
	return true
}

// others returns the other trees, and the number of those that were removed.
func (o *treeTable) others(t *tree) (others []extent, ended uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for other, e := range o.live {
		if other != t {
			others = append(others, e)
		}
	}
	return others, o.ended
}

// scan is one walk over /proc for the members of a tree.
type scan struct {
	tree      *tree
	all       []stat // candidates, see newScan
	class     map[int]class
	sameUser  map[int]bool // by pid, as far as it was read
	reapers   map[int]bool // the possible parents of an orphan of the tree
	others    []extent     // other trees of this process
	subreaper bool         // orphans of the tree are children of this process
	ended     uint64       // see treeTable
	zombies   []stat       // children of this process that have ended, and can have been members
}

// newScan lists the candidates. These are not process 1, the daemon, processes of the daemon's
// session or of another child's session, and processes older than the main process.
// ownChildren.reaping must be held.
func (t *tree) newScan() (*scan, error) {
	all, err := listProcesses()
	if err != nil {
		return nil, err
	}
	own, err := ownSessions()
	if err != nil {
		return nil, err
	}
	// The others come after the list: what is in the list was started by one of them.
	v := &scan{tree: t, class: map[int]class{}, sameUser: map[int]bool{}, subreaper: t.own && ownChildren.isSubreaper()}
	sessions := ownChildren.pids()
	if t.unreaped {
		delete(sessions, t.main.pid)
	}
	sessions[0] = true // outside of this pid namespace
	for _, session := range own {
		sessions[session] = true
	}
	if t.own {
		v.others, v.ended = ownTrees.others(t)
	}
	v.reapers = v.findReapers(all)
	leads := t.unreaped || slices.ContainsFunc(all, t.isMain)
	for _, s := range all {
		switch {
		case s.pid == 1 || s.pid == os.Getpid() || s.pid == parentPid() || sessions[s.session] || s.start < t.main.start:
		case s.alive():
			v.all = append(v.all, s)
			if leads && s.session == t.main.pid || t.classOf(s) == proven {
				v.class[s.pid] = proven
			}
		case v.subreaper && s.parent == parentPid():
			if fits, err := v.fits(s); err != nil {
				return nil, err
			} else if fits || leads && s.session == t.main.pid {
				v.zombies = append(v.zombies, s)
			}
		}
	}
	return v, nil
}

// findReapers returns the possible parents of an orphan: this process if it is a subreaper,
// otherwise process 1 and the ancestors of this process.
func (v *scan) findReapers(all []stat) map[int]bool {
	self := parentPid()
	reapers := map[int]bool{self: true}
	if v.subreaper {
		return reapers
	}
	reapers[1] = true
	parents := make(map[int]int, len(all))
	for _, s := range all {
		parents[s.pid] = s.parent
	}
	for pid := parents[self]; pid > 1 && !reapers[pid]; pid = parents[pid] {
		reapers[pid] = true
	}
	return reapers
}

// members returns the candidates that are members.
func (v *scan) members() ([]stat, error) {
	if err := v.addRelated(); err != nil {
		return nil, err
	}
	for _, s := range v.all {
		if v.class[s.pid] != foreign || !v.reapers[s.parent] {
			continue
		}
		if is, err := v.isStray(s); err != nil {
			return nil, err
		} else if is {
			v.class[s.pid] = stray
		}
	}
	if err := v.addRelated(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(v.all, func(s stat) bool { return v.class[s.pid] == foreign }), nil
}

// known returns the members for the next scan.
func (v *scan) known(found []stat) map[int]member {
	known := make(map[int]member, len(found))
	for _, s := range found {
		known[s.pid] = member{s.start, v.class[s.pid]}
	}
	return known
}

// addRelated adds the children of members and the processes of their sessions, until it finds
// no more. A stray has only the session that it leads, and only relatives of its own user.
func (v *scan) addRelated() error {
	for changed := true; changed; {
		sessions := map[int]class{}
		for _, s := range v.all {
			c := v.class[s.pid]
			if c == proven || c == stray && s.session == s.pid {
				sessions[s.session] = max(sessions[s.session], c)
			}
		}
		changed = false
		for _, s := range v.all {
			c := max(v.class[s.parent], sessions[s.session])
			if v.class[s.pid] != foreign || c == foreign {
				continue
			}
			if c == stray {
				if fits, err := v.fits(s); err != nil {
					return err
				} else if !fits {
					continue
				}
			}
			v.class[s.pid], changed = c, true
		}
	}
	return nil
}

// fits reports whether the real, effective and saved uid of a process are those of the app.
func (v *scan) fits(s stat) (bool, error) {
	if fits, ok := v.sameUser[s.pid]; ok {
		return fits, nil
	}
	uid, same, err := readUser(s.pid)
	if err != nil && !isNoProcess(err) && !errors.Is(err, os.ErrPermission) {
		return false, err
	}
	v.sameUser[s.pid] = err == nil && same && uid == v.tree.uid
	return v.sameUser[s.pid], nil
}

// isStray reports whether an orphan is a stray of the tree.
func (v *scan) isStray(s stat) (bool, error) {
	if fits, err := v.fits(s); err != nil || !fits {
		return false, err
	}
	if v.tree.classOf(s) == stray {
		return true, nil
	}
	tokens, err := readTokens(s.pid, v.tree.uid)
	if err != nil {
		return false, err
	}
	if slices.Contains(tokens, v.tree.token) && v.tree.token != "" {
		return true, nil
	}
	if !v.subreaper || parentPid() == 1 || ownTrees.isIncomplete() {
		return false, nil
	}
	if slices.ContainsFunc(v.others, func(e extent) bool { return e.canOwn(s, v.tree.uid, tokens) }) {
		if len(tokens) == 0 && hasEnded(s) { // it had a token perhaps
			v.zombies = append(v.zombies, s)
		}
		return false, nil
	}
	return true, nil
}

// canOwn reports whether an orphan of this user can be of this tree.
func (e extent) canOwn(s stat, uid uint32, tokens []string) bool {
	return e.known[s.pid].start == s.start || s.session == e.main.pid ||
		e.token != "" && slices.Contains(tokens, e.token) ||
		e.uid == uid && e.main.start <= s.start
}

// maxEnviron is the limit of the kernel for the arguments and the environment of a program. A
// process can place its environment elsewhere, also in an area without limit (PR_SET_MM_MAP).
const maxEnviron = 6 << 20

// readTokens returns the values of treeVariable in the environment of a process of this user,
// as far as this is readable.
func readTokens(pid int, uid uint32) ([]string, error) {
	environ, err := readEnviron(pid)
	if errors.Is(err, os.ErrPermission) && uid != uint32(os.Getuid()) {
		environ, err = readEnvironAs(pid, uid)
	}
	if isNoProcess(err) || errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EIO) {
		return nil, nil // EIO: that part of its memory does not exist
	}
	return tokensOf(environ), err
}

func readEnviron(pid int) ([]byte, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxEnviron))
}

// readEnvironAs is readEnviron for root in a container, which has no CAP_SYS_PTRACE, and none of
// those that serve as well since Linux 6.13, CAP_PERFMON and CAP_SYS_ADMIN. The kernel then
// compares the user and group for file access (setfsuid) with those of the process.
func readEnvironAs(pid int, uid uint32) (environ []byte, err error) {
	info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return nil, err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid != uid {
		return nil, unix.EPERM
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine, because it is not unlocked
		unix.RawSyscall(unix.SYS_SETFSGID, uintptr(owner.Gid), 0, 0)
		unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
		environ, err = readEnviron(pid)
	}()
	<-done
	return environ, err
}

func tokensOf(environ []byte) []string {
	var tokens []string
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if token, ok := bytes.CutPrefix(entry, []byte(treeVariable+"=")); ok {
			tokens = append(tokens, string(token))
		}
	}
	return tokens
}
