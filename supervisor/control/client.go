package control

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// Client sends requests to one daemon. Every error it returns is an *api.Error:
// ExitNotRunning without a daemon, ExitDenied without permission, ExitTimeout when
// ctx ended first, else the error of the daemon.
type Client struct {
	socket  string
	http    *http.Client
	header  http.Header // of every request; nil: none
	repeats bool        // what was interrupted by the death of a supervisor is asked again
}

// maxAnswer is how many bytes of an answer are read, enough for thousands of apps, and maxEvent how many
// of one event of a stream.
const maxAnswer, maxEvent = 8 << 20, 1 << 20

// NewClient returns a client for the daemon on socket, whichever user it belongs to.
// It connects for every request.
func NewClient(socket string) *Client { return newClient(socket, nil) }

// newClient returns a client that sends nothing unless the daemon's process belongs to
// one of the owners; nil: to any user.
func newClient(socket string, owners []int) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil && owners != nil {
			err = checkOwner(conn.(*net.UnixConn), socket, owners)
		}
		if err != nil && conn != nil {
			conn.Close()
			conn = nil
		}
		if body, attached := ctx.Value(bodyKey{}).(*io.PipeWriter); attached && err == nil {
			conn = &attachedConn{conn, body}
		}
		return conn, err
	}
	return &Client{socket: socket, repeats: true, http: &http.Client{Transport: &http.Transport{
		DialContext: dial, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
	}}}
}

// ForPage returns a client for requests of the page: they show the token that its user has given, and
// say from which address that one has asked.
func (c *Client) ForPage(token, from string) *Client {
	page := *c
	page.header = http.Header{"Authorization": {bearer + token}, clientField: {from}}
	return &page
}

// checkOwner checks that the process that listens on a socket belongs to one of the
// owners.
func checkOwner(conn *net.UnixConn, socket string, owners []int) error {
	process, err := peerProcess(conn)
	if err != nil {
		return err
	}
	if slices.Contains(owners, int(process.Uid)) {
		return nil
	}
	name := userName(int(process.Uid))
	return errorf(api.ExitDenied, "--user "+name+" asks the daemons of "+name, "the process that listens on %s belongs to %s", socket, name)
}

// Socket is the path of the daemon's control socket.
func (c *Client) Socket() string { return c.socket }

// Status returns the status of the apps that the selectors mean; without
// selectors of all apps.
func (c *Client) Status(ctx context.Context, apps ...string) (api.Status, error) {
	var status api.Status
	err := c.unary(ctx, http.MethodGet, "/v1/status?"+url.Values{"app": apps}.Encode(), nil, &status)
	return status, err
}

// maxMetrics bounds the answer of Metrics in bytes: thousands of apps.
const maxMetrics = 64 << 20

// Metrics returns what the daemon counts, in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	resp, err := c.request(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Close()
	text, err := io.ReadAll(io.LimitReader(resp.body, maxMetrics))
	if err != nil {
		return nil, c.wrapError(ctx, err)
	}
	return text, nil
}

// Check is Status with the answers of the apps, each of which is asked now.
func (c *Client) Check(ctx context.Context, apps ...string) (api.Status, error) {
	var status api.Status
	err := c.unary(ctx, http.MethodGet, "/v1/check?"+url.Values{"app": apps}.Encode(), nil, &status)
	return status, err
}

// Do carries out an operation and waits for its end. progress, if not nil, is
// called when a phase begins and when it ends, in order. When ctx ends first the
// error is ExitTimeout and the operation goes on. When the supervisor dies, the next one is asked
// what has become of the operation.
func (c *Client) Do(ctx context.Context, r api.Request, progress func(api.Phase)) (result api.Result, err error) {
	if c.repeats && r.ID == "" {
		r.ID = newID()
	}
	err = c.again(ctx, string(r.Verb), func() error {
		last, err := c.stream(ctx, "/v1/"+string(r.Verb), r, progress, func(e event) bool { return e.Result != nil })
		if err == nil {
			result = *last.Result
		}
		return err
	})
	return result, err
}

