package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"

	"tideover/supervisor/api"
	"tideover/supervisor/generation"
	"tideover/supervisor/process"
)

// The values of exit_when beside "never".
const (
	exitFailed = "failed" // when an app has failed
	exitDone   = "done"   // when every app that was started is done or has failed
)

// exitWatcher implements daemon.exit_when: it shuts the daemon down once any app has
// failed ("failed") or all apps are done ("done"). The apps' goroutines call it; it
// never blocks.
type exitWatcher struct {
	when    string
	alone   bool // `run -- COMMAND`
	leave   func()
	leaving context.Context // ends when the shutdown begins

	mu    sync.Mutex
	apps  map[string]exitState
	cause *api.Error // why the daemon exits by itself; nil: it does not, or every app is done
}

func newExitWatcher(when string, alone bool, leave func(), leaving context.Context) *exitWatcher {
	return &exitWatcher{when: when, alone: alone, leave: leave, leaving: leaving, apps: map[string]exitState{}}
}

// exitState is the state of one app as exit_when counts it.
type exitState struct {
	phase  exitPhase
	reason string
}

type exitPhase int

const (
	exitRunning exitPhase = iota
	exitStopped           // by the operator, or not started
	exitFinished
	exitBroken // failed
)

// update records the state of an app.
func (w *exitWatcher) update(app string, s *snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := exitState{exitRunning, s.reason}
	switch {
	case s.failed:
		now.phase = exitBroken
	case s.desired == desiredStopped:
		now.phase = exitStopped
	case s.desired == desiredFinished:
		now.phase = exitFinished
	}
	if before, known := w.apps[app]; known && before == now {
		return
	}
	w.apps[app] = now
	w.evaluateLocked()
}

// remove forgets an app.
func (w *exitWatcher) remove(app string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.apps, app)
	w.evaluateLocked()
}

// evaluateLocked begins the shutdown when exit_when says so.
func (w *exitWatcher) evaluateLocked() {
	if w.leaving.Err() != nil {
		return
	}
	count := map[exitPhase]int{}
	var failed error
	for _, app := range slices.Sorted(maps.Keys(w.apps)) {
		s := w.apps[app]
		if count[s.phase]++; s.phase == exitBroken && failed == nil {
			failed = fmt.Errorf("%s has failed: %s", app, s.reason)
		}
	}
	switch {
	case w.when == exitFailed && failed != nil:
	case w.when == exitDone && count[exitRunning] == 0 && count[exitFinished]+count[exitBroken] > 0:
	default:
		return
	}
	if failed != nil {
		w.cause = api.Errorf(api.ExitError, "%v; tideover ends, as exit_when = %q says", failed, w.when)
	}
	w.leave()
}

// fatalStart shuts the daemon down, and reports true, when a start has shown that the one
// command of `run -- COMMAND` cannot be executed, or does not serve on its socket: another try
// would fail in the same way. It is for the first start of an app.
func (w *exitWatcher) fatalStart(s *generation.Startup) bool {
	if !w.alone || !permanentError(s.Err()) && !s.IgnoresSocket() {
		return false
	}
	why, hint := s.Explain()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cause = &api.Error{Exit: api.ExitError, Message: why, Hint: hint}
	w.leave()
	return true
}

// permanentError reports whether a start failed for a reason that another try would
// not change: no such program, directory or user, or no permission.
func permanentError(err error) bool {
	var step *process.StartError
	if !errors.As(err, &step) || !slices.Contains([]string{"exec", "directory", "user"}, step.Step) {
		return false
	}
	var errno syscall.Errno
	return !errors.As(err, &errno) || !slices.Contains([]syscall.Errno{syscall.EAGAIN, syscall.ENOMEM, syscall.ETXTBSY, syscall.EIO}, errno)
}

// err returns why the daemon exits by itself.
func (w *exitWatcher) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause == nil {
		return nil
	}
	return w.cause
}
