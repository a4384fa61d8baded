package generation

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/lazyregexp"
	"tideover/supervisor/process"
)

// forkRemedy is the remedy for wrappers that start gunicorn as another process:
// gunicorn then ignores LISTEN_FDS.
func forkRemedy(cfg *config.App) string {
	name := "the command before gunicorn"
	if gu := cfg.Gunicorn; gu != nil {
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

// inUse is in the output of a process that finds its port, lock or database taken: texts of
// errno, of locks, and of servers.
var inUse = lazyregexp.New(`(?i)\b(EADDRINUSE|EWOULDBLOCK|errno (98|11)|in use|already (running|exists)|another instance|database is locked|` +
	`(could not|cannot|can't|unable to|failed to) (acquire|get|obtain|take) (the |a |an )?([a-z]+ )?lock|lock\b.* could not be acquired|` +
	`lock (is )?(already )?held)\b`)

// SaysInUse reports whether the output of a process that did not come up says that something is
// in use already. Where another generation still runs, that may be the one that uses it.
func SaysInUse(lines []string) bool { return slices.ContainsFunc(lines, inUse.MatchString) }
