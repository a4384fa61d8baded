package supervisor

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"tideover/proxy/awake"
	"tideover/supervisor/generation"
	"tideover/supervisor/process"
)

// child is a simulated process. Its state is guarded by world.mu.
type child struct {
	world   *world
	token   string
	name    string // "shop.12", or "shop.12.before_start"
	pid     int
	alive   bool
	answers bool
	behaviour
	outcome process.Outcome
	ended   chan struct{} // closed when it is not alive
	ready   chan struct{} // closed when it answers
}

// behaviour is what a process does. Zero durations are no time at all.
type behaviour struct {
	failsToFork bool
	hangs       bool          // it never answers
	boot        time.Duration // until it answers
	status      int           // of its answers
	mortal      bool
	lives       time.Duration // of a mortal one; then it exits by itself
	code        int           // with which it does
	term        time.Duration // from the stop signal to its exit
	stubborn    bool          // it ignores the stop signal
}

var killedOutcome = process.Outcome{Code: -1, Signal: syscall.SIGKILL}

// upTo returns a random duration below a limit.
func upTo(r *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(limit)))
}

// behaviourOf is that of a process of this name: the same in each run of a seed.
func (w *world) behaviourOf(name string) behaviour {
	hook := strings.Count(name, ".") > 1
	if w.calm && w.broken && !hook {
		return behaviour{mortal: true, lives: w.boot / 2, code: 1}
	}
	if w.calm {
		return behaviour{boot: w.boot, status: 200, term: 50 * time.Millisecond, mortal: hook, lives: 100 * time.Millisecond}
	}
	sum := fnv.New64()
	sum.Write([]byte(name))
	r := rand.New(rand.NewPCG(w.seed, sum.Sum64()))
	if hook {
		return behaviour{mortal: true, lives: upTo(r, 3*time.Second), code: r.IntN(8) / 7, failsToFork: r.IntN(50) == 0, term: upTo(r, time.Second)}
	}
	b := behaviour{boot: upTo(r, 2*time.Second), status: 200, term: upTo(r, time.Second), stubborn: r.IntN(8) == 0}
	if r.IntN(3) < int(w.seed%3) { // of each third seed all apps work
		return b
	}
	b.failsToFork, b.hangs = r.IntN(40) == 0, r.IntN(12) == 0
	switch r.IntN(6) {
	case 0:
		b.mortal, b.lives, b.code = true, upTo(r, 2*time.Second), r.IntN(3) // perhaps before it answers
	case 1:
		b.mortal, b.lives, b.code = true, upTo(r, 2*time.Minute), r.IntN(3)
	case 2:
		b.status = 500
	case 3:
		b.term = upTo(r, 10*time.Second)
	}
	return b
}

// forkLocked starts a process. w.mu must be held.
func (w *world) forkLocked(s process.Spec) (*child, error) {
	b := w.behaviourOf(s.Name)
	if b.failsToFork {
		return nil, &process.StartError{Step: "fork", Err: syscall.EAGAIN}
	}
	w.forked++
	c := &child{world: w, token: s.Token, name: s.Name, pid: 1<<22 + w.forked, alive: true, behaviour: b, ended: make(chan struct{}), ready: make(chan struct{})}
	w.noteLocked("%s is pid %d: %+v", c.name, c.pid, b)
	w.checkForkLocked(c)
	w.children[c.token] = c
	if !b.hangs {
		w.after(b.boot, c.bootLocked)
	}
	if b.mortal {
		w.after(b.lives, func() { c.exitLocked(process.Outcome{Code: b.code}) })
	}
	return c, nil
}

// after calls do with w.mu held.
func (w *world) after(d time.Duration, do func()) {
	time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		do()
	})
}

// app is the name of the app of a process, and hook says that it is no server.
func (c *child) app() (name string, hook bool) {
	name, rest, _ := strings.Cut(c.name, ".")
	return name, strings.Contains(rest, ".")
}

// servers are the processes of an app that live, but for hooks. w.mu must be held.
func (w *world) serversLocked(app string) (all []*child) {
	for _, c := range w.children {
		if name, hook := c.app(); c.alive && name == app && !hook {
			all = append(all, c)
		}
	}
	return all
}

