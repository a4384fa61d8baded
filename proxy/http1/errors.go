package http1

// Error says why a message is refused. All errors of this package are static: they may be compared
// as pointers, and returning one allocates nothing. A refused request is answered with Status, and
// its connection is closed. A refused response becomes a 502 if nothing was sent to the client yet,
// else the client's connection is aborted.
type Error struct {
	Status     int    // 400, 405, 413, 414, 417, 431, 501, 502 or 505
	Rule       Rule   // the rule that was broken
	Cause      string // plain text without any byte of the message, for answers and log lines
	inResponse *Error // the same error where a response breaks the rule; nil: it is this one
}

// Error returns the cause, the code and the name of the rule: "LF without CR (R14 BareLF)".
func (e *Error) Error() string { return e.Cause + " (" + e.Rule.String() + ")" }

// bothError returns an error for requests, with the same error for responses: its status is always
// 502.
func bothError(status int, rule, responseRule Rule, cause string) *Error {
	return &Error{Status: status, Rule: rule, Cause: cause,
		inResponse: &Error{Status: 502, Rule: responseRule, Cause: cause}}
}

// The request line.
var (
	errLeadingOctet       = &Error{Status: 400, Rule: RuleLeadingEmptyLine, Cause: "something before the request line"}
	errRequestLine        = &Error{Status: 400, Rule: RuleRequestLine, Cause: "request line is not method, space, target, space, version"}
	errMethod             = &Error{Status: 400, Rule: RuleMethod, Cause: "illegal octet in the method"}
	errMethodTooLong      = &Error{Status: 501, Rule: RuleMethod, Cause: "method longer than 32 octets"}
	errFragment           = &Error{Status: 400, Rule: RuleTargetFragment, Cause: "fragment in the request target"}
	errTargetForm         = &Error{Status: 400, Rule: RuleOriginForm, Cause: "request target does not begin with a slash"}
	errAsteriskForm       = &Error{Status: 400, Rule: RuleAsteriskForm, Cause: "asterisk target outside of OPTIONS *"}
	errTargetAuthority    = &Error{Status: 400, Rule: RuleAbsoluteForm, Cause: "illegal authority in the request target"}
	errTargetHost         = &Error{Status: 400, Rule: RuleAbsoluteForm, Cause: "request target and Host differ"}
	errConnect            = &Error{Status: 405, Rule: RuleConnect, Cause: "CONNECT is not allowed"}
	errTrace              = &Error{Status: 405, Rule: RuleTrace, Cause: "TRACE is not allowed"}
	errVersion            = &Error{Status: 505, Rule: RuleVersion, Cause: "neither HTTP/1.0 nor HTTP/1.1"}
	errNoVersion          = &Error{Status: 400, Rule: RuleVersionSyntax, Cause: "request line without a well-formed version"}
	errRequestLineTooLong = &Error{Status: 414, Rule: RuleHeadLimits, Cause: "request line too long"}
)

// Lines and fields of heads and trailers.
var (
	errBareLF           = bothError(400, RuleBareLF, RuleResponseFields, "LF without CR")
	errBareCR           = bothError(400, RuleBareCR, RuleResponseFields, "CR without LF")
	errNUL              = bothError(400, RuleNUL, RuleResponseFields, "NUL octet")
	errControl          = bothError(400, RuleControlOctet, RuleResponseFields, "control octet")
	errObsText          = bothError(400, RuleControlOctet, RuleResponseFields, "octet beyond ASCII in a framing field")
	errFieldName        = bothError(400, RuleFieldName, RuleResponseFields, "field name is not a token")
	errFieldNameTooLong = bothError(400, RuleFieldName, RuleResponseFields, "field name longer than 256 octets")
	errBlankBeforeColon = bothError(400, RuleBlankBeforeColon, RuleResponseFields, "blank between field name and colon")
	errNoColon          = bothError(400, RuleMissingColon, RuleResponseFields, "field line without a colon")
	errLeadingBlank     = bothError(400, RuleLeadingBlank, RuleResponseFields, "first field line begins with a blank")
	errObsFold          = bothError(400, RuleObsFold, RuleResponseFields, "folded field line")
	errSpoofedName      = bothError(400, RuleUnderscore, RuleResponseFields, "underscore look-alike of a field the relay owns")
	errLineTooLong      = bothError(431, RuleHeadLimits, RuleResponseHeadLimits, "field line too long")
	errTooManyFields    = bothError(431, RuleHeadLimits, RuleResponseHeadLimits, "too many fields")
	errHeadTooLong      = bothError(431, RuleHeadLimits, RuleResponseHeadLimits, "head too long")
)

