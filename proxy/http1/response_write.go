package http1

import "time"

// ResponseOptions is what AppendClient needs to know of the client.
type ResponseOptions struct {
	Minor     uint8         // Request.Minor
	KeepAlive bool          // keep the connection open; false: Connection: close is written
	Held      bool          // write Server-Timing: hold;dur=MS
	Hold      time.Duration // how long the request was held
}

// AppendClient appends the canonical head for the client and returns how the body must be written
// after it:
//   - NoBody: not at all;
//   - Fixed: Body.Length bytes as they are;
//   - Chunked: with AppendChunk and LastChunk;
//   - UntilClose: as it is. The connection must then be closed, even if o.KeepAlive is set.
//     This happens for HTTP/1.0 clients only (RuleHTTP10Client).
func (r *Response) AppendClient(dst []byte, o *ResponseOptions) ([]byte, Framing) {
	dst = r.appendStatus(dst)
	dst = r.appendFields(dst)
	if o.Held {
		dst = appendHold(dst, o.Hold)
	}
	if r.Status == 101 {
		return append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"...), NoBody
	}
	body := r.Body
	switch {
	case r.announcedLength >= 0: // RuleResponseWithoutBody
		dst = appendFraming(dst, Body{Framing: Fixed, Length: r.announcedLength})
	case body.Framing == Chunked || body.Framing == UntilClose:
		body.Framing = Chunked
		if o.Minor == 0 {
			body.Framing = UntilClose
		}
	}
	dst = appendFraming(dst, body)
	dst = appendConnection(dst, o.Minor, o.KeepAlive && body.Framing != UntilClose)
	return append(dst, "\r\n"...), body.Framing
}

// appendStatus appends the status line. Its version is HTTP/1.1, also if the app answered with
// HTTP/1.0 (RFC 9112 section 2.3).
func (r *Response) appendStatus(dst []byte) []byte {
	s := r.Status
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, byte('0'+s/100), byte('0'+s/10%10), byte('0'+s%10), ' ')
	dst = append(dst, r.text(r.reason)...)
	return append(dst, "\r\n"...)
}

// appendConnection appends Connection unless the default of the client's version is meant
// (RulePersistence).
func appendConnection(dst []byte, minor uint8, keep bool) []byte {
	switch {
	case !keep:
		return append(dst, "Connection: close\r\n"...)
	case minor == 0:
		return append(dst, "Connection: keep-alive\r\n"...)
	}
	return dst
}

// appendHold appends how long the request was held, in milliseconds.
func appendHold(dst []byte, hold time.Duration) []byte {
	dst = append(dst, "Server-Timing: hold;dur="...)
	dst = appendInt(dst, hold.Milliseconds())
	return append(dst, "\r\n"...)
}

// PassesInterim reports whether an interim head is sent to the client: a 103, to HTTP/1.1
// (RuleInterimResponses).
func (r *Response) PassesInterim(minor uint8) bool { return r.Status == 103 && minor == 1 }

// AppendInterim appends the canonical interim head.
func (r *Response) AppendInterim(dst []byte) []byte {
	dst = r.appendStatus(dst)
	dst = r.appendFields(dst)
	return append(dst, "\r\n"...)
}
