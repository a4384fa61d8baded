package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"tideover/supervisor"
)

// probeTime is how long a daemon has to say which apps it keeps.
const probeTime = 2 * time.Second

// mainSocket is the socket of a daemon that runs from a configuration; a
// daemon for one command has NAME.sock beside it.
const mainSocket = "control.sock"

// Places says where daemons are looked for.
type Places struct {
	Socket string   // this one and no other, when it is given
	Dirs   []string // else every live socket in these directories
}

// DefaultDirs are the runtime directories of this user and of root's daemons,
// in this order.
func DefaultDirs(getenv func(string) string) []string {
	own := RuntimeDir(getenv)
	if shared := "/run/tideover"; own != shared {
		return []string{own, shared}
	}
	return []string{own}
}

// RuntimeDir is where this user's daemons keep their sockets.
func RuntimeDir(getenv func(string) string) string {
	if os.Geteuid() == 0 {
		return "/run/tideover"
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "tideover")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("tideover-%d", os.Geteuid()))
}

// SocketPath is the control socket of the daemon for app in dir; no app is the
// daemon of a configuration.
func SocketPath(dir, app string) string {
	if app == "" {
		return filepath.Join(dir, mainSocket)
	}
	return filepath.Join(dir, app+".sock")
}

// Found is a daemon that answered, and what it said of its apps.
type Found struct {
	*Client
	Status supervisor.Status
}

// Daemons asks every daemon there is for its status. Sockets nobody listens on
// are passed over. No daemon at all is ExitNotRunning, or ExitDenied when
// there were some but none for us.
func (p Places) Daemons(ctx context.Context) ([]Found, error) {
	if p.Socket != "" {
		one, err := probe(ctx, p.Socket)
		if err != nil {
			return nil, err
		}
		return []Found{one}, nil
	}
	var all []Found
	var denied error
	for _, path := range p.sockets(&denied) {
		one, err := probe(ctx, path)
		switch {
		case err == nil:
			all = append(all, one)
		case ctx.Err() != nil:
			return nil, err
		case asError(err).Exit == supervisor.ExitDenied:
			denied = err
		}
	}
	if len(all) > 0 {
		return all, nil
	}
	if denied != nil {
		return nil, denied
	}
	return nil, fault(supervisor.ExitNotRunning, "start one: tideover run -- gunicorn app:app",
		"no daemon runs (looked in %s)", strings.Join(p.Dirs, ", "))
}

// sockets are the candidates, a configuration's daemon first.
func (p Places) sockets(denied *error) []string {
	var paths []string
	for _, dir := range p.Dirs {
		if !trusted(dir) {
			continue
		}
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrPermission) {
			*denied = fault(supervisor.ExitDenied, "root and members of the daemon's socket_group may", "no permission for %s", dir)
		}
		for _, entry := range entries {
			if entry.Type() != fs.ModeSocket || !strings.HasSuffix(entry.Name(), ".sock") {
				continue
			}
			path := filepath.Join(dir, entry.Name())
			if entry.Name() == mainSocket {
				paths = slices.Insert(paths, 0, path)
			} else {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// trusted is whether only root or this user can have put the sockets there: a
// stranger's directory in /tmp could bear the name of ours.
func trusted(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	return owner == 0 || int(owner) == os.Geteuid()
}

func probe(ctx context.Context, path string) (Found, error) {
	within, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	client := NewClient(path)
	status, err := client.Status(within)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		err = fault(supervisor.ExitTimeout, "", "the daemon on %s does not answer", path)
	}
	return Found{client, status}, err
}

// Find is the daemon that keeps app, and the app's name. No app means the only
// one there is. Unknown and ambiguous names are ExitNoSuchApp.
func (p Places) Find(ctx context.Context, app string) (*Client, string, error) {
	daemons, err := p.Daemons(ctx)
	if err != nil {
		return nil, "", err
	}
	type home struct {
		client *Client
		app    string
	}
	var homes []home
	var names []string
	for _, d := range daemons {
		for _, a := range d.Status.Apps {
			names = append(names, a.Name)
			if app == "" || a.Name == app {
				homes = append(homes, home{d.Client, a.Name})
			}
		}
	}
	switch {
	case len(homes) == 1:
		return homes[0].client, homes[0].app, nil
	case len(homes) == 0:
		return nil, "", NoSuchApp(app, names)
	case app == "":
		return nil, "", fault(supervisor.ExitNoSuchApp, "name one of "+strings.Join(names, ", "), "there are %d apps", len(names))
	}
	return nil, "", fault(supervisor.ExitNoSuchApp, "say which daemon with --socket", "%d daemons keep an app named %s", len(homes), app)
}

// NoSuchApp is the error for an unknown name, with the name that may have been
// meant.
func NoSuchApp(app string, known []string) error {
	hint := "known: " + strings.Join(known, ", ")
	for _, name := range known {
		if distance(app, name) <= 1+len(name)/4 {
			hint = "did you mean " + name + "?"
		}
	}
	if len(known) == 0 {
		hint = ""
	}
	return fault(supervisor.ExitNoSuchApp, hint, "there is no app named %q", app)
}

// distance is how many letters must be typed, left out or changed to make b
// of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
