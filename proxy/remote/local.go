package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/listener"
	"tideover/proxy"
	"tideover/proxy/connlimit"
	"tideover/proxy/gate"
	"tideover/proxy/spool"
)

// LocalOptions make a Local.
type LocalOptions struct {
	Logger  hclog.Logger
	Spool   *spool.Spool       // for bodies that do not fit into memory; nil: none
	Limiter *connlimit.Limiter // of client connections; nil: none
	// Page has the numbers that another process reads, which forgets those of an app after Remove: the
	// answer may be lost. nil: it is one of this process alone.
	Page *Page
	// Panicked is that of proxy.Options, of all apps.
	Panicked func()
}

// Local relays in the calling process. It is what a relay's process runs behind its channel, and it
// is the whole relay where there is no such process.
type Local struct {
	options   LocalOptions
	ownPage   bool
	announce  func()
	announced <-chan struct{}
	marks     atomic.Uint64 // the last number

	mu           sync.Mutex
	apps         map[AppID]*localApp
	doors        map[uint64]*localDoor
	provers      map[ID]Prover
	observations map[uint64]*gate.Observation // by the number of their mark
}

// NewLocal returns a Local without apps.
func NewLocal(o LocalOptions) *Local {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	ownPage := o.Page == nil
	if ownPage {
		o.Page = newPrivatePage()
	}
	if o.Limiter != nil {
		o.Page.header.limit.Store(int64(o.Limiter.Max()))
	}
	ctx, announce := context.WithCancel(context.Background())
	return &Local{options: o, ownPage: ownPage, announce: announce, announced: ctx.Done(), apps: map[AppID]*localApp{}, doors: map[uint64]*localDoor{},
		provers: map[ID]Prover{}, observations: map[uint64]*gate.Observation{}}
}

// Configure is that of Relay.
func (l *Local) Configure(_ context.Context, s Settings) error {
	if l.options.Spool != nil {
		l.options.Spool.Configure(s.SpoolDir, s.SpoolLimit)
	}
	if l.options.Limiter != nil {
		l.options.Limiter.Configure(s.MaxConnections, s.Apps)
		l.options.Page.header.limit.Store(int64(l.options.Limiter.Max()))
	}
	return nil
}

// localApp is one app. Its targets are those of which a request may be in flight.
type localApp struct {
	name   string
	gate   *gate.Gate
	server *proxy.Server

	numbers *group

	mu      sync.Mutex // held during a Set
	version uint64
	access  uint64       // number of the pipe of the last Set
	desired gate.Desired // as it was applied last
	current int          // the generation of the gate's target; 0: none
	targets map[int]*localTarget
}

// localTarget is a generation.
type localTarget struct {
	*gate.Target
	backlog *backlog // nil: the app opens its socket itself
	gone    atomic.Bool

	main   *os.File       // pidfd of the main process; nil: its exit is not seen
	exited bool           // the main process has; guarded by the app's mu
	watch  sync.WaitGroup // of watchMain

	proving sync.Mutex
	proof   *gate.Proof // the last one; nil: there was none
}

// localDoor is a socket from which an app's server accepts.
type localDoor struct {
	app  AppID
	stop func() // stops accepting, and waits until it has
}

var errNoApp = errors.New("the relay has no such app")

