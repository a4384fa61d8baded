package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// PeerPassing is how the app learns the address of its client.
type PeerPassing int

const (
	// PeerInFields: from forwarding fields alone. The client of the app's socket is tideover.
	PeerInFields PeerPassing = iota
	// PeerProxyLine: from a line of the PROXY protocol, which the app's server is told to expect.
	PeerProxyLine
	// PeerOneForwardedFor: from X-Forwarded-For, which has exactly one address. The app's server
	// takes it from 127.0.0.1, which it must trust.
	PeerOneForwardedFor
)

// UnixUpstream reports whether the private socket is a unix socket where no placeholder of the
// command decides it. With "auto" it is one where gunicorn learns the address of the client
// by a PROXY line, and behind a public unix socket, whose clients have no address.
func (a *App) UnixUpstream() bool {
	switch {
	case a.Upstream != "auto":
		return a.Upstream == "unix"
	case a.Gunicorn != nil && a.Gunicorn.WorkerKind.IsWSGI():
		return true
	}
	return a.Web() && strings.HasPrefix(a.Listen[0], "unix:")
}

// opensUnix reports whether the private socket is a unix socket, whichever process opens it.
func (a *App) opensUnix() bool {
	switch asked := Placeholders(a.Argv()); {
	case slices.Contains(asked, Socket):
		return true
	case slices.Contains(asked, Port):
		return false
	}
	return a.UnixUpstream()
}

// PeerPassing returns how the app learns the address of its client. gunicorn's settings must be
// known (WithGunicornReport), else it is PeerInFields.
func (a *App) PeerPassing() PeerPassing {
	unix := a.opensUnix()
	switch g := a.Gunicorn; {
	case a.ReadsForwardedFor && !unix:
		return PeerOneForwardedFor
	case g == nil || len(Placeholders(a.Command)) > 0:
	case g.WorkerKind.IsWSGI():
		return PeerProxyLine
	case g.ReadsProxyLine() && !unix: // over a unix socket it answers 400
		return PeerProxyLine
	case g.ReadsForwardedFor() && !unix:
		return PeerOneForwardedFor
	}
	return PeerInFields
}

// GunicornArgs returns options of gunicorn without which it would not take the address of a client
// from tideover. They stand behind those of the user in GUNICORN_CMD_ARGS. An option of the command
// line overrides them. The last one can take the next word as its value in gunicorn 24.1 and newer.
func (a *App) GunicornArgs() string {
	g := a.Gunicorn
	if g == nil || !a.Web() {
		return ""
	}
	peer := a.PeerPassing()
	var words []string
	if g.Version != "" && !a.UnixUpstream() {
		if !trustsLoopback(g.ForwardedAllowIPs) {
			words = append(words, "--forwarded-allow-ips", loopbacks[0])
		}
		if peer == PeerProxyLine && !trustsLoopback(g.ProxyAllowIPs) {
			words = append(words, "--proxy-allow-from", loopbacks[0])
		}
	}
	if peer == PeerProxyLine {
		words = append(words, "--proxy-protocol")
	}
	return strings.Join(words, " ")
}

// distrusted reports whether gunicorn takes no X-Forwarded-* from tideover: the command line says so,
// which overrides GunicornArgs.
func (a *App) distrusted() bool {
	g := a.Gunicorn
	return a.Web() && g.Version != "" && !a.UnixUpstream() && !trustsLoopback(g.ForwardedAllowIPs) && g.OnCommandLine("forwarded-allow-ips")
}

// takeProxyProtocol has the public socket expect PROXY lines where gunicorn's own settings do,
// unless the configuration says otherwise. Lines count from the addresses from which gunicorn takes
// them.
func (a *App) takeProxyProtocol() {
	g := a.Gunicorn
	if a.explicit["listen_proxy_protocol"] || !g.ProxyProtocol || a.Relay == RelayNone {
		return
	}
	a.ListenProxyProtocol = true
	if len(g.ProxyAllowIPs) > 0 {
		a.ProxyProtocolFrom = prefixes(g.ProxyAllowIPs)
	}
}

// prefixes returns the words of a list of gunicorn's that are addresses, or "*". It is never nil.
func prefixes(words []string) []string {
	if slices.Contains(words, "*") {
		return []string{"0.0.0.0/0", "::/0"}
	}
	valid := []string{}
	for _, w := range words {
		if w = strings.TrimSpace(w); w != "" && w != "unix" && checkTrusted(w) == nil {
			valid = append(valid, w)
		}
	}
	return valid
}

// trustsLoopback reports whether a list of a server's contains 127.0.0.1, from which tideover
// connects to it.
func trustsLoopback(words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		prefix, err := netip.ParsePrefix(w)
		return w == "*" || w == loopbacks[0] || err == nil && prefix.Contains(netip.MustParseAddr(loopbacks[0]))
	})
}

// peerWarnings are sentences about what the app sees of its clients, and about other clients that
// its private socket may have.
func (a *App) peerWarnings() (all []string) {
	if !a.Web() {
		return nil
	}
	if a.ListenProxyProtocol {
		all = append(all, a.proxyProtocolWarnings()...)
	}
	asked := a.Gunicorn == nil || a.Gunicorn.Version != "" // gunicorn has told its settings
	if !a.TakesSocket() || len(Placeholders(a.Command)) > 1 || !asked || a.opensUnix() {
		return all
	}
	const tcp = "its private socket is TCP on loopback"
	if a.PeerPassing() == PeerInFields {
		all = append(all, "the app sees 127.0.0.1 for every client, whose address is in X-Forwarded-For: "+tcp)
	}
	if !trustsLoopback(a.Trusted) || strings.HasPrefix(a.Listen[0], "unix:") {
		all = append(all, "every user of this machine can connect to the app past the public socket, and name any address: "+tcp)
	}
	return all
}

// proxyProtocolWarnings are sentences about clients of the public socket that send no PROXY header,
// or one that is not believed.
func (a *App) proxyProtocolWarnings() (all []string) {
	from, what := a.ProxyProtocolFrom, "gunicorn's proxy_allow_ips"
	if from == nil {
		from, what = a.Trusted, "trusted"
	}
	unix := func(address string) bool { return strings.HasPrefix(address, "unix:") }
	remote := func(word string) bool {
		return word != "unix" && !slices.Contains(append(loopbacks, "127.0.0.0/8"), word)
	}
	local := func(address string) bool {
		return unix(address) || strings.HasPrefix(address, "127.") || strings.HasPrefix(address, "localhost:") || strings.HasPrefix(address, "[::1]")
	}
	if !slices.ContainsFunc(from, remote) && !slices.ContainsFunc(a.Listen, local) {
		all = append(all, fmt.Sprintf("PROXY headers are believed from this machine alone, and other connections are closed: %s names the load balancer's address", what))
	}
	if !a.explicit["listen_proxy_protocol"] {
		all = append(all, "gunicorn's proxy_protocol is set, so every connection must begin with a PROXY header, also a health check's (HAProxy: check-send-proxy): "+
			"listen_proxy_protocol = false expects none")
	}
	return all
}
