package config

import (
	"errors"
	"path/filepath"
	"strings"
)

// completePaths makes paths absolute. A relative directory is relative to base.
func (a *App) completePaths(base string) {
	a.Ready.Explicit = a.Ready.Path != ""
	if !a.Ready.Explicit {
		a.Ready.Path = "/"
	}
	a.Directory = absolute(base, a.Directory)
	for _, p := range []*string{&a.Log.File, &a.Log.AccessFile, &a.Hold.Page} {
		if *p != "" {
			*p = absolute(a.Directory, *p)
		}
	}
	a.EnvFile = a.absolutePaths(a.EnvFile)
	a.Watch.Files = a.absolutePaths(a.Watch.Files)
}

// complete reads the command of gunicorn or another server and finds the public address.
func (a *App) complete(environ []string, files []envFile) []finding {
	var found []finding
	env, err := a.environment(environ, files)
	var fault *envFileError
	if errors.As(err, &fault) {
		f := finding{key: "env_file", message: err.Error()}
		if fault.as != "" { // its user must not be able to make the whole configuration invalid
			f.warning, f.hint = true, "the app does not start before that is mended"
		}
		found, env = append(found, f), environ
	}
	found = append(found, a.detectGunicorn(env)...)
	return append(found, a.detectServer(env)...)
}

func absolute(base, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

// absolutePaths makes paths absolute; a "-" in front stays.
func (a *App) absolutePaths(paths []string) []string {
	var all []string
	for _, p := range paths {
		all = append(all, absoluteOptional(a.Directory, p))
	}
	return all
}

// absoluteOptional makes a path absolute that may have a "-" in front.
func absoluteOptional(base, path string) string {
	if rest, ok := strings.CutPrefix(path, "-"); ok {
		return "-" + absolute(base, rest)
	}
	return absolute(base, path)
}
