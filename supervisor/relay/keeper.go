package relay

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/remote"
	"tideover/supervisor/confine"
	"tideover/supervisor/handoff"
)

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
	// soundFor is how long a relay has to run until the next one is started without a delay.
	soundFor = time.Second
)

// Options make a Keeper.
type Options struct {
	Logger   hclog.Logger
	Settings remote.Settings // of the first relay; see Keeper.Configure
	// Confinement says how each relay confines itself, and prepares its directory; nil: it does not.
	Confinement func() (confine.Options, error)
	// Store keeps descriptors of the relays for a later supervisor; nil: none comes. Record is called
	// with the relays that are, whenever they change, and before one is started.
	Store  handoff.Store
	Record func([]handoff.RelayRecord) error
	// Former is what a former supervisor has left; nil: there was none.
	Former *Former
	// Retry says that New does not fail when no relay can be started, but goes on trying.
	Retry bool
}

// A Keeper is the relay of a supervisor, over the deaths of the process that relays. It implements
// remote.Relay.
type Keeper struct {
	pages
	options Options
	renewal chan struct{} // capacity 1: Renew was called
	ended   chan struct{} // closed by Close
	running sync.WaitGroup

	// turnover is held for reading by a call that changes something, and for writing while a relay
	// becomes the present one, so that each change is in what the next relay gets.
	turnover sync.RWMutex

	mu      sync.Mutex
	current *relayProcess // the present one, which accepts; nil: there is none at the moment
	former  *relayProcess // died before it, and its requests may not be counted as cut yet; nil: none
	// draining was replaced after a panic, and finishes what it has; nil: there is none.
	draining *relayProcess
	changed  chan struct{} // closed, and made anew, when another relay is the present one
	last     uint64        // number of the last relay
	// Of the goroutine that starts relays:
	described     remote.Description // by the relay that was attached to
	replacements  pace
	keepsUser     bool // a relay could not have another user
	missingLogged bool
	desired       desired
}

var _ remote.Relay = (*Keeper)(nil)

// desired is what each relay gets.
type desired struct {
	settings  remote.Settings
	sets      map[remote.AppID]remote.Set
	proofs    map[remote.ID]remote.Proof
	doors     map[uint64]remote.Door // with duplicates of the sockets
	provers   map[remote.ID]remote.Prover
	announced bool
}

// New starts a relay, and returns when it takes calls.
func New(o Options) (*Keeper, error) {
	pages, err := newPages(o.Store, o.Former.files())
	if err != nil {
		return nil, err
	}
	k := &Keeper{pages: pages, options: o, renewal: make(chan struct{}, 1), ended: make(chan struct{}), changed: make(chan struct{}), desired: desired{
		settings: o.Settings, sets: map[remote.AppID]remote.Set{}, proofs: map[remote.ID]remote.Proof{}, doors: map[uint64]remote.Door{},
		provers: map[remote.ID]remote.Prover{},
	}}
	p := k.attach()
	k.cutOfDead()
	if p == nil {
		p, err = k.start(nil)
	}
	switch {
	case err == nil:
	case o.Retry:
		o.Logger.Error("relay start failed", "error", err, "retry_s", 0.0)
	default:
		return nil, err
	}
	k.running.Go(func() { k.run(p) })
	return k, nil
}

// Close ends the relay. Its apps must have been removed.
func (k *Keeper) Close() {
	close(k.ended)
	k.running.Wait()
	for _, d := range k.desired.doors {
		d.Socket.Close()
	}
}

// Pid is that of the present relay; 0: there is none.
func (k *Keeper) Pid() int {
	if p := k.relay(); p != nil {
		return p.process.Pid()
	}
	return 0
}

// run keeps a relay until Close.
func (k *Keeper) run(p *relayProcess) {
	backoff := time.Duration(0)
	for {
		began := time.Now()
		if p != nil {
			switch k.watch(p) {
			case due:
				p = k.replace(p, "after a panic; the former one ends when it has no connection left")
				continue
			case outdated:
				p = k.replace(p, "it is of another program than the supervisor; the former one ends when it has no connection left")
				continue
			case closed:
				k.set(nil, nil)
				p.end(k.options.Store)
				k.bookLost(p)
				k.endDraining()
				return
			}
			k.set(nil, nil)
			cause := p.Err()
			p.forget(k.options.Store)
			p.kill()
			lost := k.bookLost(p)
			k.options.Logger.Error("relay ended", "pid", p.process.Pid(), "outcome", p.process.Outcome().String(), "error", cause, "lost", lost,
				"hint", "another one is started; the requests that were in flight and held in it are lost")
			if time.Since(began) >= soundFor {
				backoff = 0
			}
		}
		select {
		case <-time.After(backoff):
			backoff = min(max(minBackoff, 2*backoff), maxBackoff)
		case <-k.ended:
			k.endDraining()
			return
		}
		var err error
		if p, err = k.start(nil); err != nil {
			k.options.Logger.Error("relay start failed", "error", err, "retry_s", backoff.Seconds())
		}
	}
}

