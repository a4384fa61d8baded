package http1

const maxInterims = 8

// RequestInfo is what Response needs to know of the request.
type RequestInfo struct {
	Head    bool // the method is HEAD: the response has no body (RuleResponseWithoutBody)
	Upgrade bool // Request.Upgrade: a 101 is allowed (RuleSwitchingProtocols)
}

// Response is one response head of the app, or one interim head before it. The zero value is ready
// for the response to an ordinary request. It refers to the buffer given to Parse.
type Response struct {
	head

	Status   int   // 100 to 999
	Minor    uint8 // 0 for HTTP/1.0, 1 for HTTP/1.1
	Body     Body  // the framing of the app; UntilClose if the body ends with the connection
	Reusable bool  // the connection may carry another request after the body (RuleUpstreamReuse)

	request         RequestInfo
	state           parseState
	reason          span
	announcedLength int64 // Content-Length of a response without a body, written as well; -1: none
	interims        int   // interim heads before this one
	interimOctets   int   // their length
}

// Reset makes the Response ready for the response to another request. It keeps its memory.
func (r *Response) Reset(request RequestInfo) {
	fields := r.fields[:0]
	*r = Response{request: request}
	r.fields = fields
}

// Parse parses one response head at the beginning of buf, as Request.Parse does. Every error has
// status 502. If Interim reports true afterwards, call Parse again with the bytes after the head.
func (r *Response) Parse(buf []byte, l *Limits) (n int, err *Error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.state == headComplete && r.Interim() {
		r.NextHead()
	} else if r.state == headComplete {
		r.Reset(r.request)
	}
	r.buf = buf
	if n, r.err = r.parse(l); n > 0 {
		r.state = headComplete
	}
	if r.err != nil && r.err.inResponse != nil {
		r.err = r.err.inResponse
	}
	return n, r.err
}

func (r *Response) parse(l *Limits) (n int, err *Error) {
	if r.state != inFields {
		if !isPrefix(r.buf, "HTTP/") {
			return 0, errNotHTTP
		}
		end, err := r.findLineEnd(l.StartLine, l.Head, errHeadTooLong, errHeadTooLong)
		if end < 0 {
			return 0, err
		}
		if err := r.parseStatusLine(r.buf[:end]); err != nil {
			return 0, err
		}
		r.nextLine(end)
		r.state = inFields
	}
	for {
		end, err := r.findLineEnd(l.Line, l.Head, errLineTooLong, errHeadTooLong)
		if end < 0 {
			return 0, err
		}
		if end == r.lineStart {
			if err := r.checkHead(end+2, l); err != nil {
				return 0, err
			}
			return end + 2, nil
		}
		f, err := r.parseField(end, l)
		if err != nil {
			return 0, err
		}
		if f.id != nameOther {
			if err := r.acceptField(f); err != nil {
				return 0, err
			}
		}
		r.nextLine(end)
	}
}

// isPrefix reports whether b begins with s, or s with b.
func isPrefix(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

// parseStatusLine parses "HTTP/1.1 200 reason" (RuleStatusLine). The reason and the space before it
// may be missing.
func (r *Response) parseStatusLine(b []byte) *Error {
	const code = len("HTTP/1.1 ")
	if len(b) < code+3 || string(b[:7]) != "HTTP/1." || b[7] != '0' && b[7] != '1' || b[8] != ' ' {
		return errStatusLine
	}
	r.Minor = b[7] - '0'
	r.Status = 0
	for _, c := range b[code : code+3] {
		if !isDigit(c) {
			return errStatusLine
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 {
		return errStatusLine
	}
	if len(b) > code+3 && b[code+3] != ' ' {
		return errStatusLine
	}
	r.reason = span{int32(min(code+4, len(b))), int32(len(b))}
	return nil
}

// acceptField checks one field with a known name and drops it if it belongs to the connection.
func (r *Response) acceptField(f *field) *Error {
	traits := names[f.id].traits
	if traits&(hopByHop|framingField) == 0 {
		return nil
	}
	if f.underscore {
		return errSpoofedName
	}
	if traits&asciiOnly != 0 && !isASCII(r.valueOf(f)) {
		return errObsText
	}
	f.action = dropped
	return nil
}

// checkHead checks what depends on the whole head. n is its length.
func (r *Response) checkHead(n int, l *Limits) *Error {
	o, err := r.parseConnection(true)
	if err != nil {
		return err
	}
	r.announcedLength = -1
	if r.Status == 101 {
		return r.checkSwitching(o)
	}
	if r.Status < 200 {
		return r.countInterim(n, l)
	}
	body, err := r.parseFraming(r.Minor, true) // RuleResponseFraming
	if err != nil {
		return err
	}
	r.Reusable = o.persists(r.Minor)
	if r.hasNoBody() {
		r.setNoBody(body)
		return nil
	}
	if body.Framing == NoBody {
		body.Framing = UntilClose
		r.Reusable = false
	}
	r.Body = body
	return nil
}

// hasNoBody reports whether the response has no body, even if its framing fields announce one
// (RuleResponseWithoutBody).
func (r *Response) hasNoBody() bool {
	return r.request.Head || r.Status == 204 || r.Status == 304
}

// setNoBody keeps the Content-Length that the response to a GET would have. An app that announces a
// body where there must be none may send one later: such a connection is not used again
// (RuleUpstreamReuse).
func (r *Response) setNoBody(announced Body) {
	r.Body = Body{}
	if announced.Framing == Fixed && r.Status != 204 {
		r.announcedLength = announced.Length
	}
	if r.request.Head || r.Status == 204 && !announced.Empty() || announced.Framing == Chunked {
		r.Reusable = false
	}
}

// checkSwitching accepts a 101 only as the response to an upgrade request, and for websocket
// (RuleSwitchingProtocols).
func (r *Response) checkSwitching(o connectionOptions) *Error {
	if !r.request.Upgrade || r.Minor == 0 || !r.upgradesToWebSocket(o) {
		return errUnrequestedSwitch
	}
	return nil
}

// countInterim bounds the number and the length of interim heads. They have no body, even if they
// announce one (RuleInterimResponses).
func (r *Response) countInterim(n int, l *Limits) *Error {
	if r.interims >= maxInterims {
		return errTooManyInterims
	}
	if r.interimOctets+n > l.Head {
		return errInterimsTooLong
	}
	r.interimOctets += n
	return nil
}

// Interim reports whether another head follows this one. A 101 that was requested is final.
func (r *Response) Interim() bool { return r.Status < 200 && r.Status != 101 }

// NextHead prepares for the head after an interim head. Parse calls it if the caller does not.
func (r *Response) NextHead() {
	count, octets := r.interims+1, r.interimOctets
	r.Reset(r.request)
	r.interims, r.interimOctets = count, octets
}

// Value returns the value of the first field with that name, or nil. Letter case is ignored.
func (r *Response) Value(name string) []byte { return r.lookup(name) }

// Reason returns the reason phrase as it was sent. It may be empty.
func (r *Response) Reason() []byte { return r.text(r.reason) }
