package config

import (
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Instance is the placeholder for an instance's number, from 1, in the command,
// its environment and log.file.
const Instance Placeholder = "{instance}"

// Each returns the app itself, or its instances as apps of their own: those of
// celery are celery:1, celery:2 and so on. A log file that does not name the
// instance gets its number before the extension, because two cannot rotate one
// file.
func (a *App) Each() []*App {
	var all []*App
	for n := 1; n <= a.Instances; n++ {
		one := *a
		one.Instances = 1 // how many there are is not a setting of any of them
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

// Family is the name all instances of an app have in common: its name in the
// configuration.
func (a *App) Family() string {
	family, _, _ := strings.Cut(a.Name, ":")
	return family
}

// Answers reports whether a selector means the app: its name, its family, a
// label, or "all".
func (a *App) Answers(selector string) bool {
	return selector == a.Name || selector == a.Family() || selector == "all" || slices.Contains(a.Labels, selector)
}

func numbered(file, number string) string {
	if file == "" || strings.Contains(file, string(Instance)) {
		return strings.ReplaceAll(file, string(Instance), number)
	}
	extension := filepath.Ext(file)
	return strings.TrimSuffix(file, extension) + "-" + number + extension
}
