package supervisor

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tideover/proxy/remote"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
	"tideover/supervisor/handoff"
)

// restore gives the apps what the former supervisor has left. It must be called before children are
// reaped. An app that cannot be restored begins as after any start.
func (s *Supervisor) restore(left *handoff.State) {
	if left == nil {
		return
	}
	for _, e := range s.registry.all() {
		a := e.app
		restored := left.Apps[a.name]
		if restored == nil {
			continue
		}
		if err := a.restore(restored); err != nil {
			a.logger.Error("cannot restore app", "app", a.name, "error", err)
		}
		a.publish()
	}
}

// restore restores an app. Its processes and its requests have gone on meanwhile.
func (a *App) restore(left *handoff.RestoredApp) error {
	defer a.relay.commence()
	a.attachPipes(left.Pipes)
	a.access.former, a.access.kept = left.Access, left.Record.Access
	a.configureAccess(a.settings) // the first requests are answered before the app's goroutine runs
	var errs []error
	if left.Current != nil {
		err := a.restoreCurrent(left)
		if err != nil {
			a.journal.Gone(left.Current.Number)
			errs = append(errs, err)
		} else {
			a.journal.serves(left.Current.Number)
		}
	}
	for _, s := range left.Stopping {
		g, err := a.launcher.Restore(a.settings, s.State, a.kept(left, s.Number))
		if err != nil {
			a.journal.Gone(s.Number)
			errs = append(errs, err)
			continue
		}
		a.resumed = append(a.resumed, resumeStop(g, s))
	}
	switch a.restart.desired {
	case desiredStopped:
		a.relay.refuse(refusal(a.settings, "the app is stopped"))
	case desiredFinished:
		a.relay.refuse(refusal(a.settings, "the app has ended"))
	}
	a.restoreLeases(left.Record)
	a.logInterrupted(left)
	a.restoring = false
	return errors.Join(errs...)
}

// restoreCurrent restores the generation that serves.
func (a *App) restoreCurrent(left *handoff.RestoredApp) error {
	g, err := a.launcher.Restore(a.settings, left.Current, a.kept(left, left.Current.Number))
	if err != nil {
		return err
	}
	a.restored = &restoredGeneration{g, left.Hooked}
	a.current, a.lastStatus = g, g.Status // the status is right from the beginning; nothing is watched yet
	a.restart.setUp()
	a.relay.serve(g.Target)
	a.logger.Info("restored", "app", a.name, "generation", g.Number, "pid", g.Process.Pid())
	return nil
}

// kept is what was kept of a generation.
func (a *App) kept(restored *handoff.RestoredApp, number int) *generation.Kept {
	k := &generation.Kept{}
	for _, g := range restored.Record.Generations {
		if g.Number == number {
			k.Record = g
		}
	}
	if restored.Relay != nil {
		for _, g := range restored.Relay.Generations {
			if g.Generation == number {
				k.Proof = g.Proof
			}
		}
	}
	return k
}

// resumeStop is how the stop of a generation goes on: with the time that it has left.
func resumeStop(g *generation.Generation, s *handoff.RestoredStop) resumedStop {
	left := func(until time.Time) time.Duration { return max(0, time.Until(until)) }
	r := resumedStop{g, generation.StopReason(s.Record.StopReason), g.StopTimeouts()}
	switch {
	case s.Unready:
		r.reason = generation.StopNotReady
	case s.Begin:
		r.reason = generation.StopReplaced
	case !s.Record.Grace.IsZero():
		r.timeouts = generation.StopTimeouts{Stop: left(s.Record.Grace)}
	case !s.Record.Drain.IsZero():
		r.timeouts.Drain = left(s.Record.Drain)
		r.timeouts.Tunnels = min(r.timeouts.Tunnels, left(s.Record.Tunnels))
	}
	return r
}

// attachedTimeout is how long the hold of a command goes on whose connection has ended with the former
// supervisor, until the command's client has asked again.
const attachedTimeout = 10 * time.Second

