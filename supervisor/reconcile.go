package supervisor

import (
	"context"
	"errors"
	"slices"
	"sync"

	"tideover/proxy/awake"
	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
)

// Apply reads the configuration again and makes the apps what it says: new ones
// are started, removed ones drain and stop, what can change live changes live, and
// only what must is reloaded. A configuration that is faulty, or has an address
// that cannot be opened, changes nothing: ExitConfig. progress gets the phases,
// from the caller's goroutine. An Apply that has begun is carried out whole even when ctx
// ends; only a shutdown ends it early. One that waits for another Apply is dropped.
func (s *Supervisor) Apply(ctx context.Context, r api.ApplyRequest, progress func(api.Phase)) api.ApplyResult {
	if r.ID != "" && !r.DryRun {
		return s.applyOnce(ctx, r, progress)
	}
	return s.applyNew(ctx, r, nil, progress)
}

// apply is applyNew without the history.
func (s *Supervisor) apply(ctx context.Context, r api.ApplyRequest, interrupted *handoff.Operation, progress func(api.Phase)) api.ApplyResult {
	if s.options.Load == nil {
		return applyFailed(api.Errorf(api.ExitUsage, "this daemon runs one command and has no configuration to read again"))
	}
	var from *config.File
	if interrupted != nil { // its caller has reading
		if interrupted.Apply.Again > maxApplyAgain {
			return applyFailed(&api.Error{Exit: api.ExitError, Message: "the supervisor of tideover has ended in the middle of it, again and again",
				Hint: "some apps may have the settings from before: run tideover apply again"})
		}
		from = s.unapplied.file
	} else {
		select {
		case s.reading <- struct{}{}:
			defer func() { <-s.reading }()
		case <-s.leaving.Done():
			return applyFailed(errShuttingDown)
		case <-ctx.Done():
			return applyFailed(api.Errorf(api.ExitTimeout, "stopped waiting; the apply had not begun and is dropped"))
		}
	}
	c, err := s.readWanted(r, from)
	if err != nil {
		return applyFailed(err)
	}
	c.by, c.progress = r.By, progress
	file := c.file
	s.registry.changing.Lock()
	defer s.registry.changing.Unlock()
	if s.leaving.Err() != nil {
		return applyFailed(errShuttingDown)
	}
	c.compare()
	if interrupted != nil {
		c.goOn(interrupted.Apply.Changes)
	}
	out := api.ApplyResult{Result: "ok"}
	settings, warnings := c.daemonChanges()
	if c.only == nil {
		out.Settings, out.Warnings = settings, warnings
	}
	for _, w := range file.Warnings {
		out.Warnings = append(out.Warnings, w.String())
	}
	for _, name := range c.unasked {
		out.Warnings = append(out.Warnings, name+": gunicorn was not asked for its settings, because a dry run executes nothing")
	}
	if r.DryRun {
		out.Result = "dry run"
		out.Warnings = append(out.Warnings, c.planListeners()...)
	} else {
		if interrupted == nil {
			s.options.Logger.Info("apply started", "by", r.By.String())
		}
		s.applying.Store(c.applyRecord(r, interrupted))
		s.journalDaemon()
		err := c.carryOutAll()
		if err == nil && c.only == nil {
			s.shared.source.inForce.Store(file)
			s.turns.wake()
		}
		if err != nil {
			return applyFailed(err)
		}
	}
	for _, a := range append(c.all, c.dropped...) {
		out.Apps = append(out.Apps, a.report())
		if a.Result != nil && a.Result.Exit.Worse(out.Exit) {
			out.Result, out.Exit, out.Error, out.Hint = "failed", a.Result.Exit, a.Result.Error, a.Result.Hint
		}
	}
	return out
}

var errShuttingDown = api.Errorf(api.ExitNotRunning, "tideover is shutting down")

func applyFailed(err error) api.ApplyResult {
	out := api.ApplyResult{Result: "failed", Exit: api.ExitError, Apps: []api.AppChange{}, Error: err.Error()}
	var e *api.Error
	if errors.As(err, &e) {
		out.Exit, out.Error, out.Hint = e.Exit, e.Message, e.Hint
	}
	return out
}

// reconciliation is one execution of Apply.
type reconciliation struct {
	*Supervisor
	file     *config.File
	wanted   []*config.App // the apps of file, prepared
	unasked  []string      // of these, in a dry run, those whose gunicorn has not told its settings
	by       api.Caller
	only     []string // names of the apps that may change; nil: all, and the daemon
	progress func(api.Phase)
	all      []*appChange // in the order of file, then the removed ones
	dropped  []*appChange // new apps whose address could not be opened, and those that a former supervisor has removed
	// covered are the public addresses that are given up and part of a new one, like 127.0.0.1:8000
	// of 0.0.0.0:8000.
	covered map[*publicListener]*publicListener
}

