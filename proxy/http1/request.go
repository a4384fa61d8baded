package http1

// Method is a request method. Every token that is not listed here is MethodOther, and is forwarded
// as it is.
type Method uint8

// The methods of RFC 9110 section 9.3, and PATCH (RFC 5789).
const (
	MethodOther Method = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodOptions
	MethodPatch
	MethodConnect
	MethodTrace
)

// Request is one request head. The zero value is ready for use, and Reset makes a Request ready for
// another head. It refers to the buffer given to Parse and is valid as long as those bytes are (see
// Rebase).
type Request struct {
	head

	// Set once the request line was parsed, also if a later line is refused.
	Method Method
	Minor  uint8 // 0 for HTTP/1.0, 1 for HTTP/1.1

	// Set once Parse has returned the length of the head.
	Body           Body // framing of the body after the head
	KeepAlive      bool // the client keeps the connection open (RulePersistence)
	Expect100      bool // the client waits for 100 Continue before it sends a body (RuleExpect)
	Upgrade        bool // a valid WebSocket handshake (RuleWebSocketUpgrade)
	IdempotencyKey bool // a non-empty Idempotency-Key is forwarded
	Underscored    int  // fields dropped because of an underscore in their name (RuleUnderscore)

	policy      *Policy
	state       parseState
	method      span
	target      span
	origin      span // the part of target that is forwarded
	authority   span // of a target in absolute-form, else empty
	defaultPort int  // of the scheme of such a target
	dropped     droppedField
}

// parseState is the part of a head that is parsed next.
type parseState uint8

const (
	beforeStartLine parseState = iota
	inStartLine
	inFields
	headComplete
)

// Reset makes the Request ready for the next head. It keeps its memory.
func (r *Request) Reset() {
	fields := r.fields[:0]
	*r = Request{}
	r.fields = fields
}

// Parse parses one request head at the beginning of buf. It returns
//   - the length of the head once it is complete and valid;
//   - 0 and nil when more bytes are needed: the next call gets the same bytes with more after them,
//     in the same or another buffer, and no byte is scanned twice;
//   - an error, which every following call returns until Reset.
//
// The result does not depend on how the bytes were divided into reads. Bytes after the head are
// ignored. A call after a complete head starts with the next head, as after Reset.
func (r *Request) Parse(buf []byte, p *Policy) (n int, err *Error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.state == headComplete {
		r.Reset()
	}
	r.buf, r.policy = buf, p
	if n, r.err = r.parse(); n > 0 {
		r.state = headComplete
	}
	return n, r.err
}

func (r *Request) parse() (n int, err *Error) {
	l := &r.policy.Limits
	if r.state == beforeStartLine {
		if err := r.skipEmptyLine(); r.state == beforeStartLine {
			return 0, err
		}
	}
	if r.state == inStartLine {
		end, err := r.findLineEnd(l.StartLine, l.Head, errRequestLineTooLong, errRequestLineTooLong)
		if end < 0 {
			return 0, err
		}
		if err := r.parseRequestLine(end); err != nil {
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
			if err := r.checkHead(); err != nil {
				return 0, err
			}
			return end + 2, nil
		}
		f, err := r.parseField(end, l)
		if err != nil {
			return 0, err
		}
		if f.id != nameOther || f.underscore {
			if err := r.acceptField(f); err != nil {
				return 0, err
			}
		}
		r.nextLine(end)
	}
}

// skipEmptyLine skips one empty line before a request (RuleLeadingEmptyLine).
func (r *Request) skipEmptyLine() *Error {
	b := r.buf
	if len(b) > 0 && b[0] == '\r' {
		if len(b) == 1 {
			return nil
		}
		if b[1] == '\n' { // RuleLeadingEmptyLine
			r.lineStart, r.scanned = 2, 2
		}
	}
	if len(b) == r.lineStart {
		return nil
	}
	if c := b[r.lineStart]; c == '\r' || c == '\n' || isBlank(c) {
		return errLeadingOctet
	}
	r.state = inStartLine
	return nil
}

// Started reports whether Parse has seen the beginning of a request. An empty line before it does not
// count (RuleLeadingEmptyLine): the connection is still idle.
func (r *Request) Started() bool { return r.state != beforeStartLine || r.err != nil }

// acceptField checks one field that has a known name or an underscore in its name, and decides
// whether it is forwarded.
func (r *Request) acceptField(f *field) *Error {
	traits := names[f.id].traits
	if f.underscore {
		switch f.id {
		case nameScriptName, namePathInfo, nameRemoteUser: // names with an underscore by definition
			r.countField(f.id)
		default:
			return r.spoofedName(f)
		}
	}
	if traits&asciiOnly != 0 && !isASCII(r.valueOf(f)) {
		return errObsText
	}
	if traits&forwarding != 0 { // RuleForwardingFields
		return r.checkForwarded(f)
	}
	if traits&(hopByHop|framingField) != 0 || f.id == nameExpect { // RuleHopByHop, RuleContinue
		f.action = dropped
	}
	return nil
}

