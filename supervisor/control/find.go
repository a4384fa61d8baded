package control

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"tideover/supervisor"
)

// probeTime is how long a daemon has to say which apps it keeps.
const probeTime = 2 * time.Second

// Found is a daemon that answered, and what it said of its apps.
type Found struct {
	*Client
	Status  supervisor.Status
	Foreign bool // another user's, found by root
}

// names are the daemon's apps.
func (f Found) names() string {
	var names []string
	for _, a := range f.Status.Apps {
		names = append(names, a.Name)
	}
	return strings.Join(names, ", ")
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
	candidates, closed := p.sockets()
	for _, c := range candidates {
		one, err := probe(ctx, c.path)
		switch {
		case err == nil:
			one.Foreign = c.foreign
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
	looked := "looked in " + strings.Join(p.Dirs, ", ")
	if len(closed) > 0 {
		looked += "; may not look in " + strings.Join(closed, ", ")
	}
	return nil, fault(supervisor.ExitNotRunning, "start one: tideover run -- gunicorn app:app", "no daemon runs (%s)", looked)
}

func probe(ctx context.Context, path string) (Found, error) {
	within, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	client := NewClient(path)
	status, err := client.Status(within)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		err = fault(supervisor.ExitTimeout, "", "the daemon on %s does not answer", path)
	}
	return Found{Client: client, Status: status}, err
}

// Find is the daemon that keeps app, and the app's name. No app means the only
// one there is. Unknown and ambiguous names are ExitNoSuchApp. Other users' apps
// are meant only where there is none of one's own: nobody can take a name away
// from root by using it too.
func (p Places) Find(ctx context.Context, app string) (*Client, string, error) {
	daemons, err := p.Daemons(ctx)
	if err != nil {
		return nil, "", err
	}
	type home struct {
		client *Client
		app    string
	}
	var own, foreign []home
	var names []string
	for _, d := range daemons {
		for _, a := range d.Status.Apps {
			names = append(names, a.Name)
			switch {
			case app != "" && a.Name != app:
			case d.Foreign:
				foreign = append(foreign, home{d.Client, a.Name})
			default:
				own = append(own, home{d.Client, a.Name})
			}
		}
	}
	homes := own
	if len(homes) == 0 {
		homes = foreign
	}
	switch {
	case len(homes) == 1:
		return homes[0].client, homes[0].app, nil
	case len(homes) == 0:
		return nil, "", NoSuchApp(app, names)
	case app == "" && len(daemons) > 1:
		return nil, "", Several(daemons, "name one of "+strings.Join(names, ", "))
	case app == "":
		return nil, "", fault(supervisor.ExitNoSuchApp, "name one of "+strings.Join(names, ", "), "there are %d apps", len(names))
	}
	return nil, "", fault(supervisor.ExitNoSuchApp, "say which daemon with --socket", "%d daemons keep an app named %s", len(homes), app)
}

// One is the only daemon; several are ExitNoSuchApp, with the flags that choose
// one of them.
func (p Places) One(ctx context.Context) (Found, error) {
	daemons, err := p.Daemons(ctx)
	if err != nil {
		return Found{}, err
	}
	own := slices.DeleteFunc(slices.Clone(daemons), func(f Found) bool { return f.Foreign })
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
	return Found{}, Several(daemons, hint)
}

// Several is the error for a command that can mean one daemon only.
func Several(daemons []Found, hint string) error {
	var each []string
	for _, d := range daemons {
		each = append(each, cmp.Or(d.names(), "one without apps")+" (pid "+strconv.Itoa(d.Status.Pid)+")")
	}
	return fault(supervisor.ExitNoSuchApp, hint, "%d daemons run: %s", len(daemons), strings.Join(each, "; "))
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
