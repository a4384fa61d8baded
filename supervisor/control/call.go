package control

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"tideover/supervisor/api"
)

// call is one request and its response.
type call struct {
	server          *Server
	ctx             context.Context // ends when the client leaves or the daemon ends
	peer            peer
	role            role
	viewer          *viewerConn // nil: it came by the control socket
	page            *api.Caller // of a request of the page with the token; nil: of another one
	request         *http.Request
	w               http.ResponseWriter
	controller      *http.ResponseController
	responseStarted bool     // the header is written: errors become events
	badRequest      bool     // the body was malformed
	app             string   // for the log
	exit            api.Exit // for the log: of the operation
	encoder         *json.Encoder
	decoder         *json.Decoder
}

func newCall(s *Server, w http.ResponseWriter, r *http.Request) *call {
	c := &call{server: s, ctx: r.Context(), request: r, w: w, controller: http.NewResponseController(w)}
	switch conn := c.ctx.Value(connKey{}).(type) {
	case *admittedConn:
		c.peer, c.role = conn.peer, conn.role
	case *viewerConn:
		c.peer, c.role, c.viewer = conn.peer, conn.role, conn
	}
	return c
}

// authorize returns an error unless this peer may use the route.
func (c *call) authorize(r route) *api.Error {
	// A browser reaches the socket only through a web server in front of it. Then
	// a page of another site could send requests.
	if c.request.Header.Get("Origin") != "" || c.request.Header.Get("Sec-Fetch-Site") != "" {
		return errorf(api.ExitDenied, "", "the control socket does not answer browsers")
	}
	if shown := c.request.Header.Get("Authorization"); shown != "" && c.viewer != nil {
		return c.authorizeByToken(r, shown)
	}
	if r.marks&ofMember != 0 && !c.isMember() {
		return errorf(api.ExitDenied, "", "%s is for the process that takes turns in a fleet", r.path)
	}
	if c.role >= r.minRole {
		return nil
	}
	return errDenied(c.peer, c.server.socket.group, "tideover "+strings.TrimPrefix(r.path, "/v1/"))
}

// authorizeByToken admits a request of the page by its user's token alone: what the admin process may
// do for others, such as clients of supervisord, does not count.
func (c *call) authorizeByToken(r route, shown string) *api.Error {
	token := c.viewer.rights.Token
	switch {
	case token == "":
		return errorf(api.ExitDenied, "set token_file in [daemon.admin_auth]", "the page only looks")
	case r.marks&forPage == 0:
		return errorf(api.ExitDenied, "", "%s is not for the page", r.path)
	case !sameToken(shown, bearer+token):
		return errorf(api.ExitDenied, "it is in the file that token_file names in [daemon.admin_auth]", "the token is wrong")
	}
	c.page = &api.Caller{Via: api.ViaPage}
	if from, err := netip.ParseAddr(c.request.Header.Get(clientField)); err == nil {
		c.page.Address = from.String()
	}
	c.role = max(c.role, r.minRole)
	return nil
}

// isMember reports whether the request is of the process that takes this host's turns in its fleet.
func (c *call) isMember() bool { return c.viewer != nil && c.page == nil && c.viewer.rights.Fleet }

// bearer is what is before the token in the field Authorization.
const bearer = "Bearer "

// clientField is the field with the address of the page's client, as the admin process says.
const clientField = "Page-Client"

// sameToken takes the same time wherever the texts differ.
func sameToken(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// deniedInterval is the time between two log lines of refused requests of the page: its clients can
// send any number.
const deniedInterval = time.Second

// isToBeLogged reports whether the refusal of this request is to be logged.
func (c *call) isToBeLogged(now time.Time) bool {
	if c.viewer == nil {
		return true
	}
	c.viewer.mu.Lock()
	defer c.viewer.mu.Unlock()
	if now.Sub(c.viewer.denied) < deniedInterval {
		return false
	}
	c.viewer.denied = now
	return true
}

// decode decodes the body into v, at most maxRequestBytes within requestTimeout.
func (c *call) decode(v any) error {
	c.controller.SetReadDeadline(time.Now().Add(requestTimeout))
	c.decoder = json.NewDecoder(http.MaxBytesReader(c.w, c.request.Body, maxRequestBytes))
	c.decoder.DisallowUnknownFields()
	if err := c.decoder.Decode(v); err != nil {
		c.badRequest = true
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return errorf(api.ExitUsage, "", "the request is larger than %d bytes", maxRequestBytes)
		}
		return errorf(api.ExitUsage, "client and daemon may be of different versions: tideover version",
			"cannot read the request: %v", err)
	}
	return c.controller.SetReadDeadline(time.Time{})
}

// expectEOF checks that nothing follows the decoded value. net/http watches for
// the end of the connection only after the body was read to its end.
func (c *call) expectEOF() error {
	c.controller.SetReadDeadline(time.Now().Add(requestTimeout))
	if _, err := c.decoder.Token(); !errors.Is(err, io.EOF) {
		c.badRequest = true
		return errorf(api.ExitUsage, "", "something follows the request")
	}
	return c.controller.SetReadDeadline(time.Time{})
}

// decodeAll decodes a body of exactly one JSON value.
func (c *call) decodeAll(v any) error {
	if err := c.decode(v); err != nil {
		return err
	}
	return c.expectEOF()
}

// reply writes a response of one JSON value.
func (c *call) reply(v any) error {
	c.writeHeader("application/json", http.StatusOK)
	return c.encode(v)
}

// sendEvent writes one line of a streamed response and flushes it.
func (c *call) sendEvent(e event) error {
	if !c.responseStarted {
		c.writeHeader("application/jsonl", http.StatusOK)
	}
	if err := c.encode(e); err != nil {
		return err
	}
	if err := c.controller.Flush(); err != nil {
		return err
	}
	// The deadline of an HTTP/2 stream resets it when it is over, even if nothing is being written.
	return c.controller.SetWriteDeadline(time.Time{})
}

// fail ends the response with an error: as its last event when it has begun.
func (c *call) fail(err *api.Error) {
	if c.responseStarted {
		c.sendEvent(event{Error: err}) // an error of the connection has no consequence
		return
	}
	c.writeHeader("application/json", httpStatus(err.Exit))
	c.encode(err)
}

func (c *call) writeHeader(contentType string, status int) {
	c.responseStarted = true
	c.encoder = json.NewEncoder(c.w)
	c.w.Header().Set("Content-Type", contentType)
	c.w.WriteHeader(status)
}

func (c *call) encode(v any) error {
	c.controller.SetWriteDeadline(time.Now().Add(writeTimeout))
	return c.encoder.Encode(v)
}

// caller is the client.
func (c *call) caller() api.Caller {
	switch {
	case c.page != nil:
		return *c.page
	case c.viewer != nil:
		return api.Caller{Via: api.ViaXMLRPC}
	}
	return api.Caller{Via: api.ViaClient, UID: int(c.peer.uid), Pid: int(c.peer.pid), Command: c.peer.command()}
}

func (c *call) exitCode(err error) api.Exit {
	if err != nil {
		return asError(err).Exit
	}
	return c.exit
}
