package supervisor

import (
	"context"
	"slices"
	"sync"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
)

// applyUser is the user of the configuration that is being applied.
const applyUser = "apply"

// maxApplyAgain is how many supervisors go on with one apply.
const maxApplyAgain = 2

// unrecordedFor is how long after its end an operation may not be in the history yet.
const unrecordedFor = time.Minute

// applies are the applies whose callers can ask again. Its methods may be called from any goroutine.
type applies struct {
	mu      sync.Mutex // guards the fields below
	running map[string]chan struct{}
	last    *handoff.Applied // nil: none has ended
}

// join returns a channel that is closed at the end of the apply with an id that runs, or the result of the
// last one; both nil: it is not known, and runs from now on.
func (a *applies) join(id string) (running <-chan struct{}, ended *handoff.Applied) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last != nil && a.last.ID == id {
		return nil, a.last
	}
	if r := a.running[id]; r != nil {
		return r, nil
	}
	a.beginLocked(id)
	return nil, nil
}

func (a *applies) begin(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.beginLocked(id)
}

func (a *applies) beginLocked(id string) {
	if a.running == nil {
		a.running = map[string]chan struct{}{}
	}
	a.running[id] = make(chan struct{})
}

// keep keeps a result. It is in the record with the next journalDaemon.
func (a *applies) keep(r *handoff.Applied) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = r
}

func (a *applies) ended() *handoff.Applied {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// end lets those go on that wait for an apply.
func (a *applies) end(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.running[id])
	delete(a.running, id)
}

// applyOnce is apply for a caller that may have asked for it before.
func (s *Supervisor) applyOnce(ctx context.Context, r api.ApplyRequest, progress func(api.Phase)) api.ApplyResult {
	for {
		running, ended := s.applies.join(r.ID)
		switch {
		case ended != nil:
			return ended.Result
		case running == nil:
			defer s.applies.end(r.ID)
			return s.applyNew(ctx, r, nil, progress)
		}
		select {
		case <-running:
		case <-ctx.Done():
			return applyFailed(api.Errorf(api.ExitTimeout, "stopped waiting; apply goes on"))
		}
	}
}

// applyNew carries an apply out, and adds it to the history. interrupted is what the former supervisor has
// left of it; nil: nothing.
func (s *Supervisor) applyNew(ctx context.Context, r api.ApplyRequest, interrupted *handoff.Operation, progress func(api.Phase)) api.ApplyResult {
	result := s.apply(ctx, r, interrupted, progress)
	if r.DryRun {
		return result
	}
	ended := &handoff.Applied{ID: r.ID, By: r.By, Ended: time.Now(), Result: result}
	s.applies.keep(ended)
	if s.applying.Swap(nil) != nil {
		s.shared.configurations.forget(applyUser)
	}
	s.journalDaemon() // what a caller gets is what a later supervisor says
	s.logApply(ended)
	s.recordApply(ended)
	return result
}

// logApply writes the result to the daemon's log: once, however often its caller asks.
func (s *Supervisor) logApply(ended *handoff.Applied) {
	logger, by, r := s.options.Logger, ended.By.String(), &ended.Result
	switch {
	case r.Exit == api.ExitOK:
		logger.Info("apply finished", "by", by)
	case r.Exit == api.ExitConfig && ended.ID == "": // of a signal
		logger.Error("configuration rejected", "error", r.Error, "hint", r.Hint)
	default:
		logger.Error("apply failed", "by", by, "error", r.Error, "hint", r.Hint)
	}
}

// applyRecord is what a later supervisor has to know of an apply that begins.
func (c *reconciliation) applyRecord(r api.ApplyRequest, interrupted *handoff.Operation) *handoff.Operation {
	o := &handoff.Operation{Verb: "apply", By: r.By, Began: time.Now(), Apply: &handoff.Apply{Request: r, Configuration: c.shared.configurations.use(applyUser, c.file)}}
	if interrupted != nil {
		o.Began, o.Apply.Again, o.Apply.Changes = interrupted.Began, interrupted.Apply.Again, interrupted.Apply.Changes
		return o
	}
	for _, a := range c.all {
		change := handoff.Change{AppChange: a.AppChange}
		if a.old != nil {
			change.ID = a.old.app.id
			if g := a.old.app.snapshot.Load().current; g != nil {
				change.Generation = g.Number
			}
		}
		o.Apply.Changes = append(o.Apply.Changes, change)
	}
	return o
}

