package supervisor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/process"
)

// simResult is the result of a command.
type simResult struct {
	request api.Request
	api.Result
}

// A simulation drives a world by random steps.
type simulation struct {
	*world
	commands, holds, applies int                   // under way; guarded by world.mu
	held                     map[*simHold]struct{} // likewise
	results                  []simResult           // likewise
	doomed                   int                   // so many of the next supervisors die while they restore
	deaths                   int
}

// apply makes the apps what the configuration says. Its caller asks again where the supervisor dies.
func (s *simulation) apply(r api.ApplyRequest) {
	s.set(func() { s.applies++ })
	go func() {
		for {
			l := s.living()
			result := l.s.Apply(l.dead, r, func(api.Phase) {})
			if l.dead.Err() == nil {
				s.set(func() {
					s.applies--
					s.ends[fmt.Sprint("apply ", result.Result, result.Exit)]++
					s.noteLocked("apply %s: %+v", r.ID, result)
				})
				return
			}
		}
	}()
}

// simHold is a hold of which the caller has got the beginning, and has not asked for the end.
type simHold struct {
	app   *App // of the supervisor that has said so
	until time.Time
}

// command asks for an operation. Its caller asks again where the supervisor dies.
func (s *simulation) command(r api.Request) {
	s.mu.Lock()
	s.commands++
	s.mu.Unlock()
	go func() {
		for {
			l := s.living()
			result := l.s.Do(l.dead, r, func(api.Phase) {})
			s.mu.Lock()
			dead := l.dead.Err() != nil
			if !dead || r.ID == "" {
				s.commands--
				if !dead {
					s.noteLocked("%s of %s %s: %s, exit %d, %d -> %d %s", r.Verb, r.App, r.ID, result.Result, result.Exit, result.Generation.From, result.Generation.To, result.Error)
					s.results = append(s.results, simResult{r, result})
				}
				s.mu.Unlock()
				return
			}
			s.mu.Unlock()
		}
	}()
}

// hold holds an app for a while. A hold with an id goes on where the supervisor dies.
func (s *simulation) hold(app string, r api.HoldRequest, length time.Duration) {
	s.mu.Lock()
	s.holds++
	s.mu.Unlock()
	go func() {
		defer func() {
			s.mu.Lock()
			s.holds--
			s.mu.Unlock()
		}()
		for again := false; ; again = true {
			l := s.living()
			lease, err := l.s.Hold(l.dead, app, r)
			if l.dead.Err() != nil && r.ID != "" {
				continue
			}
			if err != nil {
				return
			}
			if !again {
				h := &simHold{lease.app, time.Now().Add(r.For)}
				s.mu.Lock()
				if r.Attached { // another caller may end that of the operator
					s.held[h] = struct{}{}
				}
				s.mu.Unlock()
				select {
				case <-time.After(length):
				case <-lease.Ended():
				case <-l.dead.Done():
				}
				s.mu.Lock()
				delete(s.held, h)
				s.mu.Unlock()
			}
			if l.dead.Err() == nil {
				if r.Attached {
					lease.End()
				} else {
					_, _ = l.s.Release(app, r.By)
				}
			}
			if l.dead.Err() == nil || r.ID == "" {
				return
			}
		}
	}()
}

// webApp is a random app of the relay; nil: there is none yet.
func (s *simulation) webAppLocked() *simApp {
	ids := slices.Sorted(maps.Keys(s.relay.apps))
	if len(ids) == 0 {
		return nil
	}
	return s.relay.apps[ids[s.random.IntN(len(ids))]]
}

var simVerbs = []api.Verb{api.Reload, api.Reload, api.Rollback, api.Restart, api.Restart, api.Stop, api.Start, api.Start}

