package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// Daemon is what the control socket needs of a supervisor.
type Daemon interface {
	Status(names ...string) (api.Status, error)
	Do(ctx context.Context, r api.Request, progress func(api.Phase)) api.Result
	Apply(ctx context.Context, r api.ApplyRequest, progress func(api.Phase)) api.ApplyResult
	Hold(ctx context.Context, app string, r api.HoldRequest) (Lease, error)
	Release(app string) (api.HoldReport, error)
	Signal(app string, sig syscall.Signal) error
	Logs(ctx context.Context, q api.LogQuery, yield func(logs.Line) bool) error
	Shutdown(fast bool)
}

// Lease is a hold in force.
type Lease interface {
	// Report is what is known so far: how the requests in flight ended.
	Report() api.HoldReport
	// End releases, if its time has not done so, and tells what the hold meant.
	End() api.HoldReport
}

// event is one line of a streamed answer; exactly one field is set.
type event struct {
	Phase   *api.Phase       `json:"phase,omitempty"`
	Result  *api.Result      `json:"result,omitempty"`  // last line of an operation
	Applied *api.ApplyResult `json:"applied,omitempty"` // last line of apply
	Held    *api.HoldReport  `json:"held,omitempty"`    // the hold is in force
	Ended   *api.HoldReport  `json:"ended,omitempty"`   // last line of a hold
	Line    *logs.Line       `json:"line,omitempty"`
	End     bool             `json:"end,omitempty"` // last line of logs, and of a shutdown: all is stopped
	Error   *api.Error       `json:"error,omitempty"`
}

type holdRequest struct {
	App string `json:"app"`
	api.HoldRequest
}

type appRequest struct {
	App string `json:"app"`
}

type signalRequest struct {
	App    string         `json:"app"`
	Signal syscall.Signal `json:"signal"`
}

type shutdownRequest struct {
	Fast bool `json:"fast,omitempty"`
}

// statusOf is the HTTP status that goes with an exit code; clients of ours read
// the code itself, the status is for curl.
func statusOf(exit api.Exit) int {
	switch exit {
	case api.ExitUsage:
		return http.StatusBadRequest
	case api.ExitDenied:
		return http.StatusForbidden
	case api.ExitNoSuchApp:
		return http.StatusNotFound
	case api.ExitNotRunning, api.ExitBusy:
		return http.StatusConflict
	case api.ExitConfig:
		return http.StatusUnprocessableEntity
	}
	return http.StatusInternalServerError
}

// asError gives any error the shape that travels.
func asError(err error) *api.Error {
	var typed *api.Error
	if errors.As(err, &typed) {
		return typed
	}
	return &api.Error{Exit: api.ExitError, Message: err.Error()}
}

func fault(exit api.Exit, hint, format string, args ...any) *api.Error {
	return &api.Error{Exit: exit, Message: fmt.Sprintf(format, args...), Hint: hint}
}
