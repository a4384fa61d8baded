package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
	"tideover/supervisor/logs"
)

// past is what is known of the processes of an app that have ended, and when the last one began.
// The app's goroutine owns it.
type past struct {
	generation   int
	started      time.Time
	stopped      time.Time
	exitStatus   int
	startFailure string // why the last start has failed, as supervisord says it; empty: it has not
}

// onProcess is called with the generation that serves or starts, or nil.
func (p *past) onProcess(g *generation.Generation) {
	if g != nil && g.Process != nil && g.Number > p.generation {
		p.generation, p.started, p.exitStatus = g.Number, g.Started, 0
	}
}

// onStopped is called when no process of a generation is left.
func (p *past) onStopped(t *generation.Teardown) {
	if outcome, ok := t.Outcome(); ok && t.Number >= p.generation {
		p.stopped, p.exitStatus = time.Now(), outcome.Code
	}
}

// exitedTooQuickly is what supervisord says of a process that has ended before it was ready.
const exitedTooQuickly = "Exited too quickly (process log may have details)"

func (p *past) onStartFailed(s *startup, why string) {
	p.startFailure = why
	if g := s.Generation(); g != nil && g.Process != nil {
		p.startFailure = exitedTooQuickly
	}
}

// Programs returns the apps as clients of supervisord see them. With configured they are those of
// the configuration file as it is now; else those that the daemon has, without those that RemoveGroup
// is about to remove.
func (s *Supervisor) Programs(configured bool) ([]api.Program, error) {
	if !configured {
		all := []api.Program{}
		for _, e := range s.registry.all() {
			if !s.removals.has(e.app.name) {
				all = append(all, e.app.program())
			}
		}
		return all, nil
	}
	file, err := s.shared.source.read(true)
	if err != nil {
		return nil, &api.Error{Exit: api.ExitConfig, Message: err.Error()}
	}
	all := []api.Program{}
	for _, cfg := range eachApp(file) {
		p := programOf(cfg)
		p.InUse = s.inUse(cfg.Name)
		all = append(all, p)
	}
	return all, nil
}

// inUse reports whether the daemon has an app that is not about to be removed.
func (s *Supervisor) inUse(name string) bool {
	return slices.Contains(s.registry.names(), name) && !s.removals.has(name)
}

// program returns the app as it is now. Any goroutine may call it.
func (a *App) program() api.Program {
	seen := a.snapshot.Load()
	p := programOf(seen.settings)
	p.InUse, p.State = true, seen.state()
	p.Finished, p.Failed = seen.desired == desiredFinished, seen.past.startFailure != ""
	p.Started, p.Stopped, p.ExitStatus = seen.past.started, seen.past.stopped, seen.past.exitStatus
	p.Reason = seen.past.startFailure
	switch {
	case seen.current != nil:
		p.Pid = seen.current.Process.Pid()
	case seen.spawned != nil:
		p.Pid = seen.spawned.Process.Pid()
	}
	return p
}

// programOf returns the settings of an app.
func programOf(cfg *config.App) api.Program {
	group, name := cfg.Program()
	return api.Program{App: cfg.Name, Group: group, Name: name, Command: strings.Join(cfg.Command, " "), Directory: cfg.Directory, User: cfg.User,
		Autostart: cfg.Autostart, ExitCodes: cfg.ExitCodes, StopSignal: int(cfg.Stop.Signal), StopTimeout: api.Seconds(cfg.Stop.Timeout),
		LogFile: cfg.Log.File, LogMaxSize: cfg.Log.MaxSize, LogBackups: cfg.Log.Backups, MergeStderr: cfg.Log.MergeStderr}
}

