package http1

// Limits bound what is kept in memory of one message (RuleHeadLimits, RuleResponseHeadLimits).
// Parse never needs more than Head bytes in its buffer.
type Limits struct {
	Head      int   // bytes of a head with its empty line; beyond: 431
	StartLine int   // bytes of a request line or status line without its CRLF; beyond: 414
	Line      int   // bytes of a field line without its CRLF; beyond: 431
	Fields    int   // field lines; beyond: 431
	Body      int64 // bytes of a request's body; beyond: 413; 0: no limit
}

// RequestLimits returns the default limits of requests: no limit for the body.
func RequestLimits() Limits {
	return Limits{Head: 32 << 10, StartLine: 8190, Line: 8190, Fields: 100}
}

// ResponseLimits returns the limits of responses. A line may be as long as the head.
func ResponseLimits() Limits {
	return Limits{Head: 64 << 10, StartLine: 64 << 10, Line: 64 << 10, Fields: 200}
}

// Policy is what decides about a request beside its own bytes. A Policy is made once for each
// listener and kind of client. It may be shared, and must not change afterwards.
type Policy struct {
	Limits Limits

	// Trusted is set for a trusted front-end: its forwarding fields pass unchanged, with few
	// exceptions. Those of every other client are replaced (RuleForwardingFields).
	Trusted bool

	// PassUnderscores forwards field names with an underscore instead of dropping them. Names that
	// look like a framing or forwarding field are refused in any case (RuleUnderscore).
	PassUnderscores bool

	// RemoveNamed removes the fields that Connection names instead of refusing the request. A field
	// that is always hop-by-hop is removed in any case (RuleConnectionOptions, RuleHopByHop).
	RemoveNamed bool

	// DefaultHost is the Host written for an HTTP/1.0 request without Host. If it is empty, such a
	// request is refused (RuleDefaultHost).
	DefaultHost string
}
