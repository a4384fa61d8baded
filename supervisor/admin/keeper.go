package admin

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/listener"
	"tideover/supervisor/confine"
)

const (
	minPause = 100 * time.Millisecond // until the process is started again
	maxPause = 10 * time.Second
	// soundFor is how long a process has to run until the next one is started after minPause.
	soundFor = 10 * time.Second
)

// Options make a Keeper.
type Options struct {
	Logger hclog.Logger
	// Confinement says how the process is confined, and makes its directory. It is called by Prepare.
	Confinement func() (confine.Options, error)
	// Serve answers the control protocol on one end of a socket pair until the other end is closed
	// or ctx ends; see control.Server.ServeViewer.
	Serve func(ctx context.Context, end *os.File) error
}

// A Keeper keeps one admin process for an address, or none. The address is bound by the daemon, so
// that clients wait in the backlog while another process is started.
type Keeper struct {
	options Options
	changed chan struct{} // capacity 1: socket is another one
	serving sync.WaitGroup
	shown   bool // what does not hold was logged; of Run's goroutine

	mu          sync.Mutex       // guards the fields below
	socket      *listener.Public // nil: none is configured
	address     string           // of it
	confinement confine.Options
	process     *roleProcess  // nil: none runs
	forking     chan struct{} // closed when process is set; nil: none is being started
	halted      bool          // none is started
}

// NewKeeper returns a keeper without an address.
func NewKeeper(o Options) *Keeper {
	return &Keeper{options: o, changed: make(chan struct{}, 1)}
}

// Change is a change of the address that is prepared: the new one is bound. Exactly one of its
// functions must be called.
type Change struct {
	Commit, Discard func()
}

// Prepare binds an address; empty: there is to be none. Nothing that serves is changed before
// Commit.
func (k *Keeper) Prepare(address string) (Change, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if address == k.address {
		return Change{Commit: func() {}, Discard: func() {}}, nil
	}
	var socket *listener.Public
	if address != "" {
		var err error
		if k.confinement, err = k.options.Confinement(); err != nil {
			return Change{}, fmt.Errorf("daemon.admin: %w", err)
		}
		parsed, err := listener.Parse(address)
		if err != nil {
			return Change{}, fmt.Errorf("daemon.admin: %w", err)
		}
		if socket, err = listener.Open(parsed, listener.Options{}); err != nil {
			return Change{}, fmt.Errorf("daemon.admin: %w", err)
		}
	}
	return Change{
		Commit: func() { k.set(socket, address) },
		Discard: func() {
			if socket != nil {
				socket.Close()
			}
		},
	}, nil
}

// set gives the keeper another socket and ends the former one, also for its process, which goes on
// until Run has ended it.
func (k *Keeper) set(socket *listener.Public, address string) {
	k.mu.Lock()
	former := k.socket
	k.socket, k.address = socket, address
	k.mu.Unlock()
	if former != nil {
		former.Shutdown()
		former.Close()
	}
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Run keeps the process until ctx ends. Then the address is closed.
func (k *Keeper) Run(ctx context.Context) {
	defer k.serving.Wait()
	defer func() { k.set(nil, "") }()
	pause := minPause
	for ctx.Err() == nil {
		select {
		case <-k.changed: // start sees it
		default:
		}
		began := time.Now()
		p, err := k.start(ctx)
		if p == nil && err == nil {
			pause = minPause
			select {
			case <-k.changed:
			case <-ctx.Done():
			}
			continue
		}
		if err == nil {
			select {
			case <-p.exited:
			case <-k.changed:
				pause = minPause
				p.end()
				k.forget(p)
				continue
			case <-ctx.Done():
				p.end()
				k.forget(p)
				return
			}
			k.forget(p)
			if k.isHalted() {
				continue
			}
			if time.Since(began) > soundFor {
				pause = minPause
			}
		}
		k.logEnd(p, err, pause)
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		case <-k.changed:
			pause = minPause
		case <-ctx.Done():
		}
	}
}

// start starts a process, if there is an address. It is nil when none is to run.
func (k *Keeper) start(ctx context.Context) (*roleProcess, error) {
	k.mu.Lock()
	socket, o := k.socket, k.confinement
	if socket == nil || k.halted {
		k.mu.Unlock()
		return nil, nil
	}
	k.forking = make(chan struct{})
	k.mu.Unlock()
	p, err := fork()
	k.mu.Lock()
	k.process = p
	close(k.forking)
	k.forking = nil
	k.mu.Unlock()
	if err == nil {
		k.serving.Go(func() {
			if err := k.options.Serve(ctx, p.control); err != nil {
				k.options.Logger.Error("cannot answer admin process", "error", err)
			}
		})
		err = p.confine(socket, o)
	}
	if err != nil {
		k.forget(p)
		return nil, err
	}
	k.options.Logger.Info("admin process started", "address", socket.Address().String(), "pid", p.cmd.Process.Pid)
	if !k.shown {
		k.shown = true
		k.logMissing(p.measures)
	}
	return p, nil
}

// forget waits until a process that was ended is gone.
func (k *Keeper) forget(p *roleProcess) {
	if p != nil {
		p.kill()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.process = nil
}

// Pid is that of the process; 0: none runs.
func (k *Keeper) Pid() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process == nil {
		return 0
	}
	return k.process.cmd.Process.Pid
}

func (k *Keeper) isHalted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.halted
}

// logMissing logs what of the confinement does not hold. Without root that is expected.
func (k *Keeper) logMissing(all []confine.Measure) {
	var missing []string
	for _, m := range confine.Missing(all) {
		missing = append(missing, m.Name+" ("+m.Reason+")")
	}
	if len(missing) == 0 {
		return
	}
	level := hclog.Warn
	if k.confinement.User == nil {
		level = hclog.Info
	}
	k.options.Logger.Log(level, "process confined in part", "process", roleName, "missing", strings.Join(missing, "; "))
}

func (k *Keeper) logEnd(p *roleProcess, err error, pause time.Duration) {
	if err != nil {
		k.options.Logger.Error("cannot start admin process", "error", err, "next_s", pause.Seconds())
		return
	}
	var said string
	if i := slices.IndexFunc(p.said, func(line string) bool { return line != "" }); i >= 0 {
		said = p.said[i]
	}
	k.options.Logger.Warn("admin process ended", "error", said, "next_s", pause.Seconds(),
		"hint", "the apps are not concerned; requests to daemon.admin wait")
	for _, line := range p.said {
		k.options.Logger.Debug("admin process output", "line", line)
	}
}

// forkTimeout is how long Halt waits for a fork that may have happened. One that has not waits for
// syscall.ForkLock, which the caller of Halt may have.
const forkTimeout = 200 * time.Millisecond

// Halt ends the process and starts no other until resume is called. It is for an exec of this
// process, whose next program would not know this child. It forks nothing.
func (k *Keeper) Halt() (resume func()) {
	k.mu.Lock()
	k.halted = true
	forking := k.forking
	k.mu.Unlock()
	if forking != nil {
		select {
		case <-forking:
		case <-time.After(forkTimeout):
		}
	}
	k.mu.Lock()
	p := k.process
	k.mu.Unlock()
	if p != nil {
		p.kill()
	}
	return func() {
		k.mu.Lock()
		k.halted = false
		k.mu.Unlock()
		select {
		case k.changed <- struct{}{}:
		default:
		}
	}
}
