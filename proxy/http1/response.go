package http1

// Bounds of R53.
const mostInterims = 8

// Asked is what must be known of a request to read its response.
type Asked struct {
	Head    bool // the method was HEAD: no body whatever the head says (R74)
	Upgrade bool // Request.Upgrade: 101 is a legal answer (R64)
}

// Response is one response head of the child, or one 1xx head before it. The zero value is ready for the answer to an
// ordinary request. It points into the buffer given to Parse.
type Response struct {
	head

	Status   int   // 100 to 599
	Minor    uint8 // HTTP/1.0 or HTTP/1.1
	Body     Body  // how the child frames the body; UntilClose where only its EOF ends it
	Reusable bool  // the connection may carry another request once the body ended exactly at its end (R75)

	asked    Asked
	part     part
	reason   span
	length   int64 // Content-Length of a response without a body, written all the same (R74); -1: none
	interims int   // 1xx heads before this one
	octets   int   // in them
}

// Reset makes the Response ready for the answer to another request.
func (r *Response) Reset(a Asked) {
	fields := r.fields[:0]
	*r = Response{asked: a}
	r.fields = fields
}

// Parse reads one response head at the beginning of buf, under the same contract as Request.Parse. Every error has
// status 502. If Interim reports true afterwards, the head was a 1xx: call Parse with the bytes behind it.
func (r *Response) Parse(buf []byte, l *Limits) (n int, err *Error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.part == complete && r.Interim() {
		r.Next()
	} else if r.part == complete {
		r.Reset(r.asked)
	}
	r.buf = buf
	if n, r.err = r.parse(l); n > 0 {
		r.part = complete
	}
	if r.err != nil && r.err.child != nil { // R72, R73, R78
		r.err = r.err.child
	}
	return n, r.err
}

func (r *Response) parse(l *Limits) (n int, err *Error) {
	if r.part != inFields {
		if !isPrefix(r.buf, "HTTP/") { // R71
			return 0, errNotHTTP
		}
		end, err := r.line(l.Target, l.Head, errHeadLong, errHeadLong)
		if end < 0 {
			return 0, err
		}
		if err := r.statusLine(r.buf[:end]); err != nil {
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
			if err := r.finish(end+2, l); err != nil {
				return 0, err
			}
			return end + 2, nil
		}
		f, err := r.field(end, l)
		if err != nil {
			return 0, err
		}
		if f.id != nameOther {
			if err := r.admit(f); err != nil {
				return 0, err
			}
		}
		r.advance(end)
	}
}

// isPrefix reports whether b and s agree as far as both go.
func isPrefix(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

// statusLine reads "HTTP/1.1 200 reason" (R70). The reason, and the space before it, may be missing.
func (r *Response) statusLine(b []byte) *Error {
	const code = len("HTTP/1.1 ")
	if len(b) < code+3 || string(b[:7]) != "HTTP/1." || b[7] != '0' && b[7] != '1' || b[8] != ' ' { // R70
		return errStatusLine
	}
	r.Minor = b[7] - '0'
	r.Status = 0
	for _, c := range b[code : code+3] {
		if !isDigit(c) { // R70
			return errStatusLine
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 || r.Status > 599 { // R70
		return errStatusLine
	}
	if len(b) > code+3 && b[code+3] != ' ' { // R70
		return errStatusLine
	}
	r.reason = span{int32(min(code+4, len(b))), int32(len(b))}
	return nil
}

// admit decides about a field the relay knows, by itself.
func (r *Response) admit(f *field) *Error {
	traits := names[f.id].traits
	if traits&(hop|framing) == 0 {
		return nil
	}
	if f.underscore { // R25
		return errUnderscore
	}
	if traits&ascii != 0 && !isASCII(r.valueOf(f)) { // R17
		return errObsText
	}
	f.fate = dropped // R47
	return nil
}

// finish judges the head as a whole; n is its length.
func (r *Response) finish(n int, l *Limits) *Error {
	o, err := r.connection()
	if err != nil {
		return err
	}
	r.length = -1
	if r.Status == 101 {
		return r.switching(o)
	}
	if r.Status < 200 {
		return r.interim(n, l)
	}
	body, err := r.framing(r.Minor)
	if err != nil {
		return err
	}
	r.Reusable = o.persists(r.Minor)
	if r.bodiless() { // R74
		r.withoutBody(body)
		return nil
	}
	if body.Framing == NoBody {
		body.Framing = UntilClose
		r.Reusable = false
	}
	r.Body = body
	return nil
}

// bodiless reports whether no body follows, whatever the head says (R74).
func (r *Response) bodiless() bool {
	return r.asked.Head || r.Status == 204 || r.Status == 304
}

// withoutBody keeps Content-Length where it means the body that a GET would have got (R74). A child that announces a
// body where there is none may send one all the same, a moment later: such a connection is not used again (R75).
func (r *Response) withoutBody(announced Body) {
	r.Body = Body{}
	if announced.Framing == Fixed && r.Status != 204 { // R74
		r.length = announced.Length
	}
	if r.asked.Head || r.Status == 204 && !announced.Empty() || announced.Framing == Chunked { // R75
		r.Reusable = false
	}
}

// switching judges a 101: only when asked for, and only websocket (R64).
func (r *Response) switching(o options) *Error {
	if !r.asked.Upgrade || r.Minor == 0 || !r.upgrades(o) { // R64
		return errSwitching
	}
	return nil
}

// interim judges a 1xx: it has no body whatever it says (R53).
func (r *Response) interim(n int, l *Limits) *Error {
	if r.interims >= mostInterims { // R53
		return errInterims
	}
	if r.octets+n > l.Head { // R53
		return errInterimLong
	}
	r.octets += n
	return nil
}

// Interim reports whether this is a 1xx head with the real one to follow. A 101 that was asked for is not interim.
func (r *Response) Interim() bool { return r.Status < 200 && r.Status != 101 }

// Next prepares for the head behind an interim one, as Parse does by itself. At most 8 of them, Limits.Head bytes in
// all, may precede a response (R53).
func (r *Response) Next() {
	count, octets := r.interims+1, r.octets
	r.Reset(r.asked)
	r.interims, r.octets = count, octets
}

// Value is the value of the first field with that name (letter case ignored), nil if there is none.
func (r *Response) Value(name string) []byte { return r.lookup(name) }

// Reason is the reason phrase as sent; it may be empty.
func (r *Response) Reason() []byte { return r.bytes(r.reason) }
