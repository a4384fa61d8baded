package config

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// complete finishes every app and puts what it finds at its place.
func (l *loader) complete() {
	for _, d := range l.apps {
		if len(d.Command) == 0 {
			if _, tried := d.spots["command"]; !tried {
				l.say(d, finding{message: "the app has no command"})
			}
		}
		for _, f := range d.App.complete(filepath.Dir(l.main.path), l.environ) {
			l.say(d, f)
		}
		l.file.Apps = append(l.file.Apps, d.App)
	}
}

// say adds a finding to the problems.
func (l *loader) say(d *draft, f finding) { l.problems = append(l.problems, d.place(f)) }

// place puts a finding at the place of its key, or at the app's header.
func (d *draft) place(f finding) Problem {
	e := d.header.key
	src := d.src
	if s, ok := d.spots[f.key]; ok {
		src = s.src
		at := src.at(append(slices.Clone(s.path), f.part...))
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

// checkAll looks at apps as a whole, and at all of them together.
func (l *loader) checkAll() {
	for i, d := range l.apps {
		for _, f := range slices.Concat(d.faults(), d.warnings()) {
			l.say(d, f)
		}
		for _, other := range l.apps[:i] {
			l.checkAddresses(d, other)
		}
		l.checkAfter(d)
		for i, label := range d.Labels {
			if _, ok := l.file.App(label); ok {
				l.say(d, finding{key: "labels", part: []string{fmt.Sprint(i)}, message: fmt.Sprintf("the label %q is the name of an app", label)})
			}
		}
	}
	if len(l.apps) == 0 && len(l.problems) == 0 {
		l.problems = append(l.problems, Problem{File: l.main.path, Message: "there is no app in it", Hint: "an app begins with [app.NAME]", Warning: true})
	}
}

// faults are those of one app that need more than one key to be seen.
func (a *App) faults() (all []finding) {
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

func (l *loader) checkAddresses(d, other *draft) {
	if d.Name == other.Name {
		return // that is the fault
	}
	for _, a := range d.Listen {
		for _, b := range other.Listen {
			if overlapping(a, b) {
				f := finding{key: d.listenKey(), message: fmt.Sprintf("%s is also the address of %s (%s)", a, other.Name, b)}
				if d.QueryGunicorn || other.QueryGunicorn {
					f.message, f.warning = f.message+", unless gunicorn's configuration file says otherwise", true
				}
				l.say(d, f)
			}
		}
	}
}

func (d *draft) listenKey() string {
	if _, ok := d.spots["listen"]; ok {
		return "listen"
	}
	return "command"
}

// checkAfter looks for apps that wait for each other.
func (l *loader) checkAfter(d *draft) {
	for i, name := range d.After {
		other, ok := l.file.App(name)
		part := []string{fmt.Sprint(i)}
		switch {
		case name == d.Name:
			l.say(d, finding{key: "after", part: part, message: d.Name + " waits for itself"})
		case !ok:
			names := make([]string, 0, len(l.apps))
			for _, a := range l.apps {
				names = append(names, a.Name)
			}
			f := finding{key: "after", part: part, message: fmt.Sprintf("there is no app %q", name)}
			if near := nearest(name, names); near != "" {
				f.hint = fmt.Sprintf("did you mean %q?", near)
			}
			l.say(d, f)
		case l.waitsFor(other, d.Name, nil):
			l.say(d, finding{key: "after", part: part, message: fmt.Sprintf("%s and %s wait for each other", d.Name, name)})
		}
	}
}

func (l *loader) waitsFor(a *App, name string, seen []string) bool {
	if a.Name == name {
		return true
	}
	if slices.Contains(seen, a.Name) {
		return false
	}
	for _, next := range a.After {
		if other, ok := l.file.App(next); ok && l.waitsFor(other, name, append(seen, a.Name)) {
			return true
		}
	}
	return false
}

// usualPatience is how long front-ends wait for an answer unless told otherwise.
const usualPatience = 60 * time.Second

// Warnings tells what is allowed and yet likely to hurt. The problems have no
// place; Load has put them at theirs.
func (a *App) Warnings() (all []Problem) {
	for _, f := range a.warnings() {
		all = append(all, Problem{App: a.Name, Message: f.message, Hint: f.hint, Warning: true})
	}
	return all
}

func (a *App) warnings() (all []finding) {
	warn := func(key, format string, args ...any) {
		all = append(all, finding{key: key, message: fmt.Sprintf(format, args...), warning: true})
	}
	if g := a.Gunicorn; g != nil {
		graceful, said := g.GracefulTimeout, "the command says"
		if graceful == 0 {
			graceful, said = 30*time.Second, "gunicorn's default is"
		}
		if a.Stop.Timeout < graceful {
			warn("stop.timeout", "stop.timeout is %s, but %s --graceful-timeout %d: workers would be killed while they finish", spellDuration(a.Stop.Timeout), said, int(graceful.Seconds()))
		}
		for _, w := range g.Warnings() {
			warn("command", "%s", w)
		}
	}
	if a.Hold.Timeout > usualPatience && a.Web() {
		warn("hold.timeout", "hold.timeout is %s; most front-ends give up after %s unless they are told otherwise", spellDuration(a.Hold.Timeout), spellDuration(usualPatience))
	}
	if a.Web() && (a.Ready.Notify || len(a.Ready.Command) > 0) {
		key := "ready.notify"
		if !a.Ready.Notify {
			key = "ready.command"
		}
		warn(key, "%s is for plain processes: a web app is ready when it answers (ready.path)", key)
	}
	if server, how := a.needsSocket(); server != "" {
		warn("command", "%s", how)
	}
	return all
}

// sockets says how other servers are given their socket.
var sockets = map[string]string{
	"uvicorn":        "--fd {fd}",
	"hypercorn":      "--bind fd://{fd}",
	"daphne":         "--fd {fd}",
	"waitress-serve": "--listen=127.0.0.1:{port}",
	"granian":        "--host 127.0.0.1 --port {port}",
}

// needsSocket finds a known server that was not told of its private socket.
func (a *App) needsSocket() (server, how string) {
	for _, word := range a.Command {
		option, ok := sockets[path.Base(word)]
		if !ok || len(Placeholders(a.Command)) > 0 {
			continue
		}
		server = path.Base(word)
		if !a.Web() {
			return server, fmt.Sprintf("%s is run as a plain process, because the app has no listen: give the public address there, and %s to %s", server, option, server)
		}
		return server, fmt.Sprintf("%s does not take its private socket by itself: give it %s instead of an address of its own", server, option)
	}
	return "", ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
