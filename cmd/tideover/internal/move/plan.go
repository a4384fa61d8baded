package move

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tideover/supervisor/config"
	"tideover/supervisor/supervisordconf"
)

// unit is what goes over at once: an app of the configuration, and the processes of supervisord
// that it replaces.
type unit struct {
	cfg       *config.App
	apps      []string      // cfg's instances, or its name
	processes []processInfo // those that run under supervisord
	known     bool          // supervisord has a program for it
	stopWait  time.Duration // its stopwaitsecs
	after     []*unit
}

// plan is what a move means.
type plan struct {
	units     []*unit  // in the order of the configuration
	unmatched []string // processes that run under supervisord and that no app replaces
}

// newPlan compares the programs of supervisord with the apps of the configuration: a program is
// replaced by the app of the name that import gives it.
func newPlan(programs []supervisordconf.Program, running []processInfo, file *config.File, leave []string) *plan {
	p := &plan{}
	byApp := map[string]*unit{}
	for _, cfg := range file.Apps {
		u := &unit{cfg: cfg}
		for _, one := range cfg.Each() {
			u.apps = append(u.apps, one.Name)
		}
		p.units = append(p.units, u)
		byApp[cfg.Name] = u
	}
	for _, u := range p.units {
		for _, other := range p.units {
			if u != other && slices.ContainsFunc(u.cfg.After, other.cfg.Matches) {
				u.after = append(u.after, other)
			}
		}
	}
	owner := map[string]*unit{}
	for _, program := range programs {
		if u := byApp[program.App]; u != nil {
			u.known, u.stopWait = true, program.StopWait
			for _, name := range program.Processes {
				owner[name] = u
			}
		}
	}
	for _, one := range running {
		if !one.runs() || isLeft(one.name, leave) {
			continue
		}
		if u := owner[one.name]; u != nil {
			u.processes = append(u.processes, one)
		} else {
			p.unmatched = append(p.unmatched, one.name)
		}
	}
	return p
}

// isLeft reports whether a process stays with supervisord: by its name, or that of its group.
func isLeft(process string, leave []string) bool {
	group, _, _ := strings.Cut(process, ":")
	return slices.Contains(leave, process) || slices.Contains(leave, group)
}

// moving are the units that have processes to replace.
func (p *plan) moving() (all []*unit) {
	for _, u := range p.units {
		if len(u.processes) > 0 {
			all = append(all, u)
		}
	}
	return all
}

func (u *unit) names() (all []string) {
	for _, one := range u.processes {
		all = append(all, one.name)
	}
	return all
}

// describe says what will be done with the unit.
func (u *unit) describe() string {
	what := "stopped there, then started here"
	switch {
	case u.cfg.Web() && u.cfg.ReloadMode() == config.Overlap:
		what = fmt.Sprintf("started here; then its socket %s is taken over, and it is stopped there", strings.Join(u.cfg.Listen, ", "))
	case u.cfg.Direct():
		what = fmt.Sprintf("its socket %s is taken over, it is stopped there, then started here (relay = \"none\")", strings.Join(u.cfg.Listen, ", "))
	case u.cfg.Web():
		what = fmt.Sprintf("its socket %s is taken over, it is stopped there, then started here (reload = \"replace\")", strings.Join(u.cfg.Listen, ", "))
	}
	after := ""
	if len(u.after) > 0 {
		after = ", after " + strings.Join(u.cfg.After, ", ")
	}
	return fmt.Sprintf("%s (%s): %s%s", u.cfg.Name, strings.Join(u.names(), ", "), what, after)
}
