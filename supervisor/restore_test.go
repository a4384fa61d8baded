package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
)

// Whatever an interrupted apply has come to, each app of the record is restored once, with the addresses that it has
// and no other one's.
func TestRestoredAppsAreThoseOfTheRecord(t *testing.T) {
	t.Parallel()
	x, y := freeAddress(t), freeAddress(t)
	app := func(name string, id remote.AppID, addresses ...string) *handoff.AppRecord {
		a := &handoff.AppRecord{Name: name, ID: id, Desired: handoff.Up}
		for _, address := range addresses {
			a.Listeners = append(a.Listeners, handoff.ListenerRecord{Address: address})
		}
		return a
	}
	does := func(change api.Change, name string, id remote.AppID) handoff.Change {
		return handoff.Change{AppChange: api.AppChange{App: name, Change: change}, ID: id}
	}
	for name, c := range map[string]struct {
		apps    []*handoff.AppRecord
		changes []handoff.Change
		want    string
	}{
		"nothing is done yet":                {[]*handoff.AppRecord{app("one", 1, x), app("two", 2, y)}, []handoff.Change{does(api.Removed, "two", 2)}, "one 1 x, two 2 y"},
		"an app is removed":                  {[]*handoff.AppRecord{app("one", 1, x)}, []handoff.Change{does(api.Removed, "two", 2)}, "one 1 x"},
		"the address of an app is given":     {[]*handoff.AppRecord{app("one", 1), app("two", 2, x, y)}, nil, "one 1, two 2 x y"},
		"that of one that is removed":        {[]*handoff.AppRecord{app("one", 1), app("two", 2, y)}, []handoff.Change{does(api.Removed, "one", 1)}, "one 1, two 2 y"},
		"an app has begun to be replaced":    {[]*handoff.AppRecord{app("one", 1, x), app("two", 2, y)}, []handoff.Change{does(api.ByReplace, "one", 1)}, "one 1 x, two 2 y"},
		"the one in its place has no socket": {[]*handoff.AppRecord{app("one", 1, x), app("one", 3), app("two", 2, y)}, []handoff.Change{does(api.ByReplace, "one", 1)}, "one 3 x, two 2 y"},
		"the one in its place has it":        {[]*handoff.AppRecord{app("one", 1), app("one", 3, x), app("two", 2, y)}, []handoff.Change{does(api.ByReplace, "one", 1)}, "one 3 x, two 2 y"},
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t)
			at := func(name, address string) *config.App {
				return w.settings("web", named(name, func(a *config.App) { a.Listen = []string{address} }))
			}
			record := &handoff.Record{Version: handoff.RecordVersion, Daemon: handoff.DaemonRecord{Apps: []string{"one", "two"}, LastApp: 2}, Apps: map[string]*handoff.AppRecord{}}
			record.Daemon.Applying = &handoff.Operation{Verb: "apply", Apply: &handoff.Apply{Changes: c.changes, Request: api.ApplyRequest{Remove: true}}}
			for _, a := range c.apps {
				record.Apps[fmt.Sprint(a.ID)] = a
			}
			left := &handoff.Restoration{Record: record, Plan: handoff.Restore(record, nil, nil, nil)}
			s, err := New(&config.File{Apps: []*config.App{at("one", x), at("two", y)}},
				Options{Logger: hclog.NewNullLogger(), Name: "shop", RuntimeDir: shortDir(t), StateDir: w.state, Handoff: left.State()})
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			var restored []string
			for _, e := range s.registry.all() {
				what := fmt.Sprint(e.app.name, " ", e.app.id)
				for _, l := range e.listeners {
					what += " " + map[string]string{x: "x", y: "y"}[l.address]
				}
				restored = append(restored, what)
				if e.app.relay == nil {
					t.Errorf("%s is no web app", e.app.name)
				}
			}
			if got := strings.Join(restored, ", "); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			highest := slices.MaxFunc(c.apps, func(a, b *handoff.AppRecord) int { return int(a.ID) - int(b.ID) }).ID
			if e := s.registry.newEntry(at("three", x), nil); e.app.id <= highest {
				t.Errorf("a new app has the number %d, of another one", e.app.id)
			}
		})
	}
}

// An apply that is interrupted while it replaces an app, and fails then, leaves the app that there was.
func TestAnAppThatIsReplacedServesWhenTheApplyFails(t *testing.T) {
	t.Parallel()
	w := prepare(t)
	cfg := w.settings("web", named("one"))
	record := &handoff.Record{Version: handoff.RecordVersion, Daemon: handoff.DaemonRecord{Apps: []string{"one"}, LastApp: 1},
		Apps: map[string]*handoff.AppRecord{"1": {Name: "one", ID: 1, Desired: handoff.Up, Listeners: []handoff.ListenerRecord{{Address: w.address}}}}}
	change := handoff.Change{AppChange: api.AppChange{App: "one", Change: api.ByReplace}, ID: 1}
	record.Daemon.Applying = &handoff.Operation{Verb: "apply", Apply: &handoff.Apply{Changes: []handoff.Change{change}, Request: api.ApplyRequest{Remove: true}, Again: maxApplyAgain}}
	left := &handoff.Restoration{Record: record, Plan: handoff.Restore(record, nil, nil, nil)}
	w.tune = func(o *Options) { o.Handoff = left.State() }
	file := &config.File{Apps: []*config.App{cfg}}
	w.run(file, func() (*config.File, error) { return file, nil })
	w.page()
}
