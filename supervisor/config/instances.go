package config

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Instance is the placeholder for the number of an instance, from 1, in command, env
// and log.file.
const Instance Placeholder = "{instance}"

// Each returns the app itself, or one app for each instance: those of celery are
// celery:1, celery:2 and so on. If log.file has no placeholder, the number is inserted
// before the extension, because two processes cannot rotate one file.
func (a *App) Each() []*App {
	var all []*App
	for n := 1; n <= a.Instances; n++ {
		one := *a
		one.Instances = 1 // a change of the number is no change of any instance
		number := strconv.Itoa(n)
		if a.Instances > 1 {
			one.Name, one.Instance = a.Name+":"+number, n
			one.Log.File, one.Log.AccessFile = numbered(a.Log.File, number), numbered(a.Log.AccessFile, number)
		}
		one.Command = Substitute(a.Command, Instance, number)
		one.Env = maps.Clone(a.Env)
		for name, value := range one.Env {
			one.Env[name] = strings.ReplaceAll(value, string(Instance), number)
		}
		all = append(all, &one)
	}
	return all
}

// Family is the name that all instances of an app have in common: its name in the
// configuration.
func (a *App) Family() string {
	family, _, _ := strings.Cut(a.Name, ":")
	return family
}

// Program returns the group and the name by which clients of supervisord know the app.
func (a *App) Program() (group, name string) {
	if i := max(a.Instance, 1) - 1; i < len(a.SupervisorNames) {
		group, name, _ = strings.Cut(a.SupervisorNames[i], ":")
		return group, cmp.Or(name, group)
	}
	family, number, isInstance := strings.Cut(a.Name, ":")
	switch {
	case len(a.Labels) > 0 && isInstance:
		return a.Labels[0], family + "_" + number
	case len(a.Labels) > 0:
		return a.Labels[0], a.Name
	case isInstance:
		return family, number
	}
	return a.Name, a.Name
}

// CheckProcessName checks a name of a process as supervisord has it.
func CheckProcessName(s string) error {
	group, name, two := strings.Cut(s, ":")
	if group == "" || two && name == "" || strings.ContainsAny(s, " \t\n/*") || strings.Contains(name, ":") || group == "all" {
		return fmt.Errorf("%q is not a name of supervisord: it is GROUP:PROCESS or NAME, without spaces, / and *", s)
	}
	return nil
}

// Matches reports whether a selector addresses the app: its name, its family, a label or "all"; as
// supervisorctl writes it, GROUP:PROCESS, GROUP:* or GROUP:.
func (a *App) Matches(selector string) bool {
	group, process := a.Program()
	name, part, two := strings.Cut(selector, ":")
	switch {
	case selector == a.Name || selector == "all":
		return true
	case !two || part == "" || part == "*":
		return name == a.Name || name == a.Family() || slices.Contains(a.Labels, name) || name == group && (two || process == group)
	}
	return name == group && part == process
}

func numbered(file, number string) string {
	if file == "" || strings.Contains(file, string(Instance)) {
		return strings.ReplaceAll(file, string(Instance), number)
	}
	extension := filepath.Ext(file)
	return strings.TrimSuffix(file, extension) + "-" + number + extension
}
