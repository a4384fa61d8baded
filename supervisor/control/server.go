package control

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

const (
	maxRequestBytes = 64 << 10
	requestTimeout  = 5 * time.Second // to receive a whole request
	writeTimeout    = 10 * time.Second
	shutdownTimeout = 2 * time.Second // for streams to write their last event
)

// Backend carries out the requests: a supervisor.
type Backend interface {
	Status(names ...string) (api.Status, error)
	Metrics(w io.Writer) error // in the text format of Prometheus
	Check(ctx context.Context, names ...string) (api.Status, error)
	Do(ctx context.Context, r api.Request, progress func(api.Phase)) api.Result
	Apply(ctx context.Context, r api.ApplyRequest, progress func(api.Phase)) api.ApplyResult
	Hold(ctx context.Context, app string, r api.HoldRequest) (Hold, error)
	Release(app string, by api.Caller) (api.HoldReport, error)
	Drain(app string, r api.DrainRequest) (api.DrainReport, error)
	Undrain(app, by string) (api.DrainReport, error)
	Signal(app string, sig syscall.Signal) error
	Logs(ctx context.Context, q api.LogQuery, yield func(logs.Line) bool) error
	History(ctx context.Context, q api.HistoryQuery, yield func(api.Record) bool) error
	Programs(configured bool) ([]api.Program, error)
	LogText(q api.LogTextQuery) (api.LogText, error)
	ClearLog(app string) error
	Reread(ctx context.Context, by api.Caller) (api.Reread, error)
	AddGroup(ctx context.Context, group string, by api.Caller) error
	RemoveGroup(ctx context.Context, group string, by api.Caller) error
	Renew(by api.Caller)
	Listen(ctx context.Context, r api.ListenRequest) error
	Unlisten(app string, pathOnly bool) error
	Upgrade(r api.UpgradeRequest) error // returns only when it has failed
	Shutdown(fast bool)
	Turn(ctx context.Context) error
	SetFleet(api.Fleet)
	Fleet() *api.Fleet
}

// Hold is a hold that has begun.
type Hold interface {
	// Report says how the requests in flight ended.
	Report() api.HoldReport
	// End releases, unless the hold has ended by itself, and reports what it held.
	End() api.HoldReport
}

// Server serves a control socket.
type Server struct {
	socket  *Socket
	backend Backend
	logger  hclog.Logger
}

// NewServer returns a server that has not begun. It logs every request that
// changes something with uid and exit code (debug), and every request that is
// denied or malformed (warning).
func NewServer(socket *Socket, backend Backend, logger hclog.Logger) *Server {
	return &Server{socket: socket, backend: backend, logger: logger}
}

// Serve serves until ctx ends. Then every stream gets its last event, and Serve
// returns when all connections are closed. The caller closes the socket.
func (s *Server) Serve(ctx context.Context) error {
	web := s.webServer(ctx)
	web.ReadHeaderTimeout, web.IdleTimeout = requestTimeout, requestTimeout
	web.SetKeepAlivesEnabled(false) // credentials are those at the time of connecting
	connections := newAdmission(s.socket, s.logger)
	defer connections.wait()
	defer connections.Close()
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(connections) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := web.Shutdown(limited); err != nil {
		web.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// webServer returns a server for the routes. Requests end with ctx.
func (s *Server) webServer(ctx context.Context) *http.Server {
	return &http.Server{
		Handler:        s.handler(),
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       s.logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnContext:    withPeer,
	}
}

// connKey is the key of the connection in the context of a request.
type connKey struct{}

func withPeer(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// handler is a mux of the routes.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes() {
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, request *http.Request) {
			s.serve(r, newCall(s, w, request))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, request *http.Request) {
		newCall(s, w, request).fail(errorf(api.ExitUsage, "client and daemon may be of different versions: tideover version",
			"this daemon does not know %s %s", request.Method, request.URL.Path))
	})
	return mux
}

// serve checks the role, runs the handler, and logs.
func (s *Server) serve(r route, c *call) {
	if err := c.authorize(r); err != nil {
		if c.isToBeLogged(time.Now()) {
			s.logger.Warn("control request denied", "path", r.path, "uid", c.peer.uid, "error", err.Message)
		}
		c.fail(err)
		return
	}
	err := r.handle(c)
	if err != nil {
		c.fail(asError(err))
	}
	if c.badRequest {
		s.logger.Warn("control request invalid", "path", r.path, "uid", c.peer.uid, "error", asError(err).Message)
	}
	if r.marks&changes != 0 {
		// The outcome of an operation is logged by the supervisor.
		s.logger.Debug("control request finished", "path", r.path, "app", c.app, "by", c.caller().String(), "exit", int(c.exitCode(err)))
	}
}
