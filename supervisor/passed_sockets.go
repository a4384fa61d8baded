package supervisor

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"tideover/listener"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
)

// takePassed returns a socket of the service manager that is bound to an address; nil: there is
// none.
func (ls *listeners) takePassed(address listener.Address) *listener.Public {
	for _, name := range slices.Sorted(maps.Keys(ls.systemd)) {
		for _, f := range ls.systemd[name] {
			public, err := listener.FromFile(f)
			if err != nil {
				continue // it is named, or reported as unused
			}
			if public.Has(address) {
				ls.mu.Lock()
				defer ls.mu.Unlock()
				ls.used[f] = true
				return public
			}
			public.Close()
		}
	}
	return nil
}

// hasPassed reports whether takePassed would return a socket.
func (ls *listeners) hasPassed(address listener.Address) bool {
	for _, files := range ls.systemd {
		for _, f := range files {
			public, err := listener.FromFile(f)
			if err != nil {
				continue
			}
			has := public.Has(address)
			public.Close()
			if has {
				return true
			}
		}
	}
	return false
}

// unused returns the names of the service manager's sockets of which no app has opened any.
func (ls *listeners) unused() []string {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(ls.systemd)), func(name string) bool {
		return slices.ContainsFunc(ls.systemd[name], func(f *os.File) bool { return ls.used[f] })
	})
}

// assignPassed returns the app of `run -- COMMAND` with the sockets of the service manager as its
// public address, if the command has no address of its own. Else they must be those of its
// addresses: a socket on which no client would be answered is refused. With --listen a socket that
// is not used is only logged.
func (ls *listeners) assignPassed(cfg *config.App) (*config.App, error) {
	named := func(address string) bool { return strings.HasPrefix(address, systemdPrefix) }
	if len(ls.systemd) == 0 || cfg.ListenFrom == fromFlag || slices.ContainsFunc(cfg.Listen, named) {
		return cfg, nil
	}
	names := slices.Sorted(maps.Keys(ls.systemd))
	for _, name := range names {
		for _, f := range ls.systemd[name] {
			public, err := listener.FromFile(f)
			if err != nil {
				return nil, api.Errorf(api.ExitError, "app %s: %v", cfg.Name, err)
			}
			at := public.Address()
			has := slices.ContainsFunc(cfg.Listen, func(address string) bool {
				parsed, err := listener.Parse(address)
				return err == nil && public.Has(parsed)
			})
			public.Close()
			if has {
				continue
			}
			if hasOwnAddress(cfg) {
				return nil, passedElsewhere(cfg, name, at)
			}
			assigned := *cfg
			assigned.Listen, assigned.ListenFrom = nil, fromSystemd
			for _, n := range names {
				assigned.Listen = append(assigned.Listen, systemdPrefix+n)
			}
			return &assigned, nil
		}
	}
	return cfg, nil
}

// Values of ListenFrom beside those of package gunicorn.
const (
	fromFlag    = "listen"  // --listen
	fromSystemd = "systemd" // the sockets of the service manager
)

// hasOwnAddress reports whether the public address is written anywhere: in the command, in
// gunicorn's configuration file, or in a variable of the server.
func hasOwnAddress(cfg *config.App) bool {
	switch cfg.ListenFrom {
	case gunicorn.FromDefault, gunicorn.FromPort:
		return false
	case gunicorn.FromGunicorn:
		return !slices.Equal(cfg.Listen, []string{"127.0.0.1:8000"}) // gunicorn's default
	}
	return true
}

// passedElsewhere is the error for a socket that the service manager has passed for an address
// that is not the app's.
func passedElsewhere(cfg *config.App, name string, at listener.Address) error {
	return &api.Error{Exit: api.ExitUsage,
		Message: fmt.Sprintf("app %s: a socket that listens on %s was passed to tideover (LISTEN_FDS, %q), but the public address is %s (%s)",
			cfg.Name, at, name, strings.Join(cfg.Listen, ", "), cfg.ListenFrom),
		Hint: fmt.Sprintf("to serve on the socket that was passed: tideover run --listen %s%s -- %s", systemdPrefix, name, strings.Join(cfg.Command, " "))}
}
