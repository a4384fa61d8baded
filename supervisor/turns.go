package supervisor

import (
	"context"
	"sync"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// turns are the reloads of this host's own that take turns with other hosts (fleet.local = "queue").
// The process that speaks with etcd sees that one waits, takes a turn of the fleet, and calls Turn for
// its time. Its goroutines are the callers'.
type turns struct {
	mu      sync.Mutex // guards the fields below
	waiting []*turn
	running int
	changed chan struct{} // closed when a turn has ended, or one of the fields below is another
	fleet   *api.Fleet    // as the process says; nil: it has said nothing yet
}

// turn is one reload.
type turn struct {
	granted chan struct{} // closed when it may begin
	ended   chan struct{} // closed when it has ended, or its caller has left
}

// newTurns returns turns of which none waits.
func newTurns() *turns { return &turns{changed: make(chan struct{})} }

// changedLocked wakes all that wait for a change.
func (t *turns) changedLocked() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// setFleet takes over what the process says of the fleet.
func (t *turns) setFleet(f api.Fleet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fleet = &f
	t.changedLocked()
}

// wake has those that wait look whether they still have to.
func (t *turns) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changedLocked()
}

func (t *turns) known() *api.Fleet {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fleet
}

func (t *turns) status() *api.Turns {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting)+t.running == 0 {
		return nil
	}
	return &api.Turns{Waiting: len(t.waiting), Running: t.running}
}

// behind is what a reload waits for, and a channel that is closed when that may be another.
func (t *turns) behind() (why string, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch f := t.fleet; {
	case f == nil:
		why = "the process that speaks with etcd"
	case f.Error != "":
		why = f.Error
	case f.Behind != "":
		why = f.Behind
	default:
		why = "a turn of this host"
	}
	return why, t.changed
}

// enter adds a reload that waits.
func (t *turns) enter() *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := &turn{granted: make(chan struct{}), ended: make(chan struct{})}
	t.waiting = append(t.waiting, one)
	return one
}

// leave ends a reload, whether it has had its turn or not.
func (t *turns) leave(one *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, other := range t.waiting {
		if other == one {
			t.waiting = append(t.waiting[:i:i], t.waiting[i+1:]...)
		}
	}
	if isClosed(one.granted) {
		t.running--
	}
	close(one.ended)
	t.changedLocked()
}

// grant lets those begin that wait now, and returns them.
func (t *turns) grant() []*turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	begun := t.waiting
	t.waiting, t.running = nil, t.running+len(begun)
	for _, one := range begun {
		close(one.granted)
	}
	return begun
}

// Turn lets the reloads begin that wait for a turn of this host, and returns when they have ended.
func (s *Supervisor) Turn(ctx context.Context) error {
	for _, one := range s.turns.grant() {
		select {
		case <-one.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// SetFleet takes over what the process that speaks with etcd knows of the fleet.
func (s *Supervisor) SetFleet(f api.Fleet) { s.turns.setFleet(f) }

// Fleet is what this host knows of its fleet; nil: it is in none, or nothing is known yet.
func (s *Supervisor) Fleet() *api.Fleet {
	if !s.shared.source.inForce.Load().Fleet.On() {
		return nil
	}
	return s.turns.known()
}

// takesTurns reports whether a request has to wait for a turn of this host.
func (s *Supervisor) takesTurns(r api.Request) bool {
	f := &s.shared.source.inForce.Load().Fleet
	return r.Verb == api.Reload && !r.InTurn && f.On() && f.Local == config.LocalQueue
}

// awaitTurn waits for a turn of this host. If the result is nil the request may begin, and end must be called
// when it has ended.
func (s *Supervisor) awaitTurn(ctx context.Context, t *ticket, progress func(api.Phase)) (end func(), refused *api.Result) {
	refuse := func(exit api.Exit, why, hint string) (func(), *api.Result) {
		r := t.refused(exit, why)
		r.Hint = hint
		return nil, &r
	}
	if t.request.NoQueue {
		return refuse(api.ExitBusy, "this host takes turns with the other hosts of its fleet (fleet.local)", "without --no-queue it waits for its turn; tideover restart "+t.request.App+" takes none")
	}
	one := s.turns.enter()
	end = func() { s.turns.leave(one) }
	told := ""
	for {
		why, changed := s.turns.behind() // before the check, so that no change is missed
		if !s.takesTurns(t.request) {
			return end, nil // an apply has changed fleet.local
		}
		if why != told {
			told = why
			s.options.Logger.Info("reload waits for its turn", "app", t.request.App, "behind", why)
			progress(api.Phase{App: t.request.App, Verb: t.request.Verb, Name: "queue", Attrs: []api.Attr{api.String("behind", why)}})
		}
		select {
		case <-one.granted:
			return end, nil
		case <-changed:
		case <-ctx.Done():
			end()
			return refuse(api.ExitTimeout, "stopped waiting for the turn of this host; nothing was changed", "")
		case <-s.leaving.Done():
			end()
			return refuse(api.ExitNotRunning, "tideover is shutting down", "")
		}
	}
}
