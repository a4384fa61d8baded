package proxy

import (
	"bytes"
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/netpoll"
)

// A Connection is a client's connection as one process leaves it to the one that takes its place,
// descriptors and all.
type Connection struct {
	FD int `json:"fd"`

	// Of a request that has not been sent to the app, or may be sent again:
	Unanswered []byte        `json:"unanswered,omitempty"` // what was read of it
	Waited     time.Duration `json:"waited,omitempty"`     // for how long it was held
	Counted    time.Duration `json:"counted,omitempty"`    // the part of Waited that counts toward the timeout
	Lost       int           `json:"lost,omitempty"`       // times the app had it and died
	Continued  bool          `json:"continued,omitempty"`  // it has had its 100

	// Of a connection that begins with a PROXY header:
	HeaderDue   bool           `json:"header_due,omitempty"` // what was read of it is in Unanswered
	Source      netip.AddrPort `json:"source,omitzero"`      // the client's address, once it was read,
	Destination netip.AddrPort `json:"destination,omitzero"` // and what it has connected to
}

// Quiesce stops accepting and reading, gives held requests back to their connections, oldest first,
// and returns all idle connections for the handoff. Requests still under way when ctx ends are not
// among them: exec(2) breaks them off, their responses visibly. The descriptors stay the server's.
// [Server.Resume] undoes it.
func (s *Server) Quiesce(ctx context.Context) []Connection {
	l := s.startedLoop()
	if l == nil {
		return nil
	}
	allIdle := make(chan struct{})
	if !l.call(func() { l.quiesce(allIdle) }) {
		return nil
	}
	s.app.gate.Evict(true)
	select {
	case <-allIdle:
	case <-ctx.Done():
	}
	var all []Connection
	l.call(func() {
		all = l.connections()
		for c := range l.eachClient {
			c.resetUnlessComplete()
		}
	})
	s.app.access.flush()
	return all
}

// quiesce stops reading. What has come of heads is handed off as it is.
func (l *eventLoop) quiesce(allIdle chan struct{}) {
	l.quiesced, l.allIdle = true, allIdle
	for c := range l.eachClient {
		switch c.state {
		case statePartialHeader:
			c.node.Remove()
			c.setIdle()
		case statePartial:
			c.unreadHead()
		}
	}
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
	for n := l.idleClients.Front(); n != nil && len(all) < maxYield && !l.quiesced; {
		c := n.Value
		n = l.idleClients.Next(n)
		if c.state == stateIdle && c.in.empty() && !c.replay.pending {
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

// Resume undoes [Server.Quiesce].
func (s *Server) Resume() {
	s.app.gate.Evict(false)
	if l := s.startedLoop(); l != nil {
		l.call(l.resume)
	}
}

// Restore takes over what another process's [Server.Quiesce] or [Server.Yield] has returned. Requests
// among it go through the gate at once, in this order. With an error nothing was taken over.
func (s *Server) Restore(all []Connection) error {
	if len(all) == 0 {
		return nil
	}
	l, err := s.startLoop()
	if err != nil {
		return err
	}
	l.call(func() {
		for i := range all {
			l.restore(&all[i])
		}
	})
	return nil
}

// RestoreCounters adds the totals of another process. It must be called before the first Serve.
func (s *Server) RestoreCounters(c Counters, m Metrics) { s.app.counters.add(c, m) }

func (l *eventLoop) restore(known *Connection) {
	unix.SetNonblock(known.FD, true)
	peer := known.Source
	if !peer.IsValid() {
		peer = netpoll.PeerAddr(known.FD) // no peer: its end will be read
	}
	c := l.addClient(known.FD, peer, known.Destination)
	if c == nil {
		return
	}
	switch {
	case known.HeaderDue:
		c.header = headerDue
	case known.Source.IsValid():
		c.header = headerRead
	}
	if len(known.Unanswered) == 0 {
		return
	}
	c.replay = replay{attempts: int32(known.Lost), sent100: known.Continued}
	c.waiter.Carry(known.Waited, known.Counted)
	c.in.hold(known.Unanswered)
	c.readPending = true // there may be more in the kernel
	c.begin()
}

// idleInOrder returns the clients with a request that was given back, oldest first, and then the
// other idle ones.
func (l *eventLoop) idleInOrder() []*loopClient {
	var all []*loopClient
	for c := range l.eachClient {
		if c.state == stateIdle {
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b *loopClient) int {
		switch {
		case a.replay.pending && b.replay.pending:
			return cmp.Compare(a.waiter.Arrival(), b.waiter.Arrival())
		case a.replay.pending:
			return -1
		case b.replay.pending:
			return 1
		}
		return 0
	})
	return all
}

func (l *eventLoop) connections() []Connection {
	var all []Connection
	for _, c := range l.idleInOrder() {
		known := c.known()
		known.Waited, known.Counted = c.waiter.Carried()
		known.Unanswered, known.Lost, known.Continued = bytes.Clone(c.in.bytes()), int(c.replay.attempts), c.replay.sent100
		all = append(all, known)
	}
	return all
}

// known is what is known of a client without a request.
func (c *loopClient) known() Connection {
	k := Connection{FD: int(c.fd), HeaderDue: c.header == headerDue}
	if c.header == headerRead {
		k.Source, k.Destination = c.remote, *c.local
	}
	return k
}

// resume looks at everything that has happened since the loop was quiesced.
func (l *eventLoop) resume() {
	l.quiesced, l.allIdle = false, nil
	for _, c := range l.idleInOrder() {
		switch {
		case !c.in.empty():
			c.begin()
		case c.readPending:
			c.onReadable()
		}
	}
	for _, a := range slices.Clone(l.acceptors) {
		a.accept()
	}
	l.onTimer()
}