// step is one random step.
func (s *simulation) step(n int) {
	r := s.random
	s.mu.Lock()
	l, commands, holds, applies := s.life, s.commands, s.holds, s.applies
	s.mu.Unlock()
	if l == nil && r.IntN(3) == 0 {
		dies := 0
		switch {
		case s.doomed > 0:
			s.doomed--
			dies = 3 + r.IntN(5)
		case r.IntN(3) == 0:
			dies = 1 + r.IntN(100)
		case r.IntN(20) == 0:
			s.doomed = 1 + r.IntN(4)
		}
		s.begin(dies)
		return
	}
	app := s.names[r.IntN(len(s.names))]
	switch kind := r.IntN(100); {
	case kind < 30:
		time.Sleep(upTo(r, 10*time.Millisecond<<r.IntN(10)))
	case kind < 45 && commands < 6:
		request := api.Request{Verb: simVerbs[r.IntN(len(simVerbs))], App: app, ID: fmt.Sprint("c", n), By: api.Caller{Via: "test"},
			WaitDrain: r.IntN(3) == 0, NoWait: r.IntN(4) == 0, AwaitStart: r.IntN(4) == 0, NoQueue: r.IntN(10) == 0}
		if r.IntN(5) == 0 {
			request.ID = ""
		}
		s.command(request)
	case kind < 46:
		s.deploy(1 + r.IntN(3))
	case kind < 49 && holds < 3:
		request := api.HoldRequest{ID: fmt.Sprint("h", n), For: time.Second + upTo(r, 20*time.Second), Attached: r.IntN(2) == 0}
		s.hold(app, request, upTo(r, 20*time.Second))
	case kind < 52:
		s.mu.Lock()
		if all := s.serversLocked(app); len(all) > 0 {
			all[r.IntN(len(all))].exitLocked(process.Outcome{Code: r.IntN(2)})
		}
		s.mu.Unlock()
	case kind < 54 && s.deaths >= 0:
		s.mu.Lock()
		if l != nil && s.life == l && l.dies == 0 {
			s.deaths++
			if l.dies = l.calls + r.IntN(60); l.dies == l.calls {
				s.killLocked()
			}
		}
		s.mu.Unlock()
	case kind < 57 && s.path != "" && applies < 2:
		s.configure(r.IntN(len(simVariants)))
		s.apply(api.ApplyRequest{ID: fmt.Sprint("a", n)})
	case kind < 58 && r.IntN(4) == 0:
		s.mu.Lock()
		if s.relay.aliveLocked() && (l == nil || isClosed(l.up)) {
			s.relayDiesLocked(upTo(r, time.Second))
		}
		s.mu.Unlock()
	default:
		s.mu.Lock()
		if a := s.webAppLocked(); a != nil {
			takes := upTo(r, 2*time.Second)
			if r.IntN(20) == 0 {
				takes = upTo(r, 30*time.Second)
			}
			q := a.arriveLocked(s.world, r.IntN(3) > 0, takes)
			if r.IntN(8) == 0 {
				s.after(upTo(r, 5*time.Second), q.leaveLocked)
			}
		}
		s.mu.Unlock()
	}
}

// relayDiesLocked is the death of the relay. The supervisor that lives starts another one.
func (w *world) relayDiesLocked(pause time.Duration) {
	w.relay.dieLocked()
	l := w.life
	w.after(pause, func() {
		if w.life == l {
			w.relay.renewLocked(l)
		}
	})
}

// check checks what holds whenever nothing moves.
func (s *simulation) check() {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.relay.apps {
		a.checkCounters(s.world)
	}
	l := s.life
	if l == nil || !isClosed(l.up) || l.s == nil {
		return
	}
	for _, e := range l.s.registry.all() {
		s.checkAppLocked(e.app)
	}
}

// simLeaving is why requests to an app that is removed are refused.
const simLeaving = "the service is shutting down"

