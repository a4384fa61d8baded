package proxy

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/gate"
	"tideover/proxy/netpoll"
)

// A Server relays what arrives on the public listeners of one app, through its gate.
type Server struct {
	app      string
	gate     *gate.Gate
	logger   hclog.Logger
	settings atomic.Pointer[Settings]
	rules    atomic.Pointer[rules] // those that were made last
	totals   totals
	buffered atomic.Int64 // bytes kept for requests, bounded by Settings.BufferTotal
	lame     atomic.Bool  // every answer is the last one of its connection
	journal  *journal
	running  sync.WaitGroup // the event loop, and clients on a goroutine

	connected atomic.Int64  // clients
	left      chan struct{} // ready when one of the clients is gone

	mu        sync.Mutex
	loop      *loop // nil until it is needed for the first time
	listeners []net.Listener
}

// NewServer returns a server that waits for [Server.Serve].
func NewServer(o Options) *Server {
	s := &Server{app: o.App, gate: o.Gate, logger: o.Logger, left: make(chan struct{}, 1)}
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
	for s.connected.Load() > 0 {
		select {
		case <-s.left:
		case <-ctx.Done():
			return
		}
	}
}

// Serve accepts from l, a *net.TCPListener or *net.UnixListener, and relays until ctx ends. It does not close l, which may be
// served again, by another server too: what it has accepted is relayed until [Server.End]. It may run for several listeners at
// once. The error is nil unless nothing can be accepted from l: it is of another type, it is closed, or the process has no
// descriptors for an event loop.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	switch l.(type) {
	case *net.TCPListener, *net.UnixListener:
	default:
		return fmt.Errorf("proxy: cannot accept from a %T", l)
	}
	loop, err := s.enter(l)
	if err != nil {
		return err
	}
	defer s.leave(l)
	return loop.serve(ctx, l)
}

// enter notes that l is served, by a loop that is started now if need be.
func (s *Server) enter(l net.Listener) (*loop, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.startLoop(); err != nil {
		return nil, err
	}
	s.listeners = append(s.listeners, l)
	return s.loop, nil
}

func (s *Server) leave(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = slices.DeleteFunc(s.listeners, func(other net.Listener) bool { return other == l })
}

// startLoop starts the event loop unless it has been started. s.mu must be held.
func (s *Server) startLoop() (err error) {
	if s.loop == nil {
		s.loop, err = newLoop(s)
	}
	return err
}

// started is the event loop; nil if it was never needed.
func (s *Server) started() *loop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loop
}

// End closes what is idle, gives requests under way a last moment to finish, then cuts them, and returns when no connection is left.
// Every Serve must have returned.
func (s *Server) End() {
	s.lame.Store(true)
	if l := s.started(); l != nil {
		l.tasks.Post(netpoll.TaskFunc(l.end))
		cut := time.AfterFunc(lastMoment, func() { l.tasks.Post(netpoll.TaskFunc(l.cut)) })
		s.running.Wait()
		cut.Stop()
	}
	s.journal.flush()
}

// departure tells Linger that a client has gone.
func (s *Server) departure() {
	select {
	case s.left <- struct{}{}:
	default:
	}
}

const (
	// retryAccept is how long accepting pauses when the process is out of descriptors or memory.
	retryAccept = 20 * time.Millisecond
	// lastMoment is how long requests under way may take to finish at the end.
	lastMoment = 5 * time.Second
)
