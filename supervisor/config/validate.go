package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
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
		if l.full() {
			return
		}
		if len(d.Command) == 0 {
			if _, tried := d.written["command"]; !tried && !slices.ContainsFunc(d.src.unread, isCommand) {
				l.addFinding(d, finding{message: "the app has no command"})
			}
		}
		for _, f := range d.App.complete(l.environ, files[d.App]) {
			l.addFinding(d, f)
		}
		l.file.Apps = append(l.file.Apps, d.App)
	}
}

// isCommand reports whether a key as it is written may be the command of an app.
func isCommand(key string) bool {
	return strings.HasSuffix(strings.Trim(key, `"'`), "command")
}

// addFinding adds a problem with one key of an app.
func (l *loader) addFinding(d *draft, f finding) { l.add(d.locate(f)) }

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
	addresses, cycles := newAddressIndex(), l.cycles()
	for _, d := range l.apps {
		if l.full() {
			return
		}
		for _, f := range slices.Concat(d.conflicts(), d.warnings()) {
			l.addFinding(d, f)
		}
		l.checkAddresses(d, addresses)
		l.checkAfter(d, cycles)
		for i, label := range d.Labels {
			if _, ok := l.byName[label]; ok {
				l.addFinding(d, finding{key: "labels", part: []string{fmt.Sprint(i)}, message: fmt.Sprintf("the label %q is the name of an app", label)})
			}
		}
	}
	l.checkAgents(addresses)
	l.checkAdmin(addresses)
	l.checkFleet()
	if len(l.apps) == 0 && l.errors == 0 {
		l.add(noApp(l.main.path))
	}
}

