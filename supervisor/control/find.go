package control

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"tideover/supervisor/api"
)

// probeTime is how long a daemon has to say which apps it keeps.
const probeTime = 2 * time.Second

// Found is a daemon that answered, and what it said of its apps.
type Found struct {
	*Client
	Status  api.Status
	Wanted  []string // the selectors that Select was given for it
	Foreign bool     // another user's, found by root
}

// Apps are the names of its apps.
func (f Found) Apps() []string {
	names := make([]string, len(f.Status.Apps))
	for i, a := range f.Status.Apps {
		names[i] = a.Name
	}
	return names
}

func (f Found) names() string { return strings.Join(f.Apps(), ", ") }

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
	looked := "looked in " + strings.Join(p.Dirs, ", ")
	if len(closed) > 0 {
		looked += "; may not look in " + strings.Join(closed, ", ")
	}
	return nil, fault(api.ExitNotRunning, "start one: tideover run -- gunicorn app:app", "no daemon runs (%s)", looked)
}

func probe(ctx context.Context, path string) (Found, error) {
	within, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	client := NewClient(path)
	status, err := client.Status(within)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		err = fault(api.ExitTimeout, "", "the daemon on %s does not answer", path)
	}
	return Found{Client: client, Status: status}, err
}

// Select is what selectors mean: the daemons that know them, each with those of
// its apps that were meant, in the order of its configuration. No selector is
// the only app there is. Unknown and ambiguous ones are ExitNoSuchApp; one that
// several daemons know is ambiguous, but other users' daemons are asked only
// where none of one's own knows it: nobody can take a name away from root by
// using it too.
func (p Places) Select(ctx context.Context, selectors ...string) ([]Found, error) {
	daemons, err := p.Daemons(ctx)
	if err != nil {
		return nil, err
	}
	if len(selectors) == 0 {
		return onlyApp(daemons)
	}
	for _, selector := range selectors {
		i, err := keeperOf(ctx, daemons, selector)
		if err != nil {
			return nil, err
		}
		daemons[i].Wanted = append(daemons[i].Wanted, selector)
	}
	var found []Found
	for _, d := range daemons {
		if len(d.Wanted) == 0 {
			continue
		}
		if d.Status, err = d.Client.Status(ctx, d.Wanted...); err != nil {
			return nil, err
		}
		found = append(found, d)
	}
	return found, nil
}

// Find is Select where one app must be meant.
func (p Places) Find(ctx context.Context, app string) (*Client, string, error) {
	var selectors []string
	if app != "" {
		selectors = []string{app}
	}
	found, err := p.Select(ctx, selectors...)
	if err != nil {
		return nil, "", err
	}
	if apps := found[0].Status.Apps; len(found) == 1 && len(apps) == 1 {
		return found[0].Client, apps[0].Name, nil
	}
	return nil, "", fault(api.ExitNoSuchApp, "name one of them", "%s is several apps: %s", app, found[0].names())
}

// onlyApp is the one that needs no name.
func onlyApp(daemons []Found) ([]Found, error) {
	var names []string
	var own, all []Found // those with apps
	for _, d := range daemons {
		for _, a := range d.Status.Apps {
			names = append(names, a.Name)
			one := d
			one.Status.Apps = []api.AppStatus{a}
			if all = append(all, one); !d.Foreign {
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
		return nil, fault(api.ExitNoSuchApp, "", "there are no apps")
	case len(daemons) > 1:
		return nil, Several(daemons, "name one of "+strings.Join(names, ", "))
	}
	return nil, fault(api.ExitNoSuchApp, "name one of "+strings.Join(names, ", ")+", or all", "there are %d apps", len(names))
}

// keeperOf is which daemon a selector belongs to: an app's own name first, then
// whatever else daemons make of it.
func keeperOf(ctx context.Context, daemons []Found, selector string) (int, error) {
	named := func(d Found) (bool, error) {
		return slices.ContainsFunc(d.Status.Apps, func(a api.AppStatus) bool { return a.Name == selector }), nil
	}
	known := func(d Found) (bool, error) {
		_, err := d.Client.Status(ctx, selector)
		if err != nil && asError(err).Exit == api.ExitNoSuchApp {
			return false, nil
		}
		return err == nil, err
	}
	for _, is := range []func(Found) (bool, error){named, known} {
		for _, foreign := range []bool{false, true} {
			var homes []int
			for i, d := range daemons {
				if d.Foreign != foreign {
					continue
				}
				yes, err := is(d)
				if err != nil {
					return 0, err
				}
				if yes {
					homes = append(homes, i)
				}
			}
			if len(homes) == 1 {
				return homes[0], nil
			}
			if len(homes) > 1 {
				return 0, fault(api.ExitNoSuchApp, "say which daemon with --socket", "%d daemons know %s", len(homes), selector)
			}
		}
	}
	return 0, NoSuchApp(selector, Selectors(daemons))
}

// Selectors are the words that select apps of these daemons: names, what
// instances have in common, labels.
func Selectors(daemons []Found) []string {
	var names, groups []string
	add := func(group string) {
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	for _, d := range daemons {
		for _, a := range d.Status.Apps {
			names = append(names, a.Name)
			if common, _, several := strings.Cut(a.Name, ":"); several {
				add(common)
			}
			for _, label := range a.Labels {
				add(label)
			}
		}
	}
	return append(names, groups...)
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
	return fault(api.ExitNoSuchApp, hint, "%d daemons run: %s", len(daemons), strings.Join(each, "; "))
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
	return fault(api.ExitNoSuchApp, hint, "there is no app named %q", app)
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
