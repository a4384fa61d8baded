package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"syscall"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// event is one line of a streamed response. Exactly one field is set.
type event struct {
	Phase   *phaseEvent      `json:"phase,omitempty"`
	Result  *api.Result      `json:"result,omitempty"`  // last line of an operation
	Applied *api.ApplyResult `json:"applied,omitempty"` // last line of apply
	Held    *api.HoldReport  `json:"held,omitempty"`    // the hold has begun and the requests in flight have finished
	Ended   *api.HoldReport  `json:"ended,omitempty"`   // last line of a hold
	Line    *logs.Line       `json:"line,omitempty"`
	Record  *api.Record      `json:"record,omitempty"`
	End     bool             `json:"end,omitempty"` // last line of logs, history and shutdown
	Error   *api.Error       `json:"error,omitempty"`
}

// seconds is a duration that JSON has in seconds, as all those of the API.
type seconds time.Duration

func (s seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

func (s *seconds) UnmarshalJSON(text []byte) error {
	var number float64
	if err := json.Unmarshal(text, &number); err != nil {
		return err
	}
	if number < 0 || number > maxSeconds {
		return fmt.Errorf("%v is not a number of seconds from 0 to %v", number, float64(maxSeconds))
	}
	*s = seconds(math.Round(number * float64(time.Second)))
	return nil
}

// maxSeconds is close to the longest time.Duration, 292 years.
const maxSeconds = 9e9

// phaseEvent is a phase with its duration.
type phaseEvent struct {
	api.Phase
	Duration seconds `json:"duration_s"`
}

func newPhaseEvent(p api.Phase) *phaseEvent { return &phaseEvent{p, seconds(p.Duration)} }

func (p *phaseEvent) phase() api.Phase {
	p.Phase.Duration = time.Duration(p.Duration)
	return p.Phase
}

type holdRequest struct {
	App string `json:"app"`
	api.HoldRequest
	For seconds `json:"for_s,omitempty"`
}

func newHoldRequest(app string, r api.HoldRequest) holdRequest {
	return holdRequest{app, r, seconds(r.For)}
}

func (r holdRequest) request() api.HoldRequest {
	r.HoldRequest.For = time.Duration(r.For)
	return r.HoldRequest
}

type listenRequest struct {
	api.ListenRequest
	For seconds `json:"for_s,omitempty"`
}

func (r listenRequest) request() api.ListenRequest {
	r.ListenRequest.For = time.Duration(r.For)
	return r.ListenRequest
}

type drainRequest struct {
	App string  `json:"app"`
	For seconds `json:"for_s,omitempty"`
}

type appRequest struct {
	App string `json:"app"`
}

type groupRequest struct {
	Group string `json:"group"`
}

type programList struct {
	Programs []api.Program `json:"programs"`
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