// appChange is what a new configuration means for one app.
type appChange struct {
	api.AppChange
	old       *entry            // nil: the app is new
	cfg       *config.App       // nil: it is removed
	created   *entry            // the new app; nil: the old one stays
	opened    []*publicListener // addresses that no app had
	listeners []*publicListener // those it is to have, in order; opened and those of late are among them
	late      []lateListener
	stopFirst bool  // of the old app: a process of it has an address of another change
	failed    error // why the addresses in late could not be opened

	before *api.AppChange // of an apply that a former supervisor has begun: what it was to do; nil: that is Change
	await  bool           // likewise: its start is under way
}

// readWanted reads the configuration and the files of the apps that it needs. It opens files
// of the apps and, unless it is for a dry run, runs their gunicorn, so registry.changing must not
// be held: a shutdown needs it. reading must be held.
// from is the configuration where it is not to be read; else nil.
func (s *Supervisor) readWanted(r api.ApplyRequest, from *config.File) (*reconciliation, error) {
	invalid := func(err error) error {
		return &api.Error{Exit: api.ExitConfig, Message: err.Error(), Hint: "nothing was changed"}
	}
	if r.Remove {
		return &reconciliation{Supervisor: s, file: &config.File{}, only: r.Only}, nil
	}
	file := from
	if file == nil {
		var err error
		if file, err = s.shared.source.read(r.AllowEmpty); err != nil {
			return nil, invalid(err)
		}
	}
	c := &reconciliation{Supervisor: s, file: file, only: r.Only}
	apps, errs := eachApp(file), []error(nil)
	if c.only != nil {
		apps = slices.DeleteFunc(apps, func(a *config.App) bool { return !slices.Contains(c.only, a.Name) })
	}
	if r.DryRun {
		errs = c.recall(apps)
	} else {
		c.wanted, errs = s.shared.source.prepareAll(apps)
	}
	if err := file.CommandErrors(apps, errs); err != nil {
		return nil, invalid(err)
	}
	for _, cfg := range c.wanted {
		a, err := s.registry.app(cfg.Name)
		if err != nil || logFiles(a.snapshot.Load().settings) != logFiles(cfg) {
			if err := s.shared.source.checkLog(cfg); err != nil {
				return nil, invalid(err)
			}
		}
	}
	return c, nil
}

// logFiles are the paths of the log files of an app.
func logFiles(cfg *config.App) [2]string { return [2]string{cfg.Log.File, cfg.Log.AccessFile} }

// recall prepares the apps of a dry run. The address of a gunicorn that was not asked stays what it
// is.
func (c *reconciliation) recall(apps []*config.App) (errs []error) {
	for _, cfg := range apps {
		cfg, asked, err := c.shared.source.recall(cfg)
		if errs = append(errs, err); err != nil {
			continue
		}
		if !asked {
			c.unasked = append(c.unasked, cfg.Name)
			if a, err := c.registry.app(cfg.Name); err == nil && cfg.QueryGunicorn {
				kept := *cfg
				kept.Listen = a.snapshot.Load().settings.Listen
				cfg = &kept
			}
		}
		c.wanted = append(c.wanted, cfg)
	}
	return errs
}

// compare finds what the configuration changes.
func (c *reconciliation) compare() {
	before := map[string]*entry{}
	for _, m := range c.registry.all() {
		before[m.app.name] = m
	}
	for _, cfg := range c.wanted {
		a := &appChange{AppChange: api.AppChange{App: cfg.Name, Change: api.Added}, cfg: cfg, old: before[cfg.Name]}
		delete(before, cfg.Name)
		if a.old != nil {
			a.differ()
		}
		c.all = append(c.all, a)
	}
	for _, m := range c.registry.all() {
		if before[m.app.name] != nil && c.only != nil && !slices.Contains(c.only, m.app.name) {
			c.all = append(c.all, &appChange{AppChange: api.AppChange{App: m.app.name, Change: api.Unchanged}, old: m, cfg: m.settings()})
			continue
		}
		if before[m.app.name] != nil {
			c.all = append(c.all, &appChange{AppChange: api.AppChange{App: m.app.name, Change: api.Removed}, old: m})
		}
	}
}

