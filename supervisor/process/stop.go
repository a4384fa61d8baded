package process

import (
	"context"
	"syscall"
	"time"

	"tideover/proxy/awake"
)

const (
	// helperGrace is the time that helper processes, such as Python's resource tracker, get
	// to exit after the main process.
	helperGrace = 500 * time.Millisecond
	// killTimeout is the time that a process gets to die of SIGKILL. One that lives longer is
	// in an uninterruptible wait.
	killTimeout = 5 * time.Second
	// totalKillTimeout bounds the kill of a tree that forks faster than it is scanned.
	totalKillTimeout = 30 * time.Second
)

// StopReport is the result of a stop.
type StopReport struct {
	Found  int           // number of processes of a stale tree; of another one 0
	Killed int           // number of processes that got SIGKILL; 0: all exited before
	Left   []int         // pids that live in spite of SIGKILL
	Took   time.Duration // from the signal to the end
}

// Empty reports whether no process of the tree is left.
func (r StopReport) Empty() bool { return len(r.Left) == 0 }

// Stop sends sig to the main process, waits up to grace for its exit, then kills the rest of
// the tree and verifies that it is empty. The grace also ends with ctx. A tree that is gone
// already is no error.
func (p *Process) Stop(ctx context.Context, sig syscall.Signal, grace time.Duration) StopReport {
	began := time.Now()
	p.apply(stopRequested)
	gentle, cancel := awake.WithTimeout(ctx, grace)
	defer cancel()
	p.members() // to know them while their parents live; after an error those of the last scan are known
	if p.Signal(sig) == nil {
		p.Signal(syscall.SIGCONT) // a stopped process does not handle sig before
	}
	select {
	case <-p.exited:
		waitHelpers(gentle, p.members)
	case <-gentle.Done():
	}
	r := p.Kill(context.WithoutCancel(ctx))
	r.Took = time.Since(began)
	return r
}

// StopTree is Stop for a main process that does not forward signals, such as a shell: it
// sends sig to every process of the tree, and waits for all of them.
func (p *Process) StopTree(ctx context.Context, sig syscall.Signal, grace time.Duration) StopReport {
	began := time.Now()
	p.apply(stopRequested)
	gentle, cancel := awake.WithTimeout(ctx, grace)
	defer cancel()
	found, _ := p.members()
	for _, s := range found {
		signalPidfd(s, sig)
		signalPidfd(s, syscall.SIGCONT)
	}
	p.WaitEmpty(gentle) // the rest is killed
	r := p.Kill(context.WithoutCancel(ctx))
	r.Took = time.Since(began)
	return r
}

// Kill kills the whole tree by its cgroup, by its process group and one by one, and verifies
// that it is empty. It gives up waiting when a process has lived for 5 s after its SIGKILL,
// after 30 s in all, or when ctx ends. SIGKILL is sent in any case.
func (p *Process) Kill(ctx context.Context) StopReport {
	began := time.Now()
	ctx, cancel := awake.WithTimeout(ctx, totalKillTimeout)
	defer cancel()
	var r StopReport
	if p.apply(killed) == Killing {
		r.Killed, r.Left = p.tree.kill(ctx)
	}
	if r.Empty() {
		select {
		case <-p.exited:
			p.Empty() // sets the state Gone and removes the cgroup
		case <-ctx.Done():
		}
	}
	r.Took = time.Since(began)
	return r
}

// waitHelpers waits up to helperGrace for the rest of the members.
func waitHelpers(ctx context.Context, members func() ([]stat, error)) {
	ctx, cancel := awake.WithTimeout(ctx, helperGrace)
	defer cancel()
	for {
		found, err := members()
		if len(found) == 0 || err != nil || awaitAll(ctx, found) != nil {
			return
		}
	}
}
