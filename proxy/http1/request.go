package http1

// Method is a request method the relay has to know. Every other token is MethodOther and passes as it is.
type Method uint8

// The methods of RFC 9110 section 9.3 and PATCH.
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

// Request is one request head. The zero value is ready; a Request is meant to be kept and used again after Reset. It
// points into the buffer given to Parse and is valid as long as those bytes are (see Rebase).
type Request struct {
	head

	// Known as soon as the request line was read, also if a later line is refused.
	Method Method
	Minor  uint8 // HTTP/1.0 or HTTP/1.1

	// Known when Parse has returned the length of the head.
	Body           Body // how the body behind the head is framed
	KeepAlive      bool // the client wants the connection kept (R90)
	Expect100      bool // there is a body and the client waits for 100 Continue (R51, R52); never set for HTTP/1.0
	Upgrade        bool // a valid websocket handshake (R60); every other Upgrade is stripped
	IdempotencyKey bool // the request carries a non-empty Idempotency-Key
	Underscored    int  // fields dropped because of an underscore in their name (R25)

	policy      *Policy
	part        part
	method      span
	target      span
	origin      span // the part of target that is forwarded
	authority   span // of an absolute target; else empty
	defaultPort int  // of an absolute target's scheme
}

// part is how far a head was read.
type part uint8

const (
	beforeLine part = iota
	inLine
	inFields
	complete
)

// Reset forgets everything and makes the Request ready for the next head.
func (r *Request) Reset() {
	fields := r.fields[:0]
	*r = Request{}
	r.fields = fields
}

// Parse reads one request head at the beginning of buf. It returns the length of the head when it is complete and
// valid; 0 and nil when more bytes are needed: call it again with the same bytes and more behind them (the buffer may
// have moved; bytes already looked at are not looked at again); or an error, which stays. The verdict does not
// depend on how the bytes were cut. What is behind the head in buf is not looked at. A Parse after a complete head
// begins with the next one, as after Reset.
func (r *Request) Parse(buf []byte, p *Policy) (n int, err *Error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.part == complete {
		r.Reset()
	}
	r.buf, r.policy = buf, p
	if n, r.err = r.parse(); n > 0 {
		r.part = complete
	}
	return n, r.err
}

func (r *Request) parse() (n int, err *Error) {
	l := &r.policy.Limits
	if r.part == beforeLine {
		if err := r.begin(); r.part == beforeLine {
			return 0, err
		}
	}
	if r.part == inLine {
		end, err := r.line(l.Target, l.Head, errTargetLong, errTargetLong)
		if end < 0 {
			return 0, err
		}
		if err := r.requestLine(end); err != nil {
			return 0, err
		}
		r.advance(end)
		r.part = inFields
	}
	for {
		end, err := r.line(l.Line, l.Head, errLineLong, errHeadLong)
		if end < 0 {
			return 0, err
		}
		if end == r.start {
			if err := r.finish(); err != nil {
				return 0, err
			}
			return end + 2, nil
		}
		f, err := r.field(end, l)
		if err != nil {
			return 0, err
		}
		if f.id != nameOther || f.underscore {
			if err := r.admit(f); err != nil {
				return 0, err
			}
		}
		r.advance(end)
	}
}

// begin skips the one empty line that may precede a request (R1).
func (r *Request) begin() *Error {
	b := r.buf
	if len(b) > 0 && b[0] == '\r' {
		if len(b) == 1 {
			return nil
		}
		if b[1] == '\n' { // R1
			r.start, r.seen = 2, 2
		}
	}
	if len(b) == r.start {
		return nil
	}
	if c := b[r.start]; c == '\r' || c == '\n' || isBlank(c) { // R1
		return errLeading
	}
	r.part = inLine
	return nil
}

// Begun reports whether a request has begun in the bytes Parse has seen: false for nothing at all and for the one empty
// line that may precede a request (R1), so that an idle connection is not taken for a slow head.
func (r *Request) Begun() bool { return r.part != beforeLine || r.err != nil }

// admit decides about a field the relay knows, or with an underscore in its name, by itself.
func (r *Request) admit(f *field) *Error {
	traits := names[f.id].traits
	if f.underscore {
		switch f.id {
		case nameScriptName, namePathInfo, nameRemoteUser: // their own spelling
			r.count(f.id)
		default:
			return r.lookAlike(f)
		}
	}
	if traits&ascii != 0 && !isASCII(r.valueOf(f)) { // R17
		return errObsText
	}
	if traits&owned != 0 { // R48
		return r.owned(f)
	}
	if traits&(hop|framing) != 0 || f.id == nameExpect { // R47, R52
		f.fate = dropped
	}
	return nil
}

