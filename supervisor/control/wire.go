package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"tideover/supervisor"
)

// LineStyle is how a log line's prefix looks.
type LineStyle = supervisor.LineStyle

// Daemon is what the control socket needs of a supervisor.
type Daemon interface {
	Status(names ...string) (supervisor.Status, error)
	Do(ctx context.Context, r supervisor.Request, progress func(supervisor.Phase)) supervisor.Result
	Apply(ctx context.Context, r supervisor.ApplyRequest, progress func(supervisor.Phase)) supervisor.ApplyResult
	Hold(ctx context.Context, app string, r supervisor.HoldRequest) (Lease, error)
	Release(app string) (supervisor.HoldReport, error)
	Signal(app string, sig syscall.Signal) error
	Logs(ctx context.Context, q supervisor.LogQuery, yield func(supervisor.Line) bool) error
	Shutdown(fast bool)
}

// Lease is a hold in force.
type Lease interface {
	// Report is what is known so far: how the requests in flight ended.
	Report() supervisor.HoldReport
	// End releases, if its time has not done so, and tells what the hold meant.
	End() supervisor.HoldReport
}

// event is one line of a streamed answer; exactly one field is set.
type event struct {
	Phase   *supervisor.Phase       `json:"phase,omitempty"`
	Result  *supervisor.Result      `json:"result,omitempty"`  // last line of an operation
	Applied *supervisor.ApplyResult `json:"applied,omitempty"` // last line of apply
	Held    *supervisor.HoldReport  `json:"held,omitempty"`    // the hold is in force
	Ended   *supervisor.HoldReport  `json:"ended,omitempty"`   // last line of a hold
	Line    *supervisor.Line        `json:"line,omitempty"`
	End     bool                    `json:"end,omitempty"` // last line of logs, and of a shutdown: all is stopped
	Error   *supervisor.Error       `json:"error,omitempty"`
}

type holdRequest struct {
	App string `json:"app"`
	supervisor.HoldRequest
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
func statusOf(exit supervisor.Exit) int {
	switch exit {
	case supervisor.ExitUsage:
		return http.StatusBadRequest
	case supervisor.ExitDenied:
		return http.StatusForbidden
	case supervisor.ExitNoSuchApp:
		return http.StatusNotFound
	case supervisor.ExitNotRunning, supervisor.ExitBusy:
		return http.StatusConflict
	case supervisor.ExitConfig:
		return http.StatusUnprocessableEntity
	}
	return http.StatusInternalServerError
}

// asError gives any error the shape that travels.
func asError(err error) *supervisor.Error {
	var typed *supervisor.Error
	if errors.As(err, &typed) {
		return typed
	}
	return &supervisor.Error{Exit: supervisor.ExitError, Message: err.Error()}
}

func fault(exit supervisor.Exit, hint, format string, args ...any) *supervisor.Error {
	return &supervisor.Error{Exit: exit, Message: fmt.Sprintf(format, args...), Hint: hint}
}
