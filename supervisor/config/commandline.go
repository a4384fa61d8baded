package config

import (
	"errors"
	"fmt"
	"time"

	"tideover/supervisor/gunicorn"
)

// CommandOptions is the command line of "tideover run [flags] -- COMMAND". A zero
// value means that the flag is not given.
type CommandOptions struct {
	Command   []string
	Directory string   // absolute; the command runs there
	Environ   []string // inherited

	Name         string
	Listen       []string
	Ready        string
	Reload       string
	Relay        string
	ReadyTimeout time.Duration
	HoldTimeout  time.Duration
	HoldLimit    *int // nil: not given; 0 holds nothing
	StopTimeout  time.Duration
	EnvFile      []string
	Trusted      []string
}

// FromCommand returns the app for a command line. It is always a web app: its public
// address is Listen, else that of gunicorn or another known server, else PORT, else
// 127.0.0.1:8000. It is never guessed for a script that runs gunicorn.
// The error joins all problems.
func FromCommand(o CommandOptions) (*App, error) {
	if len(o.Command) == 0 {
		return nil, errors.New("no command: write it behind --, such as: tideover run -- gunicorn shop.wsgi")
	}
	a := newApp(o.Name)
	a.Command, a.Directory = o.Command, o.Directory
	errs := o.apply(a)
	a.completePaths(o.Directory)
	for _, f := range a.complete(o.Environ, readEnvFiles("", a)[a]) {
		errs = append(errs, errors.New(f.message))
	}
	switch port := lookupEnv(o.Environ)("PORT"); {
	case len(a.Listen) > 0:
	case a.Server != nil:
		errs = append(errs, a.setServerListen(port))
	case !a.TakesSocket() && gunicorn.NamedInScript(a.Command, lookupEnv(o.Environ), a.readScript):
		errs = append(errs, errors.New("it cannot be known where the gunicorn of this script listens, because it stands in a function, "+
			"a condition or a loop, or beside another one; "+listenRemedy))
	default:
		errs = append(errs, a.setDefaultListen(port))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, f := range a.relayConflicts() {
		errs = append(errs, errors.New(f.message))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return a, nil
}

// apply sets the flags that are given, with the types of the keys of a file.
func (o CommandOptions) apply(a *App) (errs []error) {
	set := func(flag, path string, given bool, value any) {
		if !given {
			return
		}
		k, _ := keyAt(appKeys(), path)
		a.explicit[path] = true
		if err := k.set(a, value); err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	a.explicit = map[string]bool{}
	a.own = a.explicit
	set("listen", "listen", len(o.Listen) > 0, anys(o.Listen))
	set("ready", "ready.path", o.Ready != "", o.Ready)
	set("reload", "reload", o.Reload != "", o.Reload)
	set("relay", "relay", o.Relay != "", o.Relay)
	set("ready-timeout", "ready.timeout", o.ReadyTimeout != 0, o.ReadyTimeout.String())
	set("hold-timeout", "hold.timeout", o.HoldTimeout != 0, o.HoldTimeout.String())
	set("stop-timeout", "stop.timeout", o.StopTimeout != 0, o.StopTimeout.String())
	set("env-file", "env_file", len(o.EnvFile) > 0, anys(o.EnvFile))
	set("trusted", "trusted", len(o.Trusted) > 0, anys(o.Trusted))
	if o.HoldLimit != nil {
		set("hold-limit", "hold.limit", true, int64(*o.HoldLimit))
	}
	if a.Name == "" {
		a.Name = defaultName(o.Directory)
	} else if err := checkName(a.Name); err != nil {
		errs = append(errs, fmt.Errorf("--name: %w", err))
	}
	return errs
}

func anys(words []string) []any {
	all := make([]any, len(words))
	for i, w := range words {
		all[i] = w
	}
	return all
}

// setDefaultListen sets the public address of a command that names none.
func (a *App) setDefaultListen(port string) error {
	a.Listen, a.ListenFrom = []string{"127.0.0.1:8000"}, gunicorn.FromDefault
	if port == "" {
		return nil
	}
	a.Listen, a.ListenFrom = []string{"0.0.0.0:" + port}, gunicorn.FromPort
	if err := checkListen(a.Listen[0]); err != nil {
		return fmt.Errorf("PORT: %w", err)
	}
	return nil
}
