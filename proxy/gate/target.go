package gate

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// TargetOptions describe a target. They do not change.
type TargetOptions struct {
	Name        string // of the generation, "shop.12"; for logs
	Network     string // "unix" or "tcp"
	Address     string // what to dial
	Concurrency int    // requests that the app works on at once; 0: unknown, which counts as 1
	Bounded     bool   // it never works on more; further ones wait in its backlog in their order
	Marker      []byte // sent instead of a response on a connection that the app never accepted
	DefaultHost string // Host for HTTP/1.0 requests without one; empty: the proxy's own default
	Peer        PeerPassing
	OneRequest  bool // a PROXY line is followed by one request: the app forgets the peer after it
	// HalfClose: a connection carries one request, behind which its writing side is shut. After a
	// response a worker of the app waits for the end of the connection before it takes another one.
	HalfClose bool
	// OnSuspend is set where the app has opened the listening socket itself: such a target is
	// suspended until its first Resume. Suspend calls it with the proof that does not hold any more,
	// with no lock held; it must not block. nil: the listening socket is the supervisor's own.
	OnSuspend func(*Proof)
	Gauges    *TargetGauges // to which the target writes its numbers; nil: its own
}

// PeerPassing is how the app learns the address of a client.
type PeerPassing uint8

const (
	// PeerInFields: from forwarding fields, of which those of a trusted front-end pass unchanged.
	PeerInFields PeerPassing = iota
	// PeerProxyLine: from a line of the PROXY protocol, version 1, before the first request of each
	// connection to the app, and from forwarding fields. The connection carries requests of one
	// client's connection only. A client without an address, of a unix socket, has no line.
	PeerProxyLine
	// PeerOneForwardedFor: from X-Forwarded-For, which is one address, that of the nearest client
	// which is not trusted. Other forwarding fields are those of PeerInFields.
	PeerOneForwardedFor
)

// A Proof says that the app's own processes listen at a target's address. Only the supervisor makes
// one, and a connection may be opened only under one.
type Proof struct {
	Number uint64 // of the proofs of one target, for the supervisor
	// Valid reports whether the listening socket of the proof is still open. It is called after a
	// connect and before the first byte, from any goroutine, and must not block. nil: no other
	// socket can ever be reached at the address.
	Valid func() bool
}

// Holds reports whether a connection that was opened under the proof has reached the socket of the
// proof. p may be nil: the supervisor's own socket needs none.
func (p *Proof) Holds() bool { return p == nil || p.Valid == nil || p.Valid() }

// A Target is one generation of the app as the proxy sees it: the address to dial, the number of
// requests in flight and the set of open connections. Only the gate counts a request on a target,
// as part of letting it pass, so that after [Gate.Swap] or [Gate.Hold] the number only falls.
//
// All methods may be called from any goroutine.
type Target struct {
	options TargetOptions
	proof   atomic.Pointer[Proof] // nil: suspended, if the target needs one
	gauges  *TargetGauges

	mu        sync.Mutex
	gate      *Gate // that has this target; nil: none
	inFlight  int   // requests that passed and are not done
	left      departures
	conns     map[Conn]connUse
	tunnels   int // connections in use as a tunnel
	retired   bool
	abandoned bool
	inactive  chan struct{} // closed while the gate has another target, and by Abandon
	changed   chan struct{} // closed at the next change of a count; nil when no call waits for it
	asked     chan struct{} // closed at the next request, and by Suspend; nil when nothing waits for it
}

// A Conn is an open connection to the target. Its methods are called with no lock of the target
// held, from any goroutine, perhaps more than once, and must not block.
type Conn interface {
	// Close ends it at once, also while it is in use.
	Close()
	// Abandon ends it, but what was sent on it by now is read before: the marker may be among it.
	Abandon()
}

// connUse is what a connection is in use for.
type connUse uint8

const (
	exchanging connUse = iota // a request
	idle
	tunnelling
)

