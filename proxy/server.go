package proxy

import (
	"context"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/awake"
)

// closeGrace is how long requests under way may take to finish when a server is closed.
const closeGrace = 5 * time.Second

// A Server relays what arrives on the public listeners of one app, through its gate.
type Server struct {
	app app

	mu        sync.Mutex
	loop      *eventLoop // nil until it is needed for the first time
	listeners []Listener
}

// NewServer returns a server that waits for [Server.Serve].
func NewServer(o Options) *Server {
	s := &Server{app: app{name: o.App, gate: o.Gate, logger: o.Logger, leaving: o.Leaving, spool: o.Spool, limiter: o.Limiter, counters: o.Totals, panicked: o.Panicked}}
	if s.app.counters == nil {
		s.app.counters = &Totals{}
	}
	s.app.access.totals = s.app.counters
	s.app.unsent.total = &s.app.counters.sending
	if s.app.logger == nil {
		s.app.logger = hclog.NewNullLogger()
	}
	s.app.errorLog = newErrorLog(s.app.logger)
	s.Configure(o.Settings)
	return s
}

// Configure replaces the settings. Requests under way go on with those they began with.
func (s *Server) Configure(settings Settings) {
	settings = settings.withDefaults()
	s.app.settings.Store(&settings)
}

// Counters returns the totals. They are read one after the other while requests go on.
func (s *Server) Counters() Counters { return s.app.counters.Snapshot() }

// Metrics returns the totals in detail, which are read in the same way.
func (s *Server) Metrics() Metrics { return s.app.counters.Metrics() }

// Connections is how many clients are connected.
func (s *Server) Connections() int {
	if l := s.startedLoop(); l != nil {
		return l.Connections()
	}
	return 0
}

// A Listener is an open listening socket. The event loop accepts by its descriptor: one with an
// Accept of its own, such as that of package crypto/tls, is none. A net.Listener is in the poller of
// the runtime as well, which wakes up for each connection.
type Listener interface {
	syscall.Conn
	Addr() net.Addr
}

// Serve accepts from l until ctx ends, and relays. It does not close l, which may be served again, by
// another server too: what it has accepted is relayed until [Server.Close]. It may run for several
// listeners at once. The error is nil unless nothing can be accepted from l: it is closed, or the
// process has no descriptors for an event loop.
func (s *Server) Serve(ctx context.Context, l Listener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	loop, err := s.startLoop()
	if err != nil {
		return err
	}
	s.addListener(l)
	defer s.removeListener(l)
	return loop.serve(ctx, raw, l.Addr())
}

func (s *Server) addListener(l Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, l)
}

func (s *Server) removeListener(l Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = slices.DeleteFunc(s.listeners, func(other Listener) bool { return other == l })
}

// startLoop returns the event loop, which is started if need be.
func (s *Server) startLoop() (l *eventLoop, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loop == nil {
		s.loop, err = startEventLoop(&s.app)
	}
	return s.loop, err
}

// startedLoop returns the event loop; nil if it was never needed.
func (s *Server) startedLoop() *eventLoop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loop
}

// CloseAfterNextResponse makes every response the last one of its connection: it carries
// Connection: close. Idle connections stay open for one more request, because a front-end may be
// sending it at this moment; [Server.Close] closes them.
func (s *Server) CloseAfterNextResponse() { s.app.noKeepAlive.Store(true) }

// WaitIdle waits until no connection is left, or ctx ends. After [Server.CloseAfterNextResponse] it
// gives the connections that a front-end keeps the time for their last response. To close one of
// them while a request is on its way makes that the front-end's own 502.
func (s *Server) WaitIdle(ctx context.Context) {
	l := s.startedLoop()
	for l != nil && l.clients.Load() > 0 {
		select {
		case <-l.clientClosed:
		case <-ctx.Done():
			return
		}
	}
	if l != nil { // another one may wait, too
		l.reportClosed()
	}
}

// WaitSent waits until no response is left that is sent from memory or the spool, while the app
// has finished its request, or ctx ends.
func (s *Server) WaitSent(ctx context.Context) { s.app.unsent.wait(ctx) }

// Sending is the number of such responses.
func (s *Server) Sending() int { return s.app.unsent.number() }

// CloseIdle closes idle connections, and from now on each one as soon as it is idle. Requests under
// way and tunnels go on. Every Serve must have returned.
func (s *Server) CloseIdle() {
	if l := s.startedLoop(); l != nil {
		l.post(l.beginClose)
	}
}

// Close closes idle connections, gives requests under way closeGrace to finish, then cuts them, and
// returns when no connection is left. Every Serve must have returned.
func (s *Server) Close() {
	s.CloseAfterNextResponse()
	if l := s.startedLoop(); l != nil {
		l.post(l.beginClose)
		cut := awake.AfterFunc(closeGrace, func() { l.post(l.cut) })
		<-l.ended
		cut.Stop()
	}
	s.app.errorLog.flush()
	s.app.access.setFile(nil)
}

// Cut cuts the requests under way, so that a [Server.Close] that waits for them returns.
func (s *Server) Cut() {
	if l := s.startedLoop(); l != nil {
		l.post(l.cut)
	}
}
