package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/remote"
)

// simRelay is the process that relays: real gates, without connections. Its state is guarded by world.mu,
// which is locked before the locks of gates.
type simRelay struct {
	world  *world
	number uint64 // of the process
	died   chan struct{}
	up     chan struct{} // closed while there is a process
	apps   map[remote.AppID]*simApp
	doors  map[uint64]remote.AppID
	marks  uint64
	booked map[remote.AppID]remote.Counters // by the processes that have died
	served map[string]bool                  // generations that were targets
}

func newSimRelay(w *world) *simRelay {
	r := &simRelay{world: w, up: make(chan struct{}), booked: map[remote.AppID]remote.Counters{}, served: map[string]bool{}}
	r.startLocked()
	return r
}

// startLocked starts the process, without an app.
func (r *simRelay) startLocked() {
	r.number++
	r.died = make(chan struct{})
	r.apps, r.doors = map[remote.AppID]*simApp{}, map[uint64]remote.AppID{}
	close(r.up)
}

// aliveLocked reports whether there is a process.
func (r *simRelay) aliveLocked() bool { return isClosed(r.up) }

// dieLocked is the death of the process: what is under way in it is lost, and is counted.
func (r *simRelay) dieLocked() {
	r.world.noteLocked("relay %d dies", r.number)
	for id, a := range r.apps {
		for q := range a.requests {
			q.cutLocked()
		}
		for _, o := range a.observed {
			o.End()
		}
		for _, t := range a.targets {
			t.Abandon()
		}
		a.checkCounters(r.world)
		r.booked[id] = a.counters
	}
	r.apps, r.doors = nil, nil
	r.up = make(chan struct{})
	close(r.died)
}

// renewLocked has a supervisor start another process, and give it everything that is desired.
func (r *simRelay) renewLocked(l *life) {
	if l == nil || r.aliveLocked() {
		return // the next supervisor starts it
	}
	r.startLocked()
	r.world.noteLocked("relay %d is started", r.number)
	for _, id := range slices.Sorted(maps.Keys(l.sets)) {
		r.setLocked(l.sets[id])
	}
	maps.Copy(r.doors, l.doors)
}

// simApp is an app of the relay.
type simApp struct {
	id       remote.AppID
	name     string
	set      remote.Set
	gate     *gate.Gate
	queue    gate.QueueGauges
	targets  map[int]*simTarget
	current  int // generation that gets the requests; 0: none
	counters remote.Counters
	observed map[uint64]*gate.Observation
	requests map[*simRequest]struct{} // under way
}

// simTarget is a generation.
type simTarget struct {
	*gate.Target
	generation int
	child      *child
	exited     bool
	gone       bool
	retired    time.Time // when it was replaced; zero: it was not
	requests   map[*simRequest]struct{}
}

// simRelayOf is the relay as one supervisor has it.
type simRelayOf struct {
	relay *simRelay
	life  *life
}

func (r simRelayOf) Configure(context.Context, remote.Settings) error {
	return r.life.do("configure", func() {})
}

func (r simRelayOf) Set(_ context.Context, s remote.Set) (applied remote.Applied, err error) {
	target := 0
	if s.Target != nil {
		target = s.Target.Generation
	}
	what := fmt.Sprint("set ", s.App, " ", s.Name)
	if s.Refusal != nil {
		what += " refused: " + s.Refusal.Cause
	}
	err = r.life.do(join(what, "target", target, "holds", len(s.Holds)), func() {
		if s.Version >= r.life.sets[s.App].Version {
			r.life.sets[s.App] = s
		}
		if r.relay.aliveLocked() {
			applied = r.relay.setLocked(s)
		}
	})
	return applied, err
}

