package relay

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/hashicorp/go-hclog"

	"tideover/listener"
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
	return k.change(func(d *desired) {
		alter(&d.settings)
		s = d.settings
	}, func(p *relayProcess) error { return p.Configure(ctx, s) })
}

// Set is that of remote.Relay. Without a relay the answer is empty.
func (k *Keeper) Set(ctx context.Context, s remote.Set) (sum remote.Applied, err error) {
	err = k.change(func(d *desired) {
		if s.Version >= d.sets[s.App].Version {
			d.sets[s.App] = s
		}
	}, func(p *relayProcess) error {
		a, err := p.Set(ctx, s)
		sum = remote.Applied{Version: max(sum.Version, a.Version), Former: max(sum.Former, a.Former), InFlight: sum.InFlight + a.InFlight}
		return err
	})
	return sum, err
}

// Remove is that of remote.Relay. With a relay that dies everything of the app has ended.
func (k *Keeper) Remove(ctx context.Context, app remote.AppID) (remote.Counters, error) {
	k.turnover.RLock() // no later relay frees what the app has counted
	defer k.turnover.RUnlock()
	k.mu.Lock()
	all, former, d := k.relaysLocked(), k.former, &k.desired
	delete(d.sets, app)
	maps.DeleteFunc(d.proofs, func(id remote.ID, _ remote.Proof) bool { return id.App == app })
	k.mu.Unlock()
	finals, errs := make([]remote.Counters, len(all)), make([]error, len(all))
	var removing sync.WaitGroup
	for i, p := range all {
		removing.Go(func() { finals[i], errs[i] = p.Remove(ctx, app) })
	}
	removing.Wait()
	var sum remote.Counters
	ended := []*relayProcess{former}
	for i, p := range all {
		switch {
		case errors.Is(errs[i], remote.ErrEnded):
			ended = append(ended, p)
		case errs[i] != nil && (!p.retired || ctx.Err() != nil):
			return remote.Counters{}, errs[i]
		}
		sum = sum.Plus(finals[i])
	}
	for _, p := range ended {
		if p == nil {
			continue
		}
		select {
		case <-p.counted:
		case <-ctx.Done():
			return remote.Counters{}, context.Cause(ctx)
		}
	}
	return sum.Plus(k.take(app)), nil
}

// Announce is that of remote.Relay.
func (k *Keeper) Announce(ctx context.Context) error {
	return k.change(func(d *desired) { d.announced = true }, func(p *relayProcess) error { return p.Announce(ctx) })
}

// End is that of remote.Relay.
func (k *Keeper) End(ctx context.Context) error {
	all, _ := k.relays()
	return callAll(all, func(p *relayProcess) error { return p.End(ctx) })
}

// Open is that of remote.Relay.
func (k *Keeper) Open(ctx context.Context, o remote.Door) error {
	socket, err := listener.NewDescriptor(o.Socket) // no wake-up of this process for the relay's connections
	if err != nil {
		return err
	}
	var former remote.Door
	err = k.change(func(d *desired) {
		former = d.doors[o.Door]
		kept := o
		kept.Socket = socket
		d.doors[o.Door] = kept
	}, func(p *relayProcess) error {
		if p.retired {
			return nil
		}
		return p.Open(ctx, o)
	})
	closeSocket(former)
	return err
}

// Shut is that of remote.Relay.
func (k *Keeper) Shut(ctx context.Context, door uint64) error {
	var former remote.Door
	err := k.change(func(d *desired) {
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

// Since is that of remote.Relay. After a replacement it is partial, as after a death.
func (k *Keeper) Since(ctx context.Context, s remote.Since) remote.Held {
	all, _ := k.relays()
	for _, p := range all {
		if p.number == s.Epoch {
			held := p.Since(ctx, s)
			held.Partial = held.Partial || p != k.relay()
			return held
		}
	}
	return remote.Held{Partial: true}
}

// Await is that of remote.Relay.
func (k *Keeper) Await(ctx context.Context, a remote.Await) error {
	if a.What == remote.Asked {
		return k.awaitAny(ctx, a)
	}
	return k.awaitAll(ctx, a)
}

// Cut is that of remote.Relay.
func (k *Keeper) Cut(ctx context.Context, c remote.Cut) error {
	all, _ := k.relays()
	return callAll(all, func(p *relayProcess) error { return p.Cut(ctx, c) })
}

// Gone is that of remote.Relay.
func (k *Keeper) Gone(ctx context.Context, id remote.ID) (reclaimed int, err error) {
	err = k.change(func(d *desired) { delete(d.proofs, id) }, func(p *relayProcess) error {
		n, err := p.Gone(ctx, id)
		reclaimed += n
		return err
	})
	return reclaimed, err
}

// Reclaim is that of remote.Relay. A relay that dies leaves nothing in a backlog.
func (k *Keeper) Reclaim(ctx context.Context, r remote.Reclaim) error {
	all, _ := k.relays()
	return callAll(all, func(p *relayProcess) error { return p.Reclaim(ctx, r) })
}

// Prove is that of remote.Relay.
func (k *Keeper) Prove(ctx context.Context, o remote.Proof) error {
	return k.change(func(d *desired) {
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

// SetProver is that of remote.Relay.
func (k *Keeper) SetProver(id remote.ID, prover remote.Prover) {
	k.change(func(d *desired) {
		if prover == nil {
			delete(d.provers, id)
		} else {
			d.provers[id] = prover
		}
	}, func(p *relayProcess) error {
		p.SetProver(id, prover)
		return nil
	})
}
