package proxy

import (
	"context"
	"slices"
	"sync"
	"time"
)

// TargetOptions describe a target. They do not change.
type TargetOptions struct {
	Name        string // of the generation, "shop.12"; for logs
	Network     string // "unix" or "tcp"
	Address     string // what to dial
	Concurrency int    // requests the app works on at once, where that is known; else 0: the release window starts at 1
	Marker      []byte // when a connection answers with these bytes instead of a response, the app never saw the request
	HostDefault string // Host for HTTP/1.0 requests without one; empty: such requests are refused with 400
}

// A Target is one generation as the proxy sees it: where to dial, and what is out on it. It is counted up only by the gate, as
// part of letting a request pass, so that after [Gate.Swap] or [Gate.Hold] its count only falls.
type Target struct {
	options TargetOptions

	mu        sync.Mutex
	out       int // requests that passed and are not done
	tunnels   map[line]struct{}
	lines     map[line]struct{} // open connections to the app, idle ones and tunnels too
	idle      []line            // those that may be used again; the latest last
	retired   bool
	abandoned bool
	off       chan struct{} // closed while the gate has another target, or none, and for ever when the target was abandoned
	changed   chan struct{} // closed at the next change of a count; nil when nobody waits
}

// A line is an open connection to the app. cut closes it at once, whatever it is doing; it must not block.
type line interface {
	cut()
}

// NewTarget returns a target with nothing out on it.
func NewTarget(o TargetOptions) *Target {
	return &Target{options: o, lines: map[line]struct{}{}, tunnels: map[line]struct{}{}, off: make(chan struct{})}
}

// Name returns the name of the generation.
func (t *Target) Name() string { return t.options.Name }

// InFlight returns how many requests are out on the target; tunnels are not among them.
func (t *Target) InFlight() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out
}

// Tunnels returns how many tunnels go through the target.
func (t *Target) Tunnels() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.tunnels)
}

// Wait returns nil when no request is out on the target, else the context's error. Tunnels are waited for apart.
func (t *Target) Wait(ctx context.Context) error {
	return t.wait(ctx, func() bool { return t.out == 0 })
}

// WaitTunnels returns nil when no tunnel goes through the target, else the context's error.
func (t *Target) WaitTunnels(ctx context.Context) error {
	return t.wait(ctx, func() bool { return len(t.tunnels) == 0 })
}

func (t *Target) wait(ctx context.Context, reached func() bool) error {
	for {
		t.mu.Lock()
		if reached() {
			t.mu.Unlock()
			return nil
		}
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed
		t.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Retire says that the target will be told to stop: its idle connections are closed at once and none is kept from now on, because
// some servers take their whole grace period to stop while one is open. What is out on it goes on.
func (t *Target) Retire() {
	t.mu.Lock()
	t.retired = true
	idle := t.idle
	t.idle = nil
	t.mu.Unlock()
	cutAll(idle)
}

// CloseTunnels cuts every tunnel through the target.
func (t *Target) CloseTunnels() {
	t.mu.Lock()
	cutting := keys(t.tunnels)
	t.mu.Unlock()
	cutAll(cutting)
}

// Abandon says that the target's processes are gone: every connection still open is cut, and what was not begun to be answered
// goes back to the gate where it may be sent again. Responses that end with the connection count as truncated from now on.
func (t *Target) Abandon() {
	t.mu.Lock()
	t.retired, t.abandoned = true, true
	t.idle = nil
	cutting := keys(t.lines)
	t.switchOff()
	t.notify()
	t.mu.Unlock()
	cutAll(cutting)
}

// fell waits a moment for the news that the whole target is gone, or no longer the gate's.
func (t *Target) fell(moment time.Duration) bool {
	t.mu.Lock()
	off := t.off
	t.mu.Unlock()
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case <-off:
		return true
	case <-timer.C:
		return false
	}
}

// collapsed reports whether the target's processes died at about this time, as far as that can be known: a connection of theirs has
// just ended, and the news of their death comes later if it comes. Mostly the gate has let go of the target by then.
func (t *Target) collapsed() bool {
	if !t.fell(newsTime) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), dyingTime)
	defer cancel()
	return t.wait(ctx, func() bool { return t.abandoned }) == nil
}

// replaced notes that the gate has another target. Only the gate calls it.
func (t *Target) replaced() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.switchOff()
}

// taken notes that the gate has this target, perhaps again. Only the gate calls it.
func (t *Target) taken() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.abandoned && t.isOff() {
		t.off = make(chan struct{})
	}
}

func (t *Target) switchOff() {
	if !t.isOff() {
		close(t.off)
	}
}

func (t *Target) isOff() bool {
	select {
	case <-t.off:
		return true
	default:
		return false
	}
}

// enter counts one request more. Only the gate calls it, under its lock.
func (t *Target) enter() {
	t.mu.Lock()
	t.out++
	t.mu.Unlock()
}

// leave counts one request less. Only the gate calls it.
func (t *Target) leave() {
	t.mu.Lock()
	t.out--
	t.notify()
	t.mu.Unlock()
}

// add registers an open connection. It reports false when the target was abandoned: then the connection must be closed.
func (t *Target) add(l line) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.abandoned {
		return false
	}
	t.lines[l] = struct{}{}
	return true
}

// remove forgets a connection that was closed; it is not among the idle ones any more.
func (t *Target) remove(l line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.lines, l)
	if _, tunnel := t.tunnels[l]; tunnel {
		delete(t.tunnels, l)
		t.notify()
	}
	t.idle = slices.DeleteFunc(t.idle, func(other line) bool { return other == l })
}

// keep puts a connection among the idle ones. It reports false when none may be kept: then the connection must be closed.
func (t *Target) keep(l line) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired {
		return false
	}
	t.idle = append(t.idle, l)
	return true
}

// reuse takes the connection that became idle last; nil when there is none.
func (t *Target) reuse() line {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) == 0 {
		return nil
	}
	l := t.idle[len(t.idle)-1]
	t.idle = t.idle[:len(t.idle)-1]
	return l
}

// tunnel counts a connection as a tunnel until it is removed. It reports false when the target was abandoned.
func (t *Target) tunnel(l line) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.abandoned {
		return false
	}
	t.tunnels[l] = struct{}{}
	return true
}

func (t *Target) notify() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

func keys(set map[line]struct{}) []line {
	all := make([]line, 0, len(set))
	for l := range set {
		all = append(all, l)
	}
	return all
}

func cutAll(lines []line) {
	for _, l := range lines {
		l.cut()
	}
}
