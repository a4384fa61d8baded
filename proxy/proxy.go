package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// A Server relays what arrives on the public listeners of one app, through its gate.
type Server struct {
	app      string
	gate     *Gate
	logger   hclog.Logger
	settings atomic.Pointer[Settings]
	rules    atomic.Pointer[rules] // those that were made last
	totals   totals
	buffered atomic.Int64 // bytes kept for requests, bounded by Settings.BufferTotal
	lame     atomic.Bool  // every answer is the last one of its connection
	ending   atomic.Bool  // idle connections are closed
	journal  *journal
	open     sync.WaitGroup // a count of the connections

	portable bool
	parked   atomic.Int64 // clients in the loop

	mu        sync.Mutex
	loop      *loop // of the parked engine, once it serves
	acceptors []*acceptor
	clients   map[*client]struct{}
	left      chan struct{} // ready when one of the clients is gone
}

// NewServer returns a server that waits for [Server.Serve].
func NewServer(o Options) *Server {
	s := &Server{app: o.App, gate: o.Gate, logger: o.Logger, clients: map[*client]struct{}{}, left: make(chan struct{}, 1)}
	s.portable = o.Portable
	if s.logger == nil {
		s.logger = hclog.NewNullLogger()
	}
	s.journal = newJournal(s.logger)
	s.Configure(o.Settings)
	return s
}

// Configure replaces the settings. Requests under way go on with those they began with.
func (s *Server) Configure(settings Settings) {
	settings = settings.resolved()
	s.settings.Store(&settings)
}

// Lame says that the end is near: from now on every answer carries Connection: close. Idle connections stay open for one more
// request, because a front-end may be sending it at this moment; the end of Serve's context closes them.
func (s *Server) Lame() { s.lame.Store(true) }

// Linger waits until no connection is left, or ctx ends. After [Server.Lame] it gives the connections that a front-end keeps the
// time for their last answer; who closes them while a request is on its way turns it into the front-end's own 502.
func (s *Server) Linger(ctx context.Context) {
	for {
		s.mu.Lock()
		open := len(s.clients) + int(s.parked.Load())
		s.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-s.left:
		case <-ctx.Done():
			return
		}
	}
}

// Serve accepts from l and relays until ctx ends. It does not close l, which may be served again, by another server too: what it has
// accepted is relayed until [Server.End]. It may run for several listeners at once. The error is nil unless accepting failed for good.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	a := s.enter(l)
	defer s.leave(a)
	if a.loop != nil {
		return a.loop.serve(ctx, l)
	}
	resumeAccept(l)
	interrupted := make(chan struct{})
	unblock := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		interruptAccept(l)
	})
	defer func() {
		if !unblock() {
			<-interrupted // or it would reach whoever serves l next
		}
	}()
	if err := s.accept(ctx, a); ctx.Err() == nil {
		return err
	}
	return nil
}

// engine is the loop that serves l, started now if need be; nil where the portable engine does. The lock is held.
func (s *Server) engine(l net.Listener) *loop {
	switch l.(type) {
	case *net.TCPListener, *net.UnixListener:
	default: // it may have an Accept of its own
		return nil
	}
	if s.portable || s.loop != nil {
		return s.loop
	}
	var err error
	if s.loop, err = newLoop(s); err != nil {
		s.logger.Warn("a goroutine for each connection: the system has no room for a better way", "app", s.app, "error", err)
		s.portable = true
	}
	return s.loop
}

// End closes what is idle, gives requests under way a last moment to finish, then cuts them, and returns when no connection is left.
// Every Serve must have returned.
func (s *Server) End() {
	s.lame.Store(true)
	s.ending.Store(true)
	s.each(func(c *client) { c.stopIdle() })
	s.mu.Lock()
	loop := s.loop
	s.mu.Unlock()
	if loop != nil {
		loop.post(note{do: loop.end})
	}
	cut := time.AfterFunc(lastMoment, func() {
		s.each(func(c *client) { c.close() })
		if loop != nil {
			loop.post(note{do: loop.cut})
		}
	})
	s.open.Wait()
	cut.Stop()
	s.journal.flush()
}

// accept starts a client for every connection until ctx ends. What cannot be accepted for want of descriptors or memory waits in the
// backlog; that is said once, not every time.
func (s *Server) accept(ctx context.Context, a *acceptor) error {
	var trouble time.Time // since when
	for {
		conn, err := a.listener.Accept()
		switch {
		case err == nil:
			s.start(conn)
			if !trouble.IsZero() {
				s.logger.Info("accepting again", "app", s.app, "after", time.Since(trouble).Round(time.Millisecond))
				trouble = time.Time{}
			}
			continue
		case a.comeRound(ctx, err):
			continue
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return err
		case trouble.IsZero():
			trouble = time.Now()
			s.logger.Warn("cannot accept", "app", s.app, "error", err)
		}
		pause := time.NewTimer(retryAccept)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// start serves one connection on a goroutine of its own.
func (s *Server) start(conn net.Conn) {
	c, err := newClient(s, conn)
	if err != nil {
		s.logger.Error("cannot serve a connection", "app", s.app, "error", err)
		conn.Close()
		return
	}
	s.totals.connections.Add(1)
	s.mu.Lock()
	s.clients[c] = struct{}{}
	s.mu.Unlock()
	s.open.Go(func() {
		c.serve()
		s.mu.Lock()
		delete(s.clients, c)
		s.mu.Unlock()
		s.departure()
	})
}

// departure tells Linger that a client has gone.
func (s *Server) departure() {
	select {
	case s.left <- struct{}{}:
	default:
	}
}

func (s *Server) each(do func(*client)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.clients {
		do(c)
	}
}

// interruptAccept makes an Accept under way return without closing the listener, which is not ours. Not at once: what waits in the
// backlog would be reset by who closes it now.
func interruptAccept(l net.Listener) {
	if d, ok := l.(deadliner); ok {
		d.SetDeadline(time.Now().Add(lastCall))
		return
	}
	l.Close()
}

// resumeAccept undoes interruptAccept.
func resumeAccept(l net.Listener) {
	if d, ok := l.(deadliner); ok {
		d.SetDeadline(time.Time{})
	}
}

const (
	// retryAccept is how long accepting pauses when the process is out of descriptors or memory.
	retryAccept = 20 * time.Millisecond
	// lastCall is how long what is in the backlog has to be accepted at the end.
	lastCall = time.Millisecond
	// lastMoment is how long requests under way may take to finish at the end.
	lastMoment = 5 * time.Second
)
