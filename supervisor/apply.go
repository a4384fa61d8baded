package supervisor

import (
	"context"
	"errors"
	"slices"
	"sync"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// Apply reads the configuration again and makes the apps what it says: new
// ones are started, removed ones drain and stop, what can change live changes
// live, and only what must is reloaded. A configuration that is faulty, or asks
// for an address that cannot be opened, changes nothing: ExitConfig. Progress
// gets the phases of whatever it takes, from this goroutine. Apply is carried
// out whole, also when the caller leaves; only a shutdown ends it early.
func (s *Supervisor) Apply(_ context.Context, r api.ApplyRequest, progress func(api.Phase)) api.ApplyResult {
	if s.options.Load == nil {
		return applyFailed(api.Errorf(api.ExitUsage, "this daemon runs one command and has no configuration to read again"))
	}
	s.roster.changing.Lock()
	defer s.roster.changing.Unlock()
	if s.leaving.Err() != nil {
		return applyFailed(api.Errorf(api.ExitNotRunning, "tideover is shutting down"))
	}
	file, err := s.options.Load()
	if err != nil {
		return applyFailed(&api.Error{Exit: api.ExitConfig, Message: err.Error(), Hint: "nothing was changed"})
	}
	c := &changeover{Supervisor: s, file: file, by: r.By, progress: progress}
	if err := c.compare(); err != nil {
		return applyFailed(err)
	}
	out := api.ApplyResult{Result: "ok", Warnings: c.needNewStart()}
	for _, w := range file.Warnings {
		out.Warnings = append(out.Warnings, w.String())
	}
	if r.DryRun {
		out.Result = "dry run"
	} else {
		s.options.Logger.Info("applying the configuration", "by", r.By)
		if err := c.carryOut(); err != nil {
			return applyFailed(err)
		}
		s.file = file
	}
	for _, a := range c.all {
		out.Apps = append(out.Apps, a.AppChange)
		if a.Result != nil && a.Result.Exit.Worse(out.Exit) {
			out.Result, out.Exit, out.Error, out.Hint = "failed", a.Result.Exit, a.Result.Error, a.Result.Hint
		}
	}
	return out
}

func applyFailed(err error) api.ApplyResult {
	out := api.ApplyResult{Result: "failed", Exit: api.ExitError, Apps: []api.AppChange{}, Error: err.Error()}
	var e *api.Error
	if errors.As(err, &e) {
		out.Exit, out.Error, out.Hint = e.Exit, e.Message, e.Hint
	}
	return out
}

// changeover is one carrying out of Apply.
type changeover struct {
	*Supervisor
	file     *config.File
	by       string
	progress func(api.Phase)
	all      []*alteration // those that stay or come in the order of file, then those that go
}

// alteration is what a new configuration means for one app.
type alteration struct {
	api.AppChange
	old     *member     // nil: the app is new
	cfg     *config.App // nil: it goes
	fresh   *member     // what takes its place, or is new
	opened  []*door     // addresses nobody had yet
	keeping []*door     // the doors it is to have, in order; with those opened
}

// compare finds out what the configuration changes.
func (c *changeover) compare() error {
	before := map[string]*member{}
	for _, m := range c.roster.all() {
		before[m.app.name] = m
	}
	for _, cfg := range each(c.file) {
		cfg, err := c.house.check(cfg)
		if err != nil {
			return &api.Error{Exit: api.ExitConfig, Message: err.Error(), Hint: "nothing was changed"}
		}
		if full, err := c.house.complete(cfg); err == nil {
			cfg = full // or the app's own goroutine would have to ask gunicorn
		}
		a := &alteration{AppChange: api.AppChange{App: cfg.Name, Change: api.Added}, cfg: cfg, old: before[cfg.Name]}
		delete(before, cfg.Name)
		if a.old != nil {
			a.differ()
		}
		c.all = append(c.all, a)
	}
	for _, m := range c.roster.all() {
		if before[m.app.name] != nil {
			c.all = append(c.all, &alteration{AppChange: api.AppChange{App: m.app.name, Change: api.Removed}, old: m})
		}
	}
	return nil
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
		a.Settings = append(a.Settings, api.SettingChange{Key: d.Key.Path, Before: before, After: after, Takes: string(d.Key.Change)})
	}
	switch takes := config.Takes(all); {
	case len(all) == 0:
		a.Change = api.Unchanged
	case seen.settings.Web() != a.cfg.Web():
		a.Change = api.ByReplace
	case takes == config.Live, seen.rest == bidden && takes == config.Next:
		a.Change = api.ByLive
	case takes == config.Next:
		a.Change = api.ByReload
	default:
		a.Change = api.ByReopen
	}
}

