package process

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"tideover/proxy/awake"

	"golang.org/x/sys/unix"
)

// scanRetry is the interval after which a failed scan is repeated; a scan fails with EMFILE,
// or with errUnstable.
const scanRetry = 20 * time.Millisecond

// maxRescans bounds the scans for one answer. Each one but the first follows the end of a
// process that may have been a member.
const maxRescans = 20

// errUnstable is returned if orphans end faster than they are found: each one may have started
// the next.
var errUnstable = errors.New("processes of the tree start others faster than they can be listed")

// tree finds the processes that descend from one main process: by its cgroup if it has one,
// otherwise by the rules in membership.go.
type tree struct {
	main   stat   // pid and start time; zero: unknown
	uid    uint32 // of the app
	token  string
	cgroup *cgroup // nil: none
	own    bool    // of this daemon, and not of one that has died

	mu       sync.Mutex
	unreaped bool           // main is a child that is not reaped, so no other process has its pid, group or session
	known    map[int]member // members at the last scan, by pid
	empty    bool           // a scan has found no member; there never will be one again
}

// newTree returns the tree of a process that is not started yet. Thereby the scans of other
// trees do not take a process of this one for theirs.
func newTree(uid uint32, token string) *tree {
	t := &tree{uid: uid, token: token, own: true, unreaped: true}
	ownTrees.set(t, t.extent())
	return t
}

// begin sets the main process, a child that is not reaped yet.
func (t *tree) begin(pid int, group *cgroup) error {
	main, err := readStat(pid)
	if err != nil {
		return err
	}
	t.main, t.cgroup, t.known = main, group, map[int]member{pid: {main.start, proven}}
	ownTrees.set(t, t.extent())
	return nil
}

func (t *tree) extent() extent {
	return extent{uid: t.uid, token: t.token, main: t.main, known: t.known}
}

// release reaps the main process. From then on other processes may have its pid and session,
// so members must be called before.
func (t *tree) release(collect func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	collect()
	t.unreaped = false
}

// members scans for the members that live, in ascending order of pids. After an error the
// members are unknown.
func (t *tree) members() ([]stat, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.empty {
		return nil, nil
	}
	found, err := t.cgroupMembers()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b stat) int { return a.pid - b.pid })
	t.empty = len(found) == 0
	return found, nil
}

// cgroupMembers returns the members of the cgroup, and the main process, which is this
// daemon's child wherever it is. Without a cgroup, or if it does not exist any more, it returns
// the members that sweep finds. t.mu must be held.
func (t *tree) cgroupMembers() ([]stat, error) {
	if t.cgroup == nil {
		return t.sweep()
	}
	found, err := t.cgroup.members()
	if errors.Is(err, fs.ErrNotExist) {
		return t.sweep()
	}
	if err != nil {
		return nil, err
	}
	if main, err := readStat(t.main.pid); err == nil && t.isMain(main) && main.alive() && !slices.ContainsFunc(found, t.isMain) {
		found = append(found, main)
	}
	known := make(map[int]member, len(found))
	for _, s := range found {
		known[s.pid] = member{s.start, proven}
	}
	t.record(known)
	if len(found) == 0 && t.own {
		ownTrees.remove(t)
	}
	return found, nil
}

// sweep scans all processes, again and again until the result is certain. A scan that finds no
// member can be wrong: a process that it has not seen yet may have forked and exited. A child
// of this daemon that did so is found as a zombie. t.mu must be held.
func (t *tree) sweep() ([]stat, error) {
	seen := map[stat]bool{}
	for n := range maxRescans {
		v, found, err := t.scan()
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			t.record(v.known(found))
			return found, nil
		}
		certain := v.subreaper || n > 0
		for _, s := range v.zombies {
			id := stat{pid: s.pid, start: s.start}
			certain = certain && seen[id]
			seen[id] = true
		}
		if certain && (!t.own || ownTrees.removeUnless(t, v.ended)) {
			return nil, nil
		}
	}
	return nil, errUnstable
}

// scan is one scan. No orphan is reaped meanwhile.
func (t *tree) scan() (*scan, []stat, error) {
	defer holdReaping()()
	v, err := t.newScan()
	if err != nil {
		return nil, nil, err
	}
	found, err := v.members()
	return v, found, err
}

// record keeps the members of a scan.
func (t *tree) record(known map[int]member) {
	t.known = known
	if t.own {
		ownTrees.set(t, t.extent())
	}
}

func (t *tree) isMain(s stat) bool { return s.pid == t.main.pid && s.start == t.main.start }

// classOf returns what a process was at the last scan.
func (t *tree) classOf(s stat) class {
	if t.isMain(s) {
		return proven
	}
	if m := t.known[s.pid]; m.start == s.start {
		return m.class
	}
	return foreign
}

// kill sends SIGKILL to all members until a scan finds none, and returns their number. It
// gives up when one lives for killTimeout after its SIGKILL or when ctx ends, and returns
// those that live.
func (t *tree) kill(ctx context.Context) (killed int, left []int) {
	victims := map[stat]bool{}
	for {
		found, err := t.members()
		if len(found) == 0 && err == nil {
			return len(victims), nil
		}
		if err != nil {
			found = t.lastMembers()
		}
		t.cgroup.kill()
		if t.cgroup == nil || err != nil {
			t.killGroup()
		}
		for _, s := range found {
			victims[stat{pid: s.pid, start: s.start}] = true
			signalPidfd(s, unix.SIGKILL) // after an error it has exited or will be in left
		}
		if err != nil {
			if pause(ctx, scanRetry) != nil {
				return len(victims) - len(found), pids(found) // the scan that would show their end has failed
			}
		} else if awaitKilled(ctx, found) != nil {
			found = slices.DeleteFunc(found, hasEnded)
			return len(victims) - len(found), pids(found)
		}
	}
}

func awaitKilled(ctx context.Context, found []stat) error {
	ctx, cancel := awake.WithTimeout(ctx, killTimeout)
	defer cancel()
	return awaitAll(ctx, found)
}

// lastMembers returns the members of the last scan that succeeded.
func (t *tree) lastMembers() []stat {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []stat
	for pid, m := range t.known {
		list = append(list, stat{pid: pid, start: m.start})
	}
	return list
}

// killGroup sends SIGKILL to the process group of the main process, also while it forks.
func (t *tree) killGroup() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.unreaped {
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
