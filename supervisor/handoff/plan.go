package handoff

import (
	"maps"
	"slices"
	"strings"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
)

// Child is a process that the monitor has forked.
type Child struct {
	Token     string
	Pid       int
	StartTime uint64 // in clock ticks since the boot
	Exited    bool
	Status    uint32 // as wait(2) gives it, once it has exited
}

// RelayState is what a relay that lives has.
type RelayState struct {
	Apps map[remote.AppID]RelayApp
}

// RelayApp is an app as the relay has it.
type RelayApp struct {
	Version uint64 // of the last Set
	Target  int    // generation that gets the requests; 0: none
}

// A Plan is what a supervisor does that takes the place of one that has died.
type Plan struct {
	Apps map[string]*AppPlan
	// Relay is the number of the relay to attach to; 0: another one is to be started.
	Relay uint64
	// End are the tokens of processes that nothing needs: their trees are killed. Those of main
	// processes that have exited may have other members.
	End []string
	// Drop are the names of descriptors that nothing needs.
	Drop []string
	// Remove are apps of the relay that do not exist any more.
	Remove []remote.AppID
}

// AppPlan is what becomes of one app.
type AppPlan struct {
	// Serve is the generation that serves, and Set says that the relay is still to be told so. It may
	// have exited: then it has crashed. 0: none serves.
	Serve int
	Set   bool
	// Stop are generations that are out of service, the oldest first.
	Stop []StopPlan
	// Start says that a generation is to be started now, without a delay.
	Start bool
	// Hooks are those that ran. They are ended: nothing reads their output, so that they would fail at
	// some line of it, and no second one may run beside them.
	Hooks []HookRecord
	// Operation is what becomes of the one that ran; nil: none did.
	Operation *OperationPlan
}

// StopPlan is a generation whose teardown goes on.
type StopPlan struct {
	Number int
	// Unready says that it never served: it has nothing to drain.
	Unready bool
	// Begin says that it is only now taken out of service.
	Begin bool
}

// OperationPlan is what becomes of an operation whose supervisor has died in the middle of it.
type OperationPlan struct {
	Outcome Outcome
	// Generation is the one that serves with the outcome New or Old; 0: none.
	Generation int
}

// Outcome is how an interrupted operation ends: as if it had been carried out, or as if it had not
// been requested.
type Outcome string

const (
	Old      Outcome = "old"      // the generation from before serves
	New      Outcome = "new"      // what was requested is done, or is being finished
	Continue Outcome = "continue" // the generation from before is stopped: the next one is being started
)

// Restore compares what a supervisor has intended with what is there, and returns what its
// successor is to do. children and descriptors are those of the monitor. serving is what the relay
// has that the record names; nil: it has died. Restore is pure.
//
// What the relay serves wins over the record: a generation that gets requests goes on to get them.
func Restore(r *Record, children []Child, descriptors []string, serving *RelayState) Plan {
	p := planner{table: map[string]Child{}, kept: map[string]bool{}, needed: map[string]bool{}, serving: serving}
	for _, c := range children {
		p.table[c.Token] = c
	}
	plan := Plan{Apps: map[string]*AppPlan{}, Relay: p.relay(r)}
	if plan.Relay == 0 {
		p.serving = nil
	}
	for _, name := range r.Daemon.Descriptors {
		p.needed[name] = true
	}
	known, latest := map[remote.AppID]bool{}, latestOfEachName(r)
	for key, a := range r.Apps {
		if latest[a.Name] != a.ID {
			p.needOfApp(a) // the other one accepts on its sockets; its processes are ended
			plan.Apps[key] = &AppPlan{}
			continue
		}
		plan.Apps[key] = p.app(a, r.Daemon.Leaving)
		known[a.ID] = true
	}
	for _, c := range children {
		if !p.kept[c.Token] {
			plan.End = append(plan.End, c.Token)
		}
	}
	for _, name := range descriptors {
		if !p.needed[name] && !strings.HasPrefix(name, PagePrefix) {
			plan.Drop = append(plan.Drop, name)
		}
	}
	if p.serving != nil {
		for _, id := range slices.Sorted(maps.Keys(p.serving.Apps)) {
			if !known[id] {
				plan.Remove = append(plan.Remove, id)
			}
		}
	}
	return plan
}

