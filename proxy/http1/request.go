package http1

import "time"

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
}

// Reset forgets everything and makes the Request ready for the next head.
func (r *Request) Reset() { *r = Request{} }

// Parse reads one request head at the beginning of buf. It returns the length of the head when it is complete and
// valid; 0 and nil when more bytes are needed: call it again with the same bytes and more behind them (the buffer may
// have moved; bytes already looked at are not looked at again); or an error, which stays. The verdict does not
// depend on how the bytes were cut. What is behind the head in buf is not looked at.
func (r *Request) Parse(buf []byte, p *Policy) (n int, err *Error) { return 0, nil }

// Begun reports whether a request has begun in the bytes Parse has seen: false for nothing at all and for the one empty
// line that may precede a request (R1), so that an idle connection is not taken for a slow head.
func (r *Request) Begun() bool { return false }

// Rebase makes the Request point into buf, which holds the same bytes as the buffer it was parsed from.
func (r *Request) Rebase(buf []byte) {}

// MethodName is the method as sent.
func (r *Request) MethodName() []byte { return nil }

// Target is the request target as sent.
func (r *Request) Target() []byte { return nil }

// Path is the path of the target without the query, in origin-form and not decoded; "*" for OPTIONS *.
func (r *Request) Path() []byte { return nil }

// Host is the value of Host, or the authority of an absolute target; nil if the request has none (HTTP/1.0).
func (r *Request) Host() []byte { return nil }

// Value is the value of the first field with that name (letter case ignored), nil if there is none. Fields that are
// not forwarded are found, too.
func (r *Request) Value(name string) []byte { return nil }

// Forward is what the request alone does not tell about the head that is written for the child.
type Forward struct {
	Peer   string    // the client's address without port, for X-Forwarded-For; "": unix socket, none is written
	Scheme string    // "http" or "https", for X-Forwarded-Proto
	Start  time.Time // X-Request-Start where the request has none; zero: none is written
	Body   Body      // how the body is sent: Request.Body, or Fixed with its length once a chunked one was kept whole
	Close  bool      // ask the child to close after its response
}

// AppendUpstream appends the canonical head for the child: always HTTP/1.1, origin-form, no hop-by-hop field, no
// Expect, forwarding fields as the Policy says, exactly one framing field or none.
func (r *Request) AppendUpstream(dst []byte, f *Forward) []byte { return dst }

// Idempotent reports whether RFC 9110 section 9.2.2 lets a request with this method be sent twice.
func (m Method) Idempotent() bool { return false }
