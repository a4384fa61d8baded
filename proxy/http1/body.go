package http1

// Framing is how the end of a body is found (RFC 9112 section 6).
type Framing uint8

// The four ways a body may end.
const (
	NoBody     Framing = iota // nothing follows the head
	Fixed                     // Content-Length: exactly Length bytes
	Chunked                   // Transfer-Encoding: chunked
	UntilClose                // responses only: everything until the connection ends
)

// Body is the framing of one body. A Fixed body of length 0 differs from NoBody only in that Content-Length was, and
// will be, written.
type Body struct {
	Framing Framing
	Length  int64 // of a Fixed body; else 0
}

// Empty reports whether no byte of content can follow the head.
func (b Body) Empty() bool { return b.Framing == NoBody || b.Framing == Fixed && b.Length == 0 }

// BodyReader decodes one body as it comes, without keeping any byte of it. Use Start, then Next until Done.
type BodyReader struct {
	Total int64 // bytes of content so far
}

// StartRequest begins a request's body. Its errors are those of a request; l bounds length and trailers.
func (b *BodyReader) StartRequest(body Body, l *Limits) {}

// StartResponse begins a response's body. All its errors have status 502; forbidden trailers are dropped with the others.
func (b *BodyReader) StartResponse(body Body, l *Limits) {}

// Next takes bytes that arrived: n of them were used up, and data, a part of in, is the content among them, perhaps
// none. Call it again with in[n:] until that is empty or Done. It always uses at least one byte of a non-empty in
// unless Done or an error. Bytes behind the end of the body are never used up. An error stays.
func (b *BodyReader) Next(in []byte) (data []byte, n int, err *Error) { return nil, 0, nil }

// Done reports whether the body is complete. An UntilClose body never is before End.
func (b *BodyReader) Done() bool { return false }

// End tells that the sender's stream has ended: nil if that is a proper end of the body (R41, R76).
func (b *BodyReader) End() *Error { return nil }
