package http1

// Error says why bytes are refused. All errors of this package are static values: comparing pointers is allowed, and
// returning one allocates nothing. An Error of a request is answered with its Status and the connection is closed; one
// of a response means 502 if nothing was sent to the client yet, and a visible abort afterwards.
type Error struct {
	Status int    // the one status of the rule: 400, 405, 413, 414, 417, 431, 501, 502 or 505
	Rule   string // "R14"; "body" for the limit of the body, which has no rule of its own
	Cause  string // in words, without any byte of the message: fit for an answer and for a log line
	child  *Error // the same fault in a response
}

// Error is the cause with its rule.
func (e *Error) Error() string { return e.Cause + " (" + e.Rule + ")" }
