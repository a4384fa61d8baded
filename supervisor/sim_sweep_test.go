package supervisor

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tideover/supervisor/api"
)

// simOperations are what a supervisor may be in the middle of when it dies.
var simOperations = map[string]func(s *simulation, l *life, app string){
	"reload":  simVerb(api.Reload),
	"restart": simVerb(api.Restart),
	"stop":    simVerb(api.Stop),
	"start":   simVerb(api.Start),
	"crash":   func(s *simulation, l *life, app string) { s.crash(app) },
	"failed reload": func(s *simulation, l *life, app string) {
		s.set(func() { s.broken = true })
		simVerb(api.Reload)(s, l, app)
	},
	"overtaken reload": func(s *simulation, l *life, app string) {
		simVerb(api.Reload)(s, l, app)
		time.Sleep(10 * time.Millisecond)
		simVerb(api.Stop)(s, l, app)
	},
	"hold": func(s *simulation, l *life, app string) {
		s.hold(app, api.HoldRequest{ID: "hold", For: time.Minute, Attached: true}, time.Second)
	},
	"rollback": simVerb(api.Rollback),
	"failed rollback": func(s *simulation, l *life, app string) {
		s.set(func() { s.broken = true })
		simVerb(api.Rollback)(s, l, app)
	},
	"shutdown": func(s *simulation, l *life, app string) { l.s.Shutdown(false) },
}

func simVerb(verb api.Verb) func(s *simulation, l *life, app string) {
	return func(s *simulation, l *life, app string) {
		s.command(api.Request{Verb: verb, App: app, ID: string(verb), WaitDrain: verb == api.Reload})
	}
}

// The supervisor dies at each of its calls to the outside, one after another, in the middle of each operation:
// each write of the record, each message to the relay, each fork, signal and descriptor.
func TestEachCallOfASupervisorMayBeItsLast(t *testing.T) {
	t.Parallel()
	simSweep(t, func(l *life, call int) { l.dies = call })
}

// The relay dies at each of them. The operation goes on with the next one.
func TestTheRelayMayDieAtEachCallOfASupervisor(t *testing.T) {
	t.Parallel()
	simSweep(t, func(l *life, call int) { l.bereft = call })
}

// simSweep runs each operation once for each of its calls, at which something dies.
func simSweep(t *testing.T, doom func(l *life, call int)) {
	socket, apps := simSocket(t), simConfigs(t)
	for name, operate := range simOperations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls, stride := 0, simStride()
			for _, app := range []string{"web", "single", "plain"} {
				for at, died := 1+rand.IntN(stride), true; died && !t.Failed(); at += stride {
					synctest.Test(t, func(t *testing.T) {
						s := &simulation{world: newWorld(t, uint64(at), socket, apps...), held: map[*simHold]struct{}{}}
						if died = s.dieAt(at, doom, name, app, operate); died {
							calls++
						}
						if t.Failed() {
							t.Logf("at call %d of a %s of %s", at, name, app)
						}
					})
				}
			}
			t.Logf("%d calls", calls)
		})
	}
}

// simStride is the distance of the calls that are swept: random steps come upon the others.
func simStride() int {
	if *simulated >= 1_000_000 {
		return 1
	}
	return 9
}

// The same for an apply that adds, removes and replaces apps, and moves addresses from one to another.
func TestEachCallOfASupervisorMayBeItsLastInAnApply(t *testing.T) {
	t.Parallel()
	stride := simStride()
	for from := range simVariants {
		for to := range simVariants {
			if from == to || from == simFaulty {
				continue
			}
			t.Run(fmt.Sprint(from, " to ", to), func(t *testing.T) {
				t.Parallel()
				configured := simConfigured(t, from)
				for at, died := 1+rand.IntN(stride), true; died && !t.Failed(); at += stride {
					synctest.Test(t, func(t *testing.T) {
						s := &simulation{world: configured(t, uint64(at)), held: map[*simHold]struct{}{}}
						died = s.dieAt(at, func(l *life, call int) { l.dies = call }, "apply", "web", func(s *simulation, l *life, app string) {
							s.configure(to)
							s.apply(api.ApplyRequest{ID: "apply"})
						})
						if t.Failed() {
							t.Logf("at call %d", at)
						}
					})
				}
			})
		}
	}
}

// checkRelease checks that the release that serves is the one to which the symlink leads.
func (s *simulation) checkRelease() {
	deployed := s.deployed()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil || s.life.s == nil || s.path != "" {
		return
	}
	for _, e := range s.life.s.registry.all() {
		if g := e.app.snapshot.Load().current; e.app.name == "web" && g != nil && g.Dir != deployed {
			s.faultLocked("%s serves, and the symlink leads to %s", g.Dir, deployed)
		}
	}
}

// dieAt dooms the supervisor or the relay to die at a call of the supervisor during an operation. It
// reports whether there are so many.
func (s *simulation) dieAt(at int, doom func(l *life, call int), name, app string, operate func(s *simulation, l *life, app string)) bool {
	s.calm = true
	l := s.begin(0)
	time.Sleep(5 * time.Second)
	if name == "start" {
		l.s.Do(s.t.Context(), api.Request{Verb: api.Stop, App: app}, func(api.Phase) {})
		time.Sleep(5 * time.Second)
	}
	if strings.HasSuffix(name, "rollback") && app == "web" {
		s.deploy(2)
		l.s.Do(s.t.Context(), api.Request{Verb: api.Reload, App: app, WaitDrain: true}, func(api.Phase) {})
	}
	s.mu.Lock()
	last := l.calls + at
	doom(l, last)
	for range 3 {
		s.relay.apps[1].arriveLocked(s.world, false, 2*time.Second)
	}
	s.mu.Unlock()
	operate(s, l, app)
	time.Sleep(20 * time.Second)
	s.mu.Lock()
	s.broken = false
	reached := l.calls >= last
	l.dies, l.bereft = 0, 0
	s.mu.Unlock()
	switch {
	case name != "shutdown":
		s.check()
		s.checkRelease()
		s.rest()
	case l.dead.Err() != nil:
		s.begin(0)
	}
	s.close()
	return reached
}
