package member

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/fleet"
	"tideover/supervisor/fleet/etcd"
)

// reloadTime is how long a reload of hostApps lasts.
const reloadTime = 5 * time.Second

// hostApps is the supervisor of a host with one app.
type hostApps struct {
	mu      sync.Mutex // guards the fields below
	app     api.AppStatus
	reloads int
	waiting int // reloads of the host's own
	fleet   api.Fleet
	asked   map[string]*askedReload // by the id of the request
	undoes  bool                    // reloads end with the old generation
}

// askedReload is a reload, which goes on when the process that has asked for it ends.
type askedReload struct {
	ended  chan struct{}
	result api.Result
}

// Turn does the reloads that wait.
func (h *hostApps) Turn(ctx context.Context) error {
	h.mu.Lock()
	h.waiting = 0
	h.mu.Unlock()
	_, err := h.DoAttached(ctx, api.Request{}, nil, nil)
	return err
}

func (h *hostApps) Drain(context.Context, string, api.DrainRequest) (api.DrainReport, error) {
	return api.DrainReport{}, nil
}

func (h *hostApps) Undrain(context.Context, string) (api.DrainReport, error) {
	return api.DrainReport{}, nil
}

func (h *hostApps) SetFleet(_ context.Context, f api.Fleet) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fleet = f
	return nil
}

// known is what the supervisor was told of the fleet.
func (h *hostApps) known() api.Fleet {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fleet
}

func (h *hostApps) Status(context.Context, ...string) (api.Status, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return api.Status{Apps: []api.AppStatus{h.app}, Turns: &api.Turns{Waiting: h.waiting}}, nil
}

func (h *hostApps) Check(ctx context.Context, apps ...string) (api.Status, error) {
	return h.Status(ctx, apps...)
}

func (h *hostApps) DoAttached(ctx context.Context, r api.Request, _ <-chan struct{}, _ func(api.Phase)) (api.Result, error) {
	h.mu.Lock()
	reload := h.asked[r.ID]
	switch {
	case reload == nil && r.Known:
		h.mu.Unlock()
		return api.Result{Result: api.Unknown, Exit: api.ExitError}, nil
	case reload == nil || r.ID == "":
		reload = &askedReload{ended: make(chan struct{})}
		h.asked[r.ID] = reload
		h.reloads++
		time.AfterFunc(reloadTime, func() { h.end(reload) })
	}
	h.mu.Unlock()
	select {
	case <-reload.ended:
		return reload.result, nil
	case <-ctx.Done():
		return api.Result{}, ctx.Err()
	}
}

func (h *hostApps) end(reload *askedReload) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.undoes {
		reload.result = api.Result{Result: "kept old", Exit: api.ExitKeptOld, Error: "undone"}
	} else {
		h.app.Generation++
		reload.result = api.Result{Generation: api.GenerationPair{From: h.app.Generation - 1, To: h.app.Generation}}
	}
	close(reload.ended)
}

// host is a member and what it works with.
type host struct {
	name  string
	store *hostStore
	apps  *hostApps
	leave context.CancelFunc // its process ends at once, and says nothing

	processes int // that it has had

	mu     sync.Mutex // guards the field below
	events []Event
}

// group is two members of one store.
type group struct {
	t       *testing.T
	store   *memoryStore
	one     *host
	two     *host
	running sync.WaitGroup
}

// inGroup runs a test with two members that have joined. prepare is called before.
func inGroup(t *testing.T, prepare, test func(*group)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &group{t: t, store: newMemoryStore()}
		g.one, g.two = g.host("web1"), g.host("web2")
		prepare(g)
		for _, h := range []*host{g.one, g.two} {
			g.begin(h)
		}
		time.Sleep(2 * interval)
		test(g)
		g.one.leave()
		g.two.leave()
		g.running.Wait()
	})
}

// begin begins a process of a host. Each is of the same tideover as the one before.
func (g *group) begin(h *host) {
	ctx, cancel := context.WithCancel(g.t.Context())
	h.leave = cancel
	h.processes++
	m := New(Options{Store: h.store, Apps: h.apps, Host: h.name, Process: fmt.Sprintf("%s/%d", h.name, h.processes), Wait: time.Minute, Log: h.log})
	g.running.Go(func() { m.Run(ctx) })
}

func (g *group) host(name string) *host {
	return &host{name: name, store: &hostStore{memoryStore: g.store}, apps: &hostApps{asked: map[string]*askedReload{}, app: api.AppStatus{Name: "shop", State: api.Running, Generation: 1}}}
}

