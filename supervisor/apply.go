package supervisor

import (
	"context"
	"errors"
	"slices"
	"sync"

	"tideover/supervisor/config"
)

// Apply reads the configuration again and makes the apps what it says: new
// ones are started, removed ones drain and stop, what can change live changes
// live, and only what must is reloaded. A configuration that is faulty, or asks
// for an address that cannot be opened, changes nothing: ExitConfig. Progress
// gets the phases of whatever it takes, from this goroutine. Apply is carried
// out whole, also when the caller leaves; only a shutdown ends it early.
func (s *Supervisor) Apply(_ context.Context, r ApplyRequest, progress func(Phase)) ApplyResult {
	if s.options.Load == nil {
		return applyFailed(errorf(ExitUsage, "this daemon runs one command and has no configuration to read again"))
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.leaving.Err() != nil {
		return applyFailed(errorf(ExitNotRunning, "tideover is shutting down"))
	}
	file, err := s.options.Load()
	if err != nil {
		return applyFailed(&Error{Exit: ExitConfig, Message: err.Error(), Hint: "nothing was changed"})
	}
	all, err := s.compare(file)
	if err != nil {
		return applyFailed(err)
	}
	out := ApplyResult{Result: "ok", Warnings: s.needNewStart(file)}
	for _, w := range file.Warnings {
		out.Warnings = append(out.Warnings, w.String())
	}
	if r.DryRun {
		out.Result = "dry run"
	} else {
		s.options.Logger.Info("applying the configuration", "by", r.By)
		if err := s.carryOut(all, r.By, progress); err != nil {
			return applyFailed(err)
		}
		s.file = file
	}
	for _, a := range all {
		out.Apps = append(out.Apps, a.AppChange)
		if a.Result != nil && a.Result.Exit.Worse(out.Exit) {
			out.Result, out.Exit, out.Error, out.Hint = "failed", a.Result.Exit, a.Result.Error, a.Result.Hint
		}
	}
	return out
}

func applyFailed(err error) ApplyResult {
	out := ApplyResult{Result: "failed", Exit: ExitError, Apps: []AppChange{}, Error: err.Error()}
	var e *Error
	if errors.As(err, &e) {
		out.Exit, out.Error, out.Hint = e.Exit, e.Message, e.Hint
	}
	return out
}

// alteration is what a new configuration means for one app.
type alteration struct {
	AppChange
	old     *member     // nil: the app is new
	cfg     *config.App // nil: it goes
	fresh   *member     // what takes its place, or is new
	opened  []*door     // addresses nobody had yet
	keeping []*door     // the doors it is to have, in order; with those opened
}

// compare finds out what a configuration changes. Those that stay or come are in
// its order, those that go follow.
func (s *Supervisor) compare(file *config.File) ([]*alteration, error) {
	before := map[string]*member{}
	for _, m := range s.all() {
		before[m.app.name] = m
	}
	var all []*alteration
	for _, cfg := range each(file) {
		cfg, err := s.house.check(cfg)
		if err != nil {
			return nil, &Error{Exit: ExitConfig, Message: err.Error(), Hint: "nothing was changed"}
		}
		if full, err := s.house.complete(cfg); err == nil {
			cfg = full // or the app's own goroutine would have to ask gunicorn
		}
		a := &alteration{AppChange: AppChange{App: cfg.Name, Change: Added}, cfg: cfg, old: before[cfg.Name]}
		delete(before, cfg.Name)
		if a.old != nil {
			a.differ()
		}
		all = append(all, a)
	}
	for _, m := range s.all() {
		if before[m.app.name] != nil {
			all = append(all, &alteration{AppChange: AppChange{App: m.app.name, Change: Removed}, old: m})
		}
	}
	return all, nil
}

// differ finds out what is different about an app that stays. What is for the
// next generation is compared with what the one that serves was started with.
func (a *alteration) differ() {
	seen := a.old.app.seen.Load()
	serving := seen.settings
	if seen.current != nil {
		serving = seen.current.settings
	}
	var all []config.Difference
	for _, d := range config.Differences(serving, a.cfg) {
		if d.Key.Change == config.Next {
			all = append(all, d)
		}
	}
	for _, d := range config.Differences(seen.settings, a.cfg) {
		if d.Key.Change != config.Next {
			all = append(all, d)
		}
	}
	for _, d := range all {
		before, after := d.Texts()
		a.Settings = append(a.Settings, SettingChange{Key: d.Key.Path, Before: before, After: after, Takes: string(d.Key.Change)})
	}
	switch takes := config.Takes(all); {
	case len(all) == 0:
		a.Change = Unchanged
	case seen.settings.Web() != a.cfg.Web():
		a.Change = ByReplace
	case takes == config.Live, seen.rest == bidden && takes == config.Next:
		a.Change = ByLive
	case takes == config.Next:
		a.Change = ByReload
	default:
		a.Change = ByReopen
	}
}

// needNewStart are the settings of [daemon] that are different and wait for the
// next daemon.
func (s *Supervisor) needNewStart(file *config.File) []string {
	var all []string
	for _, d := range config.DaemonDifferences(&s.file.Daemon, &file.Daemon) {
		all = append(all, "daemon."+d.Key.Path+" is different; it is in force when tideover is started again")
	}
	return all
}

// carryOut makes the apps what they are to be. Everything that can fail without
// harm comes first: an error means that nothing was changed.
func (s *Supervisor) carryOut(all []*alteration, by string, progress func(Phase)) error {
	if err := s.prepare(all); err != nil {
		for _, a := range all {
			a.giveUp()
		}
		return &Error{Exit: ExitConfig, Message: err.Error(), Hint: "nothing was changed"}
	}
	detach(all)
	for _, a := range all {
		if a.Change == ByReplace {
			s.dismiss([]*member{a.old}, s.all())
		}
	}
	s.enrol(all)
	for _, a := range all {
		a.settle(s)
	}
	s.start(all, by, progress)
	return nil
}

// start carries out the operations it takes: new apps come up and old ones go
// side by side, in the order that after asks for; reloads go one after another.
func (s *Supervisor) start(all []*alteration, by string, progress func(Phase)) {
	var one sync.Mutex // phase is told at a time
	tell := func(p Phase) {
		one.Lock()
		defer one.Unlock()
		progress(p)
	}
	do := func(a *alteration, verb Verb) {
		result := s.Do(s.leaving, Request{Verb: verb, App: a.App, By: by}, tell)
		a.Result = &result
	}
	var going sync.WaitGroup
	going.Go(func() { s.remove(all) })
	for _, a := range all {
		if a.fresh != nil && a.fresh.app.seen.Load().rest != bidden {
			going.Go(func() {
				s.await(firstOf(a.fresh, s.all()))
				do(a, Start)
			})
		}
	}
	for _, a := range all {
		if (a.Change == ByReload || a.Change == ByReopen) && a.old.app.seen.Load().rest != bidden {
			do(a, Reload)
		}
	}
	going.Wait()
}

// await waits for all signs, or the shutdown.
func (s *Supervisor) await(signs []<-chan struct{}) {
	for _, sign := range signs {
		select {
		case <-sign:
		case <-s.leaving.Done():
		}
	}
}

// remove ends the apps that go, and strikes them off the list.
func (s *Supervisor) remove(all []*alteration) {
	var gone []*member
	for _, a := range all {
		if a.Change == Removed {
			gone = append(gone, a.old)
		}
	}
	if len(gone) == 0 {
		return
	}
	s.farewell(gone)
	s.dismiss(gone, s.all())
	members := slices.DeleteFunc(slices.Clone(s.all()), func(m *member) bool { return slices.Contains(gone, m) })
	s.members.Store(&members)
	for _, m := range gone {
		s.house.remember(m.app.name, false)
		s.options.Logger.Info("removed", "app", m.app.name)
	}
}

// farewell lets who came through a door while it was still that of an app that
// goes have an answer; nobody new comes.
func (s *Supervisor) farewell(gone []*member) {
	soon, cancel := context.WithTimeout(s.leaving, lastAnswer)
	defer cancel()
	for _, m := range gone {
		if m.app.server != nil && len(m.doors) == 0 {
			m.app.server.Lame()
			m.app.server.Linger(soon)
		}
	}
}

// prepare opens what is to be open, and makes what is to be new.
func (s *Supervisor) prepare(all []*alteration) error {
	for _, a := range all {
		if a.cfg == nil {
			continue
		}
		if a.old == nil || a.Change == ByReplace {
			m, err := s.newMember(a.cfg)
			if err != nil {
				return err
			}
			a.fresh = m
		}
		for _, address := range a.cfg.Listen {
			d := spare(all, a, address)
			if d == nil {
				opened, err := s.openDoor(a.cfg, address)
				if err != nil {
					return err
				}
				a.opened, d = append(a.opened, opened), opened
			}
			a.keeping = append(a.keeping, d)
		}
	}
	return nil
}

// spare finds the open door that an app is to have at an address: its own, or
// one that another app gives up. Without one, nil.
func spare(all []*alteration, a *alteration, address string) *door {
	for _, other := range all {
		if other.old == nil || other != a && other.cfg != nil && slices.Contains(other.cfg.Listen, address) {
			continue
		}
		if i := slices.IndexFunc(other.old.doors, func(d *door) bool { return d.address == address }); i >= 0 {
			return other.old.doors[i]
		}
	}
	return nil
}

// giveUp closes what was prepared.
func (a *alteration) giveUp() {
	for _, d := range a.opened {
		d.shut()
	}
	if a.fresh != nil {
		a.fresh.close()
	}
}

// detach takes from every app the doors it is not to have any more. One that
// changes hands stays open: who comes meanwhile waits in its backlog. Those of an
// app that goes stay until it is gone, if nobody wants them.
func detach(all []*alteration) {
	wanted := map[*door]bool{}
	for _, a := range all {
		for _, d := range a.keeping {
			wanted[d] = true
		}
	}
	for _, a := range all {
		if a.old == nil {
			continue
		}
		a.old.doors = slices.DeleteFunc(a.old.doors, func(d *door) bool {
			switch {
			case slices.Contains(a.keeping, d) && a.fresh == nil:
				return false
			case wanted[d]:
				d.stop()
				return true
			case a.cfg == nil:
				return false
			}
			d.shut()
			return true
		})
	}
}

// enrol makes the list of members what it is to be, with those that go at its
// end until they are gone.
func (s *Supervisor) enrol(all []*alteration) {
	var members []*member
	for _, a := range all {
		if a.fresh == nil {
			members = append(members, a.old)
		} else {
			members = append(members, a.fresh)
		}
	}
	s.members.Store(&members)
}

// settle gives an app its doors and its settings. A new one is not started yet:
// its clients wait.
func (a *alteration) settle(s *Supervisor) {
	switch {
	case a.cfg == nil:
		return
	case a.fresh != nil:
		a.fresh.doors = a.keeping
		s.begin(a.fresh, []<-chan struct{}{make(chan struct{})}) // its turn comes when somebody asks for it
		return
	case a.Change == Unchanged:
		return
	}
	for _, d := range a.keeping {
		if !slices.Contains(a.old.doors, d) {
			d.accept(a.old.app)
		}
	}
	a.old.doors = a.keeping
	a.old.app.do(s.leaving, func() { a.old.app.adopt(a.cfg) })
}
