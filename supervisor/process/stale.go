package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"tideover/proxy/awake"

	"golang.org/x/sys/unix"
)

// staleGrace is short, because the clients of a stale tree have lost their connections with
// the old daemon.
const staleGrace = 5 * time.Second

// Record is the data by which another daemon can end a tree after its daemon has died. A
// Record with only a Token, written before Start, is enough where the daemon died during
// Start.
type Record struct {
	Pid       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // of the main process, in clock ticks since the boot
	Boot      string `json:"boot"`       // the kernel's boot id; after another boot no process of the tree lives
	Token     string `json:"token"`
	UID       uint32 `json:"uid"` // of the app
	Cgroup    string `json:"cgroup,omitempty"`
	Name      string `json:"name"`
}

// Record returns the record of this tree.
func (p *Process) Record() Record {
	r := Record{Pid: p.Pid(), StartTime: p.tree.main.start, Boot: bootID(), Token: p.tree.token, UID: p.tree.uid, Name: p.name}
	if p.tree.cgroup != nil {
		r.Cgroup = p.tree.cgroup.path
	}
	return r
}

// EndStale ends a tree after its daemon has died. It sends SIGTERM to the main process, or to
// all members if that is gone, then after 5 s or when ctx ends SIGKILL to the whole tree,
// and verifies that it is empty. Without a cgroup the members are the main process, what is in
// its session while it lives, their descendants, and orphans of the app's user with the token
// in their environment; it cannot find others (see membership.go). It never signals another
// process that has the pid of the main process. It is an error if a process is left, or if the
// record cannot be used.
//
// A record of an earlier version has no uid, which is 0 here. Then only a process of root can
// be found by its token, and no other user can have changed that.
func EndStale(ctx context.Context, r Record) (StopReport, error) {
	began := time.Now()
	t, err := r.tree()
	if t == nil {
		return StopReport{}, err
	}
	found, err := t.members()
	if err != nil {
		return StopReport{}, fmt.Errorf("look for what %s has left: %w", r.Name, err)
	}
	t.terminate(ctx, found)
	report := StopReport{Found: len(found)}
	final, cancel := awake.WithTimeout(context.WithoutCancel(ctx), totalKillTimeout)
	defer cancel()
	report.Killed, report.Left = t.kill(final)
	t.cgroup.remove()
	removeStaleCgroups()
	report.Took = time.Since(began)
	if !report.Empty() {
		return report, fmt.Errorf("%s: processes %v still exist after SIGKILL", r.Name, report.Left)
	}
	return report, nil
}

// FindTrees returns a record for each tree whose token has this prefix and is not known: a
// daemon that has died started it and could not record it, as on a full disk. The record has
// no pid, so EndStale finds the tree by its token: processes whose environment was cleared or
// overwritten are not found. A process of which the real, effective and saved uid differ
// (set-user-ID) is not looked at, because its environment may be of another user.
func FindTrees(prefix string, known func(token string) bool) ([]Record, error) {
	all, err := listProcesses()
	if err != nil {
		return nil, err
	}
	var found []Record
	for _, s := range all {
		if s.pid == 1 || s.pid == os.Getpid() || s.pid == parentPid() || !s.alive() {
			continue
		}
		uid, same, err := readUser(s.pid)
		if err != nil || !same {
			continue
		}
		tokens, err := readTokens(s.pid, uid)
		if err != nil {
			return nil, err
		}
		for _, token := range tokens {
			isFound := slices.ContainsFunc(found, func(r Record) bool { return r.Token == token && r.UID == uid })
			if isFound || !strings.HasPrefix(token, prefix) || known(token) {
				continue
			}
			found = append(found, Record{Token: token, UID: uid, Boot: bootID(), Name: fmt.Sprintf("not recorded (pid %d)", s.pid)})
		}
	}
	return found, nil
}

// terminate sends SIGTERM to the main process, or to all members if that is gone, and waits
// for them.
func (t *tree) terminate(ctx context.Context, found []stat) {
	if i := slices.IndexFunc(found, t.isMain); i >= 0 {
		found = found[i : i+1]
	}
	gentle, cancel := awake.WithTimeout(ctx, staleGrace)
	defer cancel()
	for _, s := range found {
		if signalPidfd(s, unix.SIGTERM) == nil {
			signalPidfd(s, unix.SIGCONT)
		}
	}
	if awaitAll(gentle, found) == nil {
		waitHelpers(gentle, t.members)
	}
}

// Pids returns the processes that EndStale would end.
func (r Record) Pids() ([]int, error) {
	t, err := r.tree()
	if t == nil {
		return nil, err
	}
	found, err := t.members()
	return pids(found), err
}

// Listening returns the sockets in LISTEN state of the processes that EndStale would end.
func (r Record) Listening() ([]Listening, error) {
	all, err := r.Pids()
	if err != nil {
		return nil, err
	}
	slices.Sort(all)
	return listeningOf(all)
}

// tree returns the recorded tree; nil: it is of another boot, or there is an error.
func (r Record) tree() (*tree, error) {
	if r.Token == "" && (r.Pid <= 1 || r.StartTime == 0) {
		return nil, errors.New("the record of a stale tree has neither a token nor a pid with its start time")
	}
	t := &tree{main: stat{pid: r.Pid, start: r.StartTime}, uid: r.UID, token: r.Token, cgroup: openCgroup(r.Cgroup)}
	if t.cgroup.contains(os.Getpid()) {
		return nil, fmt.Errorf("the recorded cgroup %s is this daemon's own", r.Cgroup)
	}
	if boot := bootID(); r.Boot != "" && boot != "" && r.Boot != boot {
		return nil, nil
	}
	return t, nil
}
