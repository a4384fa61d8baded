package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
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
		c.peer, c.role = conn.peer, conn.role
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
	if c.role >= r.minRole {
		return nil
	}
	return errDenied(c.peer, c.server.socket.group, "tideover "+strings.TrimPrefix(r.path, "/v1/"))
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
	return api.Caller{Via: api.ViaClient, UID: int(c.peer.uid), Pid: int(c.peer.pid), Command: c.peer.command()}
}

func (c *call) exitCode(err error) api.Exit {
	if err != nil {
		return asError(err).Exit
	}
	return c.exit
}
