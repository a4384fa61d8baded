package supervisord

import (
	"context"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/supervisordrpc"
	"tideover/supervisor/xmlrpc"
)

// Daemon is asked by the control protocol: a *control.Client.
type Daemon interface {
	Status(ctx context.Context, apps ...string) (api.Status, error)
	Programs(ctx context.Context, configured bool) ([]api.Program, error)
	LogText(ctx context.Context, q api.LogTextQuery) (api.LogText, error)
	ClearLog(ctx context.Context, app string) error
	Reread(ctx context.Context) (api.Reread, error)
	AddGroup(ctx context.Context, group string) error
	RemoveGroup(ctx context.Context, group string) error
	Renew(ctx context.Context) error
	Do(ctx context.Context, r api.Request, progress func(api.Phase)) (api.Result, error)
	Signal(ctx context.Context, app string, signal Signal) error
	Shutdown(ctx context.Context, fast bool) error
}

const (
	// maxRequests bounds the requests to the supervisor at the same time: its HTTP/2 server takes 250.
	maxRequests = 150
	// maxFollowers bounds the answers that go on until the client leaves.
	maxFollowers = 40
	// bodyTimeout is the time for a client to send its call.
	bodyTimeout = 10 * time.Second
)

// Service is what the addresses of one process have in common.
type Service struct {
	daemon     Daemon
	identifier string
	requests   chan struct{}  // capacity maxRequests
	followers  chan struct{}  // capacity maxFollowers
	background sync.WaitGroup // operations that a client did not want to wait for
}

// NewService returns a service. identifier is the answer to getIdentification.
func NewService(d Daemon, identifier string) *Service {
	return &Service{daemon: d, identifier: identifier, requests: make(chan struct{}, maxRequests), followers: make(chan struct{}, maxFollowers)}
}

// Access is what the clients of one address may do.
type Access struct {
	User     string // empty: no password is asked for
	Password string // plain, or {SHA} and hexadecimal digits
	ReadOnly bool   // methods that change something are refused
}

// allows reports whether a request has the password.
func (a Access) allows(r *http.Request) bool {
	if a.User == "" {
		return true
	}
	user, password, _ := r.BasicAuth()
	wanted := a.Password
	if digits, ok := strings.CutPrefix(wanted, "{SHA}"); ok {
		sum := sha1.Sum([]byte(password))
		password, wanted = hex.EncodeToString(sum[:]), strings.ToLower(digits)
	}
	sameUser := subtle.ConstantTimeCompare([]byte(user), []byte(a.User))
	samePassword := subtle.ConstantTimeCompare([]byte(password), []byte(wanted))
	return sameUser&samePassword == 1
}

// Handler answers the clients of one address.
func (s *Service) Handler(a Access) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/RPC2", func(w http.ResponseWriter, r *http.Request) { s.serveCall(w, r, a) })
	mux.HandleFunc("GET /logtail/{name}", s.tailLog)
	mux.HandleFunc("GET /logtail/{name}/{stream}", s.tailLog)
	mux.HandleFunc("GET /mainlogtail", s.tailLog)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		// A browser could be led here by a page of another site: clients of supervisord are none.
		case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
			http.Error(w, "browsers are not answered", http.StatusForbidden)
		case !a.allows(r):
			w.Header().Set("WWW-Authenticate", `Basic realm="default"`)
			http.Error(w, "a user name and a password are needed", http.StatusUnauthorized)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// serveCall answers one call.
func (s *Service) serveCall(w http.ResponseWriter, r *http.Request, a Access) {
	if r.Method != http.MethodPost {
		http.Error(w, "XML-RPC is sent by POST", http.StatusBadRequest)
		return
	}
	deadline := http.NewResponseController(w)
	deadline.SetReadDeadline(time.Now().Add(bodyTimeout))
	parsed, err := xmlrpc.ReadCall(r.Body)
	deadline.SetReadDeadline(time.Time{}) // the end of the connection ends the call
	if err != nil {
		w.Header().Set("Connection", "close")
		http.Error(w, "this is no call of XML-RPC: "+err.Error(), http.StatusBadRequest)
		return
	}
	value, err := s.call(r.Context(), parsed.Method, parsed.Params, a)
	if r.Context().Err() != nil {
		return
	}
	if err != nil {
		value = faultOf(err)
	}
	w.Header().Set("Content-Type", "text/xml")
	w.Write(xmlrpc.Response(value))
}

// fault returns a fault with the text that supervisord gives it.
func fault(code int, about string) *xmlrpc.Fault {
	text := supervisordrpc.FaultName(code)
	if about != "" {
		text += ": " + about
	}
	return &xmlrpc.Fault{Code: code, Text: text}
}

// faultOf returns the fault for an error of the control protocol.
func faultOf(err error) *xmlrpc.Fault {
	var known *xmlrpc.Fault
	if errors.As(err, &known) {
		return known
	}
	var e *api.Error
	if errors.As(err, &e) {
		return faultOfExit(e.Exit, e.Error())
	}
	return fault(supervisordrpc.Failed, err.Error())
}

func faultOfExit(exit api.Exit, why string) *xmlrpc.Fault {
	switch exit {
	case api.ExitNoSuchApp:
		return fault(supervisordrpc.BadName, why)
	case api.ExitConfig:
		return fault(supervisordrpc.CantReread, why)
	}
	if strings.Contains(why, "shutting down") {
		return fault(supervisordrpc.ShutdownState, "")
	}
	return fault(supervisordrpc.Failed, why)
}
