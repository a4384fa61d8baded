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

// fault makes the error of a rule that is the same for requests and responses; in a response it has another number
// and always 502.
func fault(status int, rule, childRule, cause string) *Error {
	return &Error{Status: status, Rule: rule, Cause: cause,
		child: &Error{Status: 502, Rule: childRule, Cause: cause}}
}

// The request line.
var (
	errLeading      = &Error{Status: 400, Rule: "R1", Cause: "something before the request line"}
	errRequestLine  = &Error{Status: 400, Rule: "R2", Cause: "request line is not method, space, target, space, version"}
	errMethod       = &Error{Status: 400, Rule: "R3", Cause: "illegal octet in the method"}
	errMethodLong   = &Error{Status: 501, Rule: "R3", Cause: "method longer than 32 octets"}
	errTargetOctet  = &Error{Status: 400, Rule: "R4", Cause: "illegal octet in the request target"}
	errFragment     = &Error{Status: 400, Rule: "R5", Cause: "fragment in the request target"}
	errRelative     = &Error{Status: 400, Rule: "R6", Cause: "request target does not begin with a slash"}
	errAsterisk     = &Error{Status: 400, Rule: "R7", Cause: "asterisk target outside of OPTIONS *"}
	errAbsolute     = &Error{Status: 400, Rule: "R8", Cause: "illegal authority in the request target"}
	errAbsoluteHost = &Error{Status: 400, Rule: "R8", Cause: "request target and Host differ"}
	errConnect      = &Error{Status: 405, Rule: "R9", Cause: "CONNECT is not allowed"}
	errTrace        = &Error{Status: 405, Rule: "R10", Cause: "TRACE is not allowed"}
	errVersion      = &Error{Status: 505, Rule: "R11", Cause: "neither HTTP/1.0 nor HTTP/1.1"}
	errNoVersion    = &Error{Status: 400, Rule: "R12", Cause: "request line without a well-formed version"}
	errTargetLong   = &Error{Status: 414, Rule: "R26", Cause: "request line too long"}
)

// Lines and fields, of heads and of trailers.
var (
	errBareLF     = fault(400, "R14", "R72", "LF without CR")
	errBareCR     = fault(400, "R15", "R72", "CR without LF")
	errNUL        = fault(400, "R16", "R72", "NUL octet")
	errControl    = fault(400, "R17", "R72", "control octet")
	errObsText    = fault(400, "R17", "R72", "octet beyond ASCII in a framing or forwarding field")
	errName       = fault(400, "R18", "R72", "field name is not a token")
	errNameLong   = fault(400, "R18", "R72", "field name longer than 256 octets")
	errBlankColon = fault(400, "R19", "R72", "blank between field name and colon")
	errNoColon    = fault(400, "R20", "R72", "field line without a colon")
	errFirstBlank = fault(400, "R21", "R72", "first field line begins with a blank")
	errFold       = fault(400, "R22", "R72", "folded field line")
	errUnderscore = fault(400, "R25", "R72", "underscore look-alike of a field the relay owns")
	errLineLong   = fault(431, "R26", "R78", "field line too long")
	errManyFields = fault(431, "R26", "R78", "too many fields")
	errHeadLong   = fault(431, "R26", "R78", "head too long")
)

// Framing, Host, and what belongs to the connection.
var (
	errLength       = fault(400, "R27", "R73", "Content-Length is not a decimal number")
	errTwoLengths   = fault(400, "R28", "R73", "more than one Content-Length")
	errBothFramings = fault(400, "R29", "R73", "Content-Length together with Transfer-Encoding")
	errCoding       = fault(400, "R30", "R73", "Transfer-Encoding is not exactly one chunked")
	errOtherCoding  = fault(501, "R31", "R73", "transfer coding other than chunked")
	errCoding10     = fault(400, "R32", "R73", "Transfer-Encoding in HTTP/1.0")
	errBodyLong     = &Error{Status: 413, Rule: "body", Cause: "body longer than the limit"}
	errHost         = &Error{Status: 400, Rule: "R44", Cause: "illegal Host"}
	errHostMissing  = &Error{Status: 400, Rule: "R44", Cause: "no Host"}
	errTwoHosts     = &Error{Status: 400, Rule: "R44", Cause: "more than one Host"}
	errNoDefault    = &Error{Status: 400, Rule: "R45", Cause: "no Host, and no default for it"}
	errOption       = fault(400, "R46", "R72", "Connection is not a list of at most 32 names")
	errPinned       = fault(400, "R46", "R72", "Connection names a field that is not for one hop only")
	errForwarded    = &Error{Status: 400, Rule: "R48", Cause: "illegal value in a forwarding field"}
	errTwoForwarded = &Error{Status: 400, Rule: "R48", Cause: "more than one of a forwarding field"}
	errExpect       = &Error{Status: 417, Rule: "R51", Cause: "expectation other than 100-continue"}
)

// Bodies.
var (
	errChunkSize  = fault(400, "R35", "R35", "illegal chunk size")
	errChunkLine  = fault(400, "R36", "R36", "chunk size line not ended by CRLF")
	errChunkExt   = fault(400, "R37", "R37", "illegal chunk extension")
	errChunkWaste = fault(400, "R38", "R38", "more chunk overhead than data")
	errChunkEnd   = fault(400, "R39", "R39", "chunk data not followed by CRLF")
	errTruncated  = fault(400, "R41", "R76", "body ended before its end")
	errTrailer    = fault(400, "R42", "R42", "field not allowed in trailers")
)

// Responses.
var (
	errStatusLine  = &Error{Status: 502, Rule: "R70", Cause: "illegal status line"}
	errNotHTTP     = &Error{Status: 502, Rule: "R71", Cause: "response is not HTTP/1"}
	errInterims    = &Error{Status: 502, Rule: "R53", Cause: "too many interim responses"}
	errInterimLong = &Error{Status: 502, Rule: "R53", Cause: "interim responses too long"}
	errSwitching   = &Error{Status: 502, Rule: "R64", Cause: "101 that was not asked for"}
)