// DoAttached is Do, and withdraws the request when withdrawn is closed; see api.Request.Attached. The
// result says what has become of it.
func (c *Client) DoAttached(ctx context.Context, r api.Request, withdrawn <-chan struct{}, progress func(api.Phase)) (api.Result, error) {
	r.Attached = true
	request, err := json.Marshal(r)
	if err != nil {
		return api.Result{}, asError(err)
	}
	reader, writer := io.Pipe()
	ended, waiting := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(waiting)
		select {
		case <-withdrawn:
		case <-ended:
		}
		writer.Close()
	}()
	defer func() { close(ended); <-waiting }()
	resp, err := c.send(endingBody(ctx, writer), http.MethodPost, "/v1/"+string(r.Verb), attachedBody{io.MultiReader(bytes.NewReader(request), reader), reader})
	if err != nil {
		return api.Result{}, err
	}
	last, err := resp.events(progress, func(e event) bool { return e.Result != nil })
	if err != nil {
		return api.Result{}, err
	}
	return *last.Result, nil
}

// attachedBody is a request's body that stays open. Its Close, by net/http, ends a Read that waits.
type attachedBody struct {
	io.Reader
	io.Closer
}

// endingBody is the context of a request whose body ends with its connection. Else net/http would not return
// before the body has ended when the daemon has.
func endingBody(ctx context.Context, body *io.PipeWriter) context.Context {
	return context.WithValue(ctx, bodyKey{}, body)
}

type bodyKey struct{}

// attachedConn ends a request's body when nothing can be read any more.
type attachedConn struct {
	net.Conn
	body *io.PipeWriter
}

func (c *attachedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.body.CloseWithError(io.ErrUnexpectedEOF)
	}
	return n, err
}

// Apply applies the configuration file, or only tells what would change. progress
// and the end of ctx are as in Do.
func (c *Client) Apply(ctx context.Context, r api.ApplyRequest, progress func(api.Phase)) (result api.ApplyResult, err error) {
	if c.repeats && r.ID == "" {
		r.ID = newID()
	}
	err = c.again(ctx, "apply", func() error {
		last, err := c.stream(ctx, "/v1/apply", r, progress, func(e event) bool { return e.Applied != nil })
		if err == nil {
			result = *last.Applied
		}
		return err
	})
	return result, err
}

// stream sends a request and passes phases to progress until the last event.
func (c *Client) stream(ctx context.Context, path string, request any, progress func(api.Phase), last func(event) bool) (event, error) {
	resp, err := c.request(ctx, http.MethodPost, path, request)
	if err != nil {
		return event{}, err
	}
	return resp.events(progress, last)
}

// events passes phases to progress until the last event, and closes the connection.
func (r *response) events(progress func(api.Phase), last func(event) bool) (event, error) {
	defer r.Close()
	for {
		e, err := r.nextEvent()
		if err != nil || last(e) {
			return e, err
		}
		if e.Phase != nil && progress != nil {
			progress(e.Phase.phase())
		}
	}
}

// Hold holds an app's requests and returns when those in flight have finished.
// The hold ends after r.For, or by Release.
func (c *Client) Hold(ctx context.Context, app string, r api.HoldRequest) (report api.HoldReport, err error) {
	r.Attached = false
	if c.repeats && r.ID == "" {
		r.ID = newID()
	}
	err = c.again(ctx, "hold", func() error {
		resp, err := c.request(ctx, http.MethodPost, "/v1/hold", newHoldRequest(app, r))
		if err != nil {
			return err
		}
		defer resp.Close()
		report, err = resp.holdReport()
		return err
	})
	return report, err
}

// Release ends an operator's hold of app and reports the requests it held. It is
// no error when there is no hold.
func (c *Client) Release(ctx context.Context, app string) (api.HoldReport, error) {
	var report api.HoldReport
	err := c.unary(ctx, http.MethodPost, "/v1/release", appRequest{app}, &report)
	return report, err
}

// Drain has load balancers send no new request to app for a time; 0: until Undrain.
func (c *Client) Drain(ctx context.Context, app string, r api.DrainRequest) (api.DrainReport, error) {
	var report api.DrainReport
	err := c.unary(ctx, http.MethodPost, "/v1/drain", drainRequest{app, seconds(r.For)}, &report)
	return report, err
}

