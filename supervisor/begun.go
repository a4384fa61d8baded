package supervisor

import (
	"context"

	"tideover/supervisor/api"
)

// What a service manager asks of the daemon.

// Begun reports whether every app that is to run has answered or has failed to,
// once. One that waits for an app that failed has failed with it: nobody waits
// for ever for what is broken.
func (s *Supervisor) Begun() bool {
	waits, failed := false, false
	for _, m := range s.roster.all() {
		switch seen := m.app.seen.Load(); {
		case seen.tried:
			failed = failed || seen.current == nil && (seen.failed || seen.rest == awake)
		case seen.waits:
			waits = true
		default:
			return false
		}
	}
	return !waits || failed
}

// Accepting returns when every door has shown that whoever comes is let in. The
// error is that of ctx, with the app and the address. One call at a time.
func (s *Supervisor) Accepting(ctx context.Context) error {
	for _, m := range s.roster.all() {
		if m.app.server == nil {
			continue
		}
		if err := m.app.server.Accepting(ctx); err != nil {
			return api.Errorf(api.ExitError, "app %s: %v", m.app.name, err)
		}
	}
	return nil
}

// Leaving is ready when the shutdown has begun.
func (s *Supervisor) Leaving() <-chan struct{} { return s.leaving.Done() }
