package supervisor

import (
	"context"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"tideover/proxy/remote"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
	"tideover/supervisor/handoff"
)

// relayApp is an app as the relay has it, and is to have it. Its methods may be called from any
// goroutine. Those of a nil relayApp, of an app whose requests do not pass through the relay, do
// nothing and return zeros.
type relayApp struct {
	relay remote.Relay
	id    remote.AppID
	doors *atomic.Uint64 // number of the door that was opened last

	mu      sync.Mutex // held during a Set, so that the relay gets them in their order
	desired remote.Set
	pipes   uint64             // number of the last pipe of the access log
	target  *generation.Target // that of desired
	final   *remote.Counters   // once it was removed
	// paused says that the relay, which has outlived a supervisor, serves on with what that one has said
	// until everything is known that is desired now.
	paused bool
}

// newRelayApp makes an app of the relay, whose gate is shut. One that is restored is paused; see commence.
func newRelayApp(s shared, id remote.AppID, cfg *config.App, restored *handoff.RestoredApp) *relayApp {
	r := &relayApp{relay: s.relay, id: id, doors: s.doors, desired: remote.Set{App: id, Name: cfg.Name}}
	if restored != nil {
		r.paused = true
		if d := restored.Relay; d != nil {
			r.desired.Version, r.pipes = d.Version, d.Access
		}
	}
	r.configure(cfg)
	return r
}

// change changes what is desired, in one step, and returns when the relay has done so. A relay that
// has died meanwhile is no error: the next one gets all that is desired.
func (r *relayApp) change(do func(s *remote.Set)) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	do(&r.desired)
	r.setLocked()
}

// setLocked sends what is desired. r.mu must be held.
func (r *relayApp) setLocked() {
	if r.final != nil || r.paused {
		return
	}
	r.desired.Version++
	r.relay.Set(context.Background(), r.desired)
}

// commence sends what is desired to a relay that has outlived a supervisor.
func (r *relayApp) commence() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.paused {
		r.paused = false
		r.setLocked()
	}
}

func (r *relayApp) configure(cfg *config.App) {
	r.change(func(s *remote.Set) {
		draining := s.Settings.Draining
		s.Gate, s.Settings = gateSettings(cfg), relaySettings(cfg)
		s.Settings.Draining = draining
	})
}

// drain has the health check of front-ends answered with 503, or no longer.
func (r *relayApp) drain(draining bool) {
	r.change(func(s *remote.Set) { s.Settings.Draining = draining })
}

// refuse has all requests answered instead of held; nil ends that.
func (r *relayApp) refuse(refusal *remote.Refusal) {
	r.change(func(s *remote.Set) { s.Refusal = refusal })
}

// serve has requests pass to a target, and ends a refusal in the same step.
func (r *relayApp) serve(t *generation.Target) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.desired.Refusal, r.desired.Target, r.target = nil, t.Message(), t
	r.setLocked()
	t.Announce()
}

// detach has requests held: no generation serves.
func (r *relayApp) detach() {
	r.change(func(s *remote.Set) { s.Target, r.target = nil, nil })
}

// hold has requests held under a name, or changes the deadline of that hold.
func (r *relayApp) hold(h remote.Hold) {
	r.change(func(s *remote.Set) {
		holds := slices.Clone(s.Holds)
		if i := slices.IndexFunc(holds, func(other remote.Hold) bool { return other.Name == h.Name }); i >= 0 {
			holds[i] = h
		} else {
			holds = append(holds, h)
		}
		s.Holds = holds
	})
}

// release ends the hold of that name.
func (r *relayApp) release(name string) {
	r.change(func(s *remote.Set) {
		s.Holds = slices.DeleteFunc(slices.Clone(s.Holds), func(h remote.Hold) bool { return h.Name == name })
	})
}

// accept has connections accepted from a listening socket until ctx ends.
func (r *relayApp) accept(ctx context.Context, address string, socket remote.Socket) error {
	d := remote.Door{Door: r.doors.Add(1), App: r.id, Address: address, Socket: socket}
	if err := r.relay.Open(ctx, d); err != nil {
		return err
	}
	<-ctx.Done()
	return r.relay.Shut(context.Background(), d.Door)
}

// closeAfterNextResponse makes every response the last one of its connection.
func (r *relayApp) closeAfterNextResponse() { r.change(func(s *remote.Set) { s.Last = true }) }

// state is what the relay does with the app at this moment.
func (r *relayApp) state() remote.State {
	if r == nil {
		return remote.State{}
	}
	return r.relay.State(r.id)
}

// counters are the totals, also after remove.
func (r *relayApp) counters() remote.Counters {
	if r == nil {
		return remote.Counters{}
	}
	r.mu.Lock()
	final := r.final
	r.mu.Unlock()
	if final != nil {
		return *final
	}
	return r.relay.Counters(r.id)
}

// setAccess has the lines of the access log written to the write end of a pipe; nil: they are dropped.
// It returns when the relay has written the lines of the former one.
func (r *relayApp) setAccess(f *os.File) {
	r.change(func(s *remote.Set) {
		r.pipes++
		s.Access = remote.AccessPipe{Number: r.pipes, File: f}
	})
}

// metrics are the totals in detail.
func (r *relayApp) metrics() remote.Metrics {
	if r == nil {
		return remote.Metrics{}
	}
	return r.relay.Metrics(r.id)
}

// await waits for an event of the whole app, or until ctx ends.
func (r *relayApp) await(ctx context.Context, what remote.Event) {
	if r != nil {
		_ = r.relay.Await(ctx, remote.Await{ID: remote.ID{App: r.id}, What: what})
	}
}

// cut cuts the requests under way.
func (r *relayApp) cut() {
	if r != nil {
		r.relay.Cut(context.Background(), remote.Cut{ID: remote.ID{App: r.id}, What: remote.Requests})
	}
}

// closeIdle closes the connections without a request, and each other one after its request.
func (r *relayApp) closeIdle() {
	if r != nil {
		r.relay.Cut(context.Background(), remote.Cut{ID: remote.ID{App: r.id}, What: remote.Idle})
	}
}

// remove ends the app in the relay and returns when no connection is left. Nothing may be accepted
// for it any more.
func (r *relayApp) remove() {
	if r == nil {
		return
	}
	final, _ := r.relay.Remove(context.Background(), r.id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.final == nil {
		r.final = &final
	}
}