// differ finds the settings of an app that have changed. Those of the next
// generation are compared with the settings of the generation that serves.
func (a *appChange) differ() {
	seen := a.old.app.snapshot.Load()
	serving := seen.settings
	if seen.current != nil {
		serving = seen.current.App
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
	switch takes := config.Strongest(all); {
	case len(all) == 0:
		a.Change = api.Unchanged
	case seen.settings.Web() != a.cfg.Web(), seen.settings.Direct() != a.cfg.Direct():
		a.Change = api.ByReplace
	case takes == config.Live, seen.desired == desiredStopped && takes == config.Next:
		a.Change = api.ByLive
	case takes == config.Next:
		a.Change = api.ByReload
	default:
		a.Change = api.ByReopen
	}
}

// daemonChanges returns the settings of [daemon] and [fleet] that differ: those that are changed at once, and what
// is to be said of those that need a new daemon.
func (c *reconciliation) daemonChanges() (live []api.SettingChange, others []string) {
	inForce := c.shared.source.inForce.Load()
	for _, d := range config.FleetDifferences(&inForce.Fleet, &c.file.Fleet) {
		before, after := d.Texts()
		live = append(live, api.SettingChange{Key: "fleet." + d.Key.Path, Before: before, After: after, Takes: string(d.Key.Change)})
	}
	for _, d := range config.DaemonDifferences(&inForce.Daemon, &c.file.Daemon) {
		if d.Key.Change == config.Live {
			before, after := d.Texts()
			live = append(live, api.SettingChange{Key: "daemon." + d.Key.Path, Before: before, After: after, Takes: string(d.Key.Change)})
			continue
		}
		others = append(others, "daemon."+d.Key.Path+" has changed; the change takes effect when tideover is started again")
	}
	return live, others
}

// carryOutAll makes the daemon and the apps what the configuration says.
func (c *reconciliation) carryOutAll() error {
	change := DaemonChange{Commit: func() {}, Discard: func() {}}
	if c.options.Reconfigure != nil && c.only == nil {
		var err error
		if change, err = c.options.Reconfigure(c.file); err != nil {
			return &api.Error{Exit: api.ExitConfig, Message: err.Error(), Hint: "nothing was changed"}
		}
	}
	if err := c.carryOut(); err != nil {
		change.Discard()
		return err
	}
	change.Commit()
	return c.shared.relay.Configure(context.Background(), RelaySettings(c.file))
}

// carryOut makes the apps what the configuration says. What can fail without harm
// comes first: an error means that nothing was changed.
func (c *reconciliation) carryOut() error {
	if err := c.prepare(); err != nil {
		for _, a := range c.all {
			a.discard()
		}
		return &api.Error{Exit: api.ExitConfig, Message: err.Error(), Hint: "nothing was changed"}
	}
	c.releaseListeners()
	c.duplicateLate()
	c.stopOld()
	c.publish()
	for _, a := range c.all {
		a.adopt(c)
	}
	c.start()
	return nil
}

// start carries out the operations: new apps are started and removed ones stopped
// side by side, in the order of after; reloads run one after another.
func (c *reconciliation) start() {
	var mu sync.Mutex // one call of progress at a time
	progress := func(p api.Phase) {
		mu.Lock()
		defer mu.Unlock()
		c.progress(p)
	}
	do := func(a *appChange, verb api.Verb) {
		result := c.Do(c.leaving, api.Request{Verb: verb, App: a.App, By: c.by, Applied: true}, progress)
		a.Result = &result
		if a.failed != nil {
			result.Result, result.Exit, result.Error, result.Hint = "failed", api.ExitError, a.failed.Error(), "what ran before runs again"
		}
	}
	var going sync.WaitGroup
	going.Go(func() { c.remove() })
	for _, a := range c.all {
		if a.created != nil && a.created.app.snapshot.Load().desired != desiredStopped {
			going.Go(func() {
				c.await(a.created.dependencies(c.registry.all()))
				do(a, api.Start)
			})
		}
	}
	for _, a := range c.all {
		if a.await {
			going.Go(func() { do(a, api.Start) })
		}
	}
	for _, a := range c.all {
		if a.failed == nil && (a.Change == api.ByReload || a.Change == api.ByReopen) && a.old.app.snapshot.Load().desired != desiredStopped {
			do(a, api.Reload)
		}
	}
	going.Wait()
}

// await waits for all channels, or the shutdown.
func (c *reconciliation) await(signs []<-chan struct{}) {
	for _, sign := range signs {
		select {
		case <-sign:
		case <-c.leaving.Done():
		}
	}
}

// remove stops the apps that are no longer configured and takes them out of the
// registry.
func (c *reconciliation) remove() {
	var gone []*entry
	for _, a := range c.all {
		if a.Change == api.Removed {
			gone = append(gone, a.old)
		}
	}
	if len(gone) == 0 {
		return
	}
	for _, m := range gone {
		m.app.recordStopped(false)
		m.app.recordDrained(nil)
	}
	c.drainReleased(gone)
	c.registry.stop(gone, c.registry.all())
	entries := slices.DeleteFunc(slices.Clone(c.registry.all()), func(m *entry) bool { return slices.Contains(gone, m) })
	c.registry.entries.Store(&entries)
	for _, m := range gone {
		c.options.Logger.Info("app removed", "app", m.app.name)
	}
}

// drainReleased waits for connections that an app had accepted before its listeners moved to
// another app. It gets no new ones, and from its stop on it refuses requests: idle connections are closed before.
func (c *reconciliation) drainReleased(gone []*entry) {
	soon, cancel := awake.WithTimeout(c.leaving, idleLinger)
	defer cancel()
	for _, m := range gone {
		if m.app.relay != nil && len(m.listeners) == 0 {
			m.app.relay.closeAfterNextResponse()
			m.app.relay.await(soon, remote.Disconnected)
			m.app.relay.closeIdle()
		}
	}
}

// prepare opens the public sockets and makes the apps that are new.
func (c *reconciliation) prepare() error {
	c.covered = map[*publicListener]*publicListener{}
	for _, a := range c.all {
		if a.cfg == nil {
			continue
		}
		if a.old == nil || a.Change == api.ByReplace {
			a.created = c.registry.newEntry(a.cfg, nil)
		}
		for _, address := range a.cfg.Listen {
			d := c.reusableListener(a, address)
			if d == nil {
				var err error
				if d, err = c.openListener(a, address); err != nil {
					return err
				}
			}
			a.listeners = append(a.listeners, d)
		}
	}
	return nil
}

// reusableListener finds the open socket for an address of an app: its own, or one
// that another app gives up; else nil.
func (c *reconciliation) reusableListener(a *appChange, address string) *publicListener {
	for _, other := range c.all {
		if other.old == nil || other != a && other.cfg != nil && slices.Contains(other.cfg.Listen, address) {
			continue
		}
		if i := slices.IndexFunc(other.old.listeners, func(d *publicListener) bool { return d.address == address }); i >= 0 {
			return other.old.listeners[i]
		}
	}
	return nil
}

// discard closes what prepare has made.
func (a *appChange) discard() {
	for _, d := range a.opened {
		d.close()
	}
	if a.created != nil {
		a.created.app.relay.remove()
		a.created.close()
		a.created.forget()
	}
}

// releaseListeners takes from every app the public sockets that it is not to have
// any more. A socket that moves to another app stays open: connections wait in its
// backlog. The sockets of a removed app stay open until it is closed, unless
// another app takes them.
func (c *reconciliation) releaseListeners() {
	wanted := map[*publicListener]bool{}
	for _, a := range c.all {
		for _, d := range a.listeners {
			wanted[d] = true
		}
	}
	for _, a := range c.all {
		if a.old == nil {
			continue
		}
		a.old.listeners = slices.DeleteFunc(a.old.listeners, func(d *publicListener) bool {
			switch {
			case slices.Contains(a.listeners, d) && a.created == nil:
				return false
			case wanted[d]:
				d.stopAccepting()
				return true
			case c.covered[d] != nil:
				c.covered[d].takeSockets(d)
				return true
			case a.cfg == nil:
				return false
			}
			d.close()
			return true
		})
	}
}

// publish stores the new list of apps in the registry. Removed apps are at its end
// until they are closed.
func (c *reconciliation) publish() {
	var entries []*entry
	for _, a := range c.all {
		if a.created == nil {
			entries = append(entries, a.old)
		} else {
			entries = append(entries, a.created)
		}
	}
	c.registry.entries.Store(&entries)
	c.journalDaemon()
}

// adopt gives an app its public sockets and settings. A new app is not started
// yet: requests to it are held.
func (a *appChange) adopt(c *reconciliation) {
	switch {
	case a.cfg == nil:
		return
	case a.created != nil:
		a.created.listeners = a.listeners
		a.created.app.journal.begin()
		c.registry.start(a.created, []<-chan struct{}{make(chan struct{})}) // it is started by an operation
		if a.old != nil {
			a.old.forget()
		}
		return
	}
	for _, d := range a.listeners {
		if !slices.Contains(a.old.listeners, d) {
			d.serve(a.old.app)
		}
	}
	a.old.listeners = a.listeners // also of an unchanged app: a supervisor that has died may have left it without one
	if a.Change == api.Unchanged {
		return
	}
	a.old.app.do(c.leaving, func() { a.old.app.useSettings(a.cfg) })
}
