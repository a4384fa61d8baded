package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"syscall"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// Client asks one daemon. Every error it returns is a *supervisor.Error whose
// Exit is the exit code of the command that asked: no daemon there (3), no
// permission (4), the context ended first (10), and what the daemon says.
type Client struct {
	socket string
	web    *http.Client
}

// NewClient will speak to the daemon on socket; nothing is connected yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, web: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Socket is the path of the daemon's control socket.
func (c *Client) Socket() string { return c.socket }

// Status asks for the apps that the selectors mean, or all. It takes no time and changes nothing.
func (c *Client) Status(ctx context.Context, apps ...string) (api.Status, error) {
	var answer api.Status
	err := c.brief(ctx, http.MethodGet, "/v1/status?"+url.Values{"app": apps}.Encode(), nil, &answer)
	return answer, err
}

// Do carries out r and waits for its end; progress is called for each phase as
// it begins and ends, in order, and may be nil. When ctx ends first the error
// says so (10) and the operation goes on.
func (c *Client) Do(ctx context.Context, r api.Request, progress func(api.Phase)) (api.Result, error) {
	last, err := c.follow(ctx, "/v1/"+string(r.Verb), r, progress, func(e event) bool { return e.Result != nil })
	if err != nil {
		return api.Result{}, err
	}
	return *last.Result, nil
}

// Apply makes the apps what the configuration file says now, or tells what
// would change; progress and the end of ctx are as in Do.
func (c *Client) Apply(ctx context.Context, r api.ApplyRequest, progress func(api.Phase)) (api.ApplyResult, error) {
	last, err := c.follow(ctx, "/v1/apply", r, progress, func(e event) bool { return e.Applied != nil })
	if err != nil {
		return api.ApplyResult{}, err
	}
	return *last.Applied, nil
}

// follow asks, and passes phases on until the event that is the last one.
func (c *Client) follow(ctx context.Context, path string, request any, progress func(api.Phase), last func(event) bool) (event, error) {
	answer, err := c.ask(ctx, http.MethodPost, path, request)
	if err != nil {
		return event{}, err
	}
	defer answer.Close()
	for {
		e, err := answer.next()
		if err != nil || last(e) {
			return e, err
		}
		if e.Phase != nil && progress != nil {
			progress(*e.Phase)
		}
	}
}

// Hold holds an app's requests and returns when those in flight have finished.
// The hold ends by its own time, or by Release.
func (c *Client) Hold(ctx context.Context, app string, r api.HoldRequest) (api.HoldReport, error) {
	r.Attached = false
	answer, err := c.ask(ctx, http.MethodPost, "/v1/hold", holdRequest{app, r})
	if err != nil {
		return api.HoldReport{}, err
	}
	defer answer.Close()
	return answer.held()
}

// Release ends an operator's hold of app and tells what it meant for clients;
// no hold is no error.
func (c *Client) Release(ctx context.Context, app string) (api.HoldReport, error) {
	var report api.HoldReport
	err := c.brief(ctx, http.MethodPost, "/v1/release", appRequest{app}, &report)
	return report, err
}

// Signal sends sig to the main process of app.
func (c *Client) Signal(ctx context.Context, app string, sig syscall.Signal) error {
	return c.brief(ctx, http.MethodPost, "/v1/signal", signalRequest{app, sig}, &struct{}{})
}

// Logs yields the lines q selects, oldest first, until there are no more, ctx
// ends (no error then) or yield returns false.
func (c *Client) Logs(ctx context.Context, q api.LogQuery, yield func(logs.Line) bool) error {
	answer, err := c.ask(ctx, http.MethodPost, "/v1/logs", q)
	if err != nil {
		return err
	}
	defer answer.Close()
	for {
		e, err := answer.next()
		switch {
		case e.End, ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case e.Line != nil && !yield(*e.Line):
			return nil
		}
	}
}

// Shutdown ends the daemon: drained and stopped, or at once when fast. It
// returns when every app is stopped.
func (c *Client) Shutdown(ctx context.Context, fast bool) error {
	answer, err := c.ask(ctx, http.MethodPost, "/v1/shutdown", shutdownRequest{fast})
	if err != nil {
		return err
	}
	defer answer.Close()
	e, err := answer.next()
	if err == nil && !e.End {
		err = fault(api.ExitError, "", "the daemon's answer to shutdown makes no sense")
	}
	return err
}

// brief asks and reads an answer that comes whole.
func (c *Client) brief(ctx context.Context, method, path string, request, reply any) error {
	answer, err := c.ask(ctx, method, path, request)
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := answer.lines.Decode(reply); err != nil {
		return c.explain(ctx, err)
	}
	return nil
}

// ask sends one request and returns the daemon's answer unread, or its refusal.
func (c *Client) ask(ctx context.Context, method, path string, request any) (*answer, error) {
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

func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://tideover"+path, body)
	if err != nil {
		return nil, asError(err)
	}
	response, err := c.web.Do(request)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	a := &answer{client: c, ctx: ctx, body: response.Body, lines: json.NewDecoder(response.Body)}
	if response.StatusCode == http.StatusOK {
		return a, nil
	}
	defer a.Close()
	refusal := &api.Error{}
	if err := a.lines.Decode(refusal); err != nil || refusal.Exit == api.ExitOK {
		return nil, fault(api.ExitError, "is "+c.socket+" a tideover daemon?", "unexpected answer: %s", response.Status)
	}
	return nil, refusal
}

// explain says what a failed exchange means for the person who typed it.
func (c *Client) explain(ctx context.Context, err error) *api.Error {
	var typed *api.Error
	switch {
	case errors.As(err, &typed):
		return typed
	case ctx.Err() != nil:
		return fault(api.ExitTimeout, "", "stopped waiting; the daemon goes on")
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fault(api.ExitNotRunning, "start one: tideover run -- gunicorn app:app", "no daemon on %s", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fault(api.ExitDenied, "root, the daemon's own user and members of its socket_group may", "no permission for %s", c.socket)
	case slices.ContainsFunc(brokenOff(), func(broken error) bool { return errors.Is(err, broken) }):
		return fault(api.ExitNotRunning, "its log tells why", "the daemon went away before it had answered")
	}
	return fault(api.ExitError, "", "cannot ask the daemon on %s: %v", c.socket, err)
}

// brokenOff are the shapes in which a daemon's death reaches us.
func brokenOff() []error {
	return []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE}
}

// answer is a daemon's answer, read line by line.
type answer struct {
	client *Client
	ctx    context.Context
	body   io.ReadCloser
	lines  *json.Decoder
}

// Close ends the conversation; for the daemon the caller has left.
func (a *answer) Close() { a.body.Close() }

// next is the next event; an event that is an error is returned as one, and so
// is an answer that breaks off.
func (a *answer) next() (event, error) {
	var e event
	if err := a.lines.Decode(&e); err != nil {
		return e, a.client.explain(a.ctx, err)
	}
	if e.Error != nil {
		return e, e.Error
	}
	return e, nil
}

func (a *answer) held() (api.HoldReport, error) {
	e, err := a.next()
	if err != nil {
		return api.HoldReport{}, err
	}
	if e.Held == nil {
		return api.HoldReport{}, fault(api.ExitError, "", "the daemon's answer to hold makes no sense")
	}
	return *e.Held, nil
}
