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
	lame     atomic.Bool

	mu      sync.Mutex
	clients map[*client]struct{}
}

// NewServer returns a server that waits for [Server.Serve].
func NewServer(o Options) *Server {
	s := &Server{app: o.App, gate: o.Gate, logger: o.Logger, clients: map[*client]struct{}{}}
	if s.logger == nil {
		s.logger = hclog.NewNullLogger()
	}
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

// Serve accepts from l and relays until ctx ends; then it stops accepting, closes what is idle, gives requests under way a last
// moment to finish, and returns when all its connections are gone. It does not close l. It may run for several listeners at once.
// The error is nil unless accepting failed for good.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return errors.New("proxy: no engine")
}

// retryAccept is how long accepting pauses when the process is out of descriptors or memory.
const retryAccept = 20 * time.Millisecond
