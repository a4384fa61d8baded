package supervisor

import (
	"context"
	"slices"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/generation"
	"tideover/supervisor/handoff"
	"tideover/supervisor/history"
)

// History yields records of what has happened, the oldest first, and with Follow also what happens
// from now on, until yield returns false or ctx ends.
func (s *Supervisor) History(ctx context.Context, q api.HistoryQuery, yield func(api.Record) bool) error {
	match, err := s.matchRecords(q.Apps)
	if err != nil {
		return err
	}
	return s.shared.history.Read(ctx, history.Query{After: q.After, Since: q.Since, Last: q.Last, Match: match, Follow: q.Follow}, yield)
}

// matchRecords returns what selects the records of some apps. An app that was removed has a history.
func (s *Supervisor) matchRecords(selectors []string) (func(api.Record) bool, error) {
	if len(selectors) == 0 || slices.Contains(selectors, "all") {
		return nil, nil
	}
	var names []string
	for _, selector := range selectors {
		apps, err := s.registry.selectApps([]string{selector})
		if err != nil {
			names = append(names, selector)
		}
		for _, a := range apps {
			names = append(names, a.name)
		}
	}
	return func(r api.Record) bool {
		if r.Kind == api.ConfigApplied {
			return slices.ContainsFunc(r.Changes, func(c api.AppChange) bool { return slices.Contains(names, c.App) })
		}
		return slices.Contains(names, r.App)
	}, nil
}

// recordDaemon adds a record of the daemon itself.
func (s *Supervisor) recordDaemon(result string) {
	s.shared.history.Add(api.Record{Kind: api.DaemonChanged, Result: result, Version: s.options.Version, Pid: s.pid()})
}

// recordApply adds a record of a configuration that was applied, or was refused. The operations that
// it took have records of their own.
func (s *Supervisor) recordApply(ended *handoff.Applied) {
	result := &ended.Result
	record := api.Record{Time: ended.Ended, Kind: api.ConfigApplied, By: ended.By, Result: result.Result, Exit: &result.Exit, Error: result.Error, Hint: result.Hint,
		Warnings: result.Warnings, Settings: result.Settings}
	for _, c := range result.Apps {
		if c.Change != api.Unchanged {
			c.Result, c.Notes, c.Settings = nil, nil, withoutSecrets(c.Settings)
			record.Changes = append(record.Changes, c)
		}
	}
	if result.Exit != api.ExitOK || len(record.Changes)+len(record.Settings) > 0 {
		s.shared.history.BeginOnce(record)
	}
}

// withoutSecrets leaves the values of env out: the history is read by more users than the configuration.
func withoutSecrets(settings []api.SettingChange) []api.SettingChange {
	settings = slices.Clone(settings)
	for i := range settings {
		if settings[i].Key == "env" {
			settings[i].Before, settings[i].After = "", ""
		}
	}
	return settings
}

// recordBegun adds a record of the operation's beginning.
func (o *operation) recordBegun() {
	if o.verb == upgrading {
		return
	}
	r := &o.result
	begin := o.app.history.Begin
	if o.restored {
		begin = o.app.history.BeginOnce
	}
	o.begun = begin(api.Record{Time: o.began, Kind: api.OperationBegun, App: r.App, Verb: o.verb, By: o.tickets[0].request.By, Cause: r.Cause,
		Callers: len(o.tickets), Generation: api.GenerationPair{From: r.Generation.From}, Revision: api.RevisionPair{From: r.Revision.From}})
}

// recordEnded adds a record of the operation's end, or of the end of its drain.
func (o *operation) recordEnded(kind api.RecordKind, r api.Result) {
	if o.verb == upgrading {
		return
	}
	record := api.Record{Time: r.Ended, Kind: kind, App: r.App, Verb: o.verb, Result: r.Result, Exit: &r.Exit, Generation: r.Generation, Revision: r.Revision,
		By: o.by, Cause: r.Cause, Error: r.Error, Hint: r.Hint, Probe: r.Probe, Output: r.ChildOutput, Warnings: r.Warnings,
		Phases: r.Phases, Drain: r.Drain, Duration: r.Duration}
	if !r.Plain {
		record.Requests = &r.Requests
	}
	if g := o.app.current; g != nil && r.Exit == api.ExitOK && g.Number == r.Generation.To {
		record.Directory = g.Dir
	}
	o.app.history.AddTo(o.begun, record)
}

// recordWait is how long a record waits for the last lines of a generation that was not asked to end:
// no longer, because the next generation is started after it.
const recordWait = 20 * time.Millisecond

// recordStart adds a record of a generation that was started without an operation.
func (a *App) recordStart(s *startup, failed string) {
	r := api.Record{Kind: api.AppStarted, App: a.name, Result: "ok", Generation: api.GenerationPair{To: s.Number}, Cause: string(s.Reason)}
	r.Revision.To = s.Spec().Revision
	if g := s.Generation(); g != nil {
		r.Duration, r.Directory = api.Seconds(time.Since(g.Started)), g.Dir
	}
	if failed != "" {
		r.Result, r.Error, r.Probe, r.Directory = "failed", failed, s.Probe().Text, ""
		if g := s.Generation(); g != nil {
			r.Output = g.OutputTail(a.log, recordWait)
		}
	}
	a.history.Add(r)
}

// recordCrash adds a record of a generation that served and is lost.
func (a *App) recordCrash(g *generation.Generation, why string) {
	a.history.Add(api.Record{Kind: api.AppCrashed, App: a.name, Generation: api.GenerationPair{From: g.Number}, Revision: api.RevisionPair{From: g.Revision},
		Cause: why, Duration: api.Seconds(time.Since(g.Ready)), Output: g.OutputTail(a.log, recordWait)})
}

// recordDown adds a record of an app that is left down.
func (a *App) recordDown(why string) {
	a.history.Add(api.Record{Kind: api.AppDown, App: a.name, Cause: why})
}