func (h *host) log(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (g *group) view() *fleet.View {
	g.t.Helper()
	u, _ := g.store.Read(g.t.Context())
	view, err := etcd.Apply(nil, u)
	if err != nil {
		g.t.Fatal(err)
	}
	return view
}

// start begins a rollout, one host after the other, in the place of the one before.
func (g *group) start(wish fleet.Wish) {
	g.t.Helper()
	wish.App = "shop"
	_, txn, err := fleet.Start(g.view(), wish, "1", true)
	if err != nil {
		g.t.Fatal(err)
	}
	if done, _, err := g.store.Commit(g.t.Context(), txn, 0); !done || err != nil {
		g.t.Fatal("the rollout does not begin: ", err)
	}
}

func (g *group) rollout() fleet.Rollout { return *g.view().Report("").Rollout }

// checkTurns checks that there was one turn at a time, and how often each host has reloaded.
func (g *group) checkTurns(one, two int) {
	g.t.Helper()
	g.store.mu.Lock()
	defer g.store.mu.Unlock()
	if g.store.mostOpen != 1 {
		g.t.Errorf("%d turns were open at once", g.store.mostOpen)
	}
	for h, want := range map[*host]int{g.one: one, g.two: two} {
		h.apps.mu.Lock()
		if h.apps.reloads != want {
			g.t.Errorf("%s has reloaded %d times, want %d", h.name, h.apps.reloads, want)
		}
		h.apps.mu.Unlock()
	}
}

// Whichever answer of etcd is lost, each host reloads once, and one at a time.
func TestALostAnswerIsNotDoneTwice(t *testing.T) {
	for _, unreadable := range []bool{false, true} {
		for lost := range 6 { // it joins, enters, begins, closes, says its generation; 0: no answer is lost
			inGroup(t, func(g *group) { g.one.store.loses, g.one.store.unreadable = lost, unreadable }, func(g *group) {
				g.start(fleet.Wish{MinHealthy: 2})
				time.Sleep(time.Minute)
				if r := g.rollout(); r.State != fleet.Complete {
					t.Errorf("the answer %d is lost: the rollout is %s", lost, r.State)
				}
				g.checkTurns(1, 1)
				if g.one.store.commits < lost {
					t.Errorf("there were %d transactions, the answer %d was to be lost", g.one.store.commits, lost)
				}
			})
		}
	}
}

// Reloads of the hosts' own take turns with each other and with a rollout; what they wait for is said.
func TestLocalReloadsTakeTurns(t *testing.T) {
	wait := func(hosts ...*host) {
		for _, h := range hosts {
			h.apps.mu.Lock()
			h.apps.waiting = 1
			h.apps.mu.Unlock()
		}
	}
	inGroup(t, func(*group) {}, func(g *group) {
		wait(g.one, g.two)
		time.Sleep(2*interval + interval/2) // in the middle of the first reload
		one, two := g.one.apps.known().Behind, g.two.apps.known().Behind
		if one+two != "the turn of web1" && one+two != "the turn of web2" {
			t.Errorf("%q, %q", one, two)
		}
		time.Sleep(time.Minute)
		g.checkTurns(1, 1)
		g.start(fleet.Wish{Canary: "web1"})
		time.Sleep(interval)
		wait(g.one, g.two)
		time.Sleep(time.Minute)
		g.checkTurns(3, 3)
		f := g.two.apps.known()
		if f.Host != "web2" || f.Error != "" || f.Behind != "" || f.Members != 2 || f.Rollout == nil || f.Rollout.State != "complete" || f.Rollout.Done != 2 {
			t.Errorf("%+v %+v", f, f.Rollout)
		}
		if h := f.Hosts[0]; h.Name != "web1" || !h.Here || h.Turn != "ok" || h.App == nil || h.App.Generation != 4 {
			t.Errorf("%+v %+v", h, h.App)
		}
	})
}

// What has changed since is not taken for all that is there.
func TestAHostThatCannotReadTheKeysBeginsNoTurnBeforeItCan(t *testing.T) {
	inGroup(t, func(*group) {}, func(g *group) {
		g.start(fleet.Wish{Canary: "web2"})
		time.Sleep(interval)
		g.one.store.loses, g.one.store.unreadable = g.one.store.commits+1, true
		g.one.apps.mu.Lock()
		g.one.apps.app.Generation++ // it was reloaded by another command: it says so, and the answer is lost
		g.one.apps.mu.Unlock()
		time.Sleep(interval + interval/2)
		g.start(fleet.Wish{}) // while web2 has its turn of the one before
		time.Sleep(time.Minute)
		if r := g.rollout(); r.State != fleet.Complete {
			t.Errorf("the rollout is %s", r.State)
		}
		g.checkTurns(1, 2)
	})
}

// The supervisor of a host dies in the middle of its turn, and with it the process that has taken it: the process of the
// next one goes on with the turn. The reload is done once, and the rollout ends with what it has come to.
func TestATurnOutlivesTheSupervisor(t *testing.T) {
	const drain, healthy = 4 * time.Second, 4 * time.Second
	for _, undoes := range []bool{false, true} {
		for at := time.Second / 2; at < drain+reloadTime+healthy; at += time.Second {
			inGroup(t, func(g *group) { g.two.apps.undoes = undoes }, func(g *group) {
				g.start(fleet.Wish{Canary: "web2", Drain: drain.Seconds(), MinHealthy: healthy.Seconds()})
				time.Sleep(at)
				g.two.leave()
				time.Sleep(time.Second / 2)
				g.begin(g.two)
				time.Sleep(2 * time.Minute)
				r := g.rollout()
				switch {
				case undoes && (r.State != fleet.Halted || r.Halt.Host != "web2" || r.Halt.Exit != 7 || r.Halt.By != "web2"):
					t.Errorf("dead after %v: %+v, halt %+v", at, r, r.Halt)
				case !undoes && r.State != fleet.Complete:
					t.Errorf("dead after %v: %+v, halt %+v", at, r, r.Halt)
				}
				if undoes {
					g.checkTurns(0, 1)
				} else {
					g.checkTurns(1, 1)
				}
			})
		}
	}
}

func TestAHostThatVanishesInItsTurnHaltsTheRollout(t *testing.T) {
	inGroup(t, func(*group) {}, func(g *group) {
		g.start(fleet.Wish{Canary: "web2"})
		time.Sleep(interval)
		g.two.leave()
		time.Sleep(leaseTime + interval)
		r := g.rollout()
		if r.State != fleet.Halted || r.Halt == nil || r.Halt.Host != "web2" || r.Halt.By != "web1" {
			t.Errorf("%+v", r)
		}
		time.Sleep(time.Minute)
		g.checkTurns(0, 1)
		g.one.mu.Lock()
		defer g.one.mu.Unlock()
		if last := g.one.events[len(g.one.events)-1]; last.Kind != Halted || !strings.Contains(last.Error, "web2") {
			t.Errorf("%+v", g.one.events)
		}
	})
}
