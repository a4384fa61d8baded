package process

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// blindTime is when we look again after having been unable to look, as without descriptors.
const blindTime = 20 * time.Millisecond

// tree finds the processes that came of one main process.
type tree struct {
	main  stat // pid and start time; zero: never known
	token string
	leaf  *cgroup // nil: no cgroup

	mu     sync.Mutex
	pinned bool           // main is our child and not collected: its pid, group and session are surely its own
	known  map[int]uint64 // who was a member at the last look: pid and start time
	empty  bool           // nobody was left at a look: then nobody ever will be
}

// newTree is the tree of a child of ours that was not collected yet.
func newTree(pid int, token string, leaf *cgroup) (*tree, error) {
	main, err := readStat(pid)
	if err != nil {
		return nil, err
	}
	return &tree{main: main, token: token, leaf: leaf, pinned: true, known: map[int]uint64{pid: main.start}}, nil
}

// release collects the main process, whose pid and session may be anybody's from then on. So who shall be found by them must
// have been looked for before.
func (t *tree) release(collect func()) {
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
	if t.empty {
		return nil, nil
	}
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
	t.known, t.empty = make(map[int]uint64, len(found)), len(found) == 0
	for _, s := range found {
		t.known[s.pid] = s.start
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

// sweep finds who was a member before, is in the main process's session, or is marked; and then who descends from one of them
// or shares a session with one.
func (t *tree) sweep() ([]stat, error) {
	candidates, err := t.candidates()
	if err != nil {
		return nil, err
	}
	in := map[int]bool{}
	for _, s := range candidates {
		in[s.pid] = t.isKnown(s) || t.pinned && s.session == t.main.pid
	}
	spread(candidates, in)
	for _, s := range candidates {
		if in[s.pid] {
			continue
		}
		if in[s.pid], err = isMarked(s.pid, t.token); err != nil {
			return nil, err
		}
	}
	spread(candidates, in)
	return slices.DeleteFunc(candidates, func(s stat) bool { return !in[s.pid] }), nil
}

// candidates are those who might be members at all: not the machine's first process, not the daemon, nobody of the
// daemon's own session or another child's, nobody older than the main process.
func (t *tree) candidates() ([]stat, error) {
	self := os.Getpid()
	session, err := unix.Getsid(0)
	if err != nil {
		return nil, err
	}
	others := ours.pids()
	delete(others, t.main.pid)
	others[0], others[session] = true, true
	all, err := living()
	return slices.DeleteFunc(all, func(s stat) bool {
		return s.pid == 1 || s.pid == self || others[s.session] || s.start < t.main.start
	}), err
}

func (t *tree) isMain(s stat) bool { return s.pid == t.main.pid && s.start == t.main.start }

func (t *tree) isKnown(s stat) bool {
	start, ok := t.known[s.pid]
	return ok && s.start == start || t.isMain(s)
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

// kill sends SIGKILL to all members until none is found any more, and returns how many there were. It gives up when one lives
// for killTime after its SIGKILL, or ctx ends; those who live then are returned as well.
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
			err = awaitKilled(ctx, found)
		}
		if err != nil {
			found = slices.DeleteFunc(found, hasGone)
			return len(victims) - len(found), pids(found)
		}
	}
}

func awaitKilled(ctx context.Context, found []stat) error {
	ctx, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	return awaitAll(ctx, found)
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
