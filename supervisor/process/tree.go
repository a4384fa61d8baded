package process

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// scanRetry is the interval after which a failed scan is repeated; a scan fails with EMFILE.
const scanRetry = 20 * time.Millisecond

// tree finds the processes that descend from one main process.
type tree struct {
	main   stat // pid and start time; zero: unknown
	token  string
	cgroup *cgroup // nil: none

	mu       sync.Mutex
	unreaped bool           // main is a child that is not reaped, so no other process has its pid, group or session
	known    map[int]uint64 // members at the last scan: start time by pid
	empty    bool           // a scan has found no member; there never will be one again
}

// newTree returns the tree of a child that is not reaped yet.
func newTree(pid int, token string, group *cgroup) (*tree, error) {
	main, err := readStat(pid)
	if err != nil {
		return nil, err
	}
	return &tree{main: main, token: token, cgroup: group, unreaped: true, known: map[int]uint64{pid: main.start}}, nil
}

// release reaps the main process. From then on other processes may have its pid and session,
// so members must be called before.
func (t *tree) release(collect func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	collect()
	t.unreaped = false
}

// members scans for the members that live, in ascending order of pids. The members of the
// cgroup are the result if there are any. Otherwise, or without a cgroup, it scans all
// processes of the machine. After an error the members are unknown.
func (t *tree) members() ([]stat, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.empty {
		return nil, nil
	}
	found, err := t.cgroupMembers(), error(nil)
	if len(found) == 0 {
		found, err = t.sweep()
	}
	if len(found) == 0 && err == nil && t.cgroup == nil {
		found, err = t.sweep() // a process may have forked and exited during the first scan
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

func (t *tree) cgroupMembers() []stat {
	var found []stat
	for _, pid := range t.cgroup.procs() {
		if s, err := readStat(pid); err == nil && s.alive() {
			found = append(found, s)
		}
	}
	return found
}

// sweep scans all processes. A member is a process that was a member before, that is in the
// session of the main process, or that has the mark, and every process that descends from a
// member or shares its session.
func (t *tree) sweep() ([]stat, error) {
	candidates, err := t.candidates()
	if err != nil {
		return nil, err
	}
	in := map[int]bool{}
	for _, s := range candidates {
		in[s.pid] = t.isKnown(s) || t.unreaped && s.session == t.main.pid
	}
	addRelated(candidates, in)
	for _, s := range candidates {
		if in[s.pid] {
			continue
		}
		if in[s.pid], err = isMarked(s.pid, t.token); err != nil {
			return nil, err
		}
	}
	addRelated(candidates, in)
	return slices.DeleteFunc(candidates, func(s stat) bool { return !in[s.pid] }), nil
}

// candidates returns the processes that can be members. These are not process 1, the
// daemon, processes of the daemon's session or of another child's session, and processes
// older than the main process.
func (t *tree) candidates() ([]stat, error) {
	self := os.Getpid()
	session, err := unix.Getsid(0)
	if err != nil {
		return nil, err
	}
	others := ownChildren.pids()
	delete(others, t.main.pid)
	others[0], others[session] = true, true
	all, err := listProcesses()
	return slices.DeleteFunc(all, func(s stat) bool {
		return s.pid == 1 || s.pid == self || others[s.session] || s.start < t.main.start
	}), err
}

func (t *tree) isMain(s stat) bool { return s.pid == t.main.pid && s.start == t.main.start }

func (t *tree) isKnown(s stat) bool {
	start, ok := t.known[s.pid]
	return ok && s.start == start || t.isMain(s)
}

// addRelated adds to in the descendants and the processes of the same session, until it
// finds no more.
func addRelated(all []stat, in map[int]bool) {
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
		t.killGroup()
		for _, s := range found {
			victims[stat{pid: s.pid, start: s.start}] = true
			signalPidfd(s, unix.SIGKILL) // after an error it has exited or will be in left
		}
		if err != nil {
			err = pause(ctx, scanRetry)
		} else {
			err = awaitKilled(ctx, found)
		}
		if err != nil {
			found = slices.DeleteFunc(found, hasEnded)
			return len(victims) - len(found), pids(found)
		}
	}
}

func awaitKilled(ctx context.Context, found []stat) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	return awaitAll(ctx, found)
}

// lastMembers returns the members of the last scan that succeeded.
func (t *tree) lastMembers() []stat {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []stat
	for pid, start := range t.known {
		list = append(list, stat{pid: pid, start: start})
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
