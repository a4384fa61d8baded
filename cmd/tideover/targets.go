package main

import (
	"context"
	"errors"
	"os"
	"os/user"
	"slices"
	"strconv"
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
// -c FILE, or in the directories of --user or of this user.
func (c *cli) locator() (control.Locator, error) {
	l := control.Locator{Socket: c.socket, Dirs: c.dirs, OtherUserDirs: c.otherUserDirs, OnSilent: c.onSilent}
	if c.user != "" {
		uid, err := c.ownerOfDaemons()
		if err != nil {
			return l, err
		}
		l.Owners, l.OtherUserDirs = []int{uid}, nil
		if uid != os.Geteuid() {
			l.Dirs = control.UserDirs(uid)
		}
	}
	if l.Socket != "" || !c.configGiven {
		return l, nil
	}
	file, err := config.Load(c.config)
	var faults *config.Error
	switch {
	case errors.As(err, &faults) && faults.Untrusted():
		return l, c.reportInvalidConfig(err) // it could name the socket of any program
	case err == nil && file.Daemon.Socket != "":
		l.Socket = file.Daemon.Socket
	case err == nil && file.Daemon.RuntimeDir != "":
		l.Socket = control.SocketPath(file.Daemon.RuntimeDir, "")
	case c.user == "":
		l.Socket = control.SocketPath(c.dirs[0], "") // also when the file is invalid now: its daemon may run
		l.Owners = []int{0, os.Geteuid()}
	default:
		return l, errorf(api.ExitUsage, "--socket PATH names it", "-c names no socket, and --user excludes the usual one")
	}
	return l, nil
}

// ownerOfDaemons is the user id that --user names. Only root may use the daemons of
// other users.
func (c *cli) ownerOfDaemons() (uid int, err error) {
	account, err := user.Lookup(c.user)
	number := c.user
	if err == nil {
		number = account.Uid
	}
	if uid, err = strconv.Atoi(number); err != nil || uid < 0 {
		return 0, errorf(api.ExitUsage, "write a name or a number", "there is no user %q", c.user)
	}
	if own := os.Geteuid(); own != 0 && uid != own {
		return 0, errorf(api.ExitDenied, "sudo tideover --user "+c.user+" asks them", "only root may use the daemons of %s", c.user)
	}
	return uid, nil
}

// findDaemons finds every daemon.
func (c *cli) findDaemons(ctx context.Context) ([]control.Daemon, error) {
	l, err := c.locator()
	if err != nil {
		return nil, err
	}
	return l.Daemons(ctx)
}

// oneDaemon finds the only daemon.
func (c *cli) oneDaemon(ctx context.Context) (control.Daemon, error) {
	l, err := c.locator()
	if err != nil {
		return control.Daemon{}, err
	}
	return l.One(ctx)
}

// selectDaemons finds the daemons that have the apps.
func (c *cli) selectDaemons(ctx context.Context, selectors []string) ([]control.Daemon, error) {
	l, err := c.locator()
	if err != nil {
		return nil, err
	}
	return l.Select(ctx, selectors...)
}

// selectors are the names that were typed, else $TIDEOVER_APP.
func (c *cli) selectors(typed []string) []string {
	if name := c.getenv("TIDEOVER_APP"); len(typed) == 0 && name != "" {
		typed = []string{name}
	}
	return typed
}

// target finds one app. Without a name it is $TIDEOVER_APP, else the only app.
func (c *cli) target(ctx context.Context, name string) (target, error) {
	if name == "" {
		name = c.getenv("TIDEOVER_APP")
	}
	l, err := c.locator()
	if err != nil {
		return target{}, err
	}
	client, app, err := l.Find(ctx, name)
	return target{client: client, app: app}, err
}

// targets finds every app that was named: by name, label, common name of
// instances, or all apps of one daemon. An unknown name is an error before
// anything is done. single: one app was meant, by its own name or by none.
func (c *cli) targets(ctx context.Context, names []string) (found []target, single bool, err error) {
	names = c.selectors(names)
	var daemons []control.Daemon
	if slices.Contains(names, allApps) {
		one, err := c.oneDaemon(ctx)
		if err != nil {
			return nil, false, err
		}
		daemons = []control.Daemon{one}
	} else if daemons, err = c.selectDaemons(ctx, names); err != nil {
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
		return c.findDaemons(ctx)
	}
	return c.selectDaemons(ctx, names)
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