func (r *simRelay) setLocked(s remote.Set) remote.Applied {
	a := r.apps[s.App]
	if a == nil {
		a = &simApp{id: s.App, name: s.Name, counters: r.booked[s.App], gate: gate.New(s.Gate), targets: map[int]*simTarget{}, observed: map[uint64]*gate.Observation{}, requests: map[*simRequest]struct{}{}}
		a.gate.SetGauges(&a.queue)
		r.apps[s.App] = a
	}
	if s.Version < a.set.Version {
		return remote.Applied{Version: a.set.Version}
	}
	a.set = s
	maps.DeleteFunc(a.targets, func(_ int, t *simTarget) bool { return t.gone && t.InFlight() == 0 })
	var target *simTarget
	if s.Target != nil {
		r.served[fmt.Sprint(a.name, "#", s.Target.Generation)] = true // though it may have exited since
		target = a.targets[s.Target.Generation]
		if target == nil {
			target = &simTarget{Target: gate.NewTarget(gate.TargetOptions{Name: s.Target.Name, Concurrency: s.Target.Concurrency}), generation: s.Target.Generation,
				child: r.world.childLocked(s.Name, s.Target.Generation), requests: map[*simRequest]struct{}{}}
			target.exited = target.child == nil || !target.child.alive
			a.targets[s.Target.Generation] = target
		}
		if target.exited { // which the supervisor does not know yet
			target = nil
		}
	}
	desired := gate.Desired{Settings: s.Gate, Holds: s.Holds, Refusal: s.Refusal}
	applied := remote.Applied{Version: s.Version}
	former := a.current
	a.current = 0
	if target != nil {
		desired.Target, a.current = target.Target, target.generation
	}
	if t := a.targets[former]; t != nil && former != a.current {
		t.retired = time.Now()
	}
	if replaced, inFlight := a.gate.Apply(desired); replaced != nil {
		applied.Former, applied.InFlight = former, inFlight
	}
	return applied
}

// exitedLocked is called when a process has exited: the relay sees that by itself.
func (r *simRelay) exitedLocked(c *child) {
	for _, a := range r.apps {
		for _, t := range a.targets {
			if t.child != c {
				continue
			}
			t.exited = true
			if a.current == t.generation {
				a.current = 0
				a.gate.Apply(gate.Desired{Settings: a.set.Gate, Holds: a.set.Holds, Refusal: a.set.Refusal})
			}
			for q := range t.requests {
				q.brokenLocked()
			}
		}
	}
}

func (r simRelayOf) Remove(_ context.Context, app remote.AppID) (c remote.Counters, err error) {
	err = r.life.do(join("remove", app), func() {
		delete(r.life.sets, app)
		c = r.relay.booked[app]
		delete(r.relay.booked, app)
		if a := r.relay.apps[app]; a != nil {
			for q := range a.requests {
				q.cutLocked()
			}
			c = a.counters
			a.checkCounters(r.life.world)
			delete(r.relay.apps, app)
		}
	})
	return c, err
}

func (r simRelayOf) Announce(context.Context) error { return r.life.do("announce", func() {}) }
func (r simRelayOf) End(context.Context) error      { return r.life.do("end", func() {}) }

func (r simRelayOf) Open(_ context.Context, d remote.Door) error {
	return r.life.do("open", func() {
		r.life.doors[d.Door] = d.App
		if r.relay.aliveLocked() {
			r.relay.doors[d.Door] = d.App
		}
	})
}

func (r simRelayOf) Shut(_ context.Context, door uint64) error {
	return r.life.do("shut", func() {
		delete(r.life.doors, door)
		delete(r.relay.doors, door)
	})
}

func (r simRelayOf) Mark(_ context.Context, app remote.AppID) (m remote.Mark, err error) {
	ended := remote.ErrEnded
	err = r.life.do("mark", func() {
		if r.relay.aliveLocked() {
			ended = nil
		}
		if a := r.relay.apps[app]; a != nil {
			r.relay.marks++
			m = remote.Mark{App: app, Number: r.relay.marks}
			a.observed[m.Number] = a.gate.Observe()
		}
	})
	if err == nil {
		err = ended
	}
	return m, err
}

func (r simRelayOf) Since(_ context.Context, s remote.Since) (held remote.Held) {
	held.Partial = true
	_ = r.life.do("since", func() {
		a := r.relay.apps[s.App]
		if a == nil || a.observed[s.Number] == nil {
			return
		}
		stats := a.observed[s.Number].Stats()
		if s.End {
			stats = a.observed[s.Number].End()
			delete(a.observed, s.Number)
		}
		held = remote.Held{Held: stats.Held, Longest: stats.Longest}
	})
	return held
}

// target is that of a generation; nil: it is not known.
func (r simRelayOf) target(id remote.ID) (t *simTarget) {
	r.life.world.mu.Lock()
	defer r.life.world.mu.Unlock()
	return r.relay.targetLocked(id)
}

func (r *simRelay) targetLocked(id remote.ID) *simTarget {
	if a := r.apps[id.App]; a != nil {
		return a.targets[id.Generation]
	}
	return nil
}

func (r simRelayOf) Await(ctx context.Context, a remote.Await) error {
	t := r.target(a.ID)
	if t == nil || a.What != remote.Finished {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.life.dead, cancel)()
	return t.Wait(ctx)
}

func (r simRelayOf) Cut(_ context.Context, c remote.Cut) error { return r.life.do("cut", func() {}) }

