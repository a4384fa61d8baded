package proxy

import (
	"context"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"tideover/proxy/netpoll"
)

// A Connection is a client's idle connection as one process leaves it to the one that takes its place.
// Nothing was read of the next request.
type Connection struct {
	FD int `json:"fd"`

	// Of a connection that begins with a PROXY header:
	HeaderDue   bool           `json:"header_due,omitempty"` // nothing was read of it
	Source      netip.AddrPort `json:"source,omitzero"`      // the client's address, once it was read,
	Destination netip.AddrPort `json:"destination,omitzero"` // and what it has connected to
}

// maxYield is how many connections Yield returns at most: as many as one message of a relay has.
const maxYield = 200

// Yield gives idle connections away, to the process that accepts in the place of this one, and waits
// until there is one. Their descriptors are the caller's. Requests under way go on here, and their
// connections are idle afterwards. It returns none when no connection is left, or ctx has ended.
// Every Serve must have returned.
func (s *Server) Yield(ctx context.Context) []Connection {
	l := s.startedLoop()
	for l != nil && ctx.Err() == nil {
		var all []Connection
		if !l.call(func() { all = l.yield() }) || len(all) > 0 || l.clients.Load() == 0 {
			return all
		}
		select {
		case <-l.yieldable:
		case <-ctx.Done():
		}
	}
	return nil
}

// yield removes idle clients from the loop. The rest of them comes with the next call.
func (l *eventLoop) yield() (all []Connection) {
	l.yielding = true
	for n := l.idleClients.Front(); n != nil && len(all) < maxYield; {
		c := n.Value
		n = l.idleClients.Next(n)
		if c.state == stateIdle && c.in.empty() {
			all = append(all, c.known())
			c.giveAway()
		}
	}
	return all
}

// offerYield wakes Yield: a client is idle, or disconnected.
func (l *eventLoop) offerYield() {
	if l.yielding {
		select {
		case l.yieldable <- struct{}{}:
		default:
		}
	}
}

// known is what is known of a client without a request.
func (c *loopClient) known() Connection {
	k := Connection{FD: int(c.fd), HeaderDue: c.header == headerDue}
	if c.header == headerRead {
		k.Source, k.Destination = c.remote, *c.local
	}
	return k
}

// Admit takes over what another process's [Server.Yield] has returned. With an error nothing was taken
// over.
func (s *Server) Admit(all []Connection) error {
	if len(all) == 0 {
		return nil
	}
	l, err := s.startLoop()
	if err != nil {
		return err
	}
	admitted := l.call(func() {
		for i := range all {
			l.admit(&all[i])
		}
	})
	if !admitted { // CloseIdle was called, and the last client has left
		return net.ErrClosed
	}
	return nil
}

func (l *eventLoop) admit(known *Connection) {
	unix.SetNonblock(known.FD, true)
	peer := known.Source
	if !peer.IsValid() {
		peer = netpoll.PeerAddr(known.FD) // no peer: its end will be read
	}
	c := l.addClient(known.FD, peer, known.Destination)
	switch {
	case c == nil:
	case known.HeaderDue:
		c.header = headerDue
	case known.Source.IsValid():
		c.header = headerRead
	}
}
