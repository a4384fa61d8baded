package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// Operator is the supervisor for requests with one token, which is right or wrong.
type Operator interface {
	Do(ctx context.Context, r api.Request, progress func(api.Phase)) (api.Result, error)
	Hold(ctx context.Context, app string, r api.HoldRequest) (api.HoldReport, error)
	Release(ctx context.Context, app string) (api.HoldReport, error)
	Drain(ctx context.Context, app string, r api.DrainRequest) (api.DrainReport, error)
	Undrain(ctx context.Context, app string) (api.DrainReport, error)
	Logs(ctx context.Context, q api.LogQuery, yield func(logs.Line) bool) error
}

const (
	// maxRequest bounds the body of a request in bytes.
	maxRequest = 4 << 10
	// maxHold bounds a hold that is begun on the page, which may be closed before its end.
	maxHold = 30 * time.Second
)

// appRequest is the body of an action and of a request for the output.
type appRequest struct {
	App string `json:"app"`
}

// outcome is the answer to an action.
type outcome struct {
	Done bool   `json:"done"`
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// action carries something out and says in words what has come of it.
type action func(ctx context.Context, o Operator, app string) (string, error)

// actions are those of the page, by the last part of their path.
func (p *Page) actions() map[string]action {
	return map[string]action{
		"reload":  operate(api.Reload),
		"restart": operate(api.Restart),
		"start":   operate(api.Start),
		"stop":    operate(api.Stop),
		"hold": func(ctx context.Context, o Operator, app string) (string, error) {
			report, err := o.Hold(ctx, app, api.HoldRequest{For: p.holdTime(app)})
			return "its requests are held for " + seconds(report.For), err
		},
		"release": func(ctx context.Context, o Operator, app string) (string, error) {
			report, err := o.Release(ctx, app)
			return fmt.Sprintf("released after %s, %d held, %d lost", seconds(report.Held), report.Requests.Held, report.Requests.Lost), err
		},
		"drain": func(ctx context.Context, o Operator, app string) (string, error) {
			_, err := o.Drain(ctx, app, api.DrainRequest{})
			return "load balancers are asked to send its requests elsewhere", err
		},
		"undrain": func(ctx context.Context, o Operator, app string) (string, error) {
			_, err := o.Undrain(ctx, app)
			return "load balancers may send its requests here again", err
		},
	}
}

// operate is the action of a verb. It goes on when the browser leaves.
func operate(verb api.Verb) action {
	return func(ctx context.Context, o Operator, app string) (string, error) {
		r, err := o.Do(ctx, api.Request{Verb: verb, App: app}, nil)
		switch {
		case err != nil:
			return "", err
		case r.Exit != api.ExitOK:
			return "", &api.Error{Exit: r.Exit, Message: fmt.Sprintf("%s: %s", r.Result, r.Error), Hint: r.Hint}
		case verb == api.Stop:
			return "it is stopped", nil
		}
		text := fmt.Sprintf("generation %d serves after %s", r.Generation.To, seconds(r.Duration))
		if !r.Plain {
			text += fmt.Sprintf(", %d held, %d lost", r.Requests.Held, r.Requests.Lost)
		}
		return text, nil
	}
}

// holdTime is for how long the page holds the requests of an app.
func (p *Page) holdTime(app string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.rows[app]; r != nil && r.HoldFor > 0 {
		return min(maxHold, time.Duration(r.HoldFor*float64(time.Second)))
	}
	return maxHold
}

// act carries out the action that the path names, with the token of the request, and answers at its end.
func (p *Page) act(w http.ResponseWriter, r *http.Request) {
	run := p.actions()[r.PathValue("action")]
	if run == nil {
		http.NotFound(w, r)
		return
	}
	o, app, failed := p.operator(w, r)
	if failed != nil {
		refuse(w, failed)
		return
	}
	http.NewResponseController(w).SetWriteDeadline(time.Time{}) // it takes as long as the app needs
	text, err := run(r.Context(), o, app)
	if err != nil {
		refuse(w, err)
		return
	}
	writeJSON(w, http.StatusOK, outcome{Done: true, Text: text})
}

// operator returns the supervisor for the token of a request, and the app that the request is about.
func (p *Page) operator(w http.ResponseWriter, r *http.Request) (o Operator, app string, failed error) {
	if !p.options.Acts {
		return nil, "", &api.Error{Exit: api.ExitDenied, Message: "this page only looks", Hint: "set token_file in [daemon.admin_auth]"}
	}
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found || token == "" {
		return nil, "", errNoToken
	}
	var request appRequest
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	body.DisallowUnknownFields()
	if err := body.Decode(&request); err != nil || request.App == "" {
		return nil, "", &api.Error{Exit: api.ExitUsage, Message: `the body is not {"app":"NAME"}`}
	}
	from, _, _ := net.SplitHostPort(r.RemoteAddr) // without one on a unix socket
	return p.options.Source.As(token, from), request.App, nil
}

// errNoToken is the error of a request without one.
var errNoToken = errors.New("this needs the token")

// refuse answers with an error, with the status of its exit code.
func refuse(w http.ResponseWriter, err error) {
	answer, status := outcome{Text: err.Error()}, http.StatusInternalServerError
	var known *api.Error
	switch {
	case err == errNoToken:
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", "Bearer")
	case errors.As(err, &known):
		answer.Text, answer.Hint = known.Message, known.Hint
		switch known.Exit {
		case api.ExitUsage:
			status = http.StatusBadRequest
		case api.ExitDenied:
			status = http.StatusForbidden
		case api.ExitNoSuchApp:
			status = http.StatusNotFound
		case api.ExitNotRunning, api.ExitBusy, api.ExitKeptOld, api.ExitDown:
			status = http.StatusConflict
		}
	}
	answer.Text, answer.Hint = clip(answer.Text), clip(answer.Hint)
	writeJSON(w, status, answer)
}
