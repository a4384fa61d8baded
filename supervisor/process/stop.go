//go:build linux

package process

import (
	"context"
	"syscall"
	"time"
)

const (
	// settleTime is what helpers of a main process that has exited get to follow it by themselves, as Python's resource
	// tracker does.
	settleTime = 500 * time.Millisecond
	// killTime is what the kernel gets to carry out a SIGKILL. Who lives then sits in an uninterruptible wait.
	killTime = 5 * time.Second
	// killLimit bounds it all, against those who fork faster than they are found.
	killLimit = 30 * time.Second
)

// StopReport says what a stop came to.
type StopReport struct {
	Killed int           // how many processes had to be killed; 0: all went by themselves
	Left   []int         // those that live in spite of SIGKILL, stuck in the kernel
	Took   time.Duration // all of it
}

// Empty says that no process of the tree is left.
func (r StopReport) Empty() bool { return len(r.Left) == 0 }

// Stop sends sig to the main process alone, gives it the grace to exit, then kills what is left of the tree and verifies that
// it is empty. When ctx ends the grace ends. Stopping what is gone reports an empty tree.
func (p *Process) Stop(ctx context.Context, sig syscall.Signal, grace time.Duration) StopReport {
	began := time.Now()
	p.happened(asked)
	gentle, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if p.Signal(sig) == nil {
		p.Signal(syscall.SIGCONT) // or a stopped process would never see it
	}
	select {
	case <-p.exited:
		settle(gentle, p.members)
	case <-gentle.Done():
	}
	r := p.Kill(context.WithoutCancel(ctx))
	r.Took = time.Since(began)
	return r
}

// StopTree is Stop for a main process that passes no signal on, as a shell does not: sig goes to every process of the tree, and
// the grace is for all of them.
func (p *Process) StopTree(ctx context.Context, sig syscall.Signal, grace time.Duration) StopReport {
	began := time.Now()
	p.happened(asked)
	gentle, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	found, _ := p.members()
	for _, s := range found {
		signalExactly(s, sig)
		signalExactly(s, syscall.SIGCONT)
	}
	p.WaitEmpty(gentle) // who is not gone by then is killed
	r := p.Kill(context.WithoutCancel(ctx))
	r.Took = time.Since(began)
	return r
}

// Kill kills the whole tree at once and verifies that it is empty: by its cgroup, by its group, and by a sweep for those
// that left both. It waits until a process has lived for 5 s after its SIGKILL, for 30 s in all, or until ctx ends; the kill itself
// is always done.
func (p *Process) Kill(ctx context.Context) StopReport {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, killLimit)
	defer cancel()
	var r StopReport
	if p.happened(killed) == Killing {
		r.Killed, r.Left = p.tree.kill(ctx)
	}
	if r.Empty() {
		select {
		case <-p.exited:
			p.Empty() // notes that it is, and gives the cgroup back
		case <-ctx.Done():
		}
	}
	r.Took = time.Since(began)
	return r
}

// settle gives those who are left a moment to go by themselves.
func settle(ctx context.Context, members func() ([]stat, error)) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		found, err := members()
		if len(found) == 0 || err != nil || awaitAll(ctx, found) != nil {
			return
		}
	}
}
