package supervisor

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
)

// memoryStore is a handoff.Store in this process.
type memoryStore struct {
	mu    sync.Mutex
	files map[string]*os.File
}

func (s *memoryStore) Put(_ context.Context, name string, f *os.File) error {
	dup, err := remote.DuplicateFile(f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked(name)
	s.files[name] = dup
	return nil
}

func (s *memoryStore) Drop(_ context.Context, names ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		s.dropLocked(name)
	}
	return nil
}

func (s *memoryStore) dropLocked(name string) {
	s.files[name].Close()
	delete(s.files, name)
}

// duplicates are its descriptors, as the next supervisor gets them.
func (s *memoryStore) duplicates(t *testing.T) map[string]*os.File {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]*os.File{}
	for name, f := range s.files {
		dup, err := remote.DuplicateFile(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dup.Close() })
		all[name] = dup
	}
	return all
}

// all are the names of the descriptors but for the lock of the state, which the daemon takes out itself.
func (s *memoryStore) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.files)), func(name string) bool { return name == StateLockName })
}

// recorded is a harness that keeps a record, in file.
func recorded(t *testing.T, program string, options ...appOption) (*harness, *memoryStore, *os.File) {
	t.Helper()
	r := prepare(t)
	store, file := r.record()
	r.open(program, options...)
	return r, store, file
}

