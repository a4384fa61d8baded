package process

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"syscall"
	"time"
)

// Unlimited is RLIM_INFINITY in Spec.Limits.
const Unlimited = math.MaxUint64

// ErrGone is the error of Signal after the main process has exited.
var ErrGone = errors.New("the process is gone")

// Spec describes the process to start.
type Spec struct {
	// Argv is the command. A name without a slash is searched in the PATH of Env. A
	// relative path is relative to Dir.
	Argv []string
	// File is the file to execute; empty: the one that Argv[0] names.
	File string
	Dir  string   // empty: the daemon's own
	Env  []string // complete; the shim adds LISTEN_* and TIDEOVER_TREE, which is the Token

	// Listen are the descriptors from 3 on, with LISTEN_FDS and LISTEN_PID. LISTEN_FDNAMES is
	// Name for each of them, unless Env has one. A File of package net becomes blocking, also
	// for the processes that share its open file description; one of os.NewFile stays as it is.
	Listen []*os.File
	// Stdout and Stderr are the descriptors 1 and 2; nil is /dev/null. The caller closes
	// its copies after Start.
	Stdout, Stderr *os.File

	User        *User                // nil: as the daemon
	Umask       *int                 // nil: as the daemon
	Nofile      uint64               // RLIMIT_NOFILE; 0: the one that the daemon was started with
	Limits      map[string][2]uint64 // soft and hard limit by name, see limitNames: "nofile", "core", "as" ...
	Nice        *int                 // nil: as the daemon
	OOMScoreAdj *int                 // nil: the one that the daemon was started with
	NoNewPrivs  bool
	// ReservePids has the cgroup of the tree leave some of the processes that the cgroups above it may have to
	// others, see EnablePidsLimits.
	ReservePids bool

	Name  string // "shop.12", for the cgroup and for messages
	Token string // unique to this tree; it marks its members
}

// uid returns the user of the process.
func (s Spec) uid() uint32 {
	if s.User != nil {
		return s.User.UID
	}
	return uint32(os.Geteuid())
}

// Record returns the record of the tree before Start.
func (s Spec) Record() Record { return Record{Name: s.Name, Token: s.Token, UID: s.uid()} }

// StartError is the error of one step of a start.
type StartError struct {
	Step string // "fork", "user", "directory", "exec" ...
	Path string // the file, directory or user; may be empty
	Err  error  // wraps a syscall.Errno if the kernel returned one
}

func (e *StartError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("%s %s: %v", e.Step, e.Path, e.Err)
}

func (e *StartError) Unwrap() error { return e.Err }

// Process is a started process tree. Its methods may be called from any goroutine.
type Process struct {
	name    string
	tree    *tree
	started time.Time

	exited  chan struct{} // closed when the main process has been waited for
	outcome Outcome       // written before exited is closed

	mu    sync.Mutex
	state State

	mainMu sync.Mutex // guards main
	main   *os.Process
}

// Start starts the command and returns after the execve. The error is a *StartError; then
// no process and no cgroup is left.
func Start(s Spec) (*Process, error) { return start(s, newCgroup) }

// start is Start with another function to create the cgroup, which may return nil.
func start(s Spec, makeCgroup func(name string) *cgroup) (*Process, error) {
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return nil, &StartError{Step: "exec", Err: errors.New("the command is empty")}
	}
	if ending.Load() {
		return nil, &StartError{Step: "fork", Err: errEnding}
	}
	t := newTree(s.uid(), s.Token)
	group := makeCgroup(s.Name)
	if s.ReservePids && group != nil {
		_ = group.limitPids() // that of the cgroups above holds
	}
	started := time.Now()
	main, joined, err := spawn(s, group)
	if err != nil {
		ownTrees.remove(t)
		group.remove()
		return nil, err
	}
	if !joined {
		group.remove()
		group = nil
	}
	err = t.begin(main.Pid, group)
	if err == nil && ending.Load() { // since the check above
		err = errEnding
	}
	if err != nil {
		killAndReap(main, s.Token)
		ownTrees.remove(t)
		group.remove()
		return nil, &StartError{Step: "fork", Err: err}
	}
	return newProcess(s.Name, main, t, started), nil
}

func newProcess(name string, main *os.Process, t *tree, started time.Time) *Process {
	p := &Process{name: name, main: main, tree: t, started: started, exited: make(chan struct{}), state: Starting.after(execed)}
	go p.wait()
	return p
}