func (r simRelayOf) Reclaim(context.Context, remote.Reclaim) error {
	return r.life.do("reclaim", func() {})
}

func (r simRelayOf) Gone(_ context.Context, id remote.ID) (int, error) {
	return 0, r.life.do(join("gone", id.Generation), func() {
		if t := r.relay.targetLocked(id); t != nil {
			if t.child != nil && t.child.alive {
				r.life.world.faultLocked("%s is said to be gone, and lives", t.child.name)
			}
			t.gone = true
			t.Abandon()
		}
	})
}

func (r simRelayOf) Prove(context.Context, remote.Proof) error { return nil }

func (r simRelayOf) Probe(ctx context.Context, p remote.Probe) (answer remote.ProbeAnswer, err error) {
	var c *child
	var died chan struct{}
	w := r.life.world
	if err := r.life.do(join("probe of", p.Generation), func() {
		died = r.relay.died
		if a := r.relay.apps[p.App]; a != nil {
			c = w.childLocked(a.name, p.Generation)
		}
	}); err != nil {
		return answer, err
	}
	if isClosed(died) {
		return answer, remote.ErrEnded
	}
	if c == nil {
		return remote.ProbeAnswer{Failure: remote.ProbeRefused, Error: "connection refused"}, nil
	}
	select {
	case <-c.ready:
		return remote.ProbeAnswer{Status: c.status, Line: "HTTP/1.1 200 OK"}, nil
	case <-c.ended:
		return remote.ProbeAnswer{Failure: remote.ProbeClosed, Error: "it was closed"}, nil
	case <-ctx.Done():
		return answer, ctx.Err()
	case <-died:
		return answer, remote.ErrEnded
	case <-r.life.dead.Done():
		return answer, errDead
	}
}

func (r simRelayOf) Turn(ctx context.Context) error {
	r.life.world.mu.Lock()
	up := r.relay.up
	r.life.world.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.life.dead.Done():
		return errDead
	}
}

func (r simRelayOf) State(app remote.AppID) (s remote.State) {
	r.life.world.mu.Lock()
	defer r.life.world.mu.Unlock()
	if a := r.relay.apps[app]; a != nil {
		s.Held = int(a.queue.Held.Load())
	}
	return s
}

func (r simRelayOf) Clients() remote.Clients { return remote.Clients{} }

func (r simRelayOf) Counters(app remote.AppID) (c remote.Counters) {
	r.life.world.mu.Lock()
	defer r.life.world.mu.Unlock()
	c = r.relay.booked[app]
	if a := r.relay.apps[app]; a != nil {
		c = a.counters
	}
	return c
}

func (r simRelayOf) Metrics(remote.AppID) remote.Metrics { return remote.Metrics{} }

func (r simRelayOf) Use(id remote.ID) (u remote.Use) {
	if t := r.target(id); t != nil {
		u.InFlight = t.InFlight()
	}
	return u
}

func (r simRelayOf) Heard(remote.ID) bool               { return false }
func (r simRelayOf) SetProver(remote.ID, remote.Prover) {}

// takenOverLocked drops what a supervisor that has died was in the middle of.
func (r *simRelay) takenOverLocked() {
	for _, a := range r.apps {
		for number, o := range a.observed {
			o.End()
			delete(a.observed, number)
		}
	}
}

// describeLocked is what a relay says to a supervisor that attaches to it.
func (r *simRelay) describeLocked() (d remote.Description) {
	for door, app := range r.doors {
		d.Doors = append(d.Doors, remote.DoorDescription{Door: door, App: app})
	}
	slices.SortFunc(d.Doors, func(a, b remote.DoorDescription) int { return cmp.Compare(a.Door, b.Door) })
	for _, id := range slices.Sorted(maps.Keys(r.apps)) {
		a := r.apps[id]
		app := remote.AppDescription{App: id, Name: a.name, Version: a.set.Version, Target: a.current, Holds: a.set.Holds, Refusal: a.set.Refusal}
		for _, number := range slices.Sorted(maps.Keys(a.targets)) {
			t := a.targets[number]
			app.Generations = append(app.Generations, remote.GenerationDescription{Generation: number, Exited: t.exited, Gone: t.gone})
		}
		d.Apps = append(d.Apps, app)
	}
	return d
}

// checkCounters checks that each request has ended in one way.
func (a *simApp) checkCounters(w *world) {
	c := a.counters
	ended := c.Answered + c.Expired + c.Overflowed + c.ClientLeft + c.Cut + c.BadGateway + c.Refused
	if c.Requests != ended+uint64(len(a.requests)) {
		w.faultLocked("%s: %d requests, %d ended, %d under way", a.name, c.Requests, ended, len(a.requests))
	}
}