// record has the supervisor keep a record.
func (r *harness) record() (*memoryStore, *os.File) {
	t := r.t
	t.Helper()
	store := &memoryStore{files: map[string]*os.File{}}
	slots, file, err := handoff.NewSlots()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	journal, err := handoff.NewJournal(slots, &handoff.Record{Version: handoff.RecordVersion, Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	tune := r.tune
	r.tune = func(o *Options) {
		if tune != nil {
			tune(o)
		}
		o.Store, o.Record = store, journal
	}
	return store, file
}

// plan is what a supervisor would do that takes the place of this one now, while all processes that
// were started and not ended live.
func plan(t *testing.T, file *os.File, names []string) (*handoff.AppRecord, handoff.Plan) {
	t.Helper()
	left := restoration(t, file)
	var app *handoff.AppRecord
	for _, app = range left.Record.Apps {
	}
	return app, handoff.Restore(left.Record, left.Children, names, nil)
}

// restoration is what the next supervisor finds, without descriptors and a plan.
func restoration(t *testing.T, file *os.File) *handoff.Restoration {
	t.Helper()
	_, record, err := handoff.OpenRecord(file)
	if err != nil {
		t.Fatal(err)
	}
	left := &handoff.Restoration{Record: record}
	for _, app := range record.Apps {
		for _, g := range app.Generations {
			left.Children = append(left.Children, handoff.Child{Token: g.Token, Pid: g.Tree.Pid})
		}
	}
	return left
}

// leftBehind is what the next supervisor takes over. Its files are closed at the end of the test.
func leftBehind(t *testing.T, store *memoryStore, file *os.File) *handoff.State {
	t.Helper()
	left := restoration(t, file)
	left.Plan, left.Files = handoff.Restore(left.Record, left.Children, store.all(), nil), store.duplicates(t)
	return left.State()
}

// After each operation the record says what is: the next supervisor would change nothing.
func TestTheRecordSaysWhatIs(t *testing.T) {
	t.Parallel()
	r, store, file := recorded(t, "web")
	pid := pidOf(t, r.page())
	check := func(what string, serving int, desired handoff.Desired, descriptors int) {
		t.Helper()
		r.until(what, func(api.AppStatus) bool {
			a, p := plan(t, file, store.all())
			return a != nil && len(a.Generations) == min(1, serving) && a.Operation == nil && len(p.Drop) == 0 && len(store.all()) == descriptors
		})
		a, p := plan(t, file, store.all())
		restored := p.Apps["1"]
		if a.Name != "shop" || a.Desired != desired || restored.Serve != serving || len(restored.Stop) > 0 || restored.Start {
			t.Errorf("%s: %+v, planned %+v", what, a, restored)
		}
		if serving > 0 {
			if g := a.Generations[0]; g.Phase != handoff.Serving || g.Tree.Pid == 0 || g.Ready.IsZero() || g.Scratch == "" || len(g.Output) != 2 || g.SocketName == "" {
				t.Errorf("%s: %+v", what, g)
			}
		}
	}
	check("started", 1, handoff.Up, 6) // listener, private socket, two pipes and their spools
	if a, _ := plan(t, file, nil); a.Generations[0].Tree.Pid != pid {
		t.Errorf("pid %d is recorded, %d answers", a.Generations[0].Tree.Pid, pid)
	}
	r.want(r.do(api.Reload), api.ExitOK)
	check("reloaded", 2, handoff.Up, 6)
	r.want(r.do(api.Restart), api.ExitOK)
	check("restarted", 3, handoff.Up, 6)
	if a, _ := plan(t, file, nil); a.Last == nil || a.Last.Verb != api.Restart {
		t.Errorf("last: %+v", a.Last)
	}
	r.want(r.do(api.Stop), api.ExitOK)
	check("stopped", 0, handoff.Stopped, 1)
	r.want(r.do(api.Start), api.ExitOK)
	check("started again", 4, handoff.Up, 6)
	if _, err := r.s.Hold(t.Context(), "shop", api.HoldRequest{}); err != nil {
		t.Fatal(err)
	}
	if a, _ := plan(t, file, nil); len(a.Leases) != 1 || a.Leases[0].Name != operator || a.Leases[0].Attached {
		t.Errorf("leases: %+v", a.Leases)
	}
	if _, err := r.s.Release("shop", api.Caller{}); err != nil {
		t.Fatal(err)
	}
	r.close()
	if a, _ := plan(t, file, nil); a != nil || len(store.all()) != 0 {
		t.Errorf("after the shutdown: %+v, %v", a, store.all())
	}
}

// At every moment of a reload under load the record has one generation that serves, or one that is to
// be started, and never two.
func TestTheRecordHasOneGenerationThatServesAtEveryMoment(t *testing.T) {
	t.Parallel()
	r, _, file := recorded(t, "web", func(a *config.App) { a.Hooks.BeforeStart = shell("true") })
	r.page()
	stop, watched := make(chan struct{}), make(chan struct{})
	var serves atomic.Int64 // by the last plan
	go func() {
		defer close(watched)
		for {
			a, p := plan(t, file, nil)
			planned := p.Apps["1"]
			serves.Store(int64(planned.Serve))
			if a.Desired != handoff.Up || planned.Start != (planned.Serve == 0) {
				t.Errorf("%+v, planned %+v", a, planned)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for number, verb := range []api.Verb{api.Start, api.Reload, api.Reload, api.Reload, api.Restart} {
		r.want(r.do(verb), api.ExitOK)
		r.until("planned", func(api.AppStatus) bool { return serves.Load() == int64(number+1) })
	}
	close(stop)
	<-watched
}

// Holds go on with the time that is left. That of a command, whose connection has ended, has 10 s at most.
func TestHoldsGoOn(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.page()
	a := r.s.registry.all()[0].app
	later := time.Now().Add(time.Minute)
	a.do(t.Context(), func() {
		a.restoreLeases(&handoff.AppRecord{Leases: []handoff.Lease{{Name: operator, Ends: later}, {Name: "command 1", Attached: true, Ends: later, Token: "x"}, {Name: "over", Ends: time.Now()}}})
		a.leases.expire()
		if len(a.leases.byName) != 2 || !a.leases.byName[operator].ends.Equal(later) || time.Until(a.leases.byName["command 1"].ends) > attachedTimeout {
			t.Errorf("%+v", a.leases.byName)
		}
	})
	if len(a.relay.desired.Holds) == 0 {
		t.Error("requests are not held")
	}
}