// lookAlike decides about a name that WSGI cannot tell from the one with dashes (R25).
func (r *Request) lookAlike(f *field) *Error {
	if names[f.id].traits&(hop|framing|owned) != 0 { // R25
		return errUnderscore
	}
	if !r.policy.PassUnderscores { // R25
		f.fate = dropped
		r.Underscored++
	}
	return nil
}

// finish judges the head as a whole.
func (r *Request) finish() (err *Error) {
	if err := r.checkHost(); err != nil {
		return err
	}
	if r.Body, err = r.framing(r.Minor); err != nil {
		return err
	}
	if limit := r.policy.Limits.Body; limit > 0 && r.Body.Length > limit { // body
		return errBodyLong
	}
	o, err := r.connection()
	if err != nil {
		return err
	}
	r.KeepAlive = o.persists(r.Minor)
	if err := r.expect(); err != nil {
		return err
	}
	r.Upgrade = r.isHandshake(o)
	if f := r.known(nameIdempotencyKey); f != nil {
		r.IdempotencyKey = f.fate != dropped && f.value < f.valueEnd
	}
	r.cutHops()
	return nil
}

// checkHost holds the rules about Host (R8, R44, R45).
func (r *Request) checkHost() *Error {
	f := r.known(nameHost)
	if f == nil {
		switch {
		case r.Minor == 1: // R44
			return errHostMissing
		case r.authority.to > 0: // R8
			return errAbsoluteHost
		case r.policy.DefaultHost == "": // R45
			return errNoDefault
		}
		return nil
	}
	if r.times[nameHost] > 1 { // R44
		return errTwoHosts
	}
	host := r.valueOf(f)
	if _, _, ok := parseHost(host); !ok { // R44
		return errHost
	}
	if r.authority.to == 0 {
		return nil
	}
	f.fate = dropped
	if !sameHost(host, r.bytes(r.authority), r.defaultPort) { // R8
		return errAbsoluteHost
	}
	return nil
}

// expect reads Expect, which HTTP/1.0 does not have (R51).
func (r *Request) expect() *Error {
	if r.times[nameExpect] == 0 || r.Minor == 0 { // R51
		return nil
	}
	if r.times[nameExpect] > 1 || !equalFold(r.valueOf(r.known(nameExpect)), "100-continue") { // R51
		return errExpect
	}
	r.Expect100 = !r.Body.Empty()
	return nil
}

// isHandshake reports whether this is a websocket handshake that may become a tunnel (R60, R61).
func (r *Request) isHandshake(o options) bool {
	return r.upgrades(o) && r.Method == MethodGet && r.Minor == 1 && r.Body.Empty() &&
		r.times[nameWebSocketKey] == 1 && isWebSocketKey(r.known(nameWebSocketKey), r.buf)
}

// isWebSocketKey reports whether the field will be forwarded and holds 16 octets in base64 (RFC 6455 section 4.1).
func isWebSocketKey(f *field, buf []byte) bool {
	key := buf[f.value:f.valueEnd]
	if f.fate == dropped || len(key) != 24 || string(key[22:]) != "==" {
		return false
	}
	for _, c := range key[:22] {
		if !isDigit(c) && (lower(c) < 'a' || lower(c) > 'z') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// Rebase makes the Request point into buf, which holds the same bytes as the buffer it was parsed from.
func (r *Request) Rebase(buf []byte) { r.buf = buf }

// MethodName is the method as sent.
func (r *Request) MethodName() []byte { return r.bytes(r.method) }

// Target is the request target as sent.
func (r *Request) Target() []byte { return r.bytes(r.target) }

// Host is the value of Host, or the authority of an absolute target; nil if the request has none (HTTP/1.0).
func (r *Request) Host() []byte {
	if r.authority.to > 0 {
		return r.bytes(r.authority)
	}
	if f := r.known(nameHost); f != nil {
		return r.valueOf(f)
	}
	return nil
}

// Value is the value of the first field with that name (letter case ignored), nil if there is none. Fields that are
// not forwarded are found, too.
func (r *Request) Value(name string) []byte { return r.lookup(name) }
