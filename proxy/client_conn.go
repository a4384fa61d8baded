package proxy

import (
	"net/netip"

	"tideover/proxy/accesslog"
	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

// A clientConn is what is known of a client's connection on either side. It has one owner at a
// time: a [loopClient] or a [blockingClient].
type clientConn struct {
	app    *app
	waiter gate.Waiter
	in     buffer // read from the client and not consumed; no memory while the connection is idle

	remote netip.AddrPort  // the socket's, or that of a PROXY header; invalid for a unix socket
	local  *netip.AddrPort // what the client has connected to, which others share; invalid for a unix socket

	rules *rules
}

// rules are what the settings mean for clients of one kind, which share them.
type rules struct {
	clientKind
	policy http1.Policy
	access *accesslog.Format
	limits http1.Limits // the policy's, and that of a body
}

// clientKind is what the rules of a client depend on.
type clientKind struct {
	settings    *Settings
	trusted     bool
	defaultHost string         // the target's, for requests without a Host; empty: the address
	local       netip.AddrPort // to which the client has connected
}

// peer is the client's address, one of IPv4 as such; invalid for a unix socket.
func (c *clientConn) peer() netip.AddrPort {
	return netip.AddrPortFrom(c.remote.Addr().Unmap(), c.remote.Port())
}

// address is the client's, for logs.
func (c *clientConn) address() string {
	if !c.remote.IsValid() {
		return "unix"
	}
	return c.peer().String()
}

// hasProxyLine reports whether a connection to t for this client begins with a line of the PROXY
// protocol. Then it carries no other client's requests. The app refuses a line without an address
// (gunicorn answers 400 to PROXY UNKNOWN), so that a unix client has none.
func (c *clientConn) hasProxyLine(t *gate.Target) bool {
	return t.Options().Peer == gate.PeerProxyLine && c.remote.IsValid()
}

// updateRules makes the present settings those of the client's next request.
func (c *clientConn) updateRules() {
	set := c.app.settings.Load()
	if c.rules != nil && c.rules.settings == set {
		return
	}
	kind := clientKind{settings: set, trusted: c.trusted(set), local: *c.local}
	if t := c.app.gate.Target(); t != nil {
		kind.defaultHost = t.Options().DefaultHost
	}
	if c.rules = c.app.rules.Load(); c.rules == nil || c.rules.clientKind != kind {
		c.rules = newRules(kind)
		c.app.rules.Store(c.rules)
	}
}

func newRules(k clientKind) *rules {
	set := k.settings
	limits := http1.RequestLimits()
	limits.Head, limits.StartLine, limits.Fields = set.Limits.Head, set.Limits.Target, set.Limits.Fields
	limits.Line = orDefault(set.Limits.Field, max(limits.Line, limits.StartLine))
	r := &rules{clientKind: k, limits: limits, policy: http1.Policy{Limits: limits, Trusted: k.trusted,
		PassUnderscores: set.PassUnderscores, RemoveNamed: set.RemoveNamed, DefaultHost: k.host()}}
	var err error
	if r.access, err = accesslog.Parse(set.AccessFormat); err != nil { // the configuration was checked
		r.access, _ = accesslog.Parse("")
	}
	// Not the policy's: a head that announces too long a body is valid, and what follows can be
	// drained.
	r.limits.Body = set.Limits.Body
	return r
}

// host is the Host of a request without one.
func (k *clientKind) host() string {
	switch {
	case k.defaultHost != "":
		return k.defaultHost
	case k.local.IsValid():
		return netip.AddrPortFrom(k.local.Addr().Unmap(), k.local.Port()).String()
	}
	return "localhost"
}

// trusted reports whether forwarding fields of this client pass, as those of a front-end.
func (c *clientConn) trusted(set *Settings) bool {
	if !c.remote.IsValid() {
		return set.TrustUnix
	}
	return isIn(set.Trusted, c.remote.Addr())
}