// restoreLeases goes on with the holds, as far as their time is not over.
func (a *App) restoreLeases(r *handoff.AppRecord) {
	a.leases.ended = r.EndedHolds
	for i := range r.EndedHolds {
		if e := &r.EndedHolds[i]; time.Since(e.Ended) < unrecordedFor {
			a.history.BeginOnce(endOfHold(a.name, e)) // unless the former supervisor has
		}
	}
	for _, l := range r.Leases {
		if a.relay == nil {
			continue
		}
		held := &lease{name: l.Name, id: l.Token, by: l.By, length: l.Length, timeout: l.Timeout, began: l.Began, ends: l.Ends, until: l.Ends,
			requests: restoreMeter(a.relay, l.Meter), over: make(chan struct{})}
		if l.Attached {
			number, _ := strconv.Atoi(strings.TrimPrefix(l.Name, attachedPrefix))
			a.leases.last = max(a.leases.last, number)
			if soon := time.Now().Add(attachedTimeout); held.ends.After(soon) {
				held.ends = soon
			}
		}
		a.leases.byName[l.Name] = held
		a.relay.hold(remote.Hold{Name: l.Name, Until: held.ends})
	}
	a.leases.arm()
}

// logInterrupted says what becomes of an operation in the middle of which the supervisor has died.
func (a *App) logInterrupted(restored *handoff.RestoredApp) {
	for _, h := range restored.Plan.Hooks {
		a.logger.Warn("hook interrupted", "app", a.name, "generation", h.Generation, "hook", h.Hook,
			"hint", "the supervisor has ended while it ran; its processes were ended before anything is started, and it runs again with the next start")
	}
	o, plan := restored.Record.Operation, restored.Plan.Operation
	if o == nil || plan == nil {
		return
	}
	a.logger.Warn("operation interrupted", "app", a.name, "verb", o.Verb, "outcome", string(plan.Outcome), "from", o.From, "to", plan.Generation,
		"hint", "the supervisor has ended in the middle of it")
}

// dropUnknown gives up what the relay has of apps that do not exist any more, and the doors of the
// former supervisor: those of this one are open. What takes longer goes on in the group. It returns the keys of the apps of
// the record of which nothing was restored.
func (s *Supervisor) dropUnknown(group *sync.WaitGroup) (gone []string) {
	left := s.options.Handoff
	if left == nil {
		return nil
	}
	for key, a := range left.Record.Apps {
		if !slices.ContainsFunc(s.registry.all(), func(e *entry) bool { return e.app.id == a.ID }) {
			gone = append(gone, key)
		}
	}
	if left.Relay == nil {
		return gone
	}
	ctx := context.Background() // a relay that does not answer is given up
	for _, d := range left.Relay.Doors {
		_ = s.shared.relay.Shut(ctx, d.Door)
	}
	unknown := left.Plan.Remove
	for _, name := range slices.Sorted(maps.Keys(s.registry.restored)) { // the configuration has them no more
		unknown = append(unknown, s.registry.restored[name].Record.ID)
	}
	for _, app := range unknown {
		group.Go(func() { _, _ = s.shared.relay.Remove(ctx, app) }) // ends within 5 s
	}
	return gone
}

// lastApp is the highest number of an app. The former supervisor has made apps that it had not recorded yet.
func lastApp(left *handoff.State) remote.AppID {
	last := left.Record.Daemon.LastApp
	for _, a := range left.Record.Apps {
		last = max(last, a.ID)
	}
	if left.Relay != nil {
		for _, a := range left.Relay.Apps {
			last = max(last, a.App)
		}
	}
	return last
}

// lastDoor is the highest number of a door of the relay.
func lastDoor(left *handoff.State) (last uint64) {
	if left == nil || left.Relay == nil {
		return 0
	}
	for _, d := range left.Relay.Doors {
		last = max(last, d.Door)
	}
	return last
}