// goOn adds to the differences what the former supervisor has not done of an apply: its settings are in
// force already, but a generation may serve that has those from before, or none.
func (c *reconciliation) goOn(changes []handoff.Change) {
	for i := range changes {
		was := &changes[i]
		at := slices.IndexFunc(c.all, func(a *appChange) bool { return a.App == was.App })
		if at < 0 {
			if was.Change == api.Removed {
				c.dropped = append(c.dropped, &appChange{AppChange: was.AppChange})
			}
			continue
		}
		a := c.all[at]
		if was.Change == api.Unchanged || a.Change != api.Unchanged || a.old == nil {
			continue
		}
		a.before = &was.AppChange
		seen := a.old.app.snapshot.Load()
		switch {
		case seen.desired == desiredStopped:
		case seen.current == nil:
			a.await = true
		case seen.current.Number == was.Generation && (was.Change == api.ByReload || was.Change == api.ByReopen):
			a.Change = api.ByReload
		}
	}
}

// report is the change for the result.
func (a *appChange) report() api.AppChange {
	r := a.AppChange
	if a.before != nil {
		r.Change, r.Settings = a.before.Change, a.before.Settings
	}
	return r
}

// restoreApply takes over the apply in the middle of which the former supervisor has died. No other one begins
// before it has ended.
func (s *Supervisor) restoreApply(left *handoff.Restoration) {
	d := left.Record.Daemon
	s.applies.keep(d.Applied)
	if d.Applying == nil || d.Applying.Apply == nil {
		return
	}
	r := d.Applying.Apply
	f, err := left.Configuration(r.Configuration)
	if err != nil || f == nil && !r.Request.Remove {
		s.options.Logger.Error("apply interrupted", "error", err, "hint", "some apps may have the settings from before: run tideover apply again")
		return
	}
	again := *r
	again.Again++
	o := *d.Applying
	o.Apply = &again
	if f != nil {
		s.shared.configurations.use(applyUser, f)
	}
	s.applying.Store(&o)
	s.applies.begin(r.Request.ID)
	s.unapplied = &interruptedApply{Operation: &o, file: f, over: make(chan struct{})}
}

// interruptedApply is an apply that the former supervisor has not finished, with its configuration.
type interruptedApply struct {
	*handoff.Operation
	file *config.File
	over chan struct{} // closed when it has ended
}

// takesDown returns whether the apply removes or replaces an app; empty: neither.
func (o *interruptedApply) takesDown(a *App) api.Change {
	if o == nil {
		return ""
	}
	return o.Apply.TakesDown(a.id)
}

// startGoing starts an app that the interrupted apply takes down. What was being stopped goes on to be stopped,
// and nothing is started before that apply has ended. Connections to an app that is replaced, and of which nothing serves,
// wait for the one in its place.
func (s *Supervisor) startGoing(e *entry) {
	waits := s.unapplied.takesDown(e.app) == api.ByReplace && e.app.snapshot.Load().current == nil
	for _, l := range e.listeners {
		if waits {
			l.keep(e.app)
		} else {
			l.serve(e.app)
		}
	}
	s.registry.run(e, []<-chan struct{}{s.unapplied.over})
}

// endInterrupted has the apps go on that the apply has not taken down, because it has failed.
func (s *Supervisor) endInterrupted() {
	s.registry.changing.Lock()
	defer s.registry.changing.Unlock()
	for _, e := range s.registry.all() {
		for _, l := range e.listeners {
			l.serve(e.app) // nearly all do so already
		}
	}
	close(s.unapplied.over)
}

// resumeApply goes on with what restoreApply has taken over.
func (s *Supervisor) resumeApply() {
	if ended := s.applies.ended(); ended != nil && time.Since(ended.Ended) < unrecordedFor {
		s.recordApply(ended) // unless the former supervisor has
	}
	o := s.unapplied
	if o == nil {
		return
	}
	request := o.Apply.Request
	defer func() { <-s.reading }() // no other apply is carried out before this one has ended whole
	defer s.applies.end(request.ID)
	defer s.endInterrupted()
	s.options.Logger.Warn("apply interrupted", "by", o.By.String(), "hint", "the supervisor has ended in the middle of it; this one goes on with it")
	s.applyNew(s.leaving, request, o.Operation, func(api.Phase) {})
}