// checkAppLocked checks that the relay and the processes are as the app says.
func (s *simulation) checkAppLocked(a *App) {
	seen := a.snapshot.Load()
	number := 0
	if g := seen.current; g != nil {
		number = g.Number
		if c := s.children[g.Process.Record().Token]; c == nil || !c.alive {
			s.faultLocked("%s#%d is to serve, and has exited", a.name, number)
		}
	}
	if s.applies == 0 && seen.current == nil && !seen.starting && len(seen.draining) == 0 && seen.next.IsZero() && !seen.waits && seen.desired == desiredUp && seen.verb == "" {
		s.faultLocked("%s is to be up, and nothing starts it", a.name)
	}
	if a.relay == nil || !s.relay.aliveLocked() {
		return
	}
	has := s.relay.apps[a.relay.id]
	for h := range s.held {
		if h.app == a && time.Now().Before(h.until) && len(has.set.Holds) == 0 {
			s.faultLocked("%s is to be held until %v, and is not", a.name, h.until)
		}
	}
	switch {
	case has == nil:
		s.faultLocked("the relay does not have %s", a.name)
	case has.current != number:
		s.faultLocked("%s: the relay has generation %d, the supervisor %d", a.name, has.current, number)
	case seen.desired == desiredUp && !seen.failed && has.set.Refusal != nil && has.set.Refusal.Cause != simLeaving && seen.verb == "":
		s.faultLocked("%s is to be up, and requests are refused: %s", a.name, has.set.Refusal.Cause)
	}
}

// rest lets everything come to rest in a world in which apps work, and checks that each promise was kept.
func (s *simulation) rest() {
	s.mu.Lock()
	s.calm = true
	if s.life != nil {
		s.life.dies = 0
	}
	l := s.life
	s.mu.Unlock()
	if l == nil {
		l = s.begin(0)
	}
	time.Sleep(15 * time.Minute)
	s.check()
	s.mu.Lock()
	if s.commands > 0 || s.holds > 0 || s.applies > 0 {
		s.faultLocked("%d commands, %d holds and %d applies have no end", s.commands, s.holds, s.applies)
	}
	for _, e := range l.s.registry.all() {
		s.checkRestLocked(e.app)
	}
	for _, a := range s.relay.apps {
		if len(a.requests) > 0 {
			s.faultLocked("%d requests of %s have no end", len(a.requests), a.name)
		}
		if len(a.observed) > 0 {
			s.faultLocked("%d counts of %s have no end", len(a.observed), a.name)
		}
	}
	s.mu.Unlock()
	s.finalApply(l)
	for _, app := range l.s.Apps() {
		if r := l.s.Do(l.dead, api.Request{Verb: api.Start, App: app}, func(api.Phase) {}); r.Exit != api.ExitOK {
			s.fault("in the end %s does not start: %+v", app, r)
		}
	}
	s.check()
	s.set(func() { s.checkDoorsLocked(l) })
	s.checkHistory(l.s)
	s.checkAgain(l)
}

// checkAgain checks that callers that ask again are told the same.
func (s *simulation) checkAgain(l *life) {
	kept := map[string]bool{}
	for _, e := range l.s.registry.all() {
		e.app.do(s.t.Context(), func() {
			for _, o := range e.app.queue.ended {
				for _, id := range o.IDs {
					kept[id] = true
				}
			}
		})
	}
	for _, told := range s.results {
		if !kept[told.request.ID] || told.Ended.IsZero() {
			continue
		}
		r := l.s.Do(l.dead, told.request, func(api.Phase) {})
		final := told.Drain == nil || told.request.WaitDrain // else its drain has ended meanwhile
		if r.Result != told.Result.Result || r.Generation != told.Generation || final && !r.Ended.Equal(told.Ended) {
			s.fault("a caller was told %+v, and when it asks again %+v", told.Result, r)
		}
	}
}

// addTo adds what has happened to counts.
func (s *simulation) addTo(counts map[string]int) {
	for _, l := range s.lives[1:] {
		counts["deaths"]++
		if l.bare {
			counts["bare"]++
		}
	}
	for _, r := range s.results {
		counts[fmt.Sprint(r.Verb, " ", r.Result.Result)]++
		if strings.Contains(r.Error, "the supervisor of tideover has ended") {
			counts["undone"]++
		}
	}
	counts["forks"] += s.forked
	counts["deaths of relays"] += int(s.relay.number) - 1
	for what, n := range s.ends {
		counts[what] += n
	}
}

// finalApply checks that the apps become those of the configuration.
func (s *simulation) finalApply(l *life) {
	if s.path == "" {
		return
	}
	s.configure(0)
	r := l.s.Apply(l.dead, api.ApplyRequest{}, func(api.Phase) {})
	if r.Exit != api.ExitOK || !slices.Equal(l.s.Apps(), []string{"web", "single", "plain"}) {
		s.fault("in the end there are %v: %+v", l.s.Apps(), r)
	}
}