// LogText returns output that is kept in memory.
func (s *Supervisor) LogText(q api.LogTextQuery) (api.LogText, error) {
	streams := []logs.Stream{logs.Note}
	var log *logs.Log
	switch {
	case q.App != "":
		a, err := s.registry.app(q.App)
		if err != nil {
			return api.LogText{}, err
		}
		log, streams = a.log, []logs.Stream{logs.Stdout}
		switch merged := a.snapshot.Load().settings.Log.MergeStderr; {
		case q.Stream == logs.Stderr.String():
			streams = []logs.Stream{logs.Stderr}
		case merged:
			streams = []logs.Stream{logs.Stdout, logs.Stderr}
		}
	case s.options.OwnLog == nil:
		return api.LogText{}, api.Errorf(api.ExitError, "this daemon does not keep its own log in memory")
	default:
		log = s.options.OwnLog.Log()
	}
	bound := api.MaxLogText
	if q.Length > 0 {
		bound = min(bound, q.Length)
	}
	text, size := log.Text(streams, q.Offset, bound)
	return api.LogText{Text: text, Size: size}, nil
}

// ClearLog makes the text of an app's log begin with the next line; without a name that of the
// daemon's own log.
func (s *Supervisor) ClearLog(name string) error {
	if name == "" {
		if s.options.OwnLog != nil {
			s.options.OwnLog.Log().Clear()
		}
		return nil
	}
	a, err := s.registry.app(name)
	if err != nil {
		return err
	}
	a.log.Clear()
	return nil
}

// Reread says what an apply would change, by groups. An app that RemoveGroup is about to remove
// counts as removed.
func (s *Supervisor) Reread(ctx context.Context, by api.Caller) (api.Reread, error) {
	groups := api.Reread{Added: []string{}, Changed: []string{}, Removed: []string{}}
	planned := s.Apply(ctx, api.ApplyRequest{DryRun: true, AllowEmpty: true, By: by}, func(api.Phase) {})
	if planned.Exit != api.ExitOK {
		return groups, &api.Error{Exit: planned.Exit, Message: planned.Error, Hint: planned.Hint}
	}
	before, err := s.Programs(false)
	if err != nil {
		return groups, err
	}
	after, err := s.Programs(true)
	if err != nil {
		return groups, err
	}
	groupOf := func(among []api.Program, app string) string {
		if i := slices.IndexFunc(among, func(p api.Program) bool { return p.App == app }); i >= 0 {
			return among[i].Group
		}
		return ""
	}
	had := func(among []api.Program, group string) bool {
		return slices.ContainsFunc(among, func(p api.Program) bool { return p.Group == group })
	}
	add := func(to *[]string, group string) {
		if group != "" && !slices.Contains(*to, group) {
			*to = append(*to, group)
		}
	}
	for _, c := range planned.Apps {
		is, was := groupOf(after, c.App), groupOf(before, c.App)
		if c.Change == api.Unchanged && is == was {
			continue
		}
		for _, group := range []string{is, was} {
			switch {
			case group == "":
			case !had(before, group):
				add(&groups.Added, group)
			case !had(after, group):
				add(&groups.Removed, group)
			default:
				add(&groups.Changed, group)
			}
		}
	}
	return groups, nil
}

// removals are the apps that RemoveGroup has taken away, while their public sockets are kept for an
// AddGroup.
type removals struct {
	mu     sync.Mutex // guards the fields below
	due    map[string]*time.Timer
	ending sync.WaitGroup // the timers that have fired
}

func (r *removals) has(app string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.due[app] != nil
}

// add calls remove after d, unless take is called before.
func (r *removals) add(app string, d time.Duration, remove func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.due == nil {
		r.due = map[string]*time.Timer{}
	}
	if r.due[app] == nil {
		r.ending.Add(1)
		r.due[app] = time.AfterFunc(d, func() {
			defer r.ending.Done()
			if r.take(app) {
				remove()
			}
		})
	}
}

// take gives a removal up, and reports whether there was one.
func (r *removals) take(app string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	timer := r.due[app]
	if timer == nil {
		return false
	}
	delete(r.due, app)
	if timer.Stop() {
		r.ending.Done()
	}
	return true
}

// close gives all removals up and waits for those that have begun.
func (r *removals) close() {
	r.mu.Lock()
	for app, timer := range r.due {
		delete(r.due, app)
		if timer.Stop() {
			r.ending.Done()
		}
	}
	r.mu.Unlock()
	r.ending.Wait()
}

