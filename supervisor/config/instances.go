package config

import (
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
			one.Log.File = numbered(a.Log.File, number)
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

// Matches reports whether a selector addresses the app: its name, its family, a label
// or "all".
func (a *App) Matches(selector string) bool {
	return selector == a.Name || selector == a.Family() || selector == "all" || slices.Contains(a.Labels, selector)
}

func numbered(file, number string) string {
	if file == "" || strings.Contains(file, string(Instance)) {
		return strings.ReplaceAll(file, string(Instance), number)
	}
	extension := filepath.Ext(file)
	return strings.TrimSuffix(file, extension) + "-" + number + extension
}
