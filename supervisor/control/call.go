package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"tideover/supervisor/api"
)

// call is one request of one peer, being answered.
type call struct {
	server   *Server
	ctx      context.Context // ends when the peer leaves or the daemon ends
	peer     peer
	role     role
	request  *http.Request
	w        http.ResponseWriter
	wire     *http.ResponseController
	started  bool     // the answer's first byte is written: errors become events
	garbled  bool     // the request was not one
	app      string   // for the log
	exit     api.Exit // for the log, of an operation that was carried out
	encoder  *json.Encoder
	received *json.Decoder
}

func newCall(s *Server, w http.ResponseWriter, r *http.Request) *call {
	c := &call{server: s, ctx: r.Context(), request: r, w: w, wire: http.NewResponseController(w)}
	if p, known := c.ctx.Value(peerKey{}).(peer); known {
		c.peer, c.role = p, p.roleOf(s.socket.group)
	}
	return c
}

// admit says whether this peer may use the route at all.
func (c *call) admit(r route) *api.Error {
	// A browser never speaks here; if one does, somebody put the socket behind
	// a web server and a page of another site is asking.
	if c.request.Header.Get("Origin") != "" || c.request.Header.Get("Sec-Fetch-Site") != "" {
		return fault(api.ExitDenied, "", "the control socket does not answer browsers")
	}
	if c.role >= r.least {
		return nil
	}
	hint := "root and the daemon's own user may"
	if c.server.socket.group != noGroup {
		hint += "; members of socket_group may reload, hold, release and look"
	}
	return fault(api.ExitDenied, hint, "uid %d may not use %s", c.peer.uid, r.path)
}

// decode reads the request's JSON into v, within its size and its time.
func (c *call) decode(v any) error {
	c.wire.SetReadDeadline(time.Now().Add(requestDeadline))
	c.received = json.NewDecoder(http.MaxBytesReader(c.w, c.request.Body, largestRequest))
	c.received.DisallowUnknownFields()
	if err := c.received.Decode(v); err != nil {
		c.garbled = true
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return fault(api.ExitUsage, "", "the request is larger than %d bytes", largestRequest)
		}
		return fault(api.ExitUsage, "client and daemon may be of different versions: tideover version",
			"cannot read the request: %v", err)
	}
	return c.wire.SetReadDeadline(time.Time{})
}

// complete checks that nothing follows what decode read. Only then does the
// HTTP server notice when the peer leaves.
func (c *call) complete() error {
	c.wire.SetReadDeadline(time.Now().Add(requestDeadline))
	if _, err := c.received.Token(); !errors.Is(err, io.EOF) {
		c.garbled = true
		return fault(api.ExitUsage, "", "something follows the request")
	}
	return c.wire.SetReadDeadline(time.Time{})
}

// receive is decode and complete: the whole request is one JSON value.
func (c *call) receive(v any) error {
	if err := c.decode(v); err != nil {
		return err
	}
	return c.complete()
}

// reply is the whole answer at once.
func (c *call) reply(v any) error {
	c.start("application/json", http.StatusOK)
	return c.write(v)
}

// send is one line of a streamed answer, on its way when send returns.
func (c *call) send(e event) error {
	if !c.started {
		c.start("application/jsonl", http.StatusOK)
	}
	if err := c.write(e); err != nil {
		return err
	}
	return c.wire.Flush()
}

// refuse ends the answer with an error, whatever of it is already out.
func (c *call) refuse(err *api.Error) {
	if c.started {
		c.send(event{Error: err}) // the peer may be gone; then nobody is left to tell
		return
	}
	c.start("application/json", statusOf(err.Exit))
	c.write(err)
}

func (c *call) start(contentType string, status int) {
	c.started = true
	c.encoder = json.NewEncoder(c.w)
	c.w.Header().Set("Content-Type", contentType)
	c.w.WriteHeader(status)
}

func (c *call) write(v any) error {
	c.wire.SetWriteDeadline(time.Now().Add(writeDeadline))
	return c.encoder.Encode(v)
}

// by names the caller for the daemon's log and the app's.
func (c *call) by() string { return fmt.Sprintf("cli uid %d", c.peer.uid) }

func (c *call) outcome(err error) api.Exit {
	if err != nil {
		return asError(err).Exit
	}
	return c.exit
}
