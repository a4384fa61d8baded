package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"tideover/supervisor/gunicorn"
)

// fromListen is the ListenFrom of an app with the key listen.
const fromListen = "listen"

// listenRemedy says what to do where gunicorn cannot be asked for its address.
const listenRemedy = "give the public address with listen (--listen)"

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
	g, err := gunicorn.Parse(a.Command, lookupEnv(env), a.readScript)
	addError(err)
	a.Gunicorn = g
	if g == nil || err != nil {
		return found
	}
	a.takeProxyProtocol()
	unusable := a.ValidateGunicorn()
	addError(unusable)
	if len(a.Listen) == 0 && unusable == nil {
		a.Listen, a.ListenFrom, a.QueryGunicorn = g.Addresses(a.Directory), g.Bind.From, g.NeedsQuery()
		if err := g.Unaskable(); err != nil && a.QueryGunicorn {
			addError(fmt.Errorf("gunicorn cannot be asked for its address: %w; %s", err, listenRemedy))
		}
		for _, l := range a.Listen {
			addError(checkListen(l))
		}
	}
	return found
}

// scriptLimit bounds what is read of a command that may be a script.
const scriptLimit = 64 << 10

// readScript returns the beginning of a file that the app may run.
func (a *App) readScript(path string) ([]byte, error) {
	opener, err := a.Opener()
	if err != nil {
		return nil, err
	}
	return opener.ReadProgram(absolute(a.Directory, path), scriptLimit)
}

// WithGunicornReport returns a copy of an app with the settings that its gunicorn
// reported: the public address if QueryGunicorn is set, and its limits and trusted
// front-ends where the configuration does not set them. The error says what tideover
// cannot serve, with the remedy.
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
	merged.takeLimits(g.Limits)
	merged.takeTrusted(g.ForwardedAllowIPs)
	merged.takeProxyProtocol()
	if all := merged.relayConflicts(); len(all) > 0 { // the reported address is another one, perhaps
		return &merged, errors.New(all[0].message)
	}
	return &merged, merged.ValidateGunicorn()
}

// ValidateGunicorn returns an error, with the remedy in it, if the gunicorn of the app cannot be run
// with these settings.
func (a *App) ValidateGunicorn() error {
	err := a.Gunicorn.Validate(a.Reload != Replace)
	if err == nil && a.Relay != RelayNone {
		err = a.Gunicorn.ValidateRelay()
	}
	return err
}

// Bounds of what is taken over of gunicorn's limits.
const (
	unlimited = 64 << 10 // of a line where gunicorn has no limit
	maxHead   = 256 << 10
	maxFields = 10_000
)

// takeLimits raises the limits that the configuration does not set to those of gunicorn. They are
// never lowered: a request that is too long for gunicorn gets gunicorn's own answer.
func (a *App) takeLimits(g gunicorn.Limits) {
	line := func(n int) int64 {
		if n == 0 {
			return unlimited
		}
		return int64(min(n, maxHead))
	}
	l := a.Limits
	if !a.explicit["limits.target"] {
		l.Target = max(l.Target, line(g.RequestLine))
	}
	if !a.explicit["limits.field"] && line(g.Field) > max(l.Target, int64(gunicorn.DefaultLimits.Field)) {
		l.Field = line(g.Field)
	}
	if !a.explicit["limits.fields"] {
		l.Fields = max(l.Fields, min(g.Fields, maxFields))
	}
	if raised := l != a.Limits; raised && !a.explicit["limits.head"] {
		field := max(l.Field, l.Target, int64(gunicorn.DefaultLimits.Field))
		l.Head = max(l.Head, min(maxHead, l.Target+int64(l.Fields)*(field+2)))
	}
	a.Limits = l
}

// loopbacks are what gunicorn trusts when nothing is set.
var loopbacks = []string{"127.0.0.1", "::1"}

// takeTrusted makes the front-ends that gunicorn or uvicorn trusts the trusted ones, unless the
// configuration sets them, or the server has its default. gunicorn trusts every peer on a unix
// socket.
func (a *App) takeTrusted(ips []string) {
	others := slices.DeleteFunc(slices.Clone(ips), func(ip string) bool { return slices.Contains(loopbacks, ip) })
	if a.explicit["trusted"] || len(others) == 0 && slices.Contains(ips, loopbacks[0]) {
		return
	}
	a.Trusted = append(prefixes(ips), "unix")
}

// limitWarnings are sentences about limits of gunicorn that are not taken over whole.
func (a *App) limitWarnings() (all []string) {
	g := a.Gunicorn
	if g.Version == "" || !a.Web() {
		return nil
	}
	for _, l := range []struct {
		key, setting string
		gunicorn     int
		relay        int64
	}{
		{"limits.target", "limit_request_line", g.Limits.RequestLine, a.Limits.Target},
		{"limits.field", "limit_request_field_size", g.Limits.Field, a.Limits.Field},
	} {
		if !a.explicit[l.key] && (l.gunicorn == 0 || l.gunicorn > maxHead) {
			all = append(all, fmt.Sprintf("gunicorn's %s has no limit that tideover takes over: here it is %s, and %s sets another", l.setting, FormatSize(max(l.relay, a.Limits.Target)), l.key))
		}
	}
	return all
}