// latestOfEachName returns the apps that are meant by their names. Another one of the name was being replaced.
func latestOfEachName(r *Record) map[string]remote.AppID {
	latest := map[string]remote.AppID{}
	for _, a := range r.Apps {
		latest[a.Name] = max(latest[a.Name], a.ID)
	}
	return latest
}

// planner is the state of one Restore.
type planner struct {
	table   map[string]Child
	kept    map[string]bool // tokens of children that go on
	needed  map[string]bool // names of descriptors
	serving *RelayState
}

// relay returns the relay to attach to: the newest one that lives and does not drain. One that drains
// goes on for itself.
func (p *planner) relay(r *Record) (number uint64) {
	for _, relay := range r.Relays {
		child, forked := p.table[relay.Tree.Token]
		if !forked || child.Exited || p.serving == nil && !relay.Draining {
			continue
		}
		p.kept[child.Token] = true
		for _, name := range []string{relay.Attach, relay.Counts, relay.Log} {
			p.needed[name] = true
		}
		if !relay.Draining {
			number = max(number, relay.Number)
		}
	}
	return number
}

// needOfApp keeps the descriptors of an app that are not those of a generation.
func (p *planner) needOfApp(a *AppRecord) {
	for _, l := range a.Listeners {
		for _, s := range l.Sockets {
			p.needed[s.Socket], p.needed[s.Path] = true, true
		}
	}
	for _, name := range a.Access {
		p.needed[name] = true
	}
}

// app plans one app.
func (p *planner) app(a *AppRecord, leaving bool) *AppPlan {
	p.needOfApp(a)
	plan := &AppPlan{}
	target, attached := 0, false
	if p.serving != nil {
		var s RelayApp
		s, attached = p.serving.Apps[a.ID]
		target = s.Target
	}
	live := p.generations(a)
	current := currentOf(live, target, a.Desired)
	for _, g := range live {
		switch {
		case g == current:
			plan.Serve, plan.Set = g.Number, !attached || target != g.Number
		case g.Phase == Starting || g.Phase == Ready:
			plan.Stop = append(plan.Stop, StopPlan{Number: g.Number, Unready: true, Begin: true})
		default:
			plan.Stop = append(plan.Stop, StopPlan{Number: g.Number, Begin: g.Phase == Serving})
		}
	}
	for _, h := range a.Hooks {
		if child, forked := p.table[h.Token]; forked && !child.Exited {
			plan.Hooks = append(plan.Hooks, h)
		}
	}
	plan.Start = plan.Serve == 0 && a.Desired == Up && !leaving
	plan.Operation = planOperation(a, plan)
	return plan
}

// generations are those of the record that were forked. What was not forked needs nothing.
func (p *planner) generations(a *AppRecord) (forked []*GenerationRecord) {
	for _, g := range a.Generations {
		if _, ok := p.table[g.Token]; !ok {
			continue
		}
		p.kept[g.Token] = true
		for _, name := range g.DescriptorNames() {
			p.needed[name] = true
		}
		forked = append(forked, g)
	}
	return forked
}

// currentOf returns the generation that serves; nil: none does. target is that of the relay, 0: none.
func currentOf(live []*GenerationRecord, target int, desired Desired) (current *GenerationRecord) {
	if desired == Stopped {
		return nil // the stop goes on
	}
	for _, g := range live {
		switch {
		case g.Number == target && g.Phase != Starting && g.Grace.IsZero(): // it was not told to stop
			return g
		case g.Phase == Serving, g.Phase == Ready && current == nil: // with no other one it is what was wanted
			current = g
		}
	}
	return current
}

// planOperation is what becomes of the operation of an app.
func planOperation(a *AppRecord, plan *AppPlan) *OperationPlan {
	o := a.Operation
	if o == nil {
		return nil
	}
	outcome := Old
	switch {
	case o.Verb == api.Stop, o.Verb == api.Start: // it is carried out again
		outcome = New
	case plan.Serve != 0 && plan.Serve == o.To:
		outcome = New
	case plan.Start:
		outcome = Continue
	}
	return &OperationPlan{Outcome: outcome, Generation: plan.Serve}
}