// restoredSettings are the apps of a supervisor that has died, with the settings that they had. f is the
// configuration that was in force.
func (s *Supervisor) restoredSettings(f *config.File, r *handoff.Restoration) (all []*config.App) {
	if len(r.Record.Daemon.Apps) == 0 { // it has died before it had made them
		return eachApp(f)
	}
	for _, name := range r.Record.Daemon.Apps {
		record := s.registry.restored[name]
		if record == nil {
			continue // an apply was interrupted that had removed it already, or had not made it yet
		}
		own, err := r.Configuration(record.Record.Settings)
		if err != nil {
			s.options.Logger.Error("cannot restore app", "app", name, "error", err)
		}
		for _, file := range []*config.File{cmp.Or(own, f), f} {
			apps := eachApp(file)
			if i := slices.IndexFunc(apps, func(a *config.App) bool { return a.Name == name }); i >= 0 {
				all = append(all, apps[i])
				break
			}
		}
	}
	return all
}

// addRestored makes the apps of a supervisor that has died. What cannot be restored of one app is an
// error of this app alone: the others serve.
func (s *Supervisor) addRestored(f *config.File, r *handoff.Restoration) {
	for _, cfg := range s.restoredSettings(f, r) {
		complete, asked, err := s.shared.source.recall(cfg)
		if err == nil && !asked {
			complete, err = s.shared.source.prepare(cfg)
		}
		if err != nil {
			s.options.Logger.Error("cannot restore app", "app", cfg.Name, "error", err)
			complete = cfg
		}
		restored := s.registry.restored[cfg.Name]
		complete = withAddresses(complete, restored)
		e := s.registry.add(complete)
		if complete.QueryGunicorn || lostAddresses(complete, restored, r.Record) {
			continue // its address is not known, or is that of another app
		}
		opened, err := s.openFirst(e, complete)
		if err != nil {
			s.options.Logger.Error("cannot restore app", "app", cfg.Name, "error", err)
			continue
		}
		e.app.settings = opened // its goroutine does not run yet
		e.app.publish()
	}
}

// withAddresses returns the settings with the addresses that the app has: a reload leaves them as they
// are where the file has others.
func withAddresses(cfg *config.App, restored *handoff.RestoredApp) *config.App {
	if restored == nil || !cfg.Listens() || len(restored.Record.Listeners) == 0 {
		return cfg
	}
	var addresses []string
	for _, l := range restored.Record.Listeners {
		addresses = append(addresses, l.Address)
	}
	if slices.Equal(slices.Sorted(slices.Values(addresses)), slices.Sorted(slices.Values(cfg.Listen))) {
		return cfg
	}
	fixed := *cfg
	fixed.Listen = addresses
	return &fixed
}

// lostAddresses reports whether the app has no address any more: an apply that was interrupted takes it down, or has
// given an address of it to another app.
func lostAddresses(cfg *config.App, restored *handoff.RestoredApp, r *handoff.Record) bool {
	if restored == nil || len(restored.Record.Listeners) > 0 || r.Daemon.Applying == nil {
		return false
	}
	if r.Daemon.Applying.Apply.TakesDown(restored.Record.ID) != "" {
		return true
	}
	for _, a := range r.Apps {
		if a.Name != cfg.Name && slices.ContainsFunc(a.Listeners, func(l handoff.ListenerRecord) bool { return slices.Contains(cfg.Listen, l.Address) }) {
			return true
		}
	}
	return false
}

// journalDaemon records what is no part of an app.
func (s *Supervisor) journalDaemon() {
	j := s.options.Record
	if j == nil {
		return
	}
	s.journaling.Lock()
	defer s.journaling.Unlock()
	d := handoff.DaemonRecord{Program: s.options.Version, Began: s.began, LastApp: remote.AppID(s.registry.made.Load()),
		Configuration: s.shared.configurations.use(daemonUser, s.shared.source.inForce.Load()), Apps: s.registry.names(),
		Applying: s.applying.Load(), Applied: s.applies.ended(), Leaving: s.leaving.Err() != nil, Descriptors: s.options.Descriptors,
		Upgrade: s.upgrade.Load()}
	if s.announced.Err() != nil {
		d.Announced = time.Now()
	}
	err := j.SetDaemon(d)
	if err == nil {
		err = j.Commit()
	}
	if err != nil {
		s.options.Logger.Error("cannot write the record", "app", "", "error", err, "hint", "if the supervisor dies now, another one restores what it was before")
	}
}