// childLocked is the process of a generation; nil: there is none that nothing has collected.
func (w *world) childLocked(app string, generation int) *child {
	name := fmt.Sprintf("%s.%d", app, generation)
	for _, c := range w.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// checkForkLocked checks that a process may be started. w.mu must be held.
func (w *world) checkForkLocked(c *child) {
	name, hook := c.app()
	others := w.serversLocked(name)
	switch {
	case hook:
	case name != "web" && len(others) > 0:
		w.faultLocked("%s is started although %s lives, and reload is replace", c.name, others[0].name)
	case len(others) > maxDraining && slices.ContainsFunc(others, (*child).servesLocked):
		w.faultLocked("%s is started although %d processes of %s live", c.name, len(others), name)
	}
}

func (c *child) bootLocked() {
	if c.alive && !c.answers {
		c.answers = true
		close(c.ready)
	}
}

// exitLocked ends the process.
func (c *child) exitLocked(o process.Outcome) {
	if !c.alive {
		return
	}
	c.alive, c.answers, c.outcome = false, false, o
	c.world.noteLocked("%s has exited: %v", c.name, o)
	close(c.ended)
	c.world.relay.exitedLocked(c)
}

// serves reports whether it gets the requests of its app.
func (c *child) servesLocked() bool {
	for _, a := range c.world.relay.apps {
		if t := a.targets[a.current]; t != nil && t.child == c {
			return true
		}
	}
	return false
}

// minDrain is how long a generation of the simulated apps has at least for its requests.
const minDrain = 5 * time.Second

// mayEndLocked checks that a supervisor may end the process.
func (c *child) mayEndLocked() {
	if c.servesLocked() {
		c.world.faultLocked("%s serves, and is ended", c.name)
	}
	for _, a := range c.world.relay.apps {
		for _, t := range a.targets {
			if t.child == c && c.alive && len(t.requests) > 0 && time.Since(t.retired) < minDrain {
				c.world.faultLocked("%s has %d requests, and is ended %v after it was replaced", c.name, len(t.requests), time.Since(t.retired))
			}
		}
	}
}

// signalLocked sends a signal that asks it to stop.
func (c *child) signalLocked() {
	c.mayEndLocked()
	if !c.stubborn {
		c.world.after(c.term, func() { c.exitLocked(process.Outcome{}) })
	}
}

// simSystem is the generation.System of a supervisor.
type simSystem struct{ life *life }

func (s simSystem) Start(spec process.Spec) (generation.Process, error) {
	p, err := s.start(spec)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (s simSystem) start(spec process.Spec) (*simProcess, error) {
	var c *child
	var failed error
	if err := s.life.do("fork "+spec.Name, func() { c, failed = s.life.world.forkLocked(spec) }); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return newSimProcess(s.life, c), nil
}

func (s simSystem) Adopt(r process.Record, started time.Time) (generation.Process, error) {
	w := s.life.world
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.children[r.Token]
	if c == nil || c.pid != r.Pid {
		return nil, errors.New("it is no child of tideover")
	}
	return newSimProcess(s.life, c), nil
}

func (s simSystem) Run(ctx context.Context, spec process.Spec, output func(line string)) (process.Outcome, error) {
	p, err := s.start(spec)
	if err != nil {
		return process.Outcome{}, err
	}
	select {
	case <-p.exited:
	case <-s.life.dead.Done():
		return process.Outcome{}, errDead
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.Kill(context.Background())
	return p.Outcome(), err
}

// simProcess is a process as one supervisor has it.
type simProcess struct {
	life   *life
	child  *child
	exited chan struct{} // closed when the supervisor has collected it
}

func newSimProcess(l *life, c *child) *simProcess {
	p := &simProcess{life: l, child: c, exited: make(chan struct{})}
	go func() {
		select {
		case <-c.ended:
		case <-l.dead.Done():
			return
		}
		if l.do("collect "+c.name, func() { delete(l.world.children, c.token) }) == nil {
			close(p.exited)
		}
	}()
	return p
}

func (p *simProcess) Pid() int                 { return p.child.pid }
func (p *simProcess) Pidfd() (*os.File, error) { return nil, errors.ErrUnsupported }
func (p *simProcess) Exited() <-chan struct{}  { return p.exited }
func (p *simProcess) Record() process.Record {
	return process.Record{Name: p.child.name, Token: p.child.token, Pid: p.child.pid, StartTime: uint64(p.child.pid)}
}

func (p *simProcess) Outcome() process.Outcome {
	if isClosed(p.exited) {
		return p.child.outcome
	}
	return process.Outcome{}
}

func (p *simProcess) Signal(sig syscall.Signal) error {
	if isClosed(p.exited) {
		return process.ErrGone
	}
	return p.life.do(fmt.Sprintf("signal %v to %s", sig, p.child.name), p.child.signalLocked)
}

func (p *simProcess) Members() []int {
	if isClosed(p.exited) {
		return nil
	}
	return []int{p.child.pid}
}

func (p *simProcess) MainStopped() bool                                       { return false }
func (p *simProcess) Activity() (a process.Activity, err error)               { return a, nil }
func (p *simProcess) Memory() (uint64, error)                                 { return 0, nil }
func (p *simProcess) MemoryAbove(uint64) (uint64, bool, error)                { return 0, false, nil }
func (p *simProcess) Listening() ([]process.Listening, error)                 { return nil, nil }
func (p *simProcess) Holders([]uint64) (map[uint64]process.Descriptor, error) { return nil, nil }

func (p *simProcess) WaitEmpty(ctx context.Context) error {
	select {
	case <-p.exited:
		return nil
	case <-p.life.dead.Done():
		return errDead
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *simProcess) Stop(ctx context.Context, sig syscall.Signal, grace time.Duration) process.StopReport {
	_ = p.Signal(sig)
	gentle, cancel := awake.WithTimeout(ctx, grace)
	defer cancel()
	_ = p.WaitEmpty(gentle)
	return p.Kill(context.WithoutCancel(ctx))
}

func (p *simProcess) StopTree(ctx context.Context, sig syscall.Signal, grace time.Duration) process.StopReport {
	return p.Stop(ctx, sig, grace)
}

func (p *simProcess) Kill(ctx context.Context) (r process.StopReport) {
	if isClosed(p.exited) {
		return r
	}
	_ = p.life.do("kill "+p.child.name, func() {
		if p.child.alive {
			r.Killed = 1
		}
		p.child.mayEndLocked()
		p.child.exitLocked(killedOutcome)
	})
	_ = p.WaitEmpty(ctx)
	return r
}
