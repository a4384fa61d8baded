//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// An app takes every process that the pids limit of the container allows, and the supervisor is killed:
// there is room for the next one, but not for its threads. No request is lost, and when there is room
// again the next supervisor has the same processes. Where no such limit can be set supervisors are killed without it.
func TestFaultPidsLimit(t *testing.T) {
	r := begin(t)
	limit := newPidsLimit(r)
	s := newFixture(r, setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}, within: limit.enter()})
	k := &supervisorKills{relayKills: relayKills{fixture: s}}
	s.client.Timeout = 2 * time.Minute // a busy machine is no loss
	s.waitWorkers()
	k.before = k.statusAtRest()
	k.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: s.affordableRate(100)})
	for n := range fullTimes(1, 5) {
		former, err := k.daemon.Supervisor(k.timeout(30*time.Second), 0)
		k.must(err)
		refused := k.refusedThreads()
		limit.set(former, 3+n)
		k.must(syscall.Kill(former, syscall.SIGKILL))
		if limit.dir != "" { // more failures than restorations may have
			k.must(testenv.Poll(k.timeout(30*time.Second), 10*time.Millisecond, func() error {
				if got := k.refusedThreads() - refused; got < 4 {
					return fmt.Errorf("%d supervisors found no room for their threads", got)
				}
				return nil
			}))
		}
		limit.lift()
		_, err = k.daemon.Supervisor(k.timeout(30*time.Second), former)
		k.must(err)
		if now := k.status(); now.Generation != k.before.Generation || now.Pid != k.before.Pid || now.State != "running" {
			k.Errorf("%s, generation %d, pid %d; before: generation %d, pid %d", now.State, now.Generation, now.Pid, k.before.Generation, k.before.Pid)
		}
		k.events++
	}
	k.checkOOMScores()
	s.finish()
	s.shutdown()
}

// refusedThreads is how many processes have ended because the kernel gave them no thread.
func (k *supervisorKills) refusedThreads() int {
	return strings.Count(k.daemon.Tail(1_000_000), "failed to create new OS thread")
}

// checkOOMScores fails unless the kernel prefers, where memory is exhausted, the app to the other processes,
// and these to the monitor.
func (k *supervisorKills) checkOOMScores() {
	k.Helper()
	var scores []int
	for _, pid := range []int{k.daemon.Pid(), k.daemon.RolePid("supervisor"), k.daemon.RelayPid(), k.before.Pid} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
		k.must(err)
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		k.must(err)
		scores = append(scores, n)
	}
	if !slices.IsSorted(scores) || scores[0] == scores[1] || scores[2] == scores[3] {
		k.Errorf("oom_score_adj of monitor, supervisor, relay, app: %v", scores)
	}
}

// pidsLimit is a cgroup with a limit of processes; an empty dir: there is none.
type pidsLimit struct {
	*row
	dir string
	v2  bool // of version 2: the cgroups below it can have limits of their own
}

func newPidsLimit(r *row) pidsLimit {
	for _, above := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		enabled := filepath.Join(above, "cgroup.subtree_control")
		_, err := os.Stat(enabled)
		p := pidsLimit{r, filepath.Join(above, filepath.Base(r.env.Dir)), err == nil}
		if p.v2 && os.WriteFile(enabled, []byte("+pids"), 0) != nil || os.Mkdir(p.dir, 0o755) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(p.dir, "pids.max")); err != nil {
			_ = os.Remove(p.dir)
			continue
		}
		r.Cleanup(p.remove)
		return p
	}
	return pidsLimit{row: r}
}

// remove removes the cgroup and those below it, before the processes have ended: they leave it.
func (p pidsLimit) remove() {
	dirs, _ := filepath.Glob(filepath.Join(p.dir, "*", "cgroup.procs"))
	for _, procs := range append(dirs, filepath.Join(p.dir, "cgroup.procs")) {
		text, _ := os.ReadFile(procs)
		for pid := range strings.FieldsSeq(string(text)) {
			_ = os.WriteFile(filepath.Join(filepath.Dir(p.dir), "cgroup.procs"), []byte(pid), 0)
		}
		if err := os.Remove(filepath.Dir(procs)); err != nil {
			p.Error(err)
		}
	}
}

// delegate says of the cgroup what systemd says of that of a unit with Delegate=yes.
func (p pidsLimit) delegate() {
	p.Helper()
	p.must(unix.Setxattr(p.dir, "trusted.delegate", []byte("1"), 0))
}

// enter is a command that executes the rest of the command line in the cgroup.
func (p pidsLimit) enter() []string {
	if p.dir == "" {
		return nil
	}
	return []string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(p.dir, "cgroup.procs")}
}

// set has room for so many processes and threads when a process has ended.
func (p pidsLimit) set(pid, room int) {
	if p.dir == "" {
		return
	}
	p.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	p.must(err)
	text, err := os.ReadFile(filepath.Join(p.dir, "pids.current"))
	p.must(err)
	now, err := strconv.Atoi(strings.TrimSpace(string(text)))
	p.must(err)
	p.write(strconv.Itoa(now - len(threads) + room))
}

func (p pidsLimit) lift() {
	if p.dir != "" {
		p.Helper()
		p.write("max")
	}
}

func (p pidsLimit) write(limit string) {
	p.Helper()
	p.must(os.WriteFile(filepath.Join(p.dir, "pids.max"), []byte(limit), 0))
}
