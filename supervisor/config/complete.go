package config

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// newApp is an App with every default of the table.
func newApp(name string) *App {
	a := &App{Name: name, Limits: Limits{Core: -1}}
	setDefaults(appKeys, a)
	return a
}

// setDefaults reads the table's default values as if they were written in a
// file. One that cannot be read is a mistake in the table.
func setDefaults(keys []Key, settings any) {
	for _, k := range keys {
		if k.Default == "" {
			continue
		}
		var value struct{ V any }
		if _, err := toml.Decode("V = "+k.Default, &value); err != nil {
			panic("config: default of " + k.Path + ": " + err.Error())
		}
		if err := k.set(settings, value.V); err != nil {
			panic("config: default of " + k.Path + ": " + err.Error())
		}
	}
}

// finding is a fault or warning about one key of an app, not yet at a place.
type finding struct {
	key     string
	part    []string // of the key's value: the number of an element, the name of a member
	message string
	hint    string
	warning bool
	secret  bool // the line must not be quoted
}

// complete makes paths absolute (base is where a relative directory begins)
// and finds out about gunicorn and the public address.
func (a *App) complete(base string, environ []string) []finding {
	a.Ready.Explicit = a.Ready.Path != ""
	if !a.Ready.Explicit {
		a.Ready.Path = "/"
	}
	a.Directory = absolute(base, a.Directory)
	for _, p := range []*string{&a.Log.File, &a.Hold.Page} {
		if *p != "" {
			*p = absolute(a.Directory, *p)
		}
	}
	a.EnvFile = a.inDirectory(a.EnvFile)
	a.Watch.Files = a.inDirectory(a.Watch.Files)
	var found []finding
	env, err := a.Environment(a.Directory, environ)
	if err != nil {
		found = append(found, finding{key: "env_file", message: err.Error()})
		env = environ
	}
	return append(found, a.detectGunicorn(env)...)
}

func absolute(base, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

// inDirectory makes paths absolute; a "-" in front stays.
func (a *App) inDirectory(paths []string) []string {
	var all []string
	for _, p := range paths {
		all = append(all, marked(a.Directory, p))
	}
	return all
}

// marked makes a path absolute that may have a "-" in front.
func marked(base, path string) string {
	if rest, ok := strings.CutPrefix(path, "-"); ok {
		return "-" + absolute(base, rest)
	}
	return absolute(base, path)
}

// keyAt finds a key of the table.
func keyAt(keys []Key, path string) (Key, bool) {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Path == path })
	if i < 0 {
		return Key{}, false
	}
	return keys[i], true
}
