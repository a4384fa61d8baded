package admin

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"tideover/supervisor/admin/page"
	"tideover/supervisor/api"
)

// Bounds of a request. The streams of the page set their own.
const (
	headTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
	idleTimeout  = 60 * time.Second
	maxHead      = 16 << 10
)

// metricsType is the media type of Prometheus' text format.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// newWebServer returns the server of the admin address.
func newWebServer(s *source, p *page.Page) *http.Server {
	return &http.Server{
		Handler:           s.handler(p),
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       headTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHead,
		ConnState:         onConnState,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:          log.New(io.Discard, "", 0), // what clients do wrong
	}
}

// newCallServer returns a server of an address for clients of supervisord. An operation takes as long
// as the app needs, so its answer has no time limit.
func newCallServer(calls http.Handler) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, ok := r.Context().Value(connKey{}).(*connection); ok {
				c.setWaiting(false)
			}
			calls.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: headTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHead,
		ConnState:         onConnState,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:          log.New(io.Discard, "", 0), // what clients do wrong
	}
}

// connKey is the key of the connection in the context of a request.
type connKey struct{}

// handler answers all paths: those of the page are its own.
func (s *source) handler(p *page.Page) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", s.writeMetrics)
	mux.HandleFunc("GET /-/live", s.live)
	mux.HandleFunc("GET /-/ready", s.ready)
	mux.HandleFunc("GET /-/ready/{app}", s.ready)
	p.Register(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*connection); ok {
			c.setWaiting(false)
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, text)
}

// writeMetrics answers a scrape of Prometheus with the supervisor's own text.
func (s *source) writeMetrics(w http.ResponseWriter, r *http.Request) {
	text, err := s.metrics.answer(r.Context())
	if err != nil {
		answer(w, http.StatusServiceUnavailable, "the supervisor does not answer\n")
		return
	}
	w.Header().Set("Content-Type", metricsType)
	w.Write(text)
}

// live is 200 if the supervisor answers. It says nothing of the apps.
func (s *source) live(w http.ResponseWriter, r *http.Request) {
	if _, err := s.status.answer(r.Context()); err != nil {
		answer(w, http.StatusServiceUnavailable, "the supervisor does not answer\n")
		return
	}
	answer(w, http.StatusOK, "live\n")
}

// ready is 200 if a request to each app, or to the one that the path names, would be passed to a
// process now, and should be sent here: not while the app is drained. The body has a line for each: its
// name and its state.
func (s *source) ready(w http.ResponseWriter, r *http.Request) {
	st, err := s.status.answer(r.Context())
	if err != nil {
		answer(w, http.StatusServiceUnavailable, "the supervisor does not answer\n")
		return
	}
	name := r.PathValue("app")
	status, text, found := http.StatusOK, new(strings.Builder), name == ""
	if st.ShuttingDown {
		status = http.StatusServiceUnavailable
		text.WriteString("shutting down\n")
	}
	for _, app := range st.Apps {
		if name != "" && app.Name != name {
			continue
		}
		found = true
		drained := ""
		if app.Drained != nil {
			drained = " drained"
		}
		fmt.Fprintf(text, "%s %s%s\n", app.Name, app.State, drained)
		if !serves(app) {
			status = http.StatusServiceUnavailable
		}
	}
	if !found {
		answer(w, http.StatusNotFound, "no such app\n")
		return
	}
	answer(w, status, text.String())
}

// serves reports whether a request would be passed to a process now, as `status --check` says
// without a probe, and should be sent: not while the app starts, is stopped or drained, or its
// requests are held.
func serves(app api.AppStatus) bool {
	return app.Drained == nil && app.Generation > 0 && len(app.Holds) == 0 && (app.State == api.Running || app.State == api.Reloading)
}
