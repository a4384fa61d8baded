package control

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tideover/supervisor/api"
)

// probeTimeout is how long a daemon may take to list its apps.
const probeTimeout = 2 * time.Second

// Locator finds daemons by their control sockets.
type Locator struct {
	Socket        string   // this one only; empty: every live socket of the directories
	Dirs          []string // runtime directories
	OtherUserDirs []string // patterns of other users' runtime directories
}

// Daemon is a daemon that answered, and its status.
type Daemon struct {
	*Client
	Status    api.Status
	Selectors []string // those given to Select that select apps of this daemon
	OtherUser bool     // found by root in another user's directory
}

// Apps are the names of its apps.
func (d Daemon) Apps() []string {
	names := make([]string, len(d.Status.Apps))
	for i, a := range d.Status.Apps {
		names[i] = a.Name
	}
	return names
}

func (d Daemon) names() string { return strings.Join(d.Apps(), ", ") }

// Daemons asks every daemon for its status. Sockets that refuse connections are
// passed over. The error is ExitNotRunning when there is no daemon, ExitDenied
// when there are only daemons that deny access.
func (l Locator) Daemons(ctx context.Context) ([]Daemon, error) {
	if l.Socket != "" {
		one, err := probe(ctx, l.Socket)
		if err != nil {
			return nil, err
		}
		return []Daemon{one}, nil
	}
	var all []Daemon
	var denied error
	candidates, unreadable := l.candidates()
	for _, c := range candidates {
		one, err := probe(ctx, c.path)
		switch {
		case err == nil:
			one.OtherUser = c.otherUser
			all = append(all, one)
		case ctx.Err() != nil:
			return nil, err
		case asError(err).Exit == api.ExitDenied:
			denied = err
		}
	}
	if len(all) > 0 {
		return all, nil
	}
	if denied != nil {
		return nil, denied
	}
	looked := "looked in " + strings.Join(l.Dirs, ", ")
	if len(unreadable) > 0 {
		looked += "; may not look in " + strings.Join(unreadable, ", ")
	}
	return nil, errorf(api.ExitNotRunning, "start one: tideover run -- gunicorn app:app", "no daemon runs (%s)", looked)
}

// socketCandidate is a socket that may be the control socket of a daemon.
type socketCandidate struct {
	path      string
	otherUser bool
}

// candidates lists the sockets in all directories, and the directories that may
// not be read.
func (l Locator) candidates() (all []socketCandidate, unreadable []string) {
	add := func(dir string, otherUser bool) {
		paths, err := socketsIn(dir)
		if errors.Is(err, fs.ErrPermission) {
			unreadable = append(unreadable, dir)
		}
		for _, path := range paths {
			all = append(all, socketCandidate{path, otherUser})
		}
	}
	for _, dir := range l.Dirs {
		if isTrusted(dir) {
			add(dir, false)
		}
	}
	for _, pattern := range l.OtherUserDirs {
		dirs, _ := filepath.Glob(pattern) // the only error is a malformed pattern
		for _, dir := range dirs {
			if !slices.Contains(l.Dirs, dir) && pathMatchesOwner(dir) {
				add(dir, true)
			}
		}
	}
	return all, unreadable
}

func probe(ctx context.Context, path string) (Daemon, error) {
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	client := NewClient(path)
	status, err := client.Status(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = errorf(api.ExitTimeout, "", "the daemon on %s does not answer", path)
	}
	return Daemon{Client: client, Status: status}, err
}

// Select finds the apps that selectors mean: the daemons that have them, each
// with the status of these apps only, in the order of its configuration. Without
// selectors it is the only app there is. A selector that no daemon or more than
// one knows is ExitNoSuchApp. Other users' daemons are considered only where none
// of one's own knows the selector, so that no user can take a name away from
// root by using it too.
func (l Locator) Select(ctx context.Context, selectors ...string) ([]Daemon, error) {
	daemons, err := l.Daemons(ctx)
	if err != nil {
		return nil, err
	}
	if len(selectors) == 0 {
		return onlyApp(daemons)
	}
	for _, selector := range selectors {
		i, err := findOwner(ctx, daemons, selector)
		if err != nil {
			return nil, err
		}
		daemons[i].Selectors = append(daemons[i].Selectors, selector)
	}
	var found []Daemon
	for _, d := range daemons {
		if len(d.Selectors) == 0 {
			continue
		}
		if d.Status, err = d.Client.Status(ctx, d.Selectors...); err != nil {
			return nil, err
		}
		found = append(found, d)
	}
	return found, nil
}

// Find is Select for exactly one app.
func (l Locator) Find(ctx context.Context, app string) (*Client, string, error) {
	var selectors []string
	if app != "" {
		selectors = []string{app}
	}
	found, err := l.Select(ctx, selectors...)
	if err != nil {
		return nil, "", err
	}
	if apps := found[0].Status.Apps; len(found) == 1 && len(apps) == 1 {
		return found[0].Client, apps[0].Name, nil
	}
	return nil, "", errorf(api.ExitNoSuchApp, "name one of them", "%s is several apps: %s", app, found[0].names())
}