// needNewStart are the settings of [daemon] that are different and wait for the
// next daemon.
func (c *changeover) needNewStart() []string {
	var all []string
	for _, d := range config.DaemonDifferences(&c.Supervisor.file.Daemon, &c.file.Daemon) {
		all = append(all, "daemon."+d.Key.Path+" is different; it is in force when tideover is started again")
	}
	return all
}

// carryOut makes the apps what they are to be. Everything that can fail without
// harm comes first: an error means that nothing was changed.
func (c *changeover) carryOut() error {
	if err := c.prepare(); err != nil {
		for _, a := range c.all {
			a.giveUp()
		}
		return &api.Error{Exit: api.ExitConfig, Message: err.Error(), Hint: "nothing was changed"}
	}
	c.detach()
	for _, a := range c.all {
		if a.Change == api.ByReplace {
			c.roster.dismiss([]*member{a.old}, c.roster.all())
		}
	}
	c.enrol()
	for _, a := range c.all {
		a.settle(c)
	}
	c.start()
	return nil
}

// start carries out the operations it takes: new apps come up and old ones go
// side by side, in the order that after asks for; reloads go one after another.
func (c *changeover) start() {
	var one sync.Mutex // phase is told at a time
	tell := func(p api.Phase) {
		one.Lock()
		defer one.Unlock()
		c.progress(p)
	}
	do := func(a *alteration, verb api.Verb) {
		result := c.Do(c.leaving, api.Request{Verb: verb, App: a.App, By: c.by}, tell)
		a.Result = &result
	}
	var going sync.WaitGroup
	going.Go(func() { c.remove() })
	for _, a := range c.all {
		if a.fresh != nil && a.fresh.app.seen.Load().rest != bidden {
			going.Go(func() {
				c.await(firstOf(a.fresh, c.roster.all()))
				do(a, api.Start)
			})
		}
	}
	for _, a := range c.all {
		if (a.Change == api.ByReload || a.Change == api.ByReopen) && a.old.app.seen.Load().rest != bidden {
			do(a, api.Reload)
		}
	}
	going.Wait()
}

// await waits for all signs, or the shutdown.
func (c *changeover) await(signs []<-chan struct{}) {
	for _, sign := range signs {
		select {
		case <-sign:
		case <-c.leaving.Done():
		}
	}
}

// remove ends the apps that go, and strikes them off the list.
func (c *changeover) remove() {
	var gone []*member
	for _, a := range c.all {
		if a.Change == api.Removed {
			gone = append(gone, a.old)
		}
	}
	if len(gone) == 0 {
		return
	}
	c.farewell(gone)
	c.roster.dismiss(gone, c.roster.all())
	members := slices.DeleteFunc(slices.Clone(c.roster.all()), func(m *member) bool { return slices.Contains(gone, m) })
	c.roster.members.Store(&members)
	for _, m := range gone {
		c.house.remember(m.app.name, false)
		c.options.Logger.Info("removed", "app", m.app.name)
	}
}

// farewell lets who came through a door while it was still that of an app that
// goes have an answer; nobody new comes.
func (c *changeover) farewell(gone []*member) {
	soon, cancel := context.WithTimeout(c.leaving, lastAnswer)
	defer cancel()
	for _, m := range gone {
		if m.app.server != nil && len(m.doors) == 0 {
			m.app.server.Lame()
			m.app.server.Linger(soon)
		}
	}
}
