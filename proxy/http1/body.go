package http1

import "math"

// BodyReader decodes one body without keeping any byte of it. Call StartRequest or StartResponse,
// then Next until Done.
type BodyReader struct {
	Total int64 // content bytes so far

	framing   Framing
	remaining int64 // bytes of a Fixed body still to come
	limit     int64 // maximum of content bytes; 0: no limit
	chunks    chunkReader
	response  bool
	ended     bool
	err       *Error
}

// StartRequest starts the body of a request. l bounds its length and its trailers; Request.Parse
// has checked the length of a Fixed body already.
func (b *BodyReader) StartRequest(body Body, l *Limits) {
	*b = BodyReader{framing: body.Framing, remaining: body.Length, limit: l.Body}
	b.chunks.trailers.limits = l
}

// StartResponse starts the body of a response. All errors have status 502. Trailers that a request
// must not have are dropped like all others (RuleResponseTrailers).
func (b *BodyReader) StartResponse(body Body, l *Limits) {
	*b = BodyReader{framing: body.Framing, remaining: body.Length, response: true}
	b.chunks.trailers.limits = l
	b.chunks.trailers.lenient = true
}

// Next decodes received bytes. It used the first n bytes of in; data, a part of in, is the content
// among them and may be empty. Call it again with in[n:] until that is empty or Done. n is positive
// unless in is empty, the body is done, or there is an error. Bytes after the body are never used.
// After an error every call returns it.
func (b *BodyReader) Next(in []byte) (data []byte, n int, err *Error) {
	if b.err != nil {
		return nil, 0, b.err
	}
	switch b.framing {
	case Fixed:
		n = int(min(int64(len(in)), b.remaining))
		b.remaining -= int64(n)
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

// Skip counts n bytes of a Fixed body that were received and are not passed to Next. There must be so
// many still to come.
func (b *BodyReader) Skip(n int64) {
	b.remaining -= n
	b.Total += n
}

// room returns the number of content bytes that may still come.
func (b *BodyReader) room() int64 {
	if b.limit == 0 {
		return math.MaxInt64
	}
	return b.limit - b.Total
}

// Done reports whether the body is complete. A body with UntilClose is complete after End only.
func (b *BodyReader) Done() bool {
	switch b.framing {
	case Fixed:
		return b.remaining == 0
	case Chunked:
		return b.chunks.state == chunksDone
	case UntilClose:
		return b.ended
	}
	return true
}

// Remaining returns the number of bytes of a Fixed body that are still to come, or -1 if it is not
// known.
func (b *BodyReader) Remaining() int64 {
	switch b.framing {
	case NoBody, Fixed:
		return b.remaining
	}
	return -1
}

// End must be called when the sender's stream ends. It returns nil if the body is complete
// (RuleIncompleteRequest, RuleIncompleteResponse).
func (b *BodyReader) End() *Error {
	if b.framing == UntilClose {
		b.ended = true
	}
	if !b.Done() && b.err == nil {
		return b.fail(errIncompleteBody)
	}
	return b.err
}

// fail stores err, or the error that a response has instead of it.
func (b *BodyReader) fail(err *Error) *Error {
	b.err = err
	if b.response {
		b.err = err.inResponse
	}
	return b.err
}