// One is the only daemon. Several are ExitNoSuchApp; the hint has the --socket
// flag of each.
func (l Locator) One(ctx context.Context) (Daemon, error) {
	daemons, err := l.Daemons(ctx)
	if err != nil {
		return Daemon{}, err
	}
	own := slices.DeleteFunc(slices.Clone(daemons), func(d Daemon) bool { return d.OtherUser })
	switch {
	case len(own) == 1:
		return own[0], nil
	case len(daemons) == 1:
		return daemons[0], nil
	}
	hint := "say which:"
	for _, d := range daemons {
		hint += "\n--socket " + d.Socket()
	}
	return Daemon{}, errSeveralDaemons(daemons, hint)
}

// onlyApp is the app that is meant when none is named.
func onlyApp(daemons []Daemon) ([]Daemon, error) {
	var names []string
	var own, all []Daemon // one for each app
	for _, d := range daemons {
		for _, a := range d.Status.Apps {
			names = append(names, a.Name)
			one := d
			one.Status.Apps = []api.AppStatus{a}
			if all = append(all, one); !d.OtherUser {
				own = append(own, one)
			}
		}
	}
	if len(own) > 0 {
		all = own
	}
	switch {
	case len(all) == 1:
		return all, nil
	case len(all) == 0:
		return nil, errorf(api.ExitNoSuchApp, "", "there are no apps")
	case len(daemons) > 1:
		return nil, errSeveralDaemons(daemons, "name one of "+strings.Join(names, ", "))
	}
	return nil, errorf(api.ExitNoSuchApp, "name one of "+strings.Join(names, ", ")+", or all", "there are %d apps", len(names))
}

// findOwner returns the index of the daemon that a selector belongs to. The name
// of an app comes before labels and groups, one's own daemons before those of
// other users.
func findOwner(ctx context.Context, daemons []Daemon, selector string) (int, error) {
	hasApp := func(d Daemon) (bool, error) { return slices.Contains(d.Apps(), selector), nil }
	knows := func(d Daemon) (bool, error) {
		_, err := d.Client.Status(ctx, selector)
		if err != nil && asError(err).Exit == api.ExitNoSuchApp {
			return false, nil
		}
		return err == nil, err
	}
	for _, matches := range []func(Daemon) (bool, error){hasApp, knows} {
		for _, otherUser := range []bool{false, true} {
			owners, err := indexesOf(daemons, otherUser, matches)
			switch {
			case err != nil:
				return 0, err
			case len(owners) == 1:
				return owners[0], nil
			case len(owners) > 1:
				return 0, errorf(api.ExitNoSuchApp, "say which daemon with --socket", "%d daemons know %s", len(owners), selector)
			}
		}
	}
	return 0, errNoSuchApp(selector, Selectors(daemons))
}

// indexesOf lists the daemons that match, among one's own or other users'.
func indexesOf(daemons []Daemon, otherUser bool, matches func(Daemon) (bool, error)) ([]int, error) {
	var indexes []int
	for i, d := range daemons {
		if d.OtherUser != otherUser {
			continue
		}
		ok, err := matches(d)
		if err != nil {
			return nil, err
		}
		if ok {
			indexes = append(indexes, i)
		}
	}
	return indexes, nil
}

// Selectors lists what selects apps of these daemons: their names, then groups
// of instances and labels.
func Selectors(daemons []Daemon) []string {
	var names, groups []string
	add := func(group string) {
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	for _, d := range daemons {
		for _, a := range d.Status.Apps {
			names = append(names, a.Name)
			if group, _, isInstance := strings.Cut(a.Name, ":"); isInstance {
				add(group)
			}
			for _, label := range a.Labels {
				add(label)
			}
		}
	}
	return append(names, groups...)
}

// errSeveralDaemons is the error of a command that needs exactly one daemon.
func errSeveralDaemons(daemons []Daemon, hint string) error {
	var each []string
	for _, d := range daemons {
		each = append(each, cmp.Or(d.names(), "one without apps")+" (pid "+strconv.Itoa(d.Status.Pid)+")")
	}
	return errorf(api.ExitNoSuchApp, hint, "%d daemons run: %s", len(daemons), strings.Join(each, "; "))
}

// errNoSuchApp is the error for an unknown name. Its hint is a known name that is
// similar, or all of them.
func errNoSuchApp(app string, known []string) error {
	hint := "known: " + strings.Join(known, ", ")
	for _, name := range known {
		if distance(app, name) <= 1+len(name)/4 {
			hint = "did you mean " + name + "?"
		}
	}
	if len(known) == 0 {
		hint = ""
	}
	return errorf(api.ExitNoSuchApp, hint, "there is no app named %q", app)
}

// distance is the Levenshtein distance in bytes.
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
