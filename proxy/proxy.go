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
	totals   totals
	buffered atomic.Int64 // bytes kept for requests, bounded by Settings.BufferTotal
	lame     atomic.Bool  // every answer is the last one of its connection
	ending   atomic.Bool  // idle connections are closed
	journal  *journal

	mu      sync.Mutex
	clients map[*client]struct{}
	left    chan struct{} // ready when one of the clients is gone
}

// NewServer returns a server that waits for [Server.Serve].
func NewServer(o Options) *Server {
	s := &Server{app: o.App, gate: o.Gate, logger: o.Logger, clients: map[*client]struct{}{}, left: make(chan struct{}, 1)}
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
		open := len(s.clients)
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

// Serve accepts from l and relays until ctx ends; then it stops accepting, closes what is idle, gives requests under way a last
// moment to finish, and returns when all its connections are gone. It does not close l. It may run for several listeners at once.
// The error is nil unless accepting failed for good.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var open sync.WaitGroup
	unblock := context.AfterFunc(ctx, func() { interruptAccept(l) })
	defer unblock()
	err := s.accept(ctx, l, &open)
	s.finish(&open)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// accept starts a client for every connection until ctx ends. What cannot be accepted for want of descriptors or memory waits in the
// backlog; that is said once, not every time.
func (s *Server) accept(ctx context.Context, l net.Listener, open *sync.WaitGroup) error {
	var trouble time.Time // since when
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			s.start(conn, open)
			if !trouble.IsZero() {
				s.logger.Info("accepting again", "app", s.app, "after", time.Since(trouble).Round(time.Millisecond))
				trouble = time.Time{}
			}
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
func (s *Server) start(conn net.Conn, open *sync.WaitGroup) {
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
	open.Go(func() {
		c.serve()
		s.mu.Lock()
		delete(s.clients, c)
		s.mu.Unlock()
		select {
		case s.left <- struct{}{}:
		default:
		}
	})
}

// finish closes what is idle, waits a last moment for the requests under way, then cuts them.
func (s *Server) finish(open *sync.WaitGroup) {
	s.lame.Store(true)
	s.ending.Store(true)
	s.each(func(c *client) { c.stopIdle() })
	cut := time.AfterFunc(lastMoment, func() { s.each(func(c *client) { c.close() }) })
	open.Wait()
	cut.Stop()
	s.journal.flush()
}

func (s *Server) each(do func(*client)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.clients {
		do(c)
	}
}

// interruptAccept makes an Accept under way return without closing the listener, which is not ours.
func interruptAccept(l net.Listener) {
	if d, ok := l.(interface{ SetDeadline(time.Time) error }); ok {
		d.SetDeadline(longAgo)
		return
	}
	l.Close()
}

const (
	// retryAccept is how long accepting pauses when the process is out of descriptors or memory.
	retryAccept = 20 * time.Millisecond
	// lastMoment is how long requests under way may take to finish at the end.
	lastMoment = 5 * time.Second
)
