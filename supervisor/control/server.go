package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
)

const (
	largestRequest  = 1 << 20
	briefAtOnce     = 16              // answers that take no time, computed at once
	streamsAtOnce   = 256             // operations waited for, logs followed, holds kept
	requestDeadline = 5 * time.Second // for a whole request to arrive
	writeDeadline   = 10 * time.Second
	partingTime     = 2 * time.Second // for streams to write their last line when the daemon ends
)

// Server answers on a control socket for one daemon.
type Server struct {
	socket  *Socket
	daemon  Daemon
	logger  hclog.Logger
	brief   chan struct{}
	streams chan struct{}
}

// NewServer prepares to answer for daemon on socket. Every request that acts
// is logged (debug) with the uid that sent it and its outcome, and every request
// that is denied or makes no sense as a warning.
func NewServer(socket *Socket, daemon Daemon, logger hclog.Logger) *Server {
	return &Server{
		socket: socket, daemon: daemon, logger: logger,
		brief: make(chan struct{}, briefAtOnce), streams: make(chan struct{}, streamsAtOnce),
	}
}

// Serve answers until ctx ends; then every stream gets its last line, and Serve
// returns when nothing of it is left. The socket stays the caller's to close.
func (s *Server) Serve(ctx context.Context) error {
	web := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: requestDeadline,
		IdleTimeout:       requestDeadline,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          s.logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       rememberPeer,
	}
	web.SetKeepAlivesEnabled(false) // one request each: the peer's credentials are those of now
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(s.socket.listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	parting, cancel := context.WithTimeout(context.Background(), partingTime)
	defer cancel()
	if err := web.Shutdown(parting); err != nil {
		web.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// peerKey finds the peer in the context of its connection's requests.
type peerKey struct{}

func rememberPeer(ctx context.Context, conn net.Conn) context.Context {
	p, err := peerOf(conn.(*net.UnixConn))
	if err != nil {
		return ctx // no peer on record: a stranger
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// handler turns the table of routes into a mux.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes() {
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, request *http.Request) {
			s.answer(r, newCall(s, w, request))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, request *http.Request) {
		newCall(s, w, request).refuse(fault(api.ExitUsage, "client and daemon may be of different versions: tideover version",
			"this daemon does not know %s %s", request.Method, request.URL.Path))
	})
	return mux
}

// answer runs one route for one caller: is it allowed, is there room, does it
// work out, and who did it.
func (s *Server) answer(r route, c *call) {
	if err := c.admit(r); err != nil {
		s.logger.Warn("control: refused", "path", r.path, "uid", c.peer.uid, "cause", err.Message)
		c.refuse(err)
		return
	}
	slots := s.brief
	if r.streams {
		slots = s.streams
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	default:
		c.refuse(fault(api.ExitError, "try again in a moment", "too many requests on the control socket"))
		return
	}
	err := r.handle(c)
	if err != nil {
		c.refuse(asError(err))
	}
	if c.garbled {
		s.logger.Warn("control: not understood", "path", r.path, "uid", c.peer.uid, "cause", asError(err).Message)
	}
	if r.acts {
		// What became of it, the app's own line tells.
		s.logger.Debug("control: "+r.path, "app", c.app, "by", c.by(), "exit", int(c.outcome(err)))
	}
}
