package handoff

import (
	"errors"
	"os"
	"slices"

	"tideover/proxy/remote"
	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/logs"
)

// A Restoration is what a supervisor finds that takes the place of one that has died.
type Restoration struct {
	Record   *Record
	Plan     Plan
	Children []Child
	Files    map[string]*os.File // by name; State takes those that the record names
	Outcome  string              // how the former supervisor has ended
	Relay    *remote.Description // what the relay has that was attached to; nil: another one was started

	loaded map[string]*config.File // by name in Record.Configurations
}

// Configuration loads a configuration of the record. It is nil if there is none of this name: then the
// former supervisor had it from its command line.
func (r *Restoration) Configuration(name string) (*config.File, error) {
	if f := r.loaded[name]; f != nil {
		return f, nil
	}
	snapshot := r.Record.Configurations[name]
	if snapshot == nil {
		return nil, nil
	}
	f, err := snapshot.Load()
	if err != nil {
		return nil, err
	}
	if r.loaded == nil {
		r.loaded = map[string]*config.File{}
	}
	r.loaded[name] = f
	return f, nil
}

// OpenRecord returns the slots in the file of a former supervisor, and its record; nil: it has written none.
// After an error there are no slots: they are to be made anew.
func OpenRecord(f File) (*Slots, *Record, error) {
	s, text, err := OpenSlots(f)
	if errors.Is(err, ErrNoRecord) {
		return s, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	r, err := decodeRecord(text)
	if err != nil {
		return nil, nil, err
	}
	return s, r, nil
}

// StateOf makes of what a relay has the input of Restore.
func StateOf(d remote.Description) *RelayState {
	s := &RelayState{Apps: map[remote.AppID]RelayApp{}}
	for _, a := range d.Apps {
		s.Apps[a.App] = RelayApp{Version: a.Version, Target: a.Target}
	}
	return s
}

// State takes what the record names out of Files.
func (r *Restoration) State() *State {
	s := &State{Restoration: r, Listeners: map[string]Listener{}, Apps: map[string]*RestoredApp{}, Gunicorns: map[string]gunicorn.Report{}}
	for key, a := range r.Record.Apps {
		for _, l := range a.Listeners {
			r.addListener(s, l)
		}
		if other := s.Apps[a.Name]; other == nil || other.Record.ID < a.ID {
			s.Apps[a.Name] = r.app(a, r.Plan.Apps[key])
			if a.Gunicorn != nil {
				s.Gunicorns[a.Name] = *a.Gunicorn
			}
		}
	}
	return s
}

func (r *Restoration) addListener(s *State, l ListenerRecord) {
	if l.Passed {
		return // it is the service manager's
	}
	known := s.Listeners[l.Address]
	for _, socket := range l.Sockets {
		if f := r.take(socket.Socket); f != nil {
			known.Sockets, known.Path = append(known.Sockets, f), r.take(socket.Path)
		}
	}
	if len(known.Sockets) > 0 {
		s.Listeners[l.Address] = known
	}
}

// afterReady is the hook that runs again for the generation that serves.
const afterReady = "after_ready"

func (r *Restoration) app(a *AppRecord, plan *AppPlan) *RestoredApp {
	b := &RestoredApp{Record: a, Plan: plan}
	if r.Relay != nil {
		for i := range r.Relay.Apps {
			if r.Relay.Apps[i].App == a.ID {
				b.Relay = &r.Relay.Apps[i]
			}
		}
	}
	for _, name := range a.Access {
		if f := r.take(name); f != nil {
			b.Access = append(b.Access, f)
		}
	}
	for _, g := range a.Generations {
		if g.Number == plan.Serve {
			b.Current = r.generation(b, g)
			b.Hooked = slices.ContainsFunc(plan.Hooks, func(h HookRecord) bool { return h.Hook == afterReady && h.Generation == g.Number })
		}
		for _, stop := range plan.Stop {
			if g.Number == stop.Number {
				b.Stopping = append(b.Stopping, &RestoredStop{stop, g, r.generation(b, g)})
			}
		}
		r.output(b, g)
	}
	return b
}

// generation takes the descriptors of a generation, but for its output.
func (r *Restoration) generation(b *RestoredApp, g *GenerationRecord) *GenerationState {
	s := g.GenerationState
	for _, c := range r.Children {
		if c.Token == g.Token { // the supervisor may have died before it knew
			s.Tree.Token, s.Tree.Pid, s.Tree.StartTime = c.Token, c.Pid, c.StartTime
		}
	}
	s.Private, s.Path, s.Notify = r.take(g.SocketName), r.take(g.PathName), r.take(g.NotifyName)
	return &s
}

// output takes the pipes of a generation: one that is gone has written its last lines.
func (r *Restoration) output(b *RestoredApp, g *GenerationRecord) {
	for stream, name := range g.Output {
		if f := r.take(name); f != nil {
			b.Pipes = append(b.Pipes, logs.Pipe{Generation: g.Number, Stream: streams[stream], File: f, Spool: r.spool(g.Spools[stream])})
		}
	}
}

// spool takes a spool; nil: there is none, or it is of another version.
func (r *Restoration) spool(name string) *logs.Spool {
	f := r.take(name)
	if f == nil {
		return nil
	}
	s, _ := logs.OpenSpool(f) // without it only what the former supervisor had read and not written is missing
	return s
}

// take returns a descriptor, which belongs to the caller; nil: there is none.
func (r *Restoration) take(name string) *os.File {
	f := r.Files[name]
	delete(r.Files, name)
	return f
}
