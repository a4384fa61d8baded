package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-envparse"
)

// private are variables that speak of tideover's own process, and would be
// misunderstood by another one.
var private = []string{
	"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
	"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE",
	"INVOCATION_ID", "JOURNAL_STREAM", "MAINPID", "MAINPIDFDID", "MANAGERPID", "MANAGERPIDFDID", "SYSTEMD_EXEC_PID",
	"GUNICORN_FD", "GUNICORN_PID",
}

// plain are the variables that stay with env_clear.
var plain = []string{"PATH", "LANG", "LANGUAGE", "TZ", "TERM", "HOME", "USER", "LOGNAME", "SHELL"}

// Environment is the environment of the app's process, sorted: base without
// what is tideover's own, then the env files as they are now, then env. Relative
// env files are looked for in dir. Python is told not to buffer its output,
// unless somebody tells it otherwise.
func (a *App) Environment(dir string, base []string) ([]string, error) {
	env := map[string]string{"PYTHONUNBUFFERED": "1"}
	for _, pair := range base {
		name, value, ok := strings.Cut(pair, "=")
		if ok && a.inherits(name) {
			env[name] = value
		}
	}
	for _, path := range a.EnvFile {
		set, _, err := readEnvFile(marked(dir, path))
		if err != nil {
			return nil, err
		}
		maps.Copy(env, set)
	}
	maps.Copy(env, a.Env)
	pairs := make([]string, 0, len(env))
	for name, value := range env {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return pairs, nil
}

func (a *App) inherits(name string) bool {
	switch {
	case slices.Contains(private, name) || strings.HasPrefix(name, "TIDEOVER_"):
		return false
	case !a.EnvClear:
		return true
	}
	return slices.Contains(plain, name) || strings.HasPrefix(name, "LC_") || slices.Contains(a.EnvPass, name)
}

// readEnvFile reads NAME=value lines. A file marked with "-" may be missing.
func readEnvFile(path string) (map[string]string, fs.FileInfo, error) {
	path, mayMiss := strings.CutPrefix(path, "-")
	text, info, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) && mayMiss {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("env file %s: %w", path, err)
	}
	set, err := envparse.Parse(bytes.NewReader(text))
	var fault *envparse.ParseError
	if errors.As(err, &fault) {
		return nil, nil, fmt.Errorf("%s:%d: %w", path, fault.Line, fault.Err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return set, info, nil
}

// lookup makes a function of NAME=value pairs.
func lookup(pairs []string) func(string) string {
	return func(name string) string {
		for i := len(pairs) - 1; i >= 0; i-- {
			if value, ok := strings.CutPrefix(pairs[i], name+"="); ok {
				return value
			}
		}
		return ""
	}
}
