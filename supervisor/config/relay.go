package config

import (
	"fmt"
	"slices"
	"strings"
)

// relayConflicts returns why the app cannot serve on its public sockets itself, with relay = "none".
func (a *App) relayConflicts() (all []finding) {
	if a.Relay != RelayNone {
		return nil
	}
	refuse := func(key, format string, args ...any) {
		all = append(all, finding{key: key, message: fmt.Sprintf(format, args...)})
	}
	if !a.Listens() {
		refuse("relay", `relay = "none" passes the public socket to the app, and there is none: set listen`)
		return all
	}
	for _, p := range Placeholders(a.Command) {
		switch {
		case p != FD:
			refuse("command", `relay = "none" passes the public socket itself, so there is no %s: write {fd}, the number of the inherited socket`, p)
		case len(a.Listen) > 1:
			refuse("command", `{fd} is one socket, and with relay = "none" the app gets all that are in listen, from descriptor 3 on (LISTEN_FDS)`)
		}
	}
	isUnix := slices.ContainsFunc(a.Listen, func(address string) bool { return strings.HasPrefix(address, "unix:") })
	switch {
	case a.Server != nil && len(a.Listen) > 1:
		refuse("listen", `relay = "none" passes all public sockets, and %s takes one: listen on one address`, a.Server.Server)
	case a.Server != nil:
		if _, err := a.Server.SharedArgv(isUnix); err != nil {
			refuse("command", "%s", err)
		}
	case a.Gunicorn != nil && isUnix && a.Gunicorn.MayFork():
		wrapper, _ := a.Gunicorn.Forks()
		refuse("command", `with relay = "none", a gunicorn that %q starts as its child would remove the file of the public unix socket at its end: `+
			"run gunicorn itself, such as .venv/bin/gunicorn, or listen on a TCP address", wrapper)
	}
	return all
}

// relayKeys are the keys, or with a dot at the end their sections, that only the relay reads.
var relayKeys = []string{
	"upstream", "buffering", "timeout", "trusted", "half_close", "on_leave", "underscores", "connection_named", "resend", "listen_proxy_protocol",
	"hold.", "drain.", "limits.",
}

// processLimits are the keys of limits that are not of the relay.
var processLimits = []string{"limits.nofile", "limits.nproc", "limits.core"}

// isRelayKey reports whether a key means nothing with relay = "none".
func isRelayKey(path string) bool {
	return !slices.Contains(processLimits, path) && slices.ContainsFunc(relayKeys, func(key string) bool {
		return path == key || strings.HasSuffix(key, ".") && strings.HasPrefix(path, key)
	})
}

// relayWarnings are those of an app with relay = "none".
func (a *App) relayWarnings() (all []finding) {
	if !a.Direct() {
		return nil
	}
	warn := func(key, format string, args ...any) {
		all = append(all, finding{key: key, message: fmt.Sprintf(format, args...), warning: true})
	}
	for _, k := range appKeys() {
		if a.own[k.Path] && isRelayKey(k.Path) {
			warn(k.Path, `%s means nothing with relay = "none": no request passes through tideover`, k.Path)
		}
	}
	asked := a.Ready.Notify || len(a.Ready.Command) > 0
	switch {
	case a.Gunicorn != nil && a.Ready.Notify:
		warn("ready.notify", "gunicorn sends READY=1 before any worker has loaded the app; without ready.notify it has to answer a request")
	case a.Gunicorn != nil && !asked && a.Gunicorn.Protocol != "" && a.Gunicorn.Protocol != "http":
		warn("command", "gunicorn speaks %s, so it answers no HTTP request that would show that it is ready: set ready.command", a.Gunicorn.Protocol)
	case a.Gunicorn == nil && !asked:
		warn("relay", `with relay = "none" a request to the public socket may be answered by the old generation, so a new one counts as ready `+
			"when it has run for ready.after (%s): set ready.notify or ready.command", formatDuration(a.Ready.After))
	}
	if a.Gunicorn == nil {
		for _, key := range []string{"ready.path", "ready.host", "ready.status", "ready.warm"} {
			if a.own[key] {
				warn(key, `%s means nothing with relay = "none" unless gunicorn serves: set ready.notify or ready.command`, key)
			}
		}
	}
	return all
}
