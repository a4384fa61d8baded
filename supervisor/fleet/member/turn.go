package member

import (
	"context"
	"errors"
	"sync"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/fleet"
)

const (
	// maxLines and maxLine bound the output of an app in a record.
	maxLines, maxLine = 20, 300
	// healthInterval is the time between two looks at the app.
	healthInterval = time.Second
	// afterDrain is how much longer a drain for balancers lasts than it is waited for, should this
	// process not end it.
	afterDrain = time.Minute
)

// turnWork is what one host does in its turn.
type turnWork struct {
	apps    Apps
	session *session
	id      string // of the session in which the turn has begun
	wish    fleet.Wish

	operation string // id of the reload
	resumed   bool   // a former process has begun the turn
}

// run carries the wish out and says what it has come to.
func (w turnWork) run(ctx context.Context) fleet.Done {
	began := time.Now()
	do := w.reload
	if w.resumed {
		do = w.resume
	}
	done := do(ctx)
	done.Duration = api.Seconds(time.Since(began))
	return done
}

func failedTurn(exit api.Exit, reason string) fleet.Done {
	return fleet.Done{Outcome: fleet.Failed, Exit: int(exit), Reason: reason}
}

func failedBy(err error) fleet.Done {
	var typed *api.Error
	if errors.As(err, &typed) {
		return failedTurn(typed.Exit, typed.Error())
	}
	return failedTurn(api.ExitError, err.Error())
}

func (w turnWork) reload(ctx context.Context) fleet.Done {
	before, err := w.look(ctx, true)
	if err != nil {
		return failedBy(err)
	}
	if err := w.drain(ctx, before); err != nil {
		return failedBy(err)
	}
	undrain := func() {
		if w.wish.Drain > 0 && before.Drained == nil {
			w.apps.Undrain(ctx, w.wish.App)
		}
	}
	if !w.session.holds(w.id) { // others may be in their turns by now: nothing was done here yet
		undrain()
		return fleet.Done{Outcome: fleet.Untouched, Reason: "the lease was lost"}
	}
	result, err := w.do(ctx, api.Request{ID: w.operation, Verb: api.Reload, App: w.wish.App, Revision: w.wish.Revision, Command: w.wish.Command})
	undrain()
	return w.conclude(ctx, before, result, err)
}

// resume waits for the reload that a former process has asked for, and says what it has come to. Its supervisor has
// died: the next one has gone on with the reload, or has undone it.
func (w turnWork) resume(ctx context.Context) fleet.Done {
	result, err := w.do(ctx, api.Request{ID: w.operation, Verb: api.Reload, App: w.wish.App, Known: true})
	before, failed := w.look(ctx, true)
	switch {
	case err != nil:
	case failed != nil:
		err = failed
	case before.Drained != nil && before.Drained.By == api.ViaRollout: // by the former process
		w.apps.Undrain(ctx, w.wish.App)
	}
	return w.conclude(ctx, before, result, err)
}

// conclude says what the reload has come to. before is the app before it.
func (w turnWork) conclude(ctx context.Context, before api.AppStatus, result api.Result, err error) fleet.Done {
	switch {
	case err != nil:
		return failedBy(err)
	case result.Result == api.GivenUp:
		return fleet.Done{Outcome: fleet.Untouched, Reason: "the lease was lost before anything was stopped"}
	case result.Result == api.Unknown && len(w.wish.Command) == 0:
		return fleet.Done{Outcome: fleet.Untouched, Reason: "the supervisor has ended before the reload had begun"}
	}
	done := fleet.Done{Outcome: fleet.OK, Exit: int(result.Exit), Generation: result.Generation.To, Held: result.Requests.Held, Lost: result.Requests.Lost}
	if result.Exit != api.ExitOK {
		done.Outcome, done.Reason, done.Output = fleet.Failed, reasonOf(result), lastLines(result.ChildOutput)
		return done
	}
	if reason := w.watch(ctx, before, result.Generation.To); reason != "" {
		done.Outcome, done.Exit, done.Reason = fleet.Failed, int(api.ExitError), reason
	}
	return done
}

// do has the app reloaded. When the lease is lost the request is withdrawn: a reload that stops the old
// generation first does not begin to do so while others may be in their turns.
func (w turnWork) do(ctx context.Context, r api.Request) (api.Result, error) {
	held, end := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer end()
	withdrawn := make(chan struct{})
	waiting.Go(func() {
		w.session.await(held, w.id)
		close(withdrawn)
	})
	return w.apps.DoAttached(ctx, r, withdrawn, nil)
}

func reasonOf(r api.Result) string {
	reason := r.Result
	if r.Error != "" {
		reason += ": " + r.Error
	}
	if r.Probe != "" {
		reason += " (" + r.Probe + ")"
	}
	return reason[:min(len(reason), 1000)]
}

// lastLines bounds the output of an app.
func lastLines(all []string) (last []string) {
	for _, line := range all[max(0, len(all)-maxLines):] {
		last = append(last, line[:min(len(line), maxLine)])
	}
	return last
}

// look returns the status of the app; with check it is asked whether it answers.
func (w turnWork) look(ctx context.Context, check bool) (api.AppStatus, error) {
	ask := w.apps.Status
	if check {
		ask = w.apps.Check
	}
	status, err := ask(ctx, w.wish.App)
	if err != nil {
		return api.AppStatus{}, err
	}
	for _, a := range status.Apps {
		if a.Name == w.wish.App {
			return a, nil
		}
	}
	return api.AppStatus{}, api.Errorf(api.ExitNoSuchApp, "there is no app %s here", w.wish.App)
}

// drain has load balancers send new requests elsewhere, and waits until they have noticed.
func (w turnWork) drain(ctx context.Context, before api.AppStatus) error {
	if w.wish.Drain <= 0 || before.Drained != nil {
		return nil
	}
	wait := time.Duration(w.wish.Drain * float64(time.Second))
	if _, err := w.apps.Drain(ctx, w.wish.App, api.DrainRequest{For: wait + afterDrain}); err != nil {
		return err
	}
	return sleep(ctx, wait)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch looks at the new generation for MinHealthy; empty: it is no worse than the one before.
func (w turnWork) watch(ctx context.Context, before api.AppStatus, generation int) (reason string) {
	if w.wish.MinHealthy <= 0 {
		return ""
	}
	until := time.Now().Add(time.Duration(w.wish.MinHealthy * float64(time.Second)))
	base, err := w.look(ctx, false)
	if err != nil {
		return err.Error()
	}
	silent := 0 // looks in a row in which it did not answer
	for time.Now().Before(until) {
		if err := sleep(ctx, min(healthInterval, time.Until(until))); err != nil {
			return err.Error()
		}
		now, err := w.look(ctx, true)
		if err != nil {
			return err.Error()
		}
		if now.Generation != generation && now.Restarts == base.Restarts && now.State == api.Running {
			return "" // somebody has replaced it
		}
		if answers(now) {
			silent = 0
		} else {
			silent++
		}
		if reason := worse(before, base, now, silent); reason != "" {
			return reason
		}
	}
	return ""
}
