package proxy

import (
	"errors"
	"os"

	"tideover/proxy/http1"
)

// Faults of a client that only a clock or a setting can see.
var (
	errHeadTimeout  = &http1.Error{Status: 408, Rule: http1.RuleHeadTimeout, Cause: "the request's head took too long"}
	errHeadGivenUp  = &http1.Error{Status: 408, Rule: http1.RuleHeadTimeout, Cause: "the request's head was not complete, and its connection was needed for others"}
	errBodySlow     = &http1.Error{Status: 408, Rule: http1.RuleBodyLimits, Cause: "the request's body came too slowly"}
	errBodyTooLarge = &http1.Error{Status: 413, Rule: http1.RuleBodyLimits, Cause: "the request's body is too large"}
)

// How a request, or a part of it, ends early.
var (
	errClientGone      = errors.New("the client left")
	errResponseTimeout = errors.New("no byte of an answer in time")
	errNeverAccepted   = errors.New("the app never accepted the connection")
	errSuspended       = errors.New("it is not proven that the app listens")
	errTargetGone      = errors.New("the app's processes are gone")
	errSpoolUnreadable = errors.New("what was kept in the spool cannot be read again")
	errEvicted         = errors.New("the client read the response too slowly, and the spool was full")
	errUploadRefused   = errors.New("the app takes no more of the body") // and may answer all the same
	errInterrupted     = errors.New("proxy: interrupted")                // of a read or wait, by conn.interrupt
)

// isClientFault reports whether a body could not be read for a fault of the client's that has an
// error response.
func isClientFault(err error) bool {
	var fault *http1.Error
	return errors.As(err, &fault) || errors.Is(err, os.ErrDeadlineExceeded)
}
