package config

import (
	"fmt"
	"path/filepath"
	"slices"
)

// completeApps completes every app and adds it to the file.
func (l *loader) completeApps() {
	var apps []*App
	for _, d := range l.apps {
		d.App.completePaths(filepath.Dir(l.main.path))
		apps = append(apps, d.App)
	}
	files := readEnvFiles("", apps...)
	for _, d := range l.apps {
		if len(d.Command) == 0 {
			if _, tried := d.written["command"]; !tried {
				l.addFinding(d, finding{message: "the app has no command"})
			}
		}
		for _, f := range d.App.complete(l.environ, files[d.App]) {
			l.addFinding(d, f)
		}
		l.file.Apps = append(l.file.Apps, d.App)
	}
}

// addFinding adds a problem with one key of an app.
func (l *loader) addFinding(d *draft, f finding) { l.problems = append(l.problems, d.locate(f)) }

// locate returns the problem for a finding, at its key or at the header of the app.
func (d *draft) locate(f finding) Problem {
	e := d.header.key
	src := d.src
	if s, ok := d.written[f.key]; ok {
		src = s.src
		at := src.find(append(slices.Clone(s.path), f.part...))
		if e = at.key; at.value.end > 0 {
			e = at.value
		}
	}
	p := src.problem(e, f.message)
	p.Hint, p.Warning, p.App = f.hint, f.warning, d.Name
	if f.secret {
		p.Text = ""
	}
	return p
}

// checkAll checks each app as a whole, and the apps against each other.
func (l *loader) checkAll() {
	for i, d := range l.apps {
		for _, f := range slices.Concat(d.conflicts(), d.warnings()) {
			l.addFinding(d, f)
		}
		for _, other := range l.apps[:i] {
			l.checkAddresses(d, other)
		}
		l.checkAfter(d)
		for i, label := range d.Labels {
			if _, ok := l.file.App(label); ok {
				l.addFinding(d, finding{key: "labels", part: []string{fmt.Sprint(i)}, message: fmt.Sprintf("the label %q is the name of an app", label)})
			}
		}
	}
	if len(l.apps) == 0 && len(l.problems) == 0 {
		l.problems = append(l.problems, Problem{File: l.main.path, Message: "there is no app in it", Hint: "an app begins with [app.NAME]", Warning: true})
	}
}

// conflicts returns the problems between several keys of one app.
func (a *App) conflicts() (all []finding) {
	if a.Instances > 1 && a.Web() {
		all = append(all, finding{key: "instances", message: "instances is for plain processes: a web app has one, and gunicorn its workers (-w)"})
	}
	if a.Hold.Buffer > a.Hold.BufferTotal {
		all = append(all, finding{key: "hold.buffer", message: "hold.buffer is larger than hold.buffer_total"})
	}
	if a.Ready.Notify && len(a.Ready.Command) > 0 {
		all = append(all, finding{key: "ready.notify", message: "ready.notify and ready.command exclude each other"})
	}
	return all
}

// checkAddresses reports the addresses that two apps cannot both bind.
func (l *loader) checkAddresses(d, other *draft) {
	if d.Name == other.Name {
		return // readApp has reported it
	}
	for _, a := range d.Listen {
		for _, b := range other.Listen {
			if overlapping(a, b) {
				f := finding{key: d.listenKey(), message: fmt.Sprintf("%s is also the address of %s (%s)", a, other.Name, b)}
				if d.QueryGunicorn || other.QueryGunicorn {
					f.message, f.warning = f.message+", unless gunicorn's configuration file says otherwise", true
				}
				l.addFinding(d, f)
			}
		}
	}
}

// listenKey is the key that the public address comes from.
func (d *draft) listenKey() string {
	if _, ok := d.written["listen"]; ok {
		return "listen"
	}
	return "command"
}

// checkAfter reports unknown names in the key after, and cycles.
func (l *loader) checkAfter(d *draft) {
	for i, name := range d.After {
		other, ok := l.file.App(name)
		part := []string{fmt.Sprint(i)}
		switch {
		case name == d.Name:
			l.addFinding(d, finding{key: "after", part: part, message: d.Name + " waits for itself"})
		case !ok:
			names := make([]string, 0, len(l.apps))
			for _, a := range l.apps {
				names = append(names, a.Name)
			}
			f := finding{key: "after", part: part, message: fmt.Sprintf("there is no app %q", name)}
			if near := Nearest(name, names); near != "" {
				f.hint = fmt.Sprintf("did you mean %q?", near)
			}
			l.addFinding(d, f)
		case l.dependsOn(other, d.Name, nil):
			l.addFinding(d, finding{key: "after", part: part, message: fmt.Sprintf("%s and %s wait for each other", d.Name, name)})
		}
	}
}

// dependsOn reports whether a waits for the app with a name, directly or through
// others. seen are the apps on the way.
func (l *loader) dependsOn(a *App, name string, seen []string) bool {
	if a.Name == name {
		return true
	}
	if slices.Contains(seen, a.Name) {
		return false
	}
	for _, next := range a.After {
		if other, ok := l.file.App(next); ok && l.dependsOn(other, name, append(seen, a.Name)) {
			return true
		}
	}
	return false
}
