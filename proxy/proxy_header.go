package proxy

import (
	"errors"
	"net/netip"
	"slices"

	"tideover/proxy/proxyproto"
)

// proxyHeader is what is known of the PROXY header before the first request of a client's
// connection (Settings.ListenProxyProtocol).
type proxyHeader uint8

const (
	headerNone proxyHeader = iota // the connection has none
	headerDue                     // it is to come, or a part of it has come
	headerRead                    // the client's addresses are those of the header
)

// Why a connection is closed on which a PROXY header was due.
var (
	errHeaderUntrusted = errors.New("the client is not trusted to send one")
	errHeaderSlow      = errors.New("it was not complete in time")
)

// headerBelieved reports whether the PROXY header of this client is believed. It says where a request
// comes from, and whether forwarding fields pass: a header of any client at all would let everyone
// say so.
func (c *clientConn) headerBelieved(set *Settings) bool {
	if set.ProxyProtocolFrom == nil || !c.remote.IsValid() {
		return c.trusted(set)
	}
	return isIn(set.ProxyProtocolFrom, c.remote.Addr())
}

// isIn reports whether an address is in one of the prefixes.
func isIn(prefixes []netip.Prefix, ip netip.Addr) bool {
	ip = ip.Unmap()
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// expectHeader says that a PROXY header is the first that comes on a new connection, where the
// settings say so.
func (c *loopClient) expectHeader() {
	if c.app.settings.Load().ListenProxyProtocol {
		c.header = headerDue
	}
}

// begin begins with what is in the client's buffer.
func (c *loopClient) begin() {
	if c.header == headerDue {
		c.parseHeader()
	} else {
		c.dispatch()
	}
}

// parseHeader reads the PROXY header, and then goes on with the request behind it.
func (c *loopClient) parseHeader() {
	if !c.headerBelieved(c.app.settings.Load()) {
		c.refuseHeader(errHeaderUntrusted)
		return
	}
	h, n, err := proxyproto.Parse(c.in.bytes())
	switch {
	case err != nil:
		c.refuseHeader(err)
		return
	case n == 0:
		c.awaitRestOfHeader()
		return
	}
	c.header = headerRead
	if h.Source.IsValid() {
		c.remote, c.local = h.Source, c.loop.sharedAddress(h.Destination)
	}
	c.node.Remove()
	if c.in.start += n; !c.in.empty() {
		c.dispatch()
		return
	}
	c.in.release()
	c.setIdle()
}

// awaitRestOfHeader waits for more of a PROXY header, for HeadTimeout from its first byte. While no
// byte has come the client is idle: some balancers send the header together with the first request.
func (c *loopClient) awaitRestOfHeader() {
	l := c.loop
	if l.closing {
		c.disconnect()
		return
	}
	c.in.unpool()
	if c.state == stateIdle {
		c.state = statePartialHeader
		c.node.Remove()
		l.partialHeaders.PushBack(&c.node, l.ran)
		l.schedule(l.app.settings.Load().HeadTimeout)
	}
	if c.readPending {
		c.onReadable()
	}
}

// expireHeaders closes the connections of which the PROXY header is not complete in time.
func (l *eventLoop) expireHeaders() {
	timeout := l.app.settings.Load().HeadTimeout
	for n := l.partialHeaders.Front(); n != nil && l.expiredWithin(n.AddedAt(), timeout); n = l.partialHeaders.Front() {
		n.Value.refuseHeader(errHeaderSlow)
	}
}

// refuseHeader closes a connection without a PROXY header that is valid and believed.
func (c *loopClient) refuseHeader(cause error) {
	c.app.errorLog.writeRefused(c.app.name, cause, c.clientConn)
	c.disconnect()
}
