package control

import (
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// event is one line of a streamed response. Exactly one field is set.
type event struct {
	Phase   *api.Phase       `json:"phase,omitempty"`
	Result  *api.Result      `json:"result,omitempty"`  // last line of an operation
	Applied *api.ApplyResult `json:"applied,omitempty"` // last line of apply
	Held    *api.HoldReport  `json:"held,omitempty"`    // the hold has begun and the requests in flight have finished
	Ended   *api.HoldReport  `json:"ended,omitempty"`   // last line of a hold
	Line    *logs.Line       `json:"line,omitempty"`
	End     bool             `json:"end,omitempty"` // last line of logs and of shutdown
	Error   *api.Error       `json:"error,omitempty"`
}

type holdRequest struct {
	App string `json:"app"`
	api.HoldRequest
}

type appRequest struct {
	App string `json:"app"`
}

type unlistenRequest struct {
	App      string `json:"app"`
	PathOnly bool   `json:"path_only,omitempty"`
}

type signalRequest struct {
	App    string         `json:"app"`
	Signal syscall.Signal `json:"signal"`
}

type shutdownRequest struct {
	Fast bool `json:"fast,omitempty"`
}

// httpStatus is the HTTP status for an exit code. Client reads the exit code from
// the body; the status is for other clients, such as curl.
func httpStatus(exit api.Exit) int {
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

// asError returns err as an *api.Error, the only error that is sent.
func asError(err error) *api.Error {
	var typed *api.Error
	if errors.As(err, &typed) {
		return typed
	}
	return &api.Error{Exit: api.ExitError, Message: err.Error()}
}

func errorf(exit api.Exit, hint, format string, args ...any) *api.Error {
	return &api.Error{Exit: exit, Message: fmt.Sprintf(format, args...), Hint: hint}
}
