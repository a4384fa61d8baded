package http1

// Limits bound what is kept in memory of one message (R26, R78). With len(buf) >= Head a Parse never asks for more, so
// a buffer of Head bytes is enough for every head.
type Limits struct {
	Head   int   // bytes of a head, the empty line included; beyond: 431
	Target int   // bytes of the request line, without its CRLF; beyond: 414
	Line   int   // bytes of one field line, without its CRLF; beyond: 431
	Fields int   // field lines; beyond: 431
	Body   int64 // bytes of a request's body; beyond: 413; 0: no limit
}

// RequestLimits are the limits for requests if nothing else is configured: 32 KiB, 8190, 8190, 100, none.
func RequestLimits() Limits {
	return Limits{Head: 32 << 10, Target: 8190, Line: 8190, Fields: 100}
}

// ResponseLimits are the limits for a child's response heads: 64 KiB and 200 fields, a line as long as the head may be.
func ResponseLimits() Limits {
	return Limits{Head: 64 << 10, Target: 64 << 10, Line: 64 << 10, Fields: 200}
}

// Policy is what decides about a request beside its own bytes. It is made once per listener and kind of peer, shared
// and only read.
type Policy struct {
	Limits Limits

	// Trusted: the peer is a front-end whose X-Forwarded-* and the like are validated and passed untouched. Those of
	// any other peer are deleted and made anew (R48).
	Trusted bool

	// PassUnderscores forwards names with an underscore as they are instead of dropping them (R25). Look-alikes of
	// framing and forwarding fields are refused in any case.
	PassUnderscores bool

	// DefaultHost is the Host written for an HTTP/1.0 request without one; empty: such a request is refused (R45).
	DefaultHost string
}