// Undrain ends the drain of app. It is no error when there is none.
func (c *Client) Undrain(ctx context.Context, app string) (api.DrainReport, error) {
	var report api.DrainReport
	err := c.unary(ctx, http.MethodPost, "/v1/undrain", appRequest{app}, &report)
	return report, err
}

// Signal sends sig to the main process of app.
func (c *Client) Signal(ctx context.Context, app string, sig syscall.Signal) error {
	return c.unary(ctx, http.MethodPost, "/v1/signal", signalRequest{app, sig}, &struct{}{})
}

// Programs returns the apps as clients of supervisord see them; configured: those of the
// configuration file.
func (c *Client) Programs(ctx context.Context, configured bool) ([]api.Program, error) {
	var list programList
	err := c.unary(ctx, http.MethodGet, fmt.Sprintf("/v1/programs?configured=%v", configured), nil, &list)
	return list.Programs, err
}

// LogText returns output that is kept in memory.
func (c *Client) LogText(ctx context.Context, q api.LogTextQuery) (api.LogText, error) {
	var text api.LogText
	err := c.unary(ctx, http.MethodPost, "/v1/log-text", q, &text)
	return text, err
}

// ClearLog makes the text of a log begin with the next line.
func (c *Client) ClearLog(ctx context.Context, app string) error {
	return c.unary(ctx, http.MethodPost, "/v1/clear-log", appRequest{app}, &struct{}{})
}

// Reread says what an apply would change, as groups of supervisord.
func (c *Client) Reread(ctx context.Context) (api.Reread, error) {
	var groups api.Reread
	err := c.unary(ctx, http.MethodPost, "/v1/reread", struct{}{}, &groups)
	return groups, err
}

// AddGroup makes the apps of a group what the configuration file says.
func (c *Client) AddGroup(ctx context.Context, group string) error {
	return c.unary(ctx, http.MethodPost, "/v1/add-group", groupRequest{group}, &struct{}{})
}

// RemoveGroup takes the apps of a group away.
func (c *Client) RemoveGroup(ctx context.Context, group string) error {
	return c.unary(ctx, http.MethodPost, "/v1/remove-group", groupRequest{group}, &struct{}{})
}

// Renew begins to apply the configuration and to reload every app.
func (c *Client) Renew(ctx context.Context) error {
	return c.unary(ctx, http.MethodPost, "/v1/renew", struct{}{}, &struct{}{})
}

// Listen opens the public addresses of an app that has none open yet.
func (c *Client) Listen(ctx context.Context, r api.ListenRequest) error {
	return c.unary(ctx, http.MethodPost, "/v1/listen", listenRequest{r, seconds(r.For)}, &struct{}{})
}

// Unlisten gives the public addresses of app up; it goes on to answer what it has accepted. With
// pathOnly only the files of its unix sockets are given up.
func (c *Client) Unlisten(ctx context.Context, app string, pathOnly bool) error {
	return c.unary(ctx, http.MethodPost, "/v1/unlisten", unlistenRequest{app, pathOnly}, &struct{}{})
}

// Logs yields the lines that q selects, oldest first, until there are no more,
// yield returns false, or ctx ends, which is no error.
func (c *Client) Logs(ctx context.Context, q api.LogQuery, yield func(logs.Line) bool) error {
	return c.read(ctx, "/v1/logs", q, func(e event) bool { return e.Line == nil || yield(*e.Line) })
}

// History yields the records that q selects, oldest first, until there are no more, yield returns
// false, or ctx ends, which is no error.
func (c *Client) History(ctx context.Context, q api.HistoryQuery, yield func(api.Record) bool) error {
	return c.read(ctx, "/v1/history", q, func(e event) bool { return e.Record == nil || yield(*e.Record) })
}

