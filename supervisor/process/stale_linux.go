package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// staleGrace is short: a stale tree's clients have gone with the daemon that carried them.
const staleGrace = 5 * time.Second

// Record is what must be remembered of a tree so that it can be ended when its daemon has died. It is plain data. One with
// nothing but a Token, written before Start, finds a tree whose daemon died in the middle of Start.
type Record struct {
	Pid       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // of the main process, in clock ticks after the boot
	Boot      string `json:"boot"`       // the kernel's boot id: after another boot nothing of the tree can live
	Token     string `json:"token"`
	Cgroup    string `json:"cgroup,omitempty"`
	Name      string `json:"name"`
}

// Record describes this tree.
func (p *Process) Record() Record {
	r := Record{Pid: p.main.Pid, StartTime: p.tree.main.start, Boot: bootID(), Token: p.tree.token, Name: p.name}
	if p.tree.leaf != nil {
		r.Cgroup = p.tree.leaf.path
	}
	return r
}

// EndStale ends a tree left by a daemon that died: TERM to its main process, or to all where that is gone, then after 5 s (or
// when ctx ends) KILL to the whole tree, verified empty. Workers and those with a session of their own are found without their
// main process, too. It never touches a process that was merely given the main process's pid. An error means that something
// is left, or that the record cannot be used.
func EndStale(ctx context.Context, r Record) (StopReport, error) {
	began := time.Now()
	if r.Token == "" && (r.Pid <= 1 || r.StartTime == 0) {
		return StopReport{}, errors.New("the record of a stale tree has neither a token nor a pid with its start time")
	}
	t := &tree{main: stat{pid: r.Pid, start: r.StartTime}, token: r.Token, leaf: recordedCgroup(r.Cgroup)}
	if slices.Contains(t.leaf.procs(), os.Getpid()) {
		return StopReport{}, fmt.Errorf("the recorded cgroup %s is this daemon's own", r.Cgroup)
	}
	if boot := bootID(); r.Boot != "" && boot != "" && r.Boot != boot {
		return StopReport{}, nil
	}
	found, err := t.members()
	if err != nil {
		return StopReport{}, fmt.Errorf("look for what %s has left: %w", r.Name, err)
	}
	t.ask(ctx, found)
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), killLimit)
	defer cancel()
	var report StopReport
	report.Killed, report.Left = t.kill(final)
	t.leaf.remove()
	removeLitter()
	report.Took = time.Since(began)
	if !report.Empty() {
		return report, fmt.Errorf("%s: processes %v outlived SIGKILL", r.Name, report.Left)
	}
	return report, nil
}

// ask asks the main process to stop, or all where that is gone, and waits for them.
func (t *tree) ask(ctx context.Context, found []stat) {
	if i := slices.IndexFunc(found, t.isMain); i >= 0 {
		found = found[i : i+1]
	}
	gentle, cancel := context.WithTimeout(ctx, staleGrace)
	defer cancel()
	for _, s := range found {
		if signalExactly(s, unix.SIGTERM) == nil {
			signalExactly(s, unix.SIGCONT)
		}
	}
	if awaitAll(gentle, found) == nil {
		settle(gentle, t.members)
	}
}
