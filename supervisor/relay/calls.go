package relay

import (
	"context"
	"errors"
	"maps"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
)

// Configure is that of remote.Relay. The level of the log stays; see SetLogLevel.
func (k *Keeper) Configure(ctx context.Context, s remote.Settings) error {
	return k.configure(ctx, func(to *remote.Settings) {
		s.LogLevel = to.LogLevel
		*to = s
	})
}

// SetLogLevel changes what the relay logs.
func (k *Keeper) SetLogLevel(level hclog.Level) {
	k.configure(context.Background(), func(to *remote.Settings) { to.LogLevel = level })
}

func (k *Keeper) configure(ctx context.Context, alter func(*remote.Settings)) error {
	var s remote.Settings
	return nothing(k, func(d *desired) {
		alter(&d.settings)
		s = d.settings
	}, func(p *relayProcess) error { return p.Configure(ctx, s) })
}

// Set is that of remote.Relay. Without a relay the answer is empty.
func (k *Keeper) Set(ctx context.Context, s remote.Set) (remote.Applied, error) {
	return change(k, func(d *desired) {
		if s.Version >= d.sets[s.App].Version {
			d.sets[s.App] = s
		}
	}, func(p *relayProcess) (remote.Applied, error) { return p.Set(ctx, s) })
}

// Remove is that of remote.Relay. With a relay that dies everything of the app has ended.
func (k *Keeper) Remove(ctx context.Context, app remote.AppID) (remote.Counters, error) {
	k.turnover.RLock() // no later relay frees what the app has counted
	defer k.turnover.RUnlock()
	k.mu.Lock()
	p, ended, d := k.current, k.former, &k.desired
	delete(d.sets, app)
	maps.DeleteFunc(d.proofs, func(id remote.ID, _ remote.Proof) bool { return id.App == app })
	k.mu.Unlock()
	if p != nil {
		if final, err := p.Remove(ctx, app); !errors.Is(err, remote.ErrEnded) {
			return final, err
		}
		ended = p
	}
	select {
	case <-ended.counted:
	case <-ctx.Done():
		return remote.Counters{}, context.Cause(ctx)
	}
	return k.Counters(app), nil
}

// Announce is that of remote.Relay.
func (k *Keeper) Announce(ctx context.Context) error {
	return nothing(k, func(d *desired) { d.announced = true }, func(p *relayProcess) error { return p.Announce(ctx) })
}

// End is that of remote.Relay.
func (k *Keeper) End(ctx context.Context) error {
	if p := k.relay(); p != nil {
		return p.End(ctx)
	}
	return nil
}

// Open is that of remote.Relay.
func (k *Keeper) Open(ctx context.Context, o remote.Door) error {
	socket, err := remote.DuplicateFile(o.Socket)
	if err != nil {
		return err
	}
	var former remote.Door
	err = nothing(k, func(d *desired) {
		former = d.doors[o.Door]
		kept := o
		kept.Socket = socket
		d.doors[o.Door] = kept
	}, func(p *relayProcess) error { return p.Open(ctx, o) })
	closeSocket(former)
	return err
}

// Shut is that of remote.Relay.
func (k *Keeper) Shut(ctx context.Context, door uint64) error {
	var former remote.Door
	err := nothing(k, func(d *desired) {
		former = d.doors[door]
		delete(d.doors, door)
	}, func(p *relayProcess) error { return p.Shut(ctx, door) })
	closeSocket(former)
	return err
}

// Mark is that of remote.Relay. The count ends with the relay.
func (k *Keeper) Mark(ctx context.Context, app remote.AppID) (remote.Mark, error) {
	p := k.relay()
	if p == nil {
		return remote.Mark{}, remote.ErrEnded
	}
	m, err := p.Mark(ctx, app)
	m.Epoch = p.number
	return m, err
}

// Since is that of remote.Relay.
func (k *Keeper) Since(ctx context.Context, s remote.Since) remote.Held {
	if p := k.relay(); p != nil && p.number == s.Epoch {
		return p.Since(ctx, s)
	}
	return remote.Held{Partial: true}
}

// Await is that of remote.Relay.
func (k *Keeper) Await(ctx context.Context, a remote.Await) error {
	if p := k.relay(); p != nil {
		return p.Await(ctx, a)
	}
	return nil
}

// Cut is that of remote.Relay.
func (k *Keeper) Cut(ctx context.Context, c remote.Cut) error {
	if p := k.relay(); p != nil {
		return p.Cut(ctx, c)
	}
	return nil
}

// Gone is that of remote.Relay.
func (k *Keeper) Gone(ctx context.Context, id remote.ID) (reclaimed int, err error) {
	return change(k, func(d *desired) { delete(d.proofs, id) }, func(p *relayProcess) (int, error) { return p.Gone(ctx, id) })
}

// Reclaim is that of remote.Relay. A relay that dies leaves nothing in a backlog.
func (k *Keeper) Reclaim(ctx context.Context, r remote.Reclaim) error {
	if p := k.relay(); p != nil {
		return p.Reclaim(ctx, r)
	}
	return nil
}

// Prove is that of remote.Relay.
func (k *Keeper) Prove(ctx context.Context, o remote.Proof) error {
	return nothing(k, func(d *desired) {
		if o.Number >= d.proofs[o.ID].Number {
			d.proofs[o.ID] = o
		}
	}, func(p *relayProcess) error { return p.Prove(ctx, o) })
}

// Probe is that of remote.Relay.
func (k *Keeper) Probe(ctx context.Context, o remote.Probe) (remote.ProbeAnswer, error) {
	p := k.relay()
	if p == nil {
		return remote.ProbeAnswer{}, remote.ErrEnded
	}
	return p.Probe(ctx, o)
}

// Turn is that of remote.Relay. While there is no relay it waits for the next one.
func (k *Keeper) Turn(ctx context.Context) error {
	p, err := k.await(ctx)
	if err != nil {
		return err
	}
	return p.Turn(ctx)
}

// Suspend is that of remote.Relay.
func (k *Keeper) Suspend(ctx context.Context, app remote.AppID) ([]remote.Connection, error) {
	p := k.relay()
	if p == nil {
		return nil, nil
	}
	all, err := p.Suspend(ctx, app)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.suspended[app] = append(k.suspended[app], all...)
	return all, err
}

// Resume is that of remote.Relay.
func (k *Keeper) Resume(ctx context.Context, app remote.AppID) error {
	k.mu.Lock()
	for _, c := range k.suspended[app] {
		unix.Close(c.FD)
	}
	delete(k.suspended, app)
	k.mu.Unlock()
	if p := k.relay(); p != nil {
		return p.Resume(ctx, app)
	}
	return nil
}

// Admit is that of remote.Relay. While there is no relay it waits for the next one.
func (k *Keeper) Admit(ctx context.Context, a remote.Admission) error {
	p, err := k.await(ctx)
	if err != nil {
		return err
	}
	return p.Admit(ctx, a)
}

// SetProver is that of remote.Relay.
func (k *Keeper) SetProver(id remote.ID, prover remote.Prover) {
	k.turnover.RLock()
	defer k.turnover.RUnlock()
	k.mu.Lock()
	if prover == nil {
		delete(k.desired.provers, id)
	} else {
		k.desired.provers[id] = prover
	}
	p := k.current
	k.mu.Unlock()
	if p != nil {
		p.SetProver(id, prover)
	}
}

// nothing is change for a call without an answer.
func nothing(k *Keeper, remember func(*desired), call func(*relayProcess) error) error {
	_, err := change(k, remember, func(p *relayProcess) (struct{}, error) { return struct{}{}, call(p) })
	return err
}
