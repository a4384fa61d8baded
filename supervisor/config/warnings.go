package config

import (
	"fmt"
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
		for _, w := range g.Warnings() {
			warn("command", "%s", w)
		}
	}
	if a.Hold.Timeout > frontEndTimeout && a.Web() {
		warn("hold.timeout", "hold.timeout is %s; most front-ends give up after %s unless their own timeout is set", formatDuration(a.Hold.Timeout), formatDuration(frontEndTimeout))
	}
	if a.Web() && (a.Ready.Notify || len(a.Ready.Command) > 0) {
		key := "ready.notify"
		if !a.Ready.Notify {
			key = "ready.command"
		}
		warn(key, "%s is for plain processes: a web app is ready when it answers (ready.path)", key)
	}
	if server, how := ServerHint(a.Command, a.Web()); server != "" {
		warn("command", "%s", how)
	}
	return all
}
