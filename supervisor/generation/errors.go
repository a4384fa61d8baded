package generation

import (
	"errors"
	"io/fs"
	"os"

	"tideover/supervisor/api"
	"tideover/supervisor/process"
)

// forkRemedy is the remedy for wrappers that start gunicorn as another process:
// gunicorn then ignores LISTEN_FDS.
func forkRemedy(g *Generation) string {
	name := "the command before gunicorn"
	if gu := g.App.Gunicorn; gu != nil {
		if w, ok := gu.Forks(); ok {
			name = w
		}
	}
	return name + " starts gunicorn as another process, so gunicorn ignores the socket passed to it; " +
		"start gunicorn itself (venv/bin/gunicorn ...), let the wrapper exec it, or give it the socket by hand: --bind fd://{fd} with --listen ADDRESS"
}

// startFailed turns the error of a start into one with a remedy.
func startFailed(name string, err error) *api.Error {
	var step *process.StartError
	if !errors.As(err, &step) {
		return api.Errorf(api.ExitError, "cannot start %s: %v", name, err)
	}
	e := api.Errorf(api.ExitError, "cannot start %s: %v", name, step)
	e.Cause = step
	switch {
	case step.Step == "user" && errors.Is(err, fs.ErrPermission):
		e.Hint = "only root can start an app as another user"
	case step.Step == "directory":
		e.Hint = "directory names where the command runs; the user it runs as must be able to go there"
	case step.Step == "exec" && errors.Is(err, fs.ErrNotExist):
		e.Hint = "the command is looked up in the child's own PATH; give the path of the program, such as venv/bin/gunicorn"
	case step.Step == "exec" && errors.Is(err, fs.ErrPermission):
		e.Hint = "it must be executable, and every directory above it searchable, for the user the app runs as"
	}
	return e
}

// PathCause returns the cause of a *os.PathError without the operation and the
// path; other errors as they are.
func PathCause(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}
