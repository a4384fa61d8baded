package generation

import (
	"context"

	"tideover/proxy/remote"
)

// Target is a generation as the relay has it. Its methods may be called from any goroutine. After the
// relay's death its requests count as ended.
type Target struct {
	relay   remote.Relay
	id      remote.ID
	message remote.Target
	child   *childListener // nil: the listening socket is the supervisor's own
}

// Message is the target for a remote.Set. After a Set with another target than before, Announce must
// be called.
func (t *Target) Message() *remote.Target {
	if t == nil {
		return nil
	}
	m := t.message
	return &m
}

// Announce has the relay connect to the socket that the child has opened, if that is proven.
func (t *Target) Announce() {
	if t == nil || t.child == nil {
		return
	}
	if p := t.child.present.Load(); p != nil {
		t.prove(p)
	}
}

// prove says that p is the present proof.
func (t *Target) prove(p *proof) {
	t.relay.Prove(context.Background(), remote.Proof{ID: t.id, Number: p.number, Verify: p.valid != nil})
}

// void says that p does not hold any more.
func (t *Target) void(p *proof) {
	t.relay.Prove(context.Background(), remote.Proof{ID: t.id, Number: p.number, Void: true})
}

// Concurrency returns how many requests the workers handle at once; 0: that is not known.
func (t *Target) Concurrency() int { return t.message.Concurrency }

// InFlight returns the number of requests in flight; tunnels are not among them.
func (t *Target) InFlight() int { return t.relay.Use(t.id).InFlight }

// Tunnels returns the number of tunnels.
func (t *Target) Tunnels() int { return t.relay.Use(t.id).Tunnels }

// Wait returns nil when no request is in flight, else the context's error. Tunnels are waited for
// apart.
func (t *Target) Wait(ctx context.Context) error { return t.await(ctx, remote.Finished) }

// WaitTunnels returns nil when no tunnel is left, else the context's error.
func (t *Target) WaitTunnels(ctx context.Context) error { return t.await(ctx, remote.TunnelsClosed) }

func (t *Target) await(ctx context.Context, what remote.Event) error {
	return t.relay.Await(ctx, remote.Await{ID: t.id, What: what})
}

// CloseTunnels closes every tunnel.
func (t *Target) CloseTunnels() {
	t.relay.Cut(context.Background(), remote.Cut{ID: t.id, What: remote.Tunnels})
}

// Reclaim has the relay begin to accept what no worker accepts, again and again: the workers compete
// for it. exited says that the main process has exited. end ends that. The relay must have another target of the app, or none, or requests must be
// held. t may be nil.
func (t *Target) Reclaim(exited bool) (end func()) {
	if t == nil {
		return func() {}
	}
	t.relay.Reclaim(context.Background(), remote.Reclaim{ID: t.id, Exited: exited})
	return func() { t.relay.Reclaim(context.Background(), remote.Reclaim{ID: t.id, End: true}) }
}

// gone says that no process of the generation exists, and returns how many connections the relay has
// accepted that no worker had.
func (t *Target) gone() (reclaimed int) {
	reclaimed, _ = t.relay.Gone(context.Background(), t.id)
	t.relay.SetProver(t.id, nil)
	return reclaimed
}

// close closes the descriptors of the target. The relay must have another one of the app, or none.
func (t *Target) close() {
	if t != nil && t.message.Main != nil {
		t.message.Main.Close()
	}
}