// spoofedName refuses or drops a field that WSGI cannot distinguish from the one with dashes in its
// name (RuleUnderscore).
func (r *Request) spoofedName(f *field) *Error {
	if names[f.id].traits&(hopByHop|framingField|forwarding) != 0 {
		return errSpoofedName
	}
	if !r.policy.PassUnderscores { // RuleUnderscore
		f.action = dropped
		r.Underscored++
	}
	return nil
}

// checkHead checks what depends on the whole head.
func (r *Request) checkHead() (err *Error) {
	if err := r.checkHost(); err != nil {
		return err
	}
	if r.Body, err = r.parseFraming(r.Minor, false); err != nil {
		return err
	}
	if limit := r.policy.Limits.Body; limit > 0 && r.Body.Length > limit {
		return errBodyTooLong
	}
	o, err := r.parseConnection(r.policy.RemoveNamed)
	if err != nil {
		return err
	}
	r.KeepAlive = o.persists(r.Minor)
	if err := r.parseExpect(); err != nil {
		return err
	}
	r.Upgrade = r.isWebSocketHandshake(o)
	if f := r.knownField(nameIdempotencyKey); f != nil {
		r.IdempotencyKey = f.action != dropped && f.value < f.valueEnd
	}
	r.dropOtherSchemes()
	r.trimForwardedFor()
	return nil
}

// checkHost checks Host (RuleHost, RuleDefaultHost, RuleAbsoluteForm).
func (r *Request) checkHost() *Error {
	f := r.knownField(nameHost)
	if f == nil {
		switch {
		case r.Minor == 1:
			return errNoHost
		case r.authority.to > 0:
			return errTargetHost
		case r.policy.DefaultHost == "":
			return errNoDefaultHost
		}
		return nil
	}
	if r.counts[nameHost] > 1 {
		return errDuplicateHost
	}
	host := r.valueOf(f)
	if _, _, ok := parseHost(host); !ok {
		return errHost
	}
	if r.authority.to == 0 {
		return nil
	}
	f.action = dropped
	if !sameHost(host, r.text(r.authority), r.defaultPort) {
		return errTargetHost
	}
	return nil
}

// parseExpect checks Expect. HTTP/1.0 does not define it (RuleExpect).
func (r *Request) parseExpect() *Error {
	if r.counts[nameExpect] == 0 || r.Minor == 0 { // RuleExpect
		return nil
	}
	if r.counts[nameExpect] > 1 || !equalFold(r.valueOf(r.knownField(nameExpect)), "100-continue") {
		return errExpect
	}
	r.Expect100 = !r.Body.Empty()
	return nil
}

// isWebSocketHandshake reports whether a 101 may turn the connection into a tunnel
// (RuleWebSocketUpgrade).
func (r *Request) isWebSocketHandshake(o connectionOptions) bool {
	return r.upgradesToWebSocket(o) && r.Method == MethodGet && r.Minor == 1 && r.Body.Empty() &&
		r.counts[nameWebSocketKey] == 1 && isWebSocketKey(r.knownField(nameWebSocketKey), r.buf)
}

// isWebSocketKey reports whether the field is forwarded and has 16 octets in base64 (RFC 6455
// section 4.1).
func isWebSocketKey(f *field, buf []byte) bool {
	key := buf[f.value:f.valueEnd]
	if f.action == dropped || len(key) != 24 || string(key[22:]) != "==" {
		return false
	}
	for _, c := range key[:22] {
		if !isDigit(c) && (lower(c) < 'a' || lower(c) > 'z') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// Rebase replaces the buffer of the Request by one that contains the same bytes.
func (r *Request) Rebase(buf []byte) { r.buf = buf }

// MethodName returns the method as it was sent.
func (r *Request) MethodName() []byte { return r.text(r.method) }

// Target returns the target as it was sent.
func (r *Request) Target() []byte { return r.text(r.target) }

// Host returns the authority of a target in absolute-form, else the value of Host, else nil
// (HTTP/1.0).
func (r *Request) Host() []byte {
	if r.authority.to > 0 {
		return r.text(r.authority)
	}
	if f := r.knownField(nameHost); f != nil {
		return r.valueOf(f)
	}
	return nil
}

// Value returns the value of the first field with that name, or nil. Letter case is ignored. Fields
// that are not forwarded are found as well.
func (r *Request) Value(name string) []byte { return r.lookup(name) }
