package config

import (
	"fmt"
	"slices"
	"time"
)

// frontEndTimeout is how long most front-ends wait for a response by default.
const frontEndTimeout = 60 * time.Second

// Warnings returns the settings of an app that are valid but likely to cause
// trouble. The problems have no place; those in File.Warnings do.
func (a *App) Warnings() (all []Problem) {
	for _, f := range a.warnings() {
		all = append(all, Problem{App: a.Name, Message: f.message, Hint: f.hint, Warning: true})
	}
	return all
}

// WarningsAfter returns the warnings that before does not have.
func (a *App) WarningsAfter(before *App) []Problem {
	known := before.Warnings()
	return slices.DeleteFunc(a.Warnings(), func(p Problem) bool {
		return slices.ContainsFunc(known, func(k Problem) bool { return k.Message == p.Message })
	})
}

func (a *App) warnings() (all []finding) {
	warn := func(key, format string, args ...any) {
		all = append(all, finding{key: key, message: fmt.Sprintf(format, args...), warning: true})
	}
	if g := a.Gunicorn; g != nil {
		graceful, said := g.GracefulTimeout, "the command says"
		if graceful == 0 {
			graceful, said = 30*time.Second, "gunicorn's default is"
		}
		if a.Stop.Timeout < graceful {
			warn("stop.timeout", "stop.timeout is %s, but %s --graceful-timeout %d: workers would be killed while they finish", formatDuration(a.Stop.Timeout), said, int(graceful.Seconds()))
		}
		for _, w := range slices.Concat(g.Warnings(), a.limitWarnings()) {
			warn("command", "%s", w)
		}
		if a.distrusted() {
			warn("command", "gunicorn's forwarded_allow_ips does not contain 127.0.0.1, from which tideover connects to it, so gunicorn ignores X-Forwarded-Proto: add 127.0.0.1 to it")
		}
	}
	for _, w := range a.peerWarnings() {
		warn("command", "%s", w)
	}
	if a.Hold.Timeout > frontEndTimeout && a.Web() {
		warn("hold.timeout", "hold.timeout is %s; most front-ends give up after %s unless their own timeout is set", formatDuration(a.Hold.Timeout), formatDuration(frontEndTimeout))
	}
	if !a.Web() && a.Live.Path != "" {
		warn("live.path", "live.path has no effect: tideover relays no request to this app")
	}
	if a.Web() && (a.Ready.Notify || len(a.Ready.Command) > 0) {
		key := "ready.notify"
		if !a.Ready.Notify {
			key = "ready.command"
		}
		warn(key, "%s is for plain processes: a web app is ready when it answers (ready.path)", key)
	}
	switch {
	case a.Server != nil && a.Listens():
		for _, w := range a.Server.Warnings() {
			warn("command", "%s", w)
		}
	case a.Server != nil:
		warn("command", "%s", PlainServerHint(a.Server, a.Directory))
	}
	return append(all, a.relayWarnings()...)
}