// NewTarget returns a target without requests and connections.
func NewTarget(o TargetOptions) *Target {
	t := &Target{options: o, gauges: o.Gauges, conns: map[Conn]connUse{}, inactive: make(chan struct{})}
	if t.gauges == nil {
		t.gauges = &TargetGauges{}
	}
	return t
}

// Options returns the target's options. They must not be changed.
func (t *Target) Options() *TargetOptions { return &t.options }

// Proof returns the proof under which a connection may be opened now; nil: none is needed. It
// reports false while the target is suspended: then no connection may be opened.
func (t *Target) Proof() (p *Proof, ok bool) {
	if t.options.OnSuspend == nil {
		return nil, true
	}
	p = t.proof.Load()
	return p, p != nil
}

// Suspend says that nothing listens at the address any more, or another socket than that of the
// proof p. The gate is shut until Resume. It does nothing when p is not the present proof: what was
// seen is older than that, or the target needs none.
func (t *Target) Suspend(p *Proof) {
	if p != nil && t.proof.CompareAndSwap(p, nil) {
		t.options.OnSuspend(p)
		t.mu.Lock()
		t.askLocked()
		t.mu.Unlock()
	}
}

// Resume ends a suspension: connections may be opened under p.
func (t *Target) Resume(p *Proof) {
	t.proof.Store(p)
	t.mu.Lock()
	g := t.gate
	t.mu.Unlock()
	if g != nil {
		g.resume(t)
	}
}

// suspended reports whether no connection may be opened.
func (t *Target) suspended() bool {
	_, ok := t.Proof()
	return !ok
}

// Name returns the name of the generation.
func (t *Target) Name() string { return t.options.Name }

// SetHeard says that the app has sent a byte of a response.
func (t *Target) SetHeard() { t.gauges.SetHeard() }

// Asked returns a channel that is closed as soon as the app has something to answer: a request is in
// flight, or one that would be is held because the target is suspended.
func (t *Target) Asked() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked == nil {
		t.asked = make(chan struct{})
	}
	asked := t.asked
	if t.inFlight > 0 || t.suspended() {
		t.askLocked()
	}
	return asked
}

// askLocked closes the channel of Asked. t.mu must be held.
func (t *Target) askLocked() {
	if t.asked != nil {
		close(t.asked)
		t.asked = nil
	}
}

// InFlight returns the number of requests in flight; tunnels are not among them.
func (t *Target) InFlight() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inFlight
}

// Tunnels returns the number of tunnels.
func (t *Target) Tunnels() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tunnels
}

// Wait returns nil when no request is in flight, else the context's error. Tunnels are waited for
// apart.
func (t *Target) Wait(ctx context.Context) error {
	return t.wait(ctx, func() bool { return t.inFlight == 0 })
}

// WaitTunnels returns nil when no tunnel is left, else the context's error.
func (t *Target) WaitTunnels(ctx context.Context) error {
	return t.wait(ctx, func() bool { return t.tunnels == 0 })
}

// WaitAbandoned waits for at most d until the target is abandoned, and reports whether it is.
func (t *Target) WaitAbandoned(d time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return t.wait(ctx, func() bool { return t.abandoned }) == nil
}

// WaitInactive waits for at most d until the target is inactive, which is swapped out or abandoned,
// and reports whether it is.
func (t *Target) WaitInactive(d time.Duration) bool {
	t.mu.Lock()
	inactive := t.inactive
	t.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-inactive:
		return true
	case <-timer.C:
		return false
	}
}

// wait waits until reached returns true, which is called with t.mu held.
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

// Retire says that the target will be told to stop. Idle connections are closed at once and none
// becomes idle from now on, because some servers take their whole grace period to stop while one is
// open. Requests in flight go on.
func (t *Target) Retire() {
	t.mu.Lock()
	t.retired = true
	closing := t.connsLocked(func(use connUse) bool { return use == idle })
	t.mu.Unlock()
	closeAll(closing)
}