// Framing, Host, Connection, forwarding fields and Expect.
var (
	errContentLength      = bothError(400, RuleContentLength, RuleResponseFraming, "Content-Length is not one decimal number")
	errDuplicateLength    = bothError(400, RuleDuplicateContentLength, RuleResponseFraming, "more than one Content-Length")
	errLengthAndCoding    = bothError(400, RuleLengthAndTransferEncoding, RuleResponseFraming, "Content-Length together with Transfer-Encoding")
	errTransferEncoding   = bothError(400, RuleTransferEncoding, RuleResponseFraming, "Transfer-Encoding is not exactly one chunked")
	errUnknownCoding      = bothError(501, RuleUnknownTransferCoding, RuleResponseFraming, "transfer coding other than chunked")
	errCodingHTTP10       = bothError(400, RuleTransferEncodingHTTP10, RuleResponseFraming, "Transfer-Encoding in HTTP/1.0")
	errBodyTooLong        = &Error{Status: 413, Rule: RuleBodyLimits, Cause: "body longer than the limit"}
	errHost               = &Error{Status: 400, Rule: RuleHost, Cause: "illegal Host"}
	errNoHost             = &Error{Status: 400, Rule: RuleHost, Cause: "no Host"}
	errDuplicateHost      = &Error{Status: 400, Rule: RuleHost, Cause: "more than one Host"}
	errNoDefaultHost      = &Error{Status: 400, Rule: RuleDefaultHost, Cause: "no Host, and no default for it"}
	errConnectionOption   = bothError(400, RuleConnectionOptions, RuleResponseFields, "Connection is not a list of at most 32 names")
	errConnectionEndToEnd = bothError(400, RuleConnectionOptions, RuleResponseFields, "Connection names a field that is not for one hop only")
	errConnectionNamed    = &Error{Status: 400, Rule: RuleConnectionOptions, Cause: "Connection names a field of the request (connection_named)"}
	errForwarded          = &Error{Status: 400, Rule: RuleForwardingFields, Cause: "illegal value in a forwarding field"}
	errDuplicateForwarded = &Error{Status: 400, Rule: RuleForwardingFields, Cause: "more than one of a forwarding field"}
	errExpect             = &Error{Status: 417, Rule: RuleExpect, Cause: "expectation other than 100-continue"}
)

// Bodies.
var (
	errChunkSize      = bothError(400, RuleChunkSize, RuleChunkSize, "illegal chunk size")
	errChunkLine      = bothError(400, RuleChunkSizeLine, RuleChunkSizeLine, "chunk size line not ended by CRLF")
	errChunkExt       = bothError(400, RuleChunkExtension, RuleChunkExtension, "illegal chunk extension")
	errChunkOverhead  = bothError(400, RuleChunkOverhead, RuleChunkOverhead, "more chunk overhead than data")
	errChunkEnd       = bothError(400, RuleChunkDataEnd, RuleChunkDataEnd, "chunk data not followed by CRLF")
	errIncompleteBody = bothError(400, RuleIncompleteRequest, RuleIncompleteResponse, "body ended before its end")
	errTrailer        = bothError(400, RuleTrailers, RuleTrailers, "field not allowed in trailers")
)

// Responses.
var (
	errStatusLine        = &Error{Status: 502, Rule: RuleStatusLine, Cause: "illegal status line"}
	errNotHTTP           = &Error{Status: 502, Rule: RuleNotHTTP, Cause: "response is not HTTP/1"}
	errTooManyInterims   = &Error{Status: 502, Rule: RuleInterimResponses, Cause: "too many interim responses"}
	errInterimsTooLong   = &Error{Status: 502, Rule: RuleInterimResponses, Cause: "interim responses too long"}
	errUnrequestedSwitch = &Error{Status: 502, Rule: RuleSwitchingProtocols, Cause: "101 that was not asked for"}
)