// Adopt returns the Process for a tree that an earlier supervisor of the same Parent has started, at
// the time started. The main process is still a child,
// and may have exited meanwhile. Adopt must be called before Reap. It is an error if the record does
// not describe a child.
func Adopt(r Record, started time.Time) (*Process, error) {
	t := newTree(r.UID, r.Token)
	err := t.begin(r.Pid, openCgroup(r.Cgroup))
	if err == nil && (t.main.start != r.StartTime || t.main.parent != parentPid()) {
		err = errors.New("it is no child of tideover")
	}
	var main *os.Process
	if err == nil {
		main, err = os.FindProcess(r.Pid)
	}
	if err != nil {
		ownTrees.remove(t)
		return nil, fmt.Errorf("adopt %s (pid %d): %w", r.Name, r.Pid, err)
	}
	ownChildren.adopt(r.Pid)
	return newProcess(r.Name, main, t, started), nil
}

// wait waits for the main process. Before it reaps the zombie it looks for the other
// members, because until then the kernel does not use the pid for another process.
func (p *Process) wait() {
	awaitExit(context.Background(), p.tree.main)
	if p.State() != Killing { // kill looks for them itself
		p.tree.members() // after an error the members of the last scan stay known
	}
	p.tree.release(func() {
		status, err := collect(p.main, p.tree.token)
		p.outcome = outcomeOf(status, err, time.Since(p.started))
		ownChildren.forget(p.Pid())
	})
	p.apply(exited)
	close(p.exited)
	p.mainMu.Lock()
	defer p.mainMu.Unlock()
	p.main.Release() // where another process has waited for it, its pidfd is open
}

// Pid returns the pid of the main process, also after it has exited.
func (p *Process) Pid() int { return p.tree.main.pid }

// Pidfd returns a new descriptor of the main process, which can be polled and is readable once that
// has exited. It is an error if the process has been waited for, and before Linux 5.10.
func (p *Process) Pidfd() (*os.File, error) {
	f, err := openPidfd(p.tree.main)
	return f, os.NewSyscallError("pidfd_open", err)
}

// Exited is closed when the main process has exited. Other processes of the tree may
// still live: see Empty.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Outcome returns how the main process ended. It is zero until Exited is closed.
func (p *Process) Outcome() Outcome {
	if p.hasExited() {
		return p.outcome
	}
	return Outcome{}
}

// Signal sends a signal to the main process. After this has exited it returns ErrGone, and
// never signals another process with the same pid.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mainMu.Lock()
	defer p.mainMu.Unlock()
	if err := p.main.Signal(sig); errors.Is(err, os.ErrProcessDone) || err != nil && p.hasExited() {
		return ErrGone
	} else if err != nil {
		return fmt.Errorf("signal %s to %s (pid %d): %w", signalName(sig), p.name, p.Pid(), err)
	}
	return nil
}

// State returns the last observed state. Only Members, Empty, WaitEmpty, Stop and Kill,
// which scan for members, change it to Gone.
func (p *Process) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *Process) apply(e event) State {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = p.state.after(e)
	return p.state
}

// Members returns the pids of the tree without zombies, in ascending order.
func (p *Process) Members() []int {
	found, _ := p.members()
	return pids(found)
}

// members scans for the members of the tree, unless it is Gone: an empty tree stays empty.
func (p *Process) members() ([]stat, error) {
	if p.State() == Gone {
		return nil, nil
	}
	exited := p.hasExited()
	found, err := p.tree.members()
	if err != nil {
		return nil, fmt.Errorf("look for the processes of %s: %w", p.name, err)
	}
	if len(found) == 0 && exited && p.apply(empty) == Gone {
		p.tree.cgroup.remove()
	}
	return found, nil
}

func (p *Process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// Empty reports whether no process of the tree is left, also none that has left its
// session. It is false if the scan fails.
func (p *Process) Empty() bool {
	found, err := p.members()
	return len(found) == 0 && err == nil
}

// WaitEmpty waits until no process of the tree is left. The error is that of ctx.
func (p *Process) WaitEmpty(ctx context.Context) error {
	for {
		select {
		case <-p.exited:
		case <-ctx.Done():
			return ctx.Err()
		}
		found, err := p.members()
		switch {
		case err != nil:
			err = pause(ctx, scanRetry)
		case len(found) == 0:
			return nil
		default:
			err = awaitAll(ctx, found)
		}
		if err != nil {
			return err
		}
	}
}

// Memory returns the memory of the tree in bytes: the sum of the proportional set sizes,
// which count shared pages once, or of the resident set sizes if the kernel does not
// provide them.
func (p *Process) Memory() (uint64, error) { return memoryOf(p.Members()) }

// Listening returns the sockets in LISTEN state that processes of the tree hold, each one
// once.
func (p *Process) Listening() ([]Listening, error) { return listeningOf(p.Members()) }