// settings are those in force.
func (k *Keeper) settings() remote.Settings {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.desired.settings
}

// start starts a relay, gives it everything that is desired, and makes it the present one. former,
// if any, is the one whose place it takes.
func (k *Keeper) start(former *relayProcess) (*relayProcess, error) {
	k.last++
	p, err := k.launch()
	if err != nil {
		return nil, err
	}
	k.turnover.Lock()
	defer k.turnover.Unlock()
	if err := k.restore(p); err != nil {
		p.forget(k.options.Store)
		p.kill()
		k.bookLost(p)
		return nil, err
	}
	k.set(p, former)
	if former != nil {
		k.retire(former)
	}
	k.options.Logger.Debug("relay started", "pid", p.process.Pid())
	return p, nil
}

// bookLost counts as cut what was under way in a relay of which no process exists, and returns the
// number of requests.
func (k *Keeper) bookLost(p *relayProcess) int {
	lost := p.CutUnderWay()
	k.mu.Lock()
	if k.draining == p {
		k.draining = nil
	}
	k.mu.Unlock()
	k.recordRelays(nil)
	close(p.counted)
	return lost
}

// restore gives a relay everything that is desired: first the apps, then the sockets. k.turnover
// must be held for writing.
func (k *Keeper) restore(p *relayProcess) error {
	ctx := context.Background() // a relay that does not answer is given up
	d := &k.desired
	p.Retain(func(app remote.AppID) bool { _, ok := d.sets[app]; return ok })
	if err := p.Configure(ctx, d.settings); err != nil { // they may have changed since the fork
		return err
	}
	for id, prover := range d.provers {
		p.SetProver(id, prover)
	}
	for _, id := range slices.Sorted(maps.Keys(d.sets)) {
		if _, err := p.Set(ctx, d.sets[id]); err != nil {
			return err
		}
	}
	for _, proof := range d.proofs {
		if err := p.Prove(ctx, proof); err != nil {
			return err
		}
	}
	for _, number := range slices.Sorted(maps.Keys(d.doors)) {
		err := p.Open(ctx, d.doors[number])
		if errors.Is(err, remote.ErrEnded) {
			return err
		}
		if err != nil { // of this socket alone
			k.options.Logger.Error("relay cannot accept", "address", d.doors[number].Address, "error", err)
		}
	}
	if d.announced {
		return p.Announce(ctx)
	}
	return nil
}

// set makes p the present relay; nil: the one before has died. draining, if any, is the one whose place
// p has taken.
func (k *Keeper) set(p, draining *relayProcess) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p == nil {
		k.former = k.current
	} else {
		k.newest.Store(p.Page)
	}
	if draining != nil {
		k.draining = draining
	}
	k.current = p
	close(k.changed)
	k.changed = make(chan struct{})
	k.recordLocked(nil)
}

// await returns the present relay, or the next one where there is none.
func (k *Keeper) await(ctx context.Context) (*relayProcess, error) {
	for {
		k.mu.Lock()
		p, changed := k.current, k.changed
		k.mu.Unlock()
		if p != nil {
			return p, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-k.ended:
			return nil, remote.ErrEnded
		}
	}
}

// relay returns the present relay; nil: there is none.
func (k *Keeper) relay() *relayProcess {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// relays returns the present relay and then the one that drains, as far as there are any, and what is
// closed when another one is the present relay.
func (k *Keeper) relays() ([]*relayProcess, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.relaysLocked(), k.changed
}

func (k *Keeper) relaysLocked() (all []*relayProcess) {
	for _, p := range []*relayProcess{k.current, k.draining} {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// change changes what is desired, and calls the relays. Where there is none, or it has died, the change
// is made all the same: the next relay gets it.
func (k *Keeper) change(remember func(*desired), call func(*relayProcess) error) error {
	k.turnover.RLock()
	defer k.turnover.RUnlock()
	k.mu.Lock()
	remember(&k.desired)
	all := k.relaysLocked()
	k.mu.Unlock()
	return callAll(all, call)
}

// callAll calls each of these relays. The error is that of the present one. ErrEnded is none.
func callAll(all []*relayProcess, call func(*relayProcess) error) (failed error) {
	for _, p := range all {
		if err := call(p); err != nil && !errors.Is(err, remote.ErrEnded) && !p.retired {
			failed = err
		}
	}
	return failed
}

// closeSocket closes the duplicate of a door that is given up.
func closeSocket(d remote.Door) {
	if d.Socket != nil {
		d.Socket.Close()
	}
}
