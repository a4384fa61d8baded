//go:build linux

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

// Unlimited is a limit that does not limit, in Spec.Limits.
const Unlimited = math.MaxUint64

// ErrGone is the answer to a signal for a main process that has exited.
var ErrGone = errors.New("the process is gone")

// Spec says what to start and how.
type Spec struct {
	// Argv is the command. A name without a slash is looked up in the PATH of Env; that, and a relative path, are taken
	// relative to Dir.
	Argv []string
	Dir  string   // empty: the daemon's own
	Env  []string // complete. LISTEN_* are set by the shim, TIDEOVER_TREE is the Token

	// Listen, if not nil, becomes fd 3 with LISTEN_FDS=1 and LISTEN_PID. LISTEN_FDNAMES is Name unless Env has one.
	Listen *os.File
	// Stdout and Stderr are the child's ends; nil is /dev/null. The caller closes its copies after Start.
	Stdout, Stderr *os.File

	User        *User                // nil: as the daemon
	Umask       *int                 // nil: as the daemon
	Nofile      uint64               // RLIMIT_NOFILE; 0: what the daemon itself was started with
	Limits      map[string][2]uint64 // soft and hard by the names of limitNames: "nofile", "core", "as" ...
	Nice        *int                 // nil: as the daemon
	OOMScoreAdj *int                 // nil: as the daemon
	NoNewPrivs  bool

	Name  string // "shop.12": names the cgroup and the words of logs
	Token string // unique to this tree; it marks its members, so that none can hide
}

// StartError says which step of a start failed.
type StartError struct {
	Step string // "fork", "user", "directory", "exec" ...
	Path string // the file, directory or user it was about; may be empty
	Err  error  // matches a syscall.Errno where the kernel gave one
}

func (e *StartError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("%s %s: %v", e.Step, e.Path, e.Err)
}

func (e *StartError) Unwrap() error { return e.Err }

// Process is one started tree. Its methods may be called from any goroutine.
type Process struct {
	name    string
	main    *os.Process
	tree    *tree
	started time.Time

	exited  chan struct{} // closed when the main process was waited for
	outcome Outcome       // written before exited is closed

	mu    sync.Mutex
	state State
}

// Start starts the command and returns when it runs: errors of the exec itself are already known then. The error is a
// *StartError, and no process and no cgroup is left behind.
func Start(s Spec) (*Process, error) { return start(s, newCgroup) }

// start is Start with a choice of cgroups: makeCgroup may return nil.
func start(s Spec, makeCgroup func(name string) *cgroup) (*Process, error) {
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return nil, &StartError{Step: "exec", Err: errors.New("the command is empty")}
	}
	leaf := makeCgroup(s.Name)
	started := time.Now()
	main, joined, err := spawn(s, leaf)
	if err != nil {
		leaf.remove()
		return nil, err
	}
	if !joined {
		leaf.remove()
		leaf = nil
	}
	t, err := newTree(main.Pid, s.Token, leaf)
	if err != nil {
		discard(main)
		leaf.remove()
		return nil, &StartError{Step: "fork", Err: err}
	}
	return newProcess(s.Name, main, t, started), nil
}

func newProcess(name string, main *os.Process, t *tree, started time.Time) *Process {
	p := &Process{name: name, main: main, tree: t, started: started, exited: make(chan struct{}), state: Starting.after(execed)}
	go p.wait()
	return p
}

// Adopt takes up a tree that this process has started when it was another program, before an exec; started says when. The main process
// is its child still, and may have exited since. It must come before Reap. The error says that the record is not about a child of ours.
func Adopt(r Record, started time.Time) (*Process, error) {
	t, err := newTree(r.Pid, r.Token, recordedCgroup(r.Cgroup))
	if err == nil && (t.main.start != r.StartTime || t.main.parent != os.Getpid()) {
		err = errors.New("it is no child of this process")
	}
	if err != nil {
		return nil, fmt.Errorf("adopt %s (pid %d): %w", r.Name, r.Pid, err)
	}
	main, err := os.FindProcess(r.Pid)
	if err != nil {
		return nil, err
	}
	ours.adopt(r.Pid)
	return newProcess(r.Name, main, t, started), nil
}

// wait collects the main process as soon as it exits. Until then the kernel keeps its pid from being used again, so that
// is the moment to note who else belongs to the tree.
func (p *Process) wait() {
	awaitExit(context.Background(), p.tree.main)
	if p.State() != Killing { // or they are being looked for anyway
		p.tree.members() // where it cannot look, the look before counts on
	}
	p.tree.release(func() {
		state, err := p.main.Wait()
		p.outcome = outcomeOf(state, err, time.Since(p.started))
	})
	ours.forget(p.main.Pid)
	p.happened(exited)
	close(p.exited)
}

// Pid of the main process, also after it has exited.
func (p *Process) Pid() int { return p.main.Pid }

// Exited is closed as soon as the main process is gone. Others of its tree may live on: see Empty.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Outcome says how the main process ended. It is zero until Exited is closed.
func (p *Process) Outcome() Outcome {
	if p.hasExited() {
		return p.outcome
	}
	return Outcome{}
}

// Signal goes to the main process alone, and never to a stranger who was given its pid later: then it is ErrGone.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.main.Signal(sig); errors.Is(err, os.ErrProcessDone) {
		return ErrGone
	} else if err != nil {
		return fmt.Errorf("signal %s to %s (pid %d): %w", nameOf(sig), p.name, p.main.Pid, err)
	}
	return nil
}

// State of the tree as far as it was seen: Gone is only entered by Empty, WaitEmpty, Stop and Kill, which look.
func (p *Process) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *Process) happened(e event) State {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = p.state.after(e)
	return p.state
}

// Members are the pids of the tree that live now, in ascending order. Zombies do not.
func (p *Process) Members() []int {
	found, _ := p.members()
	return pids(found)
}

// members looks unless it is known that nobody can be there any more: once empty, a tree stays so.
func (p *Process) members() ([]stat, error) {
	if p.State() == Gone {
		return nil, nil
	}
	exited := p.hasExited()
	found, err := p.tree.members()
	if err != nil {
		return nil, fmt.Errorf("look for the processes of %s: %w", p.name, err)
	}
	if len(found) == 0 && exited && p.happened(empty) == Gone {
		p.tree.leaf.remove()
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

// Empty says that no process of the tree is left: neither main, nor workers, nor those that left its session. It is false
// where that cannot be seen.
func (p *Process) Empty() bool {
	found, err := p.members()
	return len(found) == 0 && err == nil
}

// WaitEmpty returns nil when no process of the tree is left, or the context's error.
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
			err = pause(ctx, blindTime)
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

// Memory is what the tree uses, in bytes: the sum of proportional set sizes where the kernel tells them, so that what
// workers share counts once, else of resident set sizes.
func (p *Process) Memory() (uint64, error) { return memoryOf(p.Members()) }

// Listening are the sockets in LISTEN state that the tree holds, each one once, however many workers share it.
func (p *Process) Listening() ([]Listening, error) { return listeningOf(p.Members()) }
