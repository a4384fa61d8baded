package handoff

import (
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
)

// SystemdPrefix begins the names of descriptors that a service manager has passed:
// "systemd/NAME/NUMBER".
const SystemdPrefix = "systemd/"

// A Restoration is what a supervisor finds that takes the place of one that has died.
type Restoration struct {
	Record   *Record
	Plan     Plan
	Children []Child
	Files    map[string]*os.File // by name; State takes those that the record names
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

// RestoredApp is an app of a dead supervisor.
type RestoredApp struct {
	Record   *AppRecord
	Plan     *AppPlan
	Relay    *remote.AppDescription // nil: the relay does not have it
	Stopping []*RestoredStop
}

// RestoredStop is a generation that is out of service.
type RestoredStop struct {
	StopPlan
	Record *GenerationRecord
	State  *GenerationState
}

// OpenRecord returns the slots in the file of a former supervisor, and its record; nil: it has written none.
// After an error there are no slots: they are to be made anew.
func OpenRecord(f *os.File) (*Slots, *Record, error) {
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

// State is what is restored, as a program before an exec leaves it.
func (r *Restoration) State() *State {
	s := &State{Version: FormatVersion, Listeners: map[string]int{}, Files: map[string]int{}, MoreListeners: map[string][]int{}, Control: map[string]int{},
		Apps: map[string]*AppState{}, Gunicorns: map[string]gunicorn.Report{}, Restoration: r}
	for key, a := range r.Record.Apps {
		for _, l := range a.Listeners {
			r.addListener(s, l)
		}
		if other := s.Apps[a.Name]; other == nil || other.Restored.Record.ID < a.ID {
			s.Apps[a.Name] = r.app(a, r.Plan.Apps[key])
			if a.Gunicorn != nil {
				s.Gunicorns[a.Name] = *a.Gunicorn
			}
		}
	}
	for name := range r.Files {
		if rest, systemd := strings.CutPrefix(name, SystemdPrefix); systemd {
			named := rest[:max(0, strings.LastIndexByte(rest, '/'))]
			if s.Passed == nil {
				s.Passed = map[string][]int{}
			}
			if fd := r.take(name); fd != nil {
				s.Passed[named] = append(s.Passed[named], *fd)
			}
		}
	}
	return s
}

func (r *Restoration) addListener(s *State, l ListenerRecord) {
	if l.Passed {
		return // it is the service manager's
	}
	for _, socket := range l.Sockets {
		fd := r.take(socket.Socket)
		if fd == nil {
			continue
		}
		if former, several := s.Listeners[l.Address]; several {
			s.MoreListeners[l.Address] = append(s.MoreListeners[l.Address], former)
		}
		s.Listeners[l.Address] = *fd
		delete(s.Files, l.Address)
		if path := r.take(socket.Path); path != nil {
			s.Files[l.Address] = *path
		}
	}
}

// afterReady is the hook that runs again for the generation that serves.
const afterReady = "after_ready"

func (r *Restoration) app(a *AppRecord, plan *AppPlan) *AppState {
	b := &AppState{Name: a.Name, Ended: a.Desired == Finished, Failed: a.Restart.Failed, Reason: a.Restart.Reason, Last: a.Last,
		Restored: &RestoredApp{Record: a, Plan: plan}}
	if r.Relay != nil {
		for i := range r.Relay.Apps {
			if r.Relay.Apps[i].App == a.ID {
				b.Restored.Relay = &r.Relay.Apps[i]
			}
		}
	}
	for _, g := range a.Generations {
		if g.Number == b.Restored.Plan.Serve {
			b.Current = r.generation(b, g)
			b.Current.Hooked = slices.ContainsFunc(plan.Hooks, func(h HookRecord) bool { return h.Hook == afterReady && h.Generation == g.Number })
		}
		for _, stop := range b.Restored.Plan.Stop {
			if g.Number == stop.Number {
				b.Restored.Stopping = append(b.Restored.Stopping, &RestoredStop{stop, g, r.generation(b, g)})
			}
		}
	}
	return b
}

// generation takes the descriptors of a generation.
func (r *Restoration) generation(b *AppState, g *GenerationRecord) *GenerationState {
	s := g.GenerationState
	for _, c := range r.Children {
		if c.Token == g.Token { // the supervisor may have died before it knew
			s.Tree.Token, s.Tree.Pid, s.Tree.StartTime = c.Token, c.Pid, c.StartTime
		}
	}
	s.Private, s.Path, s.Notify = r.take(g.SocketName), r.take(g.PathName), r.take(g.NotifyName)
	for stream, name := range g.Output {
		if fd := r.take(name); fd != nil {
			b.Pipes = append(b.Pipes, Pipe{g.Number, streams[stream], *fd})
		}
	}
	return &s
}

// take returns the number of a descriptor, which belongs to the caller; nil: there is none.
func (r *Restoration) take(name string) *int {
	f := r.Files[name]
	if f == nil {
		return nil
	}
	delete(r.Files, name)
	defer f.Close()
	number, err := Descriptor(f)
	if err == nil {
		number, err = unix.FcntlInt(uintptr(number), unix.F_DUPFD_CLOEXEC, 3)
	}
	if err != nil {
		return nil
	}
	return &number
}
