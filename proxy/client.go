package proxy

import (
	"net/netip"
	"slices"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

// A client is one connection of a client: the handle that request handling owns and the gate queues. It can be read, written,
// waited on and closed.
type client struct {
	waiter   gate.Waiter
	*wire    // nil while a loop has it
	seat     // in a loop
	server   *Server
	past     past               // of the request to come
	in       buffer             // what was read and is not used up; no memory while the client is idle
	verdicts chan gate.Decision // of one, for a held request on a goroutine
	exchange *exchange          // nil while a loop has nothing to remember of a request but its head

	remote netip.AddrPort // none for a unix socket
	peer   string         // the address without its port, for X-Forwarded-For where we write it; empty for a unix socket
	host   string         // what a request without a Host was sent to
	rules  *rules
}

// rules are what the settings mean for clients of one kind, who share them.
type rules struct {
	settings *Settings
	policy   http1.Policy
	limits   http1.Limits // the policy's, and that of a body
}

// settle prepares a client for requests on a goroutine.
func (c *client) settle() {
	c.waiter.Owner = c
	if c.verdicts == nil {
		c.verdicts = make(chan gate.Decision, 1)
	}
	c.exchange.client, c.exchange.server = c, c.server
}

// address is the client's, for logs.
func (c *client) address() string {
	if !c.remote.IsValid() {
		return "unix"
	}
	return netip.AddrPortFrom(c.remote.Addr().Unmap(), c.remote.Port()).String()
}

// deliver brings the gate's verdict to a held request. The wire is stopped first, so that who takes the verdict knows that the
// stop is over as well.
func (c *client) OnDecision(v gate.Decision) {
	c.stop()
	c.verdicts <- v
}

// hand gives the client bytes of its answer. The only error is errClientLeft: it has gone, or it takes too little.
func (c *client) hand(p []byte) error {
	if c.writeSteadily(p, c.rules.settings.WriteTimeout, c.rules.settings.MinRate) != nil {
		return errClientLeft
	}
	return nil
}

// abort ends the connection so that the client sees an error, where the protocol allows it.
func (c *client) abort() {
	if c.wire == nil {
		c.harsh = true
		return
	}
	c.wire.abort()
}

// decide finds the rules for this client's next request.
func (c *client) decide() {
	set := c.server.settings.Load()
	if c.rules != nil && c.rules.settings == set {
		return
	}
	limits := http1.RequestLimits()
	limits.Head, limits.Target, limits.Fields = set.Limits.Head, set.Limits.Target, set.Limits.Fields
	limits.Line = max(limits.Line, min(limits.Target, limits.Head))
	trusted := c.trusted(set)
	if c.remote.IsValid() && !trusted {
		c.peer = c.remote.Addr().Unmap().String()
	}
	c.rules = &rules{settings: set, limits: limits, policy: http1.Policy{Limits: limits, Trusted: trusted,
		PassUnderscores: set.PassUnderscores, DefaultHost: c.defaultHost()}}
	c.rules.limits.Body = set.Limits.Body // a head that announces too large a body is sound: what follows it can be drained
	if common := c.server.rules.Load(); common != nil && *common == *c.rules {
		c.rules = common
		return
	}
	c.server.rules.Store(c.rules)
}

// defaultHost is the Host of a request without one: what the target says, else where the client has connected to.
func (c *client) defaultHost() string {
	if t := c.server.gate.Target(); t != nil && t.Options().DefaultHost != "" {
		return t.Options().DefaultHost
	}
	return c.host
}

// trusted reports whether the client is a front-end whose forwarding fields pass.
func (c *client) trusted(set *Settings) bool {
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
