package http1

import "time"

// Client is what must be known of the client to write a response head for it.
type Client struct {
	Minor     uint8         // Request.Minor
	KeepAlive bool          // the connection is to be kept; false: Connection: close is written
	Held      bool          // add Server-Timing: hold;dur=MS
	Hold      time.Duration // how long the request was held
}

// AppendClient appends the canonical head for the client and returns how the body must be written behind it: NoBody;
// Fixed, Body.Length bytes as they come; Chunked, see AppendChunk; or UntilClose, which is chosen only for HTTP/1.0
// clients and obliges to close, whatever Client.KeepAlive asked for (R80).
func (r *Response) AppendClient(dst []byte, c *Client) ([]byte, Framing) {
	dst = r.appendStatus(dst)
	dst = r.appendFields(dst)
	if c.Held {
		dst = appendHold(dst, c.Hold)
	}
	if r.Status == 101 {
		return append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"...), NoBody
	}
	body := r.Body
	switch {
	case r.length >= 0: // R74
		dst = appendBody(dst, Body{Framing: Fixed, Length: r.length})
	case body.Framing == Chunked || body.Framing == UntilClose:
		body.Framing = Chunked
		if c.Minor == 0 { // R80
			body.Framing = UntilClose
		}
	}
	dst = appendBody(dst, body)
	dst = appendConnection(dst, c.Minor, c.KeepAlive && body.Framing != UntilClose)
	return append(dst, "\r\n"...), body.Framing
}

// appendStatus appends the status line; it always says HTTP/1.1, the version tideover speaks.
func (r *Response) appendStatus(dst []byte) []byte {
	s := r.Status
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, byte('0'+s/100), byte('0'+s/10%10), byte('0'+s%10), ' ')
	dst = append(dst, r.bytes(r.reason)...)
	return append(dst, "\r\n"...)
}

// appendConnection says whether the connection is kept where that is not the rule of the client's version.
func appendConnection(dst []byte, minor uint8, keep bool) []byte {
	switch {
	case !keep:
		return append(dst, "Connection: close\r\n"...)
	case minor == 0: // R90
		return append(dst, "Connection: keep-alive\r\n"...)
	}
	return dst
}

// appendHold tells how long the request was held, in milliseconds.
func appendHold(dst []byte, hold time.Duration) []byte {
	dst = append(dst, "Server-Timing: hold;dur="...)
	dst = appendInt(dst, hold.Milliseconds())
	return append(dst, "\r\n"...)
}

// PassesInterim reports whether this interim head is to be sent to a client: only 103, only to HTTP/1.1 (R53, R80).
func (r *Response) PassesInterim(minor uint8) bool { return r.Status == 103 && minor == 1 }

// AppendInterim appends the canonical interim head.
func (r *Response) AppendInterim(dst []byte) []byte {
	dst = r.appendStatus(dst)
	dst = r.appendFields(dst)
	return append(dst, "\r\n"...)
}
