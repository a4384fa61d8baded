package supervisor

import (
	"fmt"
	"slices"
	"strings"

	"tideover/supervisor/api"
)

// names are those of all apps, in the order of the configuration.
func (r *roster) names() []string {
	var names []string
	for _, m := range r.all() {
		names = append(names, m.app.name)
	}
	return names
}

// app finds an app; the empty name is the only one there is.
func (r *roster) app(name string) (*App, *api.Error) {
	members := r.all()
	if name == "" {
		if len(members) == 1 {
			return members[0].app, nil
		}
		return nil, api.Errorf(api.ExitNoSuchApp, "which app? there are %d: %s", len(members), strings.Join(r.names(), ", "))
	}
	if i := slices.IndexFunc(members, func(m *member) bool { return m.app.name == name }); i >= 0 {
		return members[i].app, nil
	}
	if several := r.selected(name); len(several) > 0 {
		return nil, api.Errorf(api.ExitNoSuchApp, "%s means %d apps; one is wanted here", name, len(several))
	}
	return nil, r.noSuchApp(name)
}

// choose finds the apps that selectors mean, in the order of the
// configuration; none given means all.
func (r *roster) choose(selectors []string) ([]*App, *api.Error) {
	if len(selectors) == 0 {
		selectors = []string{"all"}
	}
	wanted := map[*App]bool{}
	for _, selector := range selectors {
		found := r.selected(selector)
		if len(found) == 0 && selector != "all" {
			return nil, r.noSuchApp(selector)
		}
		for _, a := range found {
			wanted[a] = true
		}
	}
	var apps []*App
	for _, m := range r.all() {
		if wanted[m.app] {
			apps = append(apps, m.app)
		}
	}
	return apps, nil
}

// selected are the apps that one selector means.
func (r *roster) selected(selector string) []*App {
	var apps []*App
	for _, m := range r.all() {
		if m.app.seen.Load().settings.Answers(selector) {
			apps = append(apps, m.app)
		}
	}
	return apps
}

func (r *roster) noSuchApp(name string) *api.Error {
	return &api.Error{Exit: api.ExitNoSuchApp, Message: fmt.Sprintf("there is no app %q", name), Hint: "there is " + strings.Join(r.names(), ", ")}
}