// Set is that of Relay.
func (l *Local) Set(_ context.Context, s Set) (Applied, error) {
	a, err := l.obtain(s)
	if err != nil {
		return Applied{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.Version < a.version {
		return Applied{Version: a.version}, nil
	}
	a.version = s.Version
	a.forgetGone(s.App, l.options.Page)
	var target *gate.Target
	number := 0
	if s.Target != nil {
		number = s.Target.Generation
		if t := a.target(l, ID{s.App, number}, s.Target); t.exited { // which the supervisor does not know yet
			number = 0
		} else {
			target = t.Target
		}
	}
	if s.Last {
		a.server.CloseAfterNextResponse()
	}
	a.setAccess(s.Access)
	a.server.Configure(s.Settings)
	a.desired = gate.Desired{Settings: s.Gate, Target: target, Holds: s.Holds, Refusal: s.Refusal}
	former, inFlight := a.gate.Apply(a.desired)
	applied := Applied{Version: s.Version}
	if former != nil {
		applied.Former, applied.InFlight = a.current, inFlight
	}
	a.current = number
	return applied, nil
}

// obtain returns an app, which is made if need be.
func (l *Local) obtain(s Set) (*localApp, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.apps[s.App]
	if a == nil {
		numbers, err := l.options.Page.obtain(s.App)
		if err != nil {
			return nil, err
		}
		a = &localApp{name: s.Name, gate: gate.New(s.Gate), numbers: numbers, targets: map[int]*localTarget{}}
		a.gate.SetGauges(&numbers.queue)
		a.server = proxy.NewServer(proxy.Options{App: s.Name, Gate: a.gate, Settings: s.Settings, Logger: l.options.Logger,
			Leaving: l.announced, Spool: l.options.Spool, Limiter: l.options.Limiter, Totals: &numbers.totals, Panicked: l.options.Panicked})
		l.apps[s.App] = a
	}
	return a, nil
}

// setAccess has the lines of the access log written to a duplicate of a pipe. a.mu must be held.
func (a *localApp) setAccess(p AccessPipe) {
	if p.Number == a.access {
		return
	}
	a.access = p.Number
	if p.File == nil {
		a.server.SetAccessLog(nil)
		return
	}
	file, err := DuplicateFile(p.File)
	if err != nil { // no descriptor is left: the lines are dropped
		a.server.SetAccessLog(nil)
		return
	}
	a.server.SetAccessLog(file)
}

// target returns the target of a generation, which is made if need be. a.mu must be held.
func (a *localApp) target(l *Local, id ID, t *Target) *localTarget {
	if known := a.targets[t.Generation]; known != nil {
		return known
	}
	o := gate.TargetOptions{Name: t.Name, Network: t.Network, Address: t.Address, Concurrency: t.Concurrency, Bounded: t.Bounded,
		Marker: t.Marker, DefaultHost: t.DefaultHost, Peer: t.Peer, OneRequest: t.OneRequest, HalfClose: t.HalfClose}
	if t.NeedsProof {
		o.OnSuspend = func(p *gate.Proof) {
			if prover := l.prover(id); prover != nil {
				prover.Lost(p.Number)
			}
		}
	}
	if numbers := l.options.Page.obtainTarget(id); numbers != nil {
		o.Gauges = &numbers.gauges
	}
	made := &localTarget{Target: gate.NewTarget(o)}
	a.targets[t.Generation] = made
	made.keep(t, l.options.Logger)
	if made.main != nil {
		made.watch.Go(func() { a.watchMain(made, t.Generation) })
	}
	return made
}

// forgetGone forgets the targets of which no process exists and no request is in flight. a.mu must
// be held.
func (a *localApp) forgetGone(app AppID, page *Page) {
	maps.DeleteFunc(a.targets, func(generation int, t *localTarget) bool {
		over := t.gone.Load() && t.InFlight() == 0 && t.Tunnels() == 0
		if numbers := page.targetOf(ID{app, generation}); over && numbers != nil {
			numbers.free()
		}
		return over
	})
}

func (l *Local) app(id AppID) *localApp {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.apps[id]
}

// target returns the target of a generation; nil: it is not known.
func (l *Local) target(id ID) *localTarget {
	a := l.app(id.App)
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.targets[id.Generation]
}

// Remove is that of Relay.
func (l *Local) Remove(_ context.Context, app AppID) (Counters, error) {
	a := l.app(app)
	if a == nil {
		return Counters{}, errNoApp
	}
	a.server.Close()
	a.mu.Lock()
	targets := maps.Clone(a.targets)
	a.mu.Unlock()
	for _, t := range targets {
		t.close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.apps, app)
	final := a.server.Counters()
	a.gate.SetGauges(nil) // its timer may be running
	if l.ownPage {
		l.options.Page.Forget(app)
	}
	return final, nil
}

// Announce is that of Relay.
func (l *Local) Announce(context.Context) error {
	l.announce()
	return nil
}

// End is that of Relay. It waits for the disk of the spool.
func (l *Local) End(ctx context.Context) error {
	l.announce()
	if l.options.Spool != nil {
		if end, limited := ctx.Deadline(); limited {
			l.options.Spool.Wait(time.Until(end))
		}
	}
	return ctx.Err()
}

// closePatience is how long Close and Retire leave connections open that are idle: a request may be on its way.
const closePatience = time.Second

// Close is for a process whose supervisor is gone. It accepts nothing more, finishes what is under way
// within a few seconds, and returns when no connection is left.
func (l *Local) Close() {
	l.mu.Lock()
	doors, apps := l.doors, l.apps
	l.doors, l.apps = map[uint64]*localDoor{}, map[AppID]*localApp{}
	l.mu.Unlock()
	for _, d := range doors {
		d.stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	var closing sync.WaitGroup
	for _, a := range apps {
		closing.Go(func() {
			a.server.CloseAfterNextResponse()
			a.gate.Configure(gate.Settings{}) // nothing would end a wait
			a.server.WaitIdle(ctx)
			a.server.Close()
		})
	}
	closing.Wait()
}

// Yield is for a relay whose place another one has taken: it gives away the idle connections of an app,
// and waits until there is one. There are none when no connection is left, or ctx has ended. Their
// descriptors are the caller's.
func (l *Local) Yield(ctx context.Context, app AppID) []Connection {
	if a := l.app(app); a != nil {
		return a.server.Yield(ctx)
	}
	return nil
}

// Retire is for a relay whose place another one has taken. It finishes what is under way, tunnels
// included, and returns when no connection is left, or ctx has ended. Sets and everything else that is
// about its requests must reach it until then. Its doors must have been shut.
func (l *Local) Retire(ctx context.Context) error {
	l.mu.Lock()
	apps := maps.Clone(l.apps)
	l.mu.Unlock()
	var retiring sync.WaitGroup
	for _, a := range apps {
		retiring.Go(func() {
			a.server.CloseAfterNextResponse()
			soon, cancel := context.WithTimeout(ctx, closePatience)
			defer cancel()
			a.server.WaitIdle(soon)
			a.server.CloseIdle()
			a.server.WaitIdle(ctx)
		})
	}
	retiring.Wait()
	return ctx.Err()
}

// Open is that of Relay.
func (l *Local) Open(ctx context.Context, d Door) error {
	accepted, err := listener.NewDescriptor(d.Socket) // in no poller but that of the event loop
	if err != nil {
		return err
	}
	l.mu.Lock()
	former := l.doors[d.Door]
	delete(l.doors, d.Door)
	l.mu.Unlock()
	if former != nil {
		former.stop()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.apps[d.App]
	if a == nil {
		accepted.Close()
		return errNoApp
	}
	serving, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer accepted.Close()
		if err := a.server.Serve(serving, accepted); err != nil {
			l.options.Logger.Error("listener failed", "app", a.name, "address", d.Address, "error", err)
		}
	}()
	l.doors[d.Door] = &localDoor{app: d.App, stop: func() {
		cancel()
		<-ended
	}}
	return nil
}

// Shut is that of Relay.
func (l *Local) Shut(_ context.Context, door uint64) error {
	l.mu.Lock()
	d := l.doors[door]
	delete(l.doors, door)
	l.mu.Unlock()
	if d != nil {
		d.stop()
	}
	return nil
}

// Mark is that of Relay.
func (l *Local) Mark(_ context.Context, app AppID) (Mark, error) {
	a := l.app(app)
	if a == nil {
		return Mark{}, errNoApp
	}
	m := Mark{App: app, Number: l.marks.Add(1)}
	observed := a.gate.Observe()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.observations[m.Number] = observed
	return m, nil
}

// Since is that of Relay.
func (l *Local) Since(_ context.Context, s Since) Held {
	l.mu.Lock()
	observed := l.observations[s.Number]
	if s.End {
		delete(l.observations, s.Number)
	}
	l.mu.Unlock()
	if observed == nil {
		return Held{Partial: true}
	}
	stats := observed.Stats()
	if s.End {
		stats = observed.End()
	}
	return Held{Held: stats.Held, Longest: stats.Longest}
}

// Await is that of Relay.
func (l *Local) Await(ctx context.Context, w Await) error {
	switch w.What {
	case Disconnected, Sent:
		a := l.app(w.App)
		if a == nil {
			return nil
		}
		if w.What == Disconnected {
			a.server.WaitIdle(ctx)
			if a.server.Connections() > 0 {
				return ctx.Err()
			}
			return nil
		}
		a.server.WaitSent(ctx)
		if a.server.Sending() > 0 {
			return ctx.Err()
		}
		return nil
	}
	t := l.target(w.ID)
	if t == nil {
		return nil
	}
	switch w.What {
	case Finished:
		return t.Wait(ctx)
	case TunnelsClosed:
		return t.WaitTunnels(ctx)
	case Asked:
		select {
		case <-t.Asked():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("the relay knows no event %d", w.What)
}

// Cut is that of Relay.
func (l *Local) Cut(_ context.Context, c Cut) error {
	switch c.What {
	case Tunnels:
		if t := l.target(c.ID); t != nil {
			t.CloseTunnels()
		}
	case Requests:
		if a := l.app(c.App); a != nil {
			a.server.Cut()
		}
	case Idle:
		if a := l.app(c.App); a != nil {
			a.server.CloseIdle()
		}
	}
	return nil
}

// Gone is that of Relay.
func (l *Local) Gone(_ context.Context, id ID) (reclaimed int, err error) {
	t := l.target(id)
	if t == nil {
		return 0, nil
	}
	if t.backlog != nil {
		reclaimed = t.backlog.finish()
	}
	t.gone.Store(true)
	t.Abandon()
	t.close()
	return reclaimed, nil
}

// Reclaim is that of Relay.
func (l *Local) Reclaim(_ context.Context, r Reclaim) error {
	switch t := l.target(r.ID); {
	case t == nil || t.backlog == nil:
	case r.End:
		t.backlog.end()
	default:
		t.backlog.begin(r.Exited)
	}
	return nil
}

// SetProver is that of Relay.
func (l *Local) SetProver(id ID, p Prover) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p == nil {
		delete(l.provers, id)
	} else {
		l.provers[id] = p
	}
}

func (l *Local) prover(id ID) Prover {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.provers[id]
}

// Prove is that of Relay.
func (l *Local) Prove(_ context.Context, p Proof) error {
	t := l.target(p.ID)
	if t == nil || t.Options().OnSuspend == nil {
		return nil
	}
	t.proving.Lock()
	defer t.proving.Unlock()
	switch last := t.proof; {
	case last != nil && p.Number < last.Number:
	case last != nil && p.Number == last.Number:
		if p.Void {
			t.Suspend(last)
		}
	case p.Void: // nothing was connected under it
		t.proof = &gate.Proof{Number: p.Number}
	default:
		t.proof = &gate.Proof{Number: p.Number}
		if p.Verify {
			t.proof.Valid = func() bool {
				prover := l.prover(p.ID)
				return prover == nil || prover.Holds(p.Number)
			}
		}
		t.Resume(t.proof)
	}
	return nil
}

// Turn is that of Relay.
func (l *Local) Turn(ctx context.Context) error {
	l.mu.Lock()
	apps := maps.Clone(l.apps)
	l.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(apps)) {
		if err := apps[id].server.CheckAlive(ctx); err != nil {
			return fmt.Errorf("app %s: %w", apps[id].name, err)
		}
	}
	return nil
}

// Admit takes over idle connections that another relay has given away. Their descriptors are the
// relay's from then on; after an error they are closed.
func (l *Local) Admit(_ context.Context, from Admission) error {
	err := errNoApp
	if a := l.app(from.App); a != nil {
		err = a.server.Admit(from.Connections)
	}
	if err != nil {
		for _, c := range from.Connections {
			unix.Close(c.FD)
		}
	}
	return err
}

// State is that of Relay.
func (l *Local) State(app AppID) State { return l.options.Page.State(app) }

// Clients is that of Relay.
func (l *Local) Clients() Clients { return l.options.Page.Clients() }

// Counters is that of Relay.
func (l *Local) Counters(app AppID) Counters { return l.options.Page.Counters(app) }

// Metrics is that of Relay.
func (l *Local) Metrics(app AppID) Metrics { return l.options.Page.Metrics(app) }

// Use is that of Relay.
func (l *Local) Use(id ID) Use { return l.options.Page.Use(id) }

// Heard is that of Relay.
func (l *Local) Heard(id ID) bool { return l.options.Page.Heard(id) }
