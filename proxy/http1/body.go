package http1

import "math"

// BodyReader decodes one body as it comes, without keeping any octet of it. Start it, then call Next until Done.
type BodyReader struct {
	Total int64 // octets of content so far

	framing  Framing
	left     int64 // octets of a Fixed body still to come
	limit    int64 // most octets of content; 0: no limit
	chunks   chunkReader
	response bool
	ended    bool
	err      *Error
}

// StartRequest begins a request's body. Its errors have the status their rule has in a request. l bounds length and
// trailers. (A Fixed body was held against the limit by Request.Parse.)
func (b *BodyReader) StartRequest(body Body, l *Limits) {
	*b = BodyReader{framing: body.Framing, left: body.Length, limit: l.Body}
	b.chunks.trailers.limits = l
}

// StartResponse begins a response's body. All its errors have status 502. Trailers that a request may not have are
// dropped with the others (R79).
func (b *BodyReader) StartResponse(body Body, l *Limits) {
	*b = BodyReader{framing: body.Framing, left: body.Length, response: true}
	b.chunks.trailers.limits = l
	b.chunks.trailers.lenient = true
}

// Next takes octets that arrived: n of them were used up, and data, a part of in, is the content among them, perhaps
// none. Call it again with in[n:] until that is empty or Done. It always uses at least one octet of a non-empty in
// unless Done or an error. Octets behind the end of the body are never used up. An error stays.
func (b *BodyReader) Next(in []byte) (data []byte, n int, err *Error) {
	if b.err != nil {
		return nil, 0, b.err
	}
	switch b.framing {
	case Fixed:
		n = int(min(int64(len(in)), b.left))
		b.left -= int64(n)
		data = in[:n]
	case UntilClose:
		data, n = in, len(in)
	case Chunked:
		if data, n, err = b.chunks.next(in, b.room()); err != nil {
			return nil, n, b.fail(err)
		}
	}
	b.Total += int64(len(data))
	return data, n, nil
}

// room is how much content may still come.
func (b *BodyReader) room() int64 {
	if b.limit == 0 {
		return math.MaxInt64
	}
	return b.limit - b.Total
}

// Done reports whether the body is complete. An UntilClose body never is before End.
func (b *BodyReader) Done() bool {
	switch b.framing {
	case Fixed:
		return b.left == 0
	case Chunked: // R41
		return b.chunks.state == chunksDone
	case UntilClose:
		return b.ended
	}
	return true
}

// Left is how many octets of a Fixed body are still to come; -1 if that is not known.
func (b *BodyReader) Left() int64 {
	switch b.framing {
	case NoBody, Fixed:
		return b.left
	}
	return -1
}

// End tells that the sender's stream has ended: nil if that is a proper end of the body (R41, R76).
func (b *BodyReader) End() *Error {
	if b.framing == UntilClose {
		b.ended = true
	}
	if !b.Done() && b.err == nil { // R41, R76
		return b.fail(errTruncated)
	}
	return b.err
}

// fail keeps the error, as the one it is in this direction.
func (b *BodyReader) fail(err *Error) *Error {
	b.err = err
	if b.response {
		b.err = err.child
	}
	return b.err
}
