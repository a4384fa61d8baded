package config

import (
	"maps"
	"slices"
	"strings"
)

// daemonVariables are not inherited, because they describe tideover's own process:
// its sockets, its notification socket, its unit.
var daemonVariables = []string{
	"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
	"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE",
	"INVOCATION_ID", "JOURNAL_STREAM", "MAINPID", "MAINPIDFDID", "MANAGERPID", "MANAGERPIDFDID", "SYSTEMD_EXEC_PID",
	"GUNICORN_FD", "GUNICORN_PID",
}

// sessionPrefixes and sessionVariables are of the session and the unit of the user that
// started tideover: sockets, agents, credentials. An app of another user does not inherit
// them.
var (
	sessionPrefixes  = []string{"LISTEN_", "NOTIFY_", "SUDO_", "SSH_", "DBUS_"}
	sessionVariables = []string{"CREDENTIALS_DIRECTORY"}
)

// basicVariables are inherited in spite of env_clear.
var basicVariables = []string{"PATH", "LANG", "LANGUAGE", "TZ", "TERM", "HOME", "USER", "LOGNAME", "SHELL"}

// Environment returns the environment of the app's process, sorted. Later values
// override earlier ones: PYTHONUNBUFFERED=1, the inherited variables of base, the env
// files as they are now, the key env. Relative env files are relative to dir.
func (a *App) Environment(dir string, base []string) ([]string, error) {
	return a.environment(base, readEnvFiles(dir, a)[a])
}

// environment is Environment with the env files that were read.
func (a *App) environment(base []string, files []envFile) ([]string, error) {
	env := map[string]string{"PYTHONUNBUFFERED": "1"}
	other := a.OtherUser()
	for _, pair := range base {
		name, value, ok := strings.Cut(pair, "=")
		if ok && a.inherits(name, other) {
			env[name] = value
		}
	}
	for _, file := range files {
		set, err := file.variables()
		if err != nil {
			return nil, &envFileError{err, file.As}
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

// inherits reports whether the app gets a variable of the daemon's environment. other is
// OtherUser.
func (a *App) inherits(name string, other bool) bool {
	switch {
	case slices.Contains(daemonVariables, name) || strings.HasPrefix(name, "TIDEOVER_"):
		return false
	case slices.Contains(a.EnvPass, name):
		return true
	case a.EnvClear:
		return slices.Contains(basicVariables, name) || strings.HasPrefix(name, "LC_")
	}
	return !other || !OfSession(name)
}

// OfSession reports whether a variable is one that an app of another user than the
// daemon's does not inherit.
func OfSession(name string) bool {
	return slices.Contains(sessionVariables, name) ||
		slices.ContainsFunc(sessionPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// InheritedSecrets returns the variables of environ that seem to hold a secret and that
// the app inherits though its user is not the daemon's.
func (a *App) InheritedSecrets(environ []string) []string {
	if !a.OtherUser() {
		return nil
	}
	inherited := map[string]string{}
	for _, pair := range environ {
		name, value, ok := strings.Cut(pair, "=")
		if ok && a.inherits(name, true) && !slices.Contains(a.EnvPass, name) {
			inherited[name] = value
		}
	}
	return secretNames(inherited)
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
