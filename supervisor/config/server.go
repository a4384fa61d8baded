package config

import (
	"strings"

	"tideover/supervisor/gunicorn"
	"tideover/supervisor/servers"
)

// detectServer sets Server if the command runs a known server other than gunicorn. An app
// without listen is a plain process, and may run it in any way.
func (a *App) detectServer(env []string) []finding {
	if a.Gunicorn != nil {
		return nil
	}
	a.Server = servers.Parse(a.Command, lookupEnv(env))
	if s := servers.Recognise(a.Command, lookupEnv(env)); s != nil {
		a.ReadsForwardedFor = s.ReadsForwardedFor()
		if s.TrustedIPs != nil {
			a.takeTrusted(s.TrustedIPs)
		}
	}
	if a.Server == nil || !a.Web() { // without a relay, see relayConflicts
		return nil
	}
	if err := a.Server.Validate(); err != nil {
		return []finding{{key: "command", message: err.Error()}}
	}
	return nil
}

// setServerListen sets the public address of the command of `run -- COMMAND` to the address of
// its server. An address that is only the server's default does not count if PORT is set.
func (a *App) setServerListen(port string) error {
	if err := a.Server.Validate(); err != nil && a.Relay != RelayNone {
		return err
	}
	addresses, err := a.Server.Addresses(a.Directory)
	if err != nil {
		return err
	}
	if a.Server.From == gunicorn.FromDefault && port != "" {
		return a.setDefaultListen(port)
	}
	for _, address := range addresses {
		if err := checkListen(address); err != nil {
			return err
		}
	}
	a.Listen, a.ListenFrom = addresses, a.Server.From
	return nil
}

// PlainServerHint says what it means that a known server runs as a plain process.
func PlainServerHint(s *servers.Command, directory string) string {
	addresses, err := s.Addresses(directory)
	if err != nil {
		return s.Server + " runs as a plain process, because the app has no listen: a reload stops it first, and clients are refused meanwhile"
	}
	return s.Server + " listens on " + strings.Join(addresses, ", ") + " itself, as a plain process: a reload stops it first, and clients are refused meanwhile; " +
		"with listen = " + quoteAddresses(addresses) + " tideover keeps the address and holds the requests"
}

// quoteAddresses returns addresses as a TOML value.
func quoteAddresses(addresses []string) string {
	text := `"` + strings.Join(addresses, `", "`) + `"`
	if len(addresses) > 1 {
		return "[" + text + "]"
	}
	return text
}
