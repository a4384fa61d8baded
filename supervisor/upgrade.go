package supervisor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"tideover/proxy/awake"
	"tideover/supervisor/api"
	"tideover/supervisor/generation"
	"tideover/supervisor/handoff"
	"tideover/supervisor/logs"
)

// upgrading is the operation during which no other one of an app runs. It cannot be requested by
// itself.
const upgrading api.Verb = "upgrade"

// operationsTimeout bounds the wait for operations before an upgrade.
const operationsTimeout = time.Minute

var errOperationsRun = &api.Error{Exit: api.ExitBusy, Message: "an operation has run for too long", Hint: "ask for the upgrade again when it has ended"}

// upgrade is one attempt to have another program take the place of this supervisor.
type upgrade struct {
	ctx  context.Context // ends when the upgrade has failed
	idle chan *App       // each app of which no operation runs
	over chan struct{}   // closed when the upgrade has failed: every app goes on
}

// Replace calls replace when no operation and no apply runs, and returns only when that has failed. The
// program that takes the place of this one restores what it leaves: nothing is held, and no request is
// waited for. It says what has become of the upgrade.
func (s *Supervisor) Replace(n handoff.Upgrade, replace func() error) error {
	going, stop := awake.WithTimeoutCause(s.announced, operationsTimeout, errOperationsRun)
	defer stop()
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-going.Done():
		return context.Cause(going)
	}
	s.registry.changing.Lock()
	defer s.registry.changing.Unlock()
	entries := s.registry.all()
	u := &upgrade{ctx: going, idle: make(chan *App, len(entries)), over: make(chan struct{})}
	failed := make(chan error, len(entries))
	var standing sync.WaitGroup
	for _, e := range entries {
		standing.Go(func() { failed <- e.app.standStill(u) })
	}
	err := u.run(len(entries), failed, func() error {
		defer stopReading(entries)()
		_ = s.shared.history.Flush() // the next program reads it
		s.recordUpgrade(n)
		err := replace()
		s.endUpgrade(n, err)
		return err
	})
	stop()
	close(u.over)
	standing.Wait()
	return err
}

// recordUpgrade says to the next program that it is an upgrade, and to callers what became of it.
func (s *Supervisor) recordUpgrade(n handoff.Upgrade) {
	s.upgrade.Store(&n)
	s.journalDaemon()
}

// endUpgrade records the outcome of an upgrade.
func (s *Supervisor) endUpgrade(n handoff.Upgrade, err error) {
	n.Ended, n.Result, n.To = time.Now(), "ok", s.options.Version
	if err != nil {
		n.Result, n.Exit, n.Error, n.To = "kept old", api.ExitKeptOld, err.Error(), ""
	}
	s.recordUpgrade(n)
}

// concludeUpgrade finds out whether this is the program of an upgrade, or the one before, which goes on
// because the new one has ended. It returns what this supervisor was, for the history.
func (s *Supervisor) concludeUpgrade() string {
	n := s.upgrade.Load()
	switch {
	case n == nil || n.Result != "":
		return "restored"
	case n.Executable != handoff.OwnExecutable():
		err := fmt.Errorf("%s has ended before it had taken over: %s", n.Program, s.options.Handoff.Outcome)
		s.endUpgrade(*n, err) // first: a later supervisor does not log it again
		s.options.Logger.Error("upgrade failed", "error", err, "hint", "the former program goes on; nothing was lost")
		return "restored, because " + err.Error()
	}
	s.endUpgrade(*n, nil)
	s.options.Logger.Info("upgrade finished", "from", n.From, "to", s.options.Version)
	return "upgraded"
}

// run calls replace once every app stands still.
func (u *upgrade) run(apps int, failed <-chan error, replace func() error) error {
	for range apps {
		select {
		case <-u.idle:
		case err := <-failed:
			return err
		case <-u.ctx.Done():
			return context.Cause(u.ctx)
		}
	}
	return replace()
}

// standStill keeps the app from beginning an operation, and returns when it goes on.
func (a *App) standStill(u *upgrade) error {
	t := newTicket(api.Request{Verb: upgrading, App: a.name})
	t.upgrade = u
	if !a.do(u.ctx, func() { a.queue.add(t) }) {
		return generation.ErrOvertaken
	}
	if r := t.await(u.ctx, func(api.Phase) {}); r.Exit != api.ExitOK {
		return &api.Error{Exit: r.Exit, Message: r.Error, Hint: r.Hint}
	}
	return nil
}

// stopReading writes what was read of the apps' output and leaves the rest to the next program. resume
// undoes it. A reader that is stuck delays it by some seconds, however many apps write to it.
func stopReading(entries []*entry) (resume func()) {
	pipes := make([][]logs.Pipe, len(entries))
	var stopping sync.WaitGroup
	for i, e := range entries {
		stopping.Go(func() {
			var err error
			if pipes[i], err = e.app.log.Detach(); err != nil {
				e.app.logger.Error("cannot read output", "app", e.app.name, "error", err)
			}
		})
	}
	stopping.Wait()
	return func() {
		for i, e := range entries {
			e.app.attachPipes(pipes[i])
		}
	}
}

// attachPipes has the app's log read pipes.
func (a *App) attachPipes(pipes []logs.Pipe) {
	for _, p := range pipes {
		if err := a.log.Attach(p); err != nil {
			a.logger.Error("cannot read output", "app", a.name, "generation", p.Generation, "error", err)
		}
	}
}

// standStill is the operation: it ends when the upgrade has failed.
func (o *operation) standStill(u *upgrade) {
	u.idle <- o.app
	<-u.over
	o.result.Result = "given up"
}