// checkDoorsLocked checks that connections are accepted at each address.
func (s *simulation) checkDoorsLocked(l *life) {
	for _, e := range l.s.registry.all() {
		listens, doors := e.settings().Listen, 0
		for _, app := range s.relay.doors {
			if e.app.relay != nil && app == e.app.relay.id {
				doors++
			}
		}
		if doors != len(listens) {
			s.faultLocked("%d sockets of %s are accepted from, it listens on %v", doors, e.app.name, listens)
		}
	}
}

// checkRestLocked checks one app: it has one process if it is to be up, and else none.
func (s *simulation) checkRestLocked(a *App) {
	seen, servers := a.snapshot.Load(), s.serversLocked(a.name)
	want := 0
	if seen.desired == desiredUp {
		want = 1
	}
	if len(servers) != want || want == 1 && (seen.current == nil || seen.current.Process.Pid() != servers[0].pid) {
		s.faultLocked("at rest %s has %d processes, desired %d, current %v", a.name, len(servers), seen.desired, seen.current != nil)
	}
	if len(seen.holds) > 0 || a.relay != nil && (len(s.relay.apps[a.relay.id].set.Holds) > 0 || seen.desired == desiredUp && s.relay.apps[a.relay.id].set.Refusal != nil) {
		s.faultLocked("at rest %s is held: %v", a.name, seen.holds)
	}
	for _, c := range s.children {
		if name, hook := c.app(); name == a.name && hook {
			s.faultLocked("at rest %s runs", c.name)
		}
	}
}

// checkLogLocked checks that the log has each end that the history has: once, unless the supervisor has died between the
// two. One may be missing in the history: where supervisors die at one instant their operations begin at the same time,
// by which the history knows them; no other clock than a simulated one does that.
func (s *simulation) checkLogLocked(history map[string]int) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(s.log.ends)) {
		if what != "apply" && s.log.ends[what] > history[what]+1 {
			s.faultLocked("the log has %d ends of %s, the history %d", s.log.ends[what], what, history[what])
		}
	}
	for what, n := range history {
		if missing := n - s.log.ends[what]; missing > len(s.lives)-1 {
			s.faultLocked("the log has %d ends of %s, the history %d, after %d deaths", s.log.ends[what], what, n, len(s.lives)-1)
		}
	}
}

// checkHistory checks that each operation has one beginning and one end in the history, which says what
// its callers were told.
func (s *simulation) checkHistory(sup *Supervisor) {
	begun, ended, ends := map[uint64]int{}, map[string][]api.Record{}, map[string]int{}
	if err := sup.History(s.t.Context(), api.HistoryQuery{}, func(r api.Record) bool {
		switch r.Kind {
		case api.OperationBegun:
			begun[r.ID]++
		case api.HoldEnded:
			ends["hold "+r.App]++
		case api.OperationEnded:
			ends[r.App+" "+string(r.Verb)]++
			key := fmt.Sprint(r.App, r.Verb, r.Time.UnixNano())
			ended[key] = append(ended[key], r)
			if begun[r.Begun]--; begun[r.Begun] < 0 {
				s.fault("the history has an end without a beginning: %+v", r)
			}
		}
		return true
	}); err != nil {
		s.fault("history: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkLogLocked(ends)
	for _, r := range s.results {
		if r.Exit == api.ExitOK && r.Verb.Renews() && !r.Plain && !s.relay.served[fmt.Sprint(r.App, "#", r.Generation.To)] {
			s.faultLocked("generation %d of %s has never served: %+v", r.Generation.To, r.App, r.Result)
		}
		if r.request.ID == "" || r.Ended.IsZero() || r.Drain != nil && r.request.WaitDrain {
			continue
		}
		same := func(in api.Record) bool { return in.Result == r.Result.Result && in.Generation == r.Generation }
		all := ended[fmt.Sprint(r.App, r.Verb, r.Ended.UnixNano())]
		if !slices.ContainsFunc(all, same) {
			s.faultLocked("a caller was told %+v, the history has %+v", r.Result, all)
		}
	}
}