// conflicts returns the problems between several keys of one app.
func (a *App) conflicts() (all []finding) {
	all = append(all, a.relayConflicts()...)
	if a.Instances > 1 && a.Listens() {
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

// checkAddresses reports the addresses that an app and an earlier one cannot both bind, and
// adds those of the app to the index.
func (l *loader) checkAddresses(d *draft, earlier *addressIndex) {
	for _, a := range d.Listen {
		for _, other := range earlier.overlapping(a) {
			if other.app.Name == d.Name {
				continue // readApp has reported two apps of one name
			}
			f := finding{key: d.listenKey(), message: fmt.Sprintf("%s is also the address of %s (%s)", a, other.app.Name, other.address)}
			if d.QueryGunicorn || other.app.QueryGunicorn {
				f.message, f.warning = f.message+", unless gunicorn's configuration file says otherwise", true
			}
			l.addFinding(d, f)
		}
	}
	for _, a := range d.Listen {
		earlier.add(a, d.App)
	}
}

// checkAgents reports addresses of agents that are those of apps or of other agents, and adds them to
// the index.
func (l *loader) checkAgents(addresses *addressIndex) {
	for _, d := range l.apps {
		if d.Agent.Listen == "" || l.full() {
			continue
		}
		if !d.Listens() && !d.QueryGunicorn {
			l.addFinding(d, finding{key: "agent.listen", message: "agent.listen is for apps with a public address: load balancers send nothing to " + d.Name})
		}
		for _, other := range addresses.overlapping(d.Agent.Listen) {
			l.addFinding(d, finding{key: "agent.listen", message: fmt.Sprintf("%s is also an address of %s (%s)", d.Agent.Listen, other.app.Name, other.address)})
		}
		addresses.add(d.Agent.Listen, d.App)
	}
}

// checkAdmin reports addresses of the daemon that are addresses of an app, or that other machines
// reach.
func (l *loader) checkAdmin(apps *addressIndex) {
	d := &l.file.Daemon
	if path := d.Supervisor.Socket; path != "" {
		l.checkOwnAddress(apps, "supervisor_socket", "unix:"+path, "")
	}
	said := "they see the names and states of the apps, without a password"
	if d.AdminAuth.TokenFile != "" {
		said += ", and the token of admin_auth.token_file is sent in the clear"
	}
	l.checkOwnAddress(apps, "admin", d.Admin, said)
	said = "they see the names, states and output of the apps, without a password"
	if d.Supervisor.User != "" {
		said = "the password of supervisor_user is sent in the clear"
	}
	l.checkOwnAddress(apps, "supervisor_http", d.Supervisor.HTTP, said)
	l.checkAdminAuth()
	at := l.main.find([]string{"daemon", "supervisor_user"}).value
	switch s := d.Supervisor; {
	case s.User != "" && s.PasswordFile == "":
		l.add(l.main.problem(at, "supervisor_user needs supervisor_password_file"))
	case s.User == "" && s.SocketAuth:
		l.add(l.main.problem(l.main.find([]string{"daemon", "supervisor_socket_auth"}).value, "supervisor_socket_auth needs supervisor_user and supervisor_password_file"))
	case s.User == "" && s.PasswordFile != "":
		l.add(l.main.problem(l.main.find([]string{"daemon", "supervisor_password_file"}).value, "supervisor_password_file needs supervisor_user"))
	}
}

// checkAdminAuth reports settings of the page where there is none.
func (l *loader) checkAdminAuth() {
	d := &l.file.Daemon
	if d.Admin != "" {
		return
	}
	for _, set := range []struct {
		key string
		is  bool
	}{{"token_file", d.AdminAuth.TokenFile != ""}, {"hosts", len(d.AdminAuth.Hosts) > 0}} {
		if set.is {
			p := l.main.problem(l.main.find([]string{"daemon", "admin_auth", set.key}).key, "admin_auth."+set.key+" is for the page, which needs daemon.admin")
			p.Hint = `add to [daemon]: admin = "127.0.0.1:9464"`
			l.add(p)
		}
	}
}

// checkOwnAddress checks one address of the daemon. open says what its being open to other machines
// means.
func (l *loader) checkOwnAddress(apps *addressIndex, key, address, open string) {
	if address == "" {
		return
	}
	at := l.main.find([]string{"daemon", key}).value
	for _, other := range apps.overlapping(address) {
		l.add(l.main.problem(at, fmt.Sprintf("%s is also the address of %s (%s)", address, other.app.Name, other.address)))
	}
	if host, _, tcp := splitHostPort(address); tcp && !isLoopback(host) {
		p := l.main.problem(at, "daemon."+key+" is open to other machines: "+open)
		p.Warning, p.Hint = true, "127.0.0.1 or unix:PATH is for this machine alone; elsewhere a firewall must protect it"
		l.add(p)
	}
}

// listenKey is the key that the public address comes from.
func (d *draft) listenKey() string {
	if _, ok := d.written["listen"]; ok {
		return "listen"
	}
	return "command"
}

// maxSuggested is the number of names among which a similar one is looked for.
const maxSuggested = 1000

// checkAfter reports unknown names in the key after, and cycles.
func (l *loader) checkAfter(d *draft, cycles map[string]int) {
	for i, name := range d.After {
		part := []string{fmt.Sprint(i)}
		_, known := l.byName[name]
		switch {
		case l.full():
			return
		case name == d.Name:
			l.addFinding(d, finding{key: "after", part: part, message: d.Name + " waits for itself"})
		case !known:
			f := finding{key: "after", part: part, message: fmt.Sprintf("there is no app %q", name)}
			if near := Nearest(name, l.names(maxSuggested)); near != "" {
				f.hint = fmt.Sprintf("did you mean %q?", near)
			}
			l.addFinding(d, f)
		case cycles[name] == cycles[d.Name]:
			l.addFinding(d, finding{key: "after", part: part, message: fmt.Sprintf("%s and %s wait for each other", d.Name, name)})
		}
	}
}

// names returns the names of up to limit apps.
func (l *loader) names(limit int) []string {
	var names []string
	for _, d := range l.apps[:min(len(l.apps), limit)] {
		names = append(names, d.Name)
	}
	return names
}

// cycles numbers the apps so that two have the same number if each waits for the other,
// directly or through others: Tarjan's strongly connected components of the key after. Its
// time is linear in the number of names.
func (l *loader) cycles() map[string]int {
	c := cycleFinder{apps: l.byName, order: map[string]int{}, low: map[string]int{}, cycle: map[string]int{}}
	for _, d := range l.apps {
		if c.order[d.Name] == 0 {
			c.visit(l.byName[d.Name])
		}
	}
	return c.cycle
}

type cycleFinder struct {
	apps  map[string]*draft
	order map[string]int // from 1, as they were visited
	low   map[string]int // the lowest order that is reached from an app and is open
	open  []*draft       // visited, and not in a cycle yet
	cycle map[string]int
}

func (c *cycleFinder) visit(d *draft) {
	c.order[d.Name] = len(c.order) + 1
	c.low[d.Name] = c.order[d.Name]
	c.open = append(c.open, d)
	for _, name := range d.After {
		next, ok := c.apps[name]
		if !ok {
			continue
		}
		if c.order[name] == 0 {
			c.visit(next)
			c.low[d.Name] = min(c.low[d.Name], c.low[name])
		} else if c.cycle[name] == 0 {
			c.low[d.Name] = min(c.low[d.Name], c.order[name])
		}
	}
	if c.low[d.Name] < c.order[d.Name] {
		return
	}
	for {
		last := c.open[len(c.open)-1]
		c.open = c.open[:len(c.open)-1]
		if c.cycle[last.Name] = c.order[d.Name]; last == d {
			return
		}
	}
}
