package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/control"
)

// allApps is the selector that means every app.
const allApps = "all"

// target is an app and a client of its daemon.
type target struct {
	client  *control.Client
	app     string
	stopped bool // when its status was read
}

// locator says where daemons are looked for: on --socket, on the socket of
// -c FILE, or in the usual directories.
func (c *cli) locator() control.Locator {
	socket := c.socket
	if socket == "" && c.configGiven {
		socket = c.configuredSocket()
	}
	return control.Locator{Socket: socket, Dirs: c.dirs, OtherUserDirs: c.otherUserDirs}
}

// configuredSocket is the control socket of the daemon for -c FILE.
func (c *cli) configuredSocket() string {
	file, err := config.Load(c.config)
	if err == nil && file.Daemon.Socket != "" {
		return file.Daemon.Socket
	}
	return control.SocketPath(c.dirs[0], "") // also when the file is invalid now: its daemon may run
}

// selectors are the names that were typed, else $TIDEOVER_APP. The suffix ":*"
// of a supervisorctl group is accepted: "celery:*".
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

// target finds one app. Without a name it is $TIDEOVER_APP, else the only app.
func (c *cli) target(ctx context.Context, name string) (target, error) {
	if name == "" {
		name = c.getenv("TIDEOVER_APP")
	}
	client, app, err := c.locator().Find(ctx, name)
	return target{client: client, app: app}, err
}

// targets finds every app that was named: by name, label, common name of
// instances, or all apps of one daemon. An unknown name is an error before
// anything is done. single: one app was meant, by its own name or by none.
func (c *cli) targets(ctx context.Context, names []string) (found []target, single bool, err error) {
	names = c.selectors(names)
	var daemons []control.Daemon
	if slices.Contains(names, allApps) {
		one, err := c.locator().One(ctx)
		if err != nil {
			return nil, false, err
		}
		daemons = []control.Daemon{one}
	} else if daemons, err = c.locator().Select(ctx, names...); err != nil {
		return nil, false, err
	}
	for _, d := range daemons {
		for _, a := range d.Status.Apps {
			found = append(found, target{d.Client, a.Name, a.State == api.Stopped})
		}
	}
	return found, len(names) == 0 || len(names) == 1 && len(found) == 1 && found[0].app == names[0], nil
}

// daemons finds every daemon, or those that have a named app; the status of each
// is then limited to the named apps.
func (c *cli) daemons(ctx context.Context, names []string) ([]control.Daemon, error) {
	names = c.selectors(names)
	if len(names) == 0 || slices.Contains(names, allApps) {
		return c.locator().Daemons(ctx)
	}
	return c.locator().Select(ctx, names...)
}

// maxWidth is the width of the longest name.
func maxWidth(names []string) int {
	width := 0
	for _, name := range names {
		width = max(width, len(name))
	}
	return width
}

// appNames are the names of the apps.
func appNames(targets []target) []string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.app
	}
	return names
}

func joinNames(names []string) string { return strings.Join(names, ", ") }

const reconnectInterval = 250 * time.Millisecond

// isDaemonGone reports whether an error means that there is no daemon now. It may
// come back.
func isDaemonGone(err error) bool {
	var typed *api.Error
	return errors.As(err, &typed) && (typed.Exit == api.ExitNotRunning || typed.Exit == api.ExitTimeout)
}

// awaitDaemon polls until the daemon answers again.
func awaitDaemon(ctx context.Context, ask func(context.Context) (api.Status, error)) (api.Status, error) {
	ticker := time.NewTicker(reconnectInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return api.Status{}, ctx.Err()
		case <-ticker.C:
		}
		if st, err := ask(ctx); err == nil || !isDaemonGone(err) {
			return st, err
		}
	}
}