// simRequest is one request. Its state is guarded by world.mu.
type simRequest struct {
	gate.Waiter
	world      *world
	app        *simApp
	idempotent bool
	takes      time.Duration // of the app to answer it
	held       bool
	sent       int
	target     *simTarget // that has it; nil: none
	left       bool       // its client has
	over       bool
}

// arriveLocked is the arrival of a request.
func (a *simApp) arriveLocked(w *world, idempotent bool, takes time.Duration) *simRequest {
	q := &simRequest{world: w, app: a, idempotent: idempotent, takes: takes}
	q.Owner = q
	a.counters.Requests++
	a.requests[q] = struct{}{}
	if d := a.gate.Enter(&q.Waiter); d.Outcome == gate.Held {
		a.counters.Held++
		q.held = true
	} else {
		q.decidedLocked(d)
	}
	return q
}

// OnDecision is that of gate.Owner.
func (q *simRequest) OnDecision(d gate.Decision) {
	go func() {
		q.world.mu.Lock()
		defer q.world.mu.Unlock()
		q.decidedLocked(d)
	}()
}

func (q *simRequest) decidedLocked(d gate.Decision) {
	a, w := q.app, q.world
	q.held = false
	if q.over { // it was cut
		if d.Outcome == gate.Passed {
			a.gate.Done(d.Target, false)
		}
		return
	}
	switch d.Outcome {
	case gate.Passed:
		q.passLocked(d.Target)
	case gate.Expired:
		if d.Waited < a.set.Gate.Timeout {
			w.faultLocked("a request of %s has expired after %v", a.name, d.Waited)
		}
		q.endLocked("expired", &a.counters.Expired)
	case gate.Overflowed:
		q.endLocked("overflowed", &a.counters.Overflowed)
	case gate.Refused:
		q.endLocked("refused", &a.counters.Refused)
	}
}

// passLocked sends the request to a target.
func (q *simRequest) passLocked(to *gate.Target) {
	a := q.app
	var t *simTarget
	for _, known := range a.targets {
		if known.Target == to {
			t = known
		}
	}
	switch {
	case q.left:
		a.gate.Done(to, false)
		q.endLocked("clientleft", &a.counters.ClientLeft)
		return
	case t == nil || t.exited: // nothing accepts
		q.held = true
		a.gate.Requeue(&q.Waiter, to, true)
		return
	}
	if q.sent++; q.sent > 1 && !q.idempotent || q.sent > 2 {
		q.world.faultLocked("a request of %s was sent %d times", a.name, q.sent)
	}
	q.target = t
	t.requests[q] = struct{}{}
	q.world.after(q.takes, func() {
		if q.target == t {
			q.leaveTargetLocked()
			a.gate.Done(t.Target, true)
			q.endLocked("answered", &a.counters.Answered)
		}
	})
}

func (q *simRequest) leaveTargetLocked() {
	delete(q.target.requests, q)
	q.target = nil
}

// brokenLocked says that the process that has the request has died.
func (q *simRequest) brokenLocked() {
	t, a := q.target, q.app
	q.leaveTargetLocked()
	if q.idempotent && q.sent == 1 {
		a.counters.Resent++
		q.held = true
		a.gate.Requeue(&q.Waiter, t.Target, false)
		return
	}
	a.gate.Done(t.Target, false)
	q.endLocked("badgateway", &a.counters.BadGateway)
}

// cutLocked ends the request with its connection.
func (q *simRequest) cutLocked() {
	a := q.app
	if t := q.target; t != nil {
		q.leaveTargetLocked()
		a.gate.Done(t.Target, false)
	} else {
		a.gate.Leave(&q.Waiter)
	}
	q.endLocked("cut", &a.counters.Cut)
}

// leaveLocked says that its client has left.
func (q *simRequest) leaveLocked() {
	a := q.app
	switch {
	case q.over:
	case q.target != nil:
		t := q.target
		q.leaveTargetLocked()
		a.gate.Done(t.Target, false)
		q.endLocked("clientleft", &a.counters.ClientLeft)
	case a.gate.Leave(&q.Waiter):
		q.endLocked("clientleft", &a.counters.ClientLeft)
	default:
		q.left = true
	}
}

// endLocked ends the request, in one of the ways that are counted.
func (q *simRequest) endLocked(what string, counter *uint64) {
	if q.over {
		q.world.faultLocked("a request of %s has ended twice", q.app.name)
		return
	}
	q.over = true
	q.world.ends[what]++
	*counter++
	delete(q.app.requests, q)
}
