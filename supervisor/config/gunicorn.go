package config

import (
	"strings"

	"tideover/supervisor/gunicorn"
)

// fromListen is the ListenFrom of an app with the key listen.
const fromListen = "listen"

// detectGunicorn sets Gunicorn if the command runs gunicorn, and takes the public
// address from it if the key listen is not set.
func (a *App) detectGunicorn(env []string) []finding {
	var found []finding
	var addError func(error)
	addError = func(err error) {
		if all, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range all.Unwrap() {
				addError(one)
			}
		} else if err != nil {
			found = append(found, finding{key: "command", message: err.Error()})
		}
	}
	if len(a.Listen) > 0 {
		a.ListenFrom = fromListen
	}
	addError(checkPlaceholders(a.Command))
	g, err := gunicorn.Parse(a.Command, lookupEnv(env))
	addError(err)
	a.Gunicorn = g
	if g == nil || err != nil {
		return found
	}
	unusable := g.Validate(a.Reload != Replace)
	addError(unusable)
	if len(a.Listen) == 0 && unusable == nil {
		a.Listen, a.ListenFrom, a.QueryGunicorn = g.Addresses(a.Directory), g.Bind.From, g.NeedsQuery()
		for _, l := range a.Listen {
			addError(checkListen(l))
		}
	}
	return found
}

// WithGunicornReport returns a copy of an app with the settings that its gunicorn
// reported, and with the public address among them if QueryGunicorn is set. The
// error says what tideover cannot serve, with the remedy.
func (a *App) WithGunicornReport(r gunicorn.Report) (*App, error) {
	g, err := a.Gunicorn.WithReport(r)
	if err != nil {
		return nil, err
	}
	merged := *a
	merged.Gunicorn = g
	if a.QueryGunicorn {
		merged.Listen, merged.ListenFrom, merged.QueryGunicorn = g.Addresses(a.Directory), g.Bind.From, false
		for _, l := range merged.Listen {
			if err := checkListen(l); err != nil && !strings.HasPrefix(l, "fd:") {
				return nil, err
			}
		}
	}
	return &merged, g.Validate(a.Reload != Replace)
}