// CloseTunnels closes every tunnel.
func (t *Target) CloseTunnels() {
	t.mu.Lock()
	closing := t.connsLocked(func(use connUse) bool { return use == tunnelling })
	t.mu.Unlock()
	closeAll(closing)
}

// Abandon says that the target's processes are gone. Every open connection is ended, so that
// requests without a response go back to the gate where they may be sent again. A response that
// ends with its connection counts as truncated from now on.
func (t *Target) Abandon() {
	t.mu.Lock()
	t.retired, t.abandoned = true, true
	closing := t.connsLocked(func(use connUse) bool { return use != exchanging })
	ending := t.connsLocked(func(use connUse) bool { return use == exchanging })
	t.deactivateLocked()
	t.notifyLocked()
	t.mu.Unlock()
	closeAll(closing)
	for _, c := range ending {
		c.Abandon()
	}
}

// Add registers an open connection. It reports false when the target was abandoned: then the
// connection must be closed.
func (t *Target) Add(c Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.abandoned {
		return false
	}
	t.conns[c] = exchanging
	return true
}

// Remove forgets a connection that was closed. An unknown one is no error.
func (t *Target) Remove(c Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conns[c] == tunnelling {
		t.tunnels--
		t.gauges.Tunnels.Store(int64(t.tunnels))
		t.notifyLocked()
	}
	delete(t.conns, c)
}

// SetIdle says that a connection is in use for nothing. It reports false when the target takes no
// more idle connections: then this one must be closed.
func (t *Target) SetIdle(c Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired {
		return false
	}
	t.conns[c] = idle
	return true
}

// SetExchanging says that an idle connection is in use for a request. It reports false when the
// target was retired: then the connection is being closed.
func (t *Target) SetExchanging(c Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired {
		return false
	}
	t.conns[c] = exchanging
	return true
}

// SetTunnel says that a connection is a tunnel until it is removed. It reports false when the
// target was abandoned.
func (t *Target) SetTunnel(c Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.abandoned {
		return false
	}
	t.conns[c] = tunnelling
	t.tunnels++
	t.gauges.Tunnels.Store(int64(t.tunnels))
	return true
}

// enter counts one request more and returns its turn. Only the gate calls it, with its mu held.
func (t *Target) enter() (turn int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.options.Bounded {
		turn = t.left.total + t.inFlight - t.options.Concurrency + 1
	}
	t.inFlight++
	t.gauges.InFlight.Store(int64(t.inFlight))
	t.askLocked()
	return turn
}

// leave counts one request less. Only the gate calls it.
func (t *Target) leave() {
	t.mu.Lock()
	t.inFlight--
	t.gauges.InFlight.Store(int64(t.inFlight))
	if t.options.Bounded {
		t.left.add(time.Now())
	}
	t.notifyLocked()
	t.mu.Unlock()
}

// activate says that g has this target, perhaps again. Only the gate calls it.
func (t *Target) activate(g *Gate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gate = g
	if !t.abandoned && t.isInactiveLocked() {
		t.inactive = make(chan struct{})
	}
}

// deactivate says that the gate has another target. Only the gate calls it.
func (t *Target) deactivate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gate = nil
	t.deactivateLocked()
}

func (t *Target) deactivateLocked() {
	if !t.isInactiveLocked() {
		close(t.inactive)
	}
}

func (t *Target) isInactiveLocked() bool {
	select {
	case <-t.inactive:
		return true
	default:
		return false
	}
}

// notifyLocked wakes the calls of wait. t.mu must be held.
func (t *Target) notifyLocked() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// connsLocked returns the connections in such a use. t.mu must be held.
func (t *Target) connsLocked(match func(connUse) bool) (matching []Conn) {
	for c, use := range t.conns {
		if match(use) {
			matching = append(matching, c)
		}
	}
	return matching
}

func closeAll(conns []Conn) {
	for _, c := range conns {
		c.Close()
	}
}
