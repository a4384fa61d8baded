package proxy

import (
	"net/netip"
	"slices"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

// A clientConn is what is known of a client's connection on either side. It has one owner at a
// time: a [loopClient] or a [blockingClient].
type clientConn struct {
	app    *app
	waiter gate.Waiter
	replay replay // of the next request
	in     buffer // read from the client and not consumed; no memory while the connection is idle

	remote netip.AddrPort // invalid for a unix socket
	peer   string         // remote without its port, for X-Forwarded-For; empty: not to be written
	host   string         // what a request without a Host was sent to
	rules  *rules
}

// rules are what the settings mean for clients of one kind, which share them.
type rules struct {
	settings *Settings
	policy   http1.Policy
	limits   http1.Limits // the policy's, and that of a body
}

// A replay is what became of a request before it was given back to its connection, to be read once
// more.
type replay struct {
	attempts int   // times it was lost after it had been written to the app
	sent100  bool  // its 100 (Continue) was sent
	pending  bool  // it is in the client's buffer and waits for Server.Resume
	reserved int64 // bytes of it counted in app.buffered
}

// releaseReplay says that the request is read again, or never will be.
func (c *clientConn) releaseReplay() {
	c.app.buffered.Add(-c.replay.reserved)
	c.replay.reserved = 0
}

// newClientConn returns the connection of a client at remote, which has connected to host, as far
// as that is known.
func newClientConn(a *app, remote netip.AddrPort, host string) *clientConn {
	c := &clientConn{app: a, remote: remote, host: "localhost"}
	if remote.IsValid() && host != "" {
		c.host = host
	}
	return c
}

// address is the client's, for logs.
func (c *clientConn) address() string {
	if !c.remote.IsValid() {
		return "unix"
	}
	return netip.AddrPortFrom(c.remote.Addr().Unmap(), c.remote.Port()).String()
}

// updateRules makes the present settings those of the client's next request.
func (c *clientConn) updateRules() {
	set := c.app.settings.Load()
	if c.rules != nil && c.rules.settings == set {
		return
	}
	limits := http1.RequestLimits()
	limits.Head, limits.StartLine, limits.Fields = set.Limits.Head, set.Limits.Target, set.Limits.Fields
	limits.Line = orDefault(set.Limits.Field, max(limits.Line, limits.StartLine))
	trusted := c.trusted(set)
	if c.remote.IsValid() && !trusted {
		c.peer = c.remote.Addr().Unmap().String()
	}
	c.rules = &rules{settings: set, limits: limits, policy: http1.Policy{Limits: limits, Trusted: trusted,
		PassUnderscores: set.PassUnderscores, RemoveNamed: set.RemoveNamed, DefaultHost: c.defaultHost()}}
	// Not the policy's: a head that announces too long a body is valid, and what follows can be
	// drained.
	c.rules.limits.Body = set.Limits.Body
	if shared := c.app.rules.Load(); shared != nil && *shared == *c.rules {
		c.rules = shared
		return
	}
	c.app.rules.Store(c.rules)
}

// defaultHost is the Host of a request without one: the target's, else the address to which the
// client has connected.
func (c *clientConn) defaultHost() string {
	if t := c.app.gate.Target(); t != nil && t.Options().DefaultHost != "" {
		return t.Options().DefaultHost
	}
	return c.host
}

// trusted reports whether forwarding fields of this client pass, as those of a front-end.
func (c *clientConn) trusted(set *Settings) bool {
	ip := c.remote.Addr().Unmap()
	unix := !ip.IsValid()
	switch {
	case set.Trusted == nil:
		return unix || ip.IsLoopback()
	case unix:
		return set.TrustUnix
	}
	return slices.ContainsFunc(set.Trusted, func(p netip.Prefix) bool { return p.Contains(ip) })
}
