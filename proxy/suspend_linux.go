package proxy

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/netpoll"
)

// A Connection is a client's connection as one program leaves it to the one that takes its place by exec(2), descriptors and all.
type Connection struct {
	FD int `json:"fd"`

	// Of a request that has not been sent to the app, or may be sent again:
	Unanswered []byte        `json:"unanswered,omitempty"` // what was read of it; the rest is in the kernel
	Waited     time.Duration `json:"waited,omitempty"`     // how long it was held
	Lost       int           `json:"lost,omitempty"`       // how often it was lost after the app had it
	Continued  bool          `json:"continued,omitempty"`  // it has had its 100
}

// Suspend makes the server stand still and tells what there is: from now on nothing is accepted, no request is begun, and those that
// wait at the gate are their connections' again, oldest first. What is under way has until ctx ends; what is so still is not told of.
// The descriptors stay the server's. [Server.Resume] undoes it.
func (s *Server) Suspend(ctx context.Context) ([]Connection, error) {
	l := s.started()
	if l == nil {
		return nil, nil
	}
	still := make(chan struct{})
	if !l.tasks.Call(func() { l.suspended, l.still = true, still }) {
		return nil, nil
	}
	s.gate.Evict(true)
	select {
	case <-still:
	case <-ctx.Done():
	}
	var all []Connection
	l.tasks.Call(func() { all = l.inventory() })
	return all, nil
}

// Resume makes a server go on that [Server.Suspend] has made stand still.
func (s *Server) Resume() {
	s.gate.Evict(false)
	if l := s.started(); l != nil {
		l.tasks.Call(l.resume)
	}
}

// Admit takes over what another program's [Server.Suspend] has told of. Requests among it go through the gate at once, in this
// order. It comes before the first Serve. The error says that nothing was taken over.
func (s *Server) Admit(all []Connection) error {
	if len(all) == 0 {
		return nil
	}
	s.mu.Lock()
	err := s.startLoop()
	l := s.loop
	s.mu.Unlock()
	if err != nil {
		return err
	}
	l.tasks.Call(func() {
		for i := range all {
			all[i].admit(l)
		}
	})
	return nil
}

// admit seats the client.
func (known *Connection) admit(l *loop) {
	unix.SetNonblock(known.FD, true)
	c := l.seat(known.FD, netpoll.PeerAddr(known.FD), "") // without a peer: it has gone already, and its end will be read
	if c == nil || len(known.Unanswered) == 0 {
		return
	}
	c.past = past{fed: known.Lost, continued: known.Continued}
	c.waiter.CarriedWait = known.Waited
	c.in.hold(known.Unanswered)
	c.stirred = true // there may be more behind it
	l.handle(c)
}

// takeBack makes a client silent whose request the gate has recalled; it has no body.
func (c *client) takeBack(v gate.Decision) {
	c.node.Remove()
	c.recall(c.exchange, v)
	c.exchange.finish()
	c.loop.park(c)
}

// settled reports whether every client is silent.
func (l *loop) settled() bool {
	for c := range l.clients {
		if c.place != resting {
			return false
		}
	}
	return true
}

// silentOnes are the clients that have a request which was recalled, oldest first, and then the others.
func (l *loop) silentOnes() []*client {
	var all []*client
	for c := range l.clients {
		if c.place == resting {
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b *client) int {
		switch {
		case a.past.recalled && b.past.recalled:
			return cmp.Compare(a.waiter.Arrival(), b.waiter.Arrival())
		case a.past.recalled:
			return -1
		case b.past.recalled:
			return 1
		}
		return 0
	})
	return all
}

func (l *loop) inventory() []Connection {
	var all []Connection
	for _, c := range l.silentOnes() {
		all = append(all, Connection{FD: c.fd, Unanswered: bytes.Clone(c.in.bytes()), Waited: c.waiter.CarriedWait, Lost: c.past.fed, Continued: c.past.continued})
	}
	return all
}

// resume looks at everything that has happened since it stood still.
func (l *loop) resume() {
	l.suspended, l.still = false, nil
	for _, c := range l.silentOnes() {
		switch {
		case !c.in.empty():
			l.handle(c)
		case c.stirred:
			l.hear(c)
		}
	}
	for _, d := range l.doors {
		d.accept(l)
	}
	l.tick()
}
