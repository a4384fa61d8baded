package api

import (
	"fmt"
	"slices"
)

// Exit is how an operation ended, as the exit code of the command that asked
// for it. The numbers are fixed: deploy hooks depend on them.
type Exit int

const (
	ExitOK         Exit = 0  // what was asked for is now true
	ExitError      Exit = 1  // unexpected
	ExitUsage      Exit = 2  // wrong flags or arguments
	ExitNotRunning Exit = 3  // no daemon on the socket, or the app is not running
	ExitDenied     Exit = 4  // no permission
	ExitConfig     Exit = 5  // configuration invalid; nothing was changed
	ExitNoSuchApp  Exit = 6  // unknown or ambiguous
	ExitKeptOld    Exit = 7  // the reload failed; the previous generation serves
	ExitDown       Exit = 8  // the reload failed and nothing serves
	ExitBusy       Exit = 9  // another operation runs and the caller would not queue
	ExitTimeout    Exit = 10 // the client stopped waiting; the daemon goes on
	ExitHalted     Exit = 11 // a rollout has stopped at a failure
)

// Worse reports whether e says more than other about what several operations
// came to: what is down first, then what kept its old code, and last what was
// not even tried.
func (e Exit) Worse(other Exit) bool {
	gravity := [...]Exit{ExitOK, ExitBusy, ExitUsage, ExitNoSuchApp, ExitNotRunning, ExitDenied, ExitTimeout, ExitConfig, ExitError, ExitHalted, ExitKeptOld, ExitDown}
	return slices.Index(gravity[:], e) > slices.Index(gravity[:], other)
}

// Error is the error of every operation: what happened, and what to do.
type Error struct {
	Exit    Exit   `json:"exit"`
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
	Cause   error  `json:"-"`
}

// Advice returns the message and the hint.
func (e *Error) Advice() (message, hint string) { return e.Message, e.Hint }

// Unwrap returns the cause, nil where there is none.
func (e *Error) Unwrap() error { return e.Cause }

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

// Errorf returns an Error without a hint.
func Errorf(exit Exit, format string, args ...any) *Error {
	return &Error{Exit: exit, Message: fmt.Sprintf(format, args...)}
}
