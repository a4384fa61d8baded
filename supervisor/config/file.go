package config

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// File is a configuration.
type File struct {
	Path     string // of the main file, absolute
	Daemon   Daemon
	Fleet    Fleet
	Apps     []*App // in the order they are written
	Includes []Include
	Warnings []Problem

	drafts []*draft // the apps with the places of their keys, for Inspect
	main   *source  // for Inspect; nil: there is no file

	sources []*source // of which it was read, for ChangedFile
}

// App returns the app with a name.
func (f *File) App(name string) (*App, bool) {
	for _, a := range f.Apps {
		if a.Name == name {
			return a, true
		}
	}
	return nil, false
}

// sourceOf returns the path of the file that has an app's section; "" if it is not known.
func (f *File) sourceOf(app string) string {
	for _, d := range f.drafts {
		if d.Name == app {
			return d.src.path
		}
	}
	return ""
}

// CommandProblem is a problem with the command of an app, at its place.
func (f *File) CommandProblem(app *App, message, hint string, warning bool) Problem {
	for _, d := range f.drafts {
		if d.Name == app.Name {
			return d.locate(finding{key: "command", message: message, hint: hint, warning: warning})
		}
	}
	return Problem{App: app.Name, Message: message, Hint: hint, Warning: warning}
}

// CommandErrors returns an *Error with the problems of commands: errs has an error, or nil, for each
// of apps. It returns nil if there is no problem.
func (f *File) CommandErrors(apps []*App, errs []error) error {
	var problems []Problem
	for i, err := range errs {
		if err == nil {
			continue
		}
		message, hint := err.Error(), ""
		var hinted interface{ Advice() (message, hint string) }
		if errors.As(err, &hinted) {
			message, hint = hinted.Advice()
		}
		problems = append(problems, f.CommandProblem(apps[i], message, hint, false))
	}
	if len(problems) == 0 {
		return nil
	}
	return NewError(problems)
}

// Daemon is the settings of tideover itself. An empty path means the default.
type Daemon struct {
	Socket      string      // control socket
	SocketGroup string      // its members may reload, hold and read the status
	SocketMode  os.FileMode // 0: 0600, or 0660 with a group
	LogLevel    string      // trace, debug, info, warn, error
	LogFormat   string      // auto, text, json
	StateDir    string
	RuntimeDir  string
	Pidfile     string
	Spool       int64  // bytes of bodies kept on disk, of all apps together; 0: none
	SpoolDir    string // directory of the spool file
	MaxConns    int    // client connections of all apps together; 0: as many as RLIMIT_NOFILE allows
	Admin       string // address of /metrics, /-/live and /-/ready; empty: none
	AdminAuth   AdminAuth
	RelayUser   string // of the processes that parse; empty: tideover, or an id without an account
	Supervisor  SupervisorAPI
	ExitWhen    string         // "never", "failed" (an app has failed) or "done" (all apps are done)
	FailedAfter int            // failed starts in a row after which an app has failed; 0: the default
	StopTimeout *time.Duration // from TERM to the end, Linger included; 0: none; nil: see StopLimit
	Linger      time.Duration  // after TERM, requests are served as before
}

// AdminAuth says what the page on Daemon.Admin may do beside looking, and by which names it is asked for.
type AdminAuth struct {
	TokenFile string   // empty: the page only looks
	Hosts     []string // beside addresses and localhost
}

// SupervisorAPI is where supervisorctl and other clients of supervisord are answered.
type SupervisorAPI struct {
	Socket       string      // path of a unix socket; empty: none
	SocketMode   os.FileMode // of it
	SocketOwner  string      // USER, USER:GROUP or :GROUP; empty: the daemon's own
	SocketAuth   bool        // the password is asked for there, too
	HTTP         string      // HOST:PORT; empty: none. Without a password it only looks
	User         string      // empty: no password is asked for
	PasswordFile string
	Identifier   string // answer to getIdentification
}

// containerStopTimeout is the default of stop_timeout as process 1. Kubernetes kills after 30 s;
// `docker stop` after 10, unless --stop-timeout says otherwise.
const containerStopTimeout = 25 * time.Second

// StopLimit is the time limit from TERM to the end of the daemon; 0: none. pid is that of the
// daemon. The error is that of a linger that leaves no time to stop.
func (d *Daemon) StopLimit(pid int) (time.Duration, error) {
	limit, said := time.Duration(0), "daemon.stop_timeout"
	switch {
	case d.StopTimeout != nil:
		limit = *d.StopTimeout
	case pid == 1:
		limit, said = containerStopTimeout, "the default of daemon.stop_timeout as process 1"
	}
	if limit > 0 && d.Linger >= limit {
		return 0, fmt.Errorf("daemon.linger is %s, and %s is %s in all: no time is left to stop", formatDuration(d.Linger), said, formatDuration(limit))
	}
	return limit, nil
}