// read passes events to yield until the last one, yield returns false, or ctx ends.
func (c *Client) read(ctx context.Context, path string, query any, yield func(event) bool) error {
	begun := false
	err := c.again(ctx, "question", func() error {
		resp, err := c.request(ctx, http.MethodPost, path, query)
		if err != nil {
			return err
		}
		defer resp.Close()
		for {
			e, err := resp.nextEvent()
			switch {
			case e.End, ctx.Err() != nil:
				return nil
			case err != nil && begun:
				return withoutCause(err) // the caller knows where to go on
			case err != nil:
				return err
			case !yield(e):
				return nil
			}
			begun = true
		}
	})
	return err
}

// withoutCause is an error that is not asked again.
func withoutCause(err error) error {
	known := *asError(err)
	known.Cause = nil
	return &known
}

// Fleet returns what the host knows of its fleet.
func (c *Client) Fleet(ctx context.Context) (api.Fleet, error) {
	var f api.Fleet
	err := c.unary(ctx, http.MethodGet, "/v1/fleet", nil, &f)
	return f, err
}

// SetFleet says what is known of the fleet.
func (c *Client) SetFleet(ctx context.Context, f api.Fleet) error {
	return c.unary(ctx, http.MethodPost, "/v1/fleet-report", f, &struct{}{})
}

// Turn lets the reloads begin that wait for a turn of this host, and returns when they have ended.
func (c *Client) Turn(ctx context.Context) error {
	return c.unary(ctx, http.MethodPost, "/v1/turn", struct{}{}, &struct{}{})
}

// upgradeTimeout bounds the wait for the outcome of an upgrade once the daemon does not answer: the monitor
// has replaced a program that hangs by then.
const upgradeTimeout = 2 * time.Minute

// Upgrade has another program take the place of the daemon's, and returns what became of it. The error says
// that it has not begun, or that its outcome is not known.
func (c *Client) Upgrade(ctx context.Context, r api.UpgradeRequest) (api.Upgrade, error) {
	asked := c.unary(ctx, http.MethodPost, "/v1/upgrade", r, &struct{}{})
	known, cancel := context.WithTimeout(ctx, upgradeTimeout)
	defer cancel()
	for {
		status, err := c.Status(known)
		switch u := status.Upgrade; {
		case err != nil: // the next supervisor may not have begun
		case u == nil || u.ID != r.ID:
			return api.Upgrade{}, asked
		case u.Result != "":
			return *u, nil
		}
		select {
		case <-time.After(upgradeInterval):
		case <-known.Done():
			return api.Upgrade{}, cmp.Or(err, asked)
		}
	}
}

// upgradeInterval is the time between two questions for the outcome.
const upgradeInterval = 20 * time.Millisecond

// Shutdown ends the daemon: after the drain, or at once when fast. It returns when
// every app is stopped.
func (c *Client) Shutdown(ctx context.Context, fast bool) error {
	return c.again(ctx, "shutdown", func() error {
		resp, err := c.request(ctx, http.MethodPost, "/v1/shutdown", shutdownRequest{fast})
		if err != nil {
			return err
		}
		defer resp.Close()
		e, err := resp.nextEvent()
		if err == nil && !e.End {
			err = errorf(api.ExitError, "", "the daemon's answer to shutdown makes no sense")
		}
		return err
	})
}

// repeatable are the requests, beside those of the method GET, that change nothing when they are sent again.
var repeatable = []string{"/v1/release", "/v1/drain", "/v1/undrain", "/v1/log-text", "/v1/clear-log", "/v1/reread"}

// unary sends a request and decodes a response of one JSON value.
func (c *Client) unary(ctx context.Context, method, path string, request, reply any) error {
	if method != http.MethodGet && !slices.Contains(repeatable, path) {
		return c.call(ctx, method, path, request, reply)
	}
	return c.again(ctx, strings.TrimPrefix(path, "/v1/"), func() error { return c.call(ctx, method, path, request, reply) })
}

// call is unary, once.
func (c *Client) call(ctx context.Context, method, path string, request, reply any) error {
	resp, err := c.request(ctx, method, path, request)
	if err != nil {
		return err
	}
	defer resp.Close()
	if err := resp.decode(reply, maxAnswer); err != nil {
		return c.wrapError(ctx, err)
	}
	io.CopyN(io.Discard, resp.body, 2) // the end of the line and of the body, for the next request on a ViewerClient's connection
	return nil
}