// RemoveGroup takes the apps of a group of supervisord away. They must be stopped: ExitBusy. The
// public sockets of a web app are kept, and its requests held, for hold.timeout: an AddGroup within
// that time makes it a restart.
func (s *Supervisor) RemoveGroup(ctx context.Context, group string, by api.Caller) error {
	var apps []*App
	for _, e := range s.registry.all() {
		if name, _ := e.settings().Program(); name == group && !s.removals.has(e.app.name) {
			apps = append(apps, e.app)
		}
	}
	if len(apps) == 0 {
		return errNoSuchGroup(group)
	}
	for _, a := range apps {
		if state := a.snapshot.Load().state(); state != api.Stopped && state != api.Failed {
			return api.Errorf(api.ExitBusy, "%s is %s", a.name, state)
		}
	}
	s.options.Logger.Info("group removed", "group", group, "by", by.String())
	var now []string
	for _, a := range apps {
		held := false
		a.do(ctx, func() {
			if held = a.restart.awaitStart != nil; held {
				a.restart.holdUntilStart(a.settings.Hold.Timeout)
			}
		})
		if !held {
			now = append(now, a.name)
			continue
		}
		s.removals.add(a.name, a.snapshot.Load().settings.Hold.Timeout, func() { s.removeApps([]string{a.name}, by) })
	}
	if len(now) == 0 {
		return nil
	}
	return s.removeApps(now, by)
}

// removeApps takes apps out of the registry.
func (s *Supervisor) removeApps(names []string, by api.Caller) error {
	result := s.Apply(s.leaving, api.ApplyRequest{Only: names, Remove: true, AllowEmpty: true, By: by}, func(api.Phase) {})
	if result.Exit != api.ExitOK {
		s.options.Logger.Error("cannot remove apps", "apps", names, "error", result.Error)
		return &api.Error{Exit: result.Exit, Message: result.Error, Hint: result.Hint}
	}
	return nil
}

// AddGroup makes the apps of a group of supervisord what the configuration file says, and starts
// those with autostart. ExitBusy: the daemon has them already. The result of the starts is in the
// status and in the log, as with supervisord.
func (s *Supervisor) AddGroup(ctx context.Context, group string, by api.Caller) error {
	programs, err := s.Programs(true)
	if err != nil {
		return err
	}
	var names []string
	for _, p := range programs {
		if p.Group == group {
			names = append(names, p.App)
		}
	}
	if len(names) == 0 {
		return errNoSuchGroup(group)
	}
	if i := slices.IndexFunc(names, s.inUse); i >= 0 {
		return api.Errorf(api.ExitBusy, "the daemon has %s already", names[i])
	}
	s.options.Logger.Info("group added", "group", group, "by", by.String())
	var kept []string
	for _, p := range programs {
		if p.Group != group || !s.removals.take(p.App) || !p.Autostart {
			continue
		}
		kept = append(kept, p.App)
		if err := s.shared.state.SetStopped(p.App, false); err != nil { // the start repeats it
			s.options.Logger.Warn("cannot save state", "record", "stopped by the operator", "app", p.App, "error", err)
		}
	}
	result := s.Apply(ctx, api.ApplyRequest{Only: names, AllowEmpty: true, By: by}, func(api.Phase) {})
	if result.Exit == api.ExitConfig || result.Exit == api.ExitTimeout {
		return &api.Error{Exit: result.Exit, Message: result.Error, Hint: result.Hint}
	}
	var starts sync.WaitGroup
	for _, name := range kept {
		starts.Go(func() { s.Do(s.leaving, api.Request{Verb: api.Start, App: name, By: by}, func(api.Phase) {}) })
	}
	starts.Wait()
	return nil
}

func errNoSuchGroup(group string) error {
	return &api.Error{Exit: api.ExitNoSuchApp, Message: fmt.Sprintf("there is no group %q", group)}
}
