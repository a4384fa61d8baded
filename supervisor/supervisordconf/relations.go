package supervisordconf

import (
	"fmt"
	"slices"
	"strings"

	"tideover/supervisor/config"
)

// everyApp is what commands call all apps: it is the name of none, and no label.
const everyApp = "all"

// uniqueName makes a valid name of an app that is not taken.
func uniqueName(name string, taken map[string]bool) string {
	name = config.ValidName(name)
	if name == everyApp {
		name += "-app"
	}
	unique := name
	for n := 2; taken[unique]; n++ {
		suffix := fmt.Sprintf("-%d", n)
		unique = strings.TrimRight(name[:min(len(name), 32-len(suffix))], "-_") + suffix
	}
	return unique
}

// noteRenamed adds a note for each program that became an app with another name.
func (im *importer) noteRenamed() {
	for _, p := range im.programs {
		if p.app != p.name && !p.split {
			why := "names are of a-z, 0-9, - and _"
			if config.ValidName(p.name) == everyApp {
				why = "commands call every app " + everyApp
			}
			p.im.addSectionNote(p.section, "the app is called "+p.app+": "+why)
		}
	}
}

// relationEntries returns the keys labels and after of an app. Apps that are only a
// comment are not named in them.
func (p *program) relationEntries() (lines []entry) {
	var labels []string
	for _, name := range []string{p.group.name, p.sectionLabel()} {
		if label := p.im.label(name); label != "" && !slices.Contains(labels, label) {
			labels = append(labels, label)
		}
	}
	if len(labels) > 0 {
		comment := ""
		if p.group.name != "" {
			comment = "[group:" + p.group.name + "]"
		}
		lines = append(lines, entry{key: "labels", value: tomlArray(labels), comment: comment})
	}
	if names := p.supervisorNames(labels); len(names) > 0 {
		lines = append(lines, entry{key: "supervisor_names", value: tomlStrings(names), comment: "as supervisorctl names them"})
	}
	var after []string
	for _, other := range p.predecessors() {
		after = append(after, other.app)
	}
	if len(after) > 0 {
		lines = append(lines, entry{key: "after", value: tomlArray(after), comment: "priority; supervisord did not wait, tideover does until they are ready"})
	}
	return lines
}

// supervisorNames are the names of the processes as supervisord has them, unless they are those that
// the app has without the key.
func (p *program) supervisorNames(labels []string) []string {
	names := p.processNames()
	names = names[:min(len(names), p.instances)]
	same := true
	for i, name := range names {
		app := config.App{Name: p.app, Labels: labels}
		if p.instances > 1 {
			app.Name = fmt.Sprintf("%s:%d", p.app, i+1)
		}
		group, process := app.Program()
		same = same && (name == group+":"+process || name == group && name == process)
		if config.CheckProcessName(name) != nil {
			p.im.addSectionNote(p.section, "supervisorctl calls it by the name of the app: "+name+" is not possible")
			return nil
		}
	}
	if same {
		return nil
	}
	return names
}

// sectionLabel is the label for all apps of a section that was split; else empty.
func (p *program) sectionLabel() string {
	if p.split {
		return p.name
	}
	return ""
}

// label makes a label that is not the name of an app.
func (im *importer) label(name string) string {
	if name == "" {
		return ""
	}
	label := config.ValidName(name)
	if label == everyApp || slices.ContainsFunc(im.programs, func(p *program) bool { return p.app == label }) {
		label = config.ValidName(label + "-group")
	}
	return label
}

// predecessors returns the apps with the next lower priority. Only priorities that are
// written in the file count.
func (p *program) predecessors() (all []*program) {
	mine, ok := p.priority()
	if !ok || len(p.rejected) > 0 {
		return nil
	}
	best := -1
	for _, other := range p.im.programs {
		rank, ok := other.priority()
		switch {
		case !ok || len(other.rejected) > 0 || rank >= mine || rank < best:
		case rank == best:
			all = append(all, other)
		default:
			best, all = rank, []*program{other}
		}
	}
	return all
}

// priority returns the rank of a program among all, if the priority of the program or
// its group is written.
func (p *program) priority() (rank int, ok bool) {
	own, group := 999, 999
	if o, given := p.im.ini.option(p.section, "priority"); given {
		n, err := parseInt(o.value)
		if err != nil {
			return 0, false
		}
		own, group, ok = n, n, true
	}
	if p.group.name != "" {
		group = 999
	}
	if p.group.priority != nil {
		group, ok = *p.group.priority, true
	}
	const most = 1 << 20 // higher priorities count as this
	return max(0, min(group, most))*most + max(0, min(own, most)), ok
}