// request sends a request and returns the response unread, or its error.
func (c *Client) request(ctx context.Context, method, path string, request any) (*response, error) {
	var body io.Reader
	if request != nil {
		encoded, err := json.Marshal(request)
		if err != nil {
			return nil, asError(err)
		}
		body = bytes.NewReader(encoded)
	}
	return c.send(ctx, method, path, body)
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://tideover"+path, body)
	if err != nil {
		return nil, asError(err)
	}
	maps.Copy(request.Header, c.header)
	reply, err := c.http.Do(request)
	if err != nil {
		return nil, c.wrapError(ctx, err)
	}
	r := newResponse(c, ctx, reply.Body)
	if reply.StatusCode == http.StatusOK {
		return r, nil
	}
	defer r.Close()
	failure := &api.Error{}
	if err := r.decode(failure, maxEvent); err != nil || failure.Exit == api.ExitOK {
		return nil, errorf(api.ExitError, "is "+c.socket+" a tideover daemon?", "unexpected answer: %s", reply.Status)
	}
	return nil, failure
}

// wrapError turns an error of the connection into one with an exit code.
func (c *Client) wrapError(ctx context.Context, err error) *api.Error {
	var typed *api.Error
	switch {
	case errors.As(err, &typed):
		return typed
	case ctx.Err() != nil:
		return errorf(api.ExitTimeout, "", "stopped waiting; the daemon goes on")
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return caused(errNoDaemon, errorf(api.ExitNotRunning, "start one: tideover run -- gunicorn app:app", "no daemon on %s", c.socket))
	case errors.Is(err, fs.ErrPermission):
		return errorf(api.ExitDenied, "root, the daemon's own user and members of its socket_group may", "no permission for %s", c.socket)
	case slices.ContainsFunc(disconnectErrors(), func(broken error) bool { return errors.Is(err, broken) }):
		return caused(errInterrupted, errorf(api.ExitNotRunning, "the reason is in its log", "the daemon went away before it had answered"))
	}
	return errorf(api.ExitError, "", "cannot ask the daemon on %s: %v", c.socket, err)
}

func caused(cause error, e *api.Error) *api.Error {
	e.Cause = cause
	return e
}

// errNoDaemon is the cause of an error where nothing listens.
var errNoDaemon = errors.New("nothing listens")

// disconnectErrors are the errors that a connection returns when the daemon ends.
func disconnectErrors() []error {
	return []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE}
}

// response is the body of a daemon's response.
type response struct {
	client  *Client
	ctx     context.Context
	body    io.ReadCloser
	bound   *io.LimitedReader // of the value that is read
	decoder *json.Decoder
}

func newResponse(c *Client, ctx context.Context, body io.ReadCloser) *response {
	bound := &io.LimitedReader{R: body}
	return &response{client: c, ctx: ctx, body: body, bound: bound, decoder: json.NewDecoder(bound)}
}

// decode decodes the next value, of at most that many bytes.
func (r *response) decode(v any, limit int64) error {
	r.bound.N = limit
	err := r.decoder.Decode(v)
	if err != nil && r.bound.N == 0 {
		return errorf(api.ExitError, "is "+r.client.socket+" a tideover daemon?", "the answer is longer than %d bytes", limit)
	}
	return err
}

// Close closes the connection. The daemon notices that the client has left.
func (r *response) Close() { r.body.Close() }

// nextEvent reads the next event. An event with an error is returned as an error,
// and so is the end of the connection.
func (r *response) nextEvent() (event, error) {
	var e event
	if err := r.decode(&e, maxEvent); err != nil {
		return e, r.client.wrapError(r.ctx, err)
	}
	if e.Error != nil {
		return e, e.Error
	}
	return e, nil
}

func (r *response) holdReport() (api.HoldReport, error) {
	e, err := r.nextEvent()
	if err != nil {
		return api.HoldReport{}, err
	}
	if e.Held == nil {
		return api.HoldReport{}, errorf(api.ExitError, "", "the daemon's answer to hold makes no sense")
	}
	return *e.Held, nil
}
