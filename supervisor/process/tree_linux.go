package process

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// treeVariable marks every member of a tree that has not cleared its environment.
	treeVariable = "TIDEOVER_TREE"
	// blindTime is when we look again after having been unable to look, as without descriptors.
	blindTime = 20 * time.Millisecond
)

// tree finds the processes that came of one main process.
type tree struct {
	main  stat // pid and start time; zero: never known
	token string
	leaf  *cgroup // nil: no cgroup

	mu       sync.Mutex
	pinned   bool           // main is our child and not collected: its pid, group and session are surely its own
	known    map[int]uint64 // who was a member at the last look: pid and start time
	sessions map[int]bool   // where members lived at the last look
}

// newTree is the tree of a child of ours that was not collected yet.
func newTree(pid int, token string, leaf *cgroup) (*tree, error) {
	main, err := readStat(pid)
	if err != nil {
		return nil, err
	}
	return &tree{
		main: main, token: token, leaf: leaf, pinned: true,
		known: map[int]uint64{pid: main.start}, sessions: map[int]bool{pid: true},
	}, nil
}

// release notes who belongs to the tree and then collects the main process, whose pid and session may be anybody's from then on.
func (t *tree) release(collect func()) {
	t.members() // where it cannot look, the look before counts on
	t.mu.Lock()
	defer t.mu.Unlock()
	collect()
	t.pinned = false
}

// members looks for everybody who lives, in ascending order of pids. While the cgroup has members, they are the answer: it is
// the kernel's own. Who has left it, or never had one, is found by a sweep through all processes. An error means that nobody
// knows who lives.
func (t *tree) members() ([]stat, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, err := t.inLeaf(), error(nil)
	if len(found) == 0 {
		found, err = t.sweep()
	}
	if len(found) == 0 && err == nil && t.leaf == nil {
		found, err = t.sweep() // a parent may have forked behind our back and died before we came to it: now its child is seen
	}
	if err != nil {
		return nil, err
	}
	t.known, t.sessions = map[int]uint64{}, map[int]bool{t.main.pid: t.pinned}
	for _, s := range found {
		t.known[s.pid], t.sessions[s.session] = s.start, true
	}
	slices.SortFunc(found, func(a, b stat) int { return a.pid - b.pid })
	return found, nil
}

func (t *tree) inLeaf() []stat {
	var found []stat
	for _, pid := range t.leaf.procs() {
		if s, err := readStat(pid); err == nil && s.alive() {
			found = append(found, s)
		}
	}
	return found
}

// sweep finds who was a member before, is in a session of members, or carries the token; and then who descends from one of
// them or shares a session with one.
func (t *tree) sweep() ([]stat, error) {
	candidates, err := t.candidates()
	if err != nil {
		return nil, err
	}
	leaders := map[int]stat{}
	for _, s := range candidates {
		if s.pid == s.session {
			leaders[s.pid] = s
		}
	}
	in := map[int]bool{}
	for _, s := range candidates {
		fellow, err := t.inKnownSession(s, leaders)
		if err != nil {
			return nil, err
		}
		in[s.pid] = fellow || t.isKnown(s)
	}
	spread(candidates, in)
	for _, s := range candidates {
		if in[s.pid] || t.token == "" {
			continue
		}
		m, err := markOf(s.pid, t.token)
		if err != nil {
			return nil, err
		}
		in[s.pid] = m == marked
	}
	spread(candidates, in)
	return slices.DeleteFunc(candidates, func(s stat) bool { return !in[s.pid] }), nil
}

// candidates are those who might be members at all: not the machine's first process, not the daemon, nobody of the
// daemon's own session, nobody older than the main process.
func (t *tree) candidates() ([]stat, error) {
	self := os.Getpid()
	session, err := unix.Getsid(0)
	if err != nil {
		return nil, err
	}
	all, err := living()
	return slices.DeleteFunc(all, func(s stat) bool {
		return s.pid == 1 || s.pid == self || s.session == 0 || s.session == session || s.start < t.main.start
	}), err
}

func (t *tree) isMain(s stat) bool { return s.pid == t.main.pid && s.start == t.main.start }

func (t *tree) isKnown(s stat) bool {
	start, ok := t.known[s.pid]
	return ok && s.start == start || t.isMain(s)
}

// inKnownSession trusts a session's number while it cannot have been given to another one: its leader lives and is known,
// or has not been collected. With the leader gone, a readable environment without our token speaks against it.
func (t *tree) inKnownSession(s stat, leaders map[int]stat) (bool, error) {
	if !t.sessions[s.session] {
		return false, nil
	}
	if leader, lives := leaders[s.session]; lives {
		return t.isKnown(leader), nil
	}
	if t.pinned && s.session == t.main.pid {
		return true, nil
	}
	m, err := markOf(s.pid, t.token)
	return m != unmarked, err
}

// spread adds descendants and fellows of a session until nobody is added any more.
func spread(all []stat, in map[int]bool) {
	for changed := true; changed; {
		sessions := map[int]bool{}
		for _, s := range all {
			if in[s.pid] {
				sessions[s.session] = true
			}
		}
		changed = false
		for _, s := range all {
			if !in[s.pid] && (in[s.parent] || sessions[s.session]) {
				in[s.pid], changed = true, true
			}
		}
	}
}

// kill sends SIGKILL to all members until none is found any more, and returns how many there were. Those who live in spite of
// it when ctx ends are returned as well.
func (t *tree) kill(ctx context.Context) (killed int, left []int) {
	victims := map[stat]bool{}
	for {
		found, err := t.members()
		if len(found) == 0 && err == nil {
			return len(victims), nil
		}
		if err != nil {
			found = t.lastSeen()
		}
		t.leaf.kill()
		t.killGroup()
		for _, s := range found {
			victims[stat{pid: s.pid, start: s.start}] = true
			signalExactly(s, unix.SIGKILL) // who cannot be signalled is gone, or will be among those left
		}
		if err != nil {
			err = pause(ctx, blindTime)
		} else {
			err = awaitAll(ctx, found)
		}
		if err != nil {
			found = slices.DeleteFunc(found, hasGone)
			return len(victims) - len(found), pids(found)
		}
	}
}

// lastSeen are the members of the last look that succeeded.
func (t *tree) lastSeen() []stat {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []stat
	for pid, start := range t.known {
		list = append(list, stat{pid: pid, start: start})
	}
	return list
}

func hasGone(s stat) bool {
	now, err := readStat(s.pid)
	return err != nil && isGone(err) || err == nil && (now.start != s.start || !now.alive())
}

// killGroup reaches those of the main process's group at once, also while they fork.
func (t *tree) killGroup() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pinned {
		unix.Kill(-t.main.pid, unix.SIGKILL)
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func pids(all []stat) []int {
	list := make([]int, len(all))
	for i, s := range all {
		list[i] = s.pid
	}
	return list
}
