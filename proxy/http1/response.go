package http1

import "time"

// Asked is what must be known of a request to read its response.
type Asked struct {
	Head    bool // the method was HEAD: no body whatever the head says (R74)
	Upgrade bool // Request.Upgrade: 101 is a legal answer (R64)
}

// Response is one response head of the child, or one 1xx head before it. The zero value is ready for the answer to an
// ordinary request. It points into the buffer given to Parse.
type Response struct {
	Status   int  // 100 to 599
	Minor    uint8
	Body     Body // how the child frames the body; UntilClose where only its EOF ends it
	Reusable bool // the connection may carry another request once the body ended exactly at its end (R75)
}

// Reset makes the Response ready for the answer to another request.
func (r *Response) Reset(a Asked) {}

// Parse reads one response head at the beginning of buf, under the same contract as Request.Parse. Every error has
// status 502. If Interim reports true afterwards, the head was a 1xx: call Next and then Parse with the bytes behind it.
func (r *Response) Parse(buf []byte, l *Limits) (n int, err *Error) { return 0, nil }

// Interim reports whether this is a 1xx head with the real one to follow. A 101 that was asked for is not interim.
func (r *Response) Interim() bool { return false }

// Next prepares for the head behind an interim one. At most 8 of them, Limits.Head bytes in all, may precede a response (R53).
func (r *Response) Next() {}

// Value is the value of the first field with that name (letter case ignored), nil if there is none.
func (r *Response) Value(name string) []byte { return nil }

// Reason is the reason phrase as sent; it may be empty.
func (r *Response) Reason() []byte { return nil }

// Client is what must be known of the client to write a response head for it.
type Client struct {
	Minor     uint8         // Request.Minor
	KeepAlive bool          // the connection is to be kept; false: Connection: close is written
	Held      bool          // add Server-Timing: hold;dur=...
	Hold      time.Duration // how long the request was held
}

// AppendClient appends the canonical head for the client and returns how the body must be written behind it: NoBody;
// Fixed, Body.Length bytes as they come; Chunked, see AppendChunk; or UntilClose, which is chosen only for HTTP/1.0
// clients and obliges to close, whatever Client.KeepAlive asked for (R80).
func (r *Response) AppendClient(dst []byte, c *Client) ([]byte, Framing) { return dst, NoBody }

// PassesInterim reports whether this interim head is to be sent to a client: only 103, only to HTTP/1.1 (R53).
func (r *Response) PassesInterim(minor uint8) bool { return false }

// AppendInterim appends the canonical interim head.
func (r *Response) AppendInterim(dst []byte) []byte { return dst }
