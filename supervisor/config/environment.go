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

// daemonVariables are not inherited, because they describe tideover's own process:
// its sockets, its notification socket, its unit.
var daemonVariables = []string{
	"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
	"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE",
	"INVOCATION_ID", "JOURNAL_STREAM", "MAINPID", "MAINPIDFDID", "MANAGERPID", "MANAGERPIDFDID", "SYSTEMD_EXEC_PID",
	"GUNICORN_FD", "GUNICORN_PID",
}

// basicVariables are inherited in spite of env_clear.
var basicVariables = []string{"PATH", "LANG", "LANGUAGE", "TZ", "TERM", "HOME", "USER", "LOGNAME", "SHELL"}

// Environment returns the environment of the app's process, sorted. Later values
// override earlier ones: PYTHONUNBUFFERED=1, the inherited variables of base, the env
// files as they are now, the key env. Relative env files are relative to dir.
func (a *App) Environment(dir string, base []string) ([]string, error) {
	env := map[string]string{"PYTHONUNBUFFERED": "1"}
	for _, pair := range base {
		name, value, ok := strings.Cut(pair, "=")
		if ok && a.inherits(name) {
			env[name] = value
		}
	}
	for _, path := range a.EnvFile {
		set, _, err := readEnvFile(absoluteOptional(dir, path))
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

// inherits reports whether the app gets a variable of the daemon's environment.
func (a *App) inherits(name string) bool {
	switch {
	case slices.Contains(daemonVariables, name) || strings.HasPrefix(name, "TIDEOVER_"):
		return false
	case !a.EnvClear:
		return true
	}
	return slices.Contains(basicVariables, name) || strings.HasPrefix(name, "LC_") || slices.Contains(a.EnvPass, name)
}

// readEnvFile reads NAME=value lines. A "-" in front of the path says that the file
// may be missing.
func readEnvFile(path string) (map[string]string, fs.FileInfo, error) {
	path, optional := strings.CutPrefix(path, "-")
	text, info, err := ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("env file %s: %w", path, err)
	}
	set, err := envparse.Parse(bytes.NewReader(text))
	var parseError *envparse.ParseError
	if errors.As(err, &parseError) {
		return nil, nil, fmt.Errorf("%s:%d: %w", path, parseError.Line, parseError.Err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return set, info, nil
}

// lookupEnv returns a function that looks up a variable in NAME=value pairs.
func lookupEnv(pairs []string) func(string) string {
	return func(name string) string {
		for i := len(pairs) - 1; i >= 0; i-- {
			if value, ok := strings.CutPrefix(pairs[i], name+"="); ok {
				return value
			}
		}
		return ""
	}
}
