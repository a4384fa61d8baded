package main

import (
	"context"
	"slices"
	"strings"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/control"
)

// everyApp is the word that means --all.
const everyApp = "all"

// target is an app and the daemon that keeps it.
type target struct {
	client *control.Client
	app    string
	// stopped is whether it was, a moment ago.
	stopped bool
}

// places are where the daemon may be: on --socket, on the socket of -c FILE, or
// wherever daemons are.
func (c *cli) places() control.Places {
	socket := c.socket
	if socket == "" && c.chosen {
		socket = c.configuredSocket()
	}
	return control.Places{Socket: socket, Dirs: c.dirs, Users: c.users}
}

// configuredSocket is where the daemon of -c FILE listens.
func (c *cli) configuredSocket() string {
	file, err := config.Load(c.config)
	if err == nil && file.Daemon.Socket != "" {
		return file.Daemon.Socket
	}
	return control.SocketPath(c.dirs[0], "") // also of a file that is broken now
}

// selectors are the names that were typed, or else $TIDEOVER_APP. To
// supervisorctl, what is common to instances is a group, named "celery:*".
func (c *cli) selectors(typed []string) []string {
	if name := c.getenv("TIDEOVER_APP"); len(typed) == 0 && name != "" {
		typed = []string{name}
	}
	names := make([]string, len(typed))
	for i, name := range typed {
		names[i] = strings.TrimSuffix(name, ":*")
	}
	return names
}

// target finds one app; no name is $TIDEOVER_APP, else the only app there is.
func (c *cli) target(ctx context.Context, name string) (target, error) {
	if name == "" {
		name = c.getenv("TIDEOVER_APP")
	}
	client, app, err := c.places().Find(ctx, name)
	return target{client: client, app: app}, err
}

// targets finds all that were named, before anything is done to the first:
// apps, labels, the common name of instances, or all of one daemon's apps.
// single is whether just one app was meant, by its own name or by none.
func (c *cli) targets(ctx context.Context, names []string) (found []target, single bool, err error) {
	names = c.selectors(names)
	var keepers []control.Found
	if slices.Contains(names, everyApp) {
		one, err := c.places().One(ctx)
		if err != nil {
			return nil, false, err
		}
		keepers = []control.Found{one}
	} else if keepers, err = c.places().Select(ctx, names...); err != nil {
		return nil, false, err
	}
	for _, k := range keepers {
		for _, a := range k.Status.Apps {
			found = append(found, target{k.Client, a.Name, a.State == api.Stopped})
		}
	}
	return found, len(names) == 0 || len(names) == 1 && len(found) == 1 && found[0].app == names[0], nil
}

// daemons are all there are, for those who only want to look; or those that
// know what was named, with no more than that of their apps.
func (c *cli) daemons(ctx context.Context, names []string) ([]control.Found, error) {
	names = c.selectors(names)
	if len(names) == 0 || slices.Contains(names, everyApp) {
		return c.places().Daemons(ctx)
	}
	return c.places().Select(ctx, names...)
}

// widest is how many columns the longest of these names takes.
func widest(names []string) int {
	width := 0
	for _, name := range names {
		width = max(width, len(name))
	}
	return width
}

// namesOf are the targets' apps.
func namesOf(targets []target) []string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.app
	}
	return names
}

func list(names []string) string { return strings.Join(names, ", ") }
