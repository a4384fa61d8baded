package http1

import "bytes"

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

// framing reads Content-Length and Transfer-Encoding, whatever the method (R34). Without either it is NoBody (R33).
func (h *head) framing(minor uint8) (Body, *Error) {
	lengths, codings := h.times[nameContentLength], h.times[nameTransferEncoding]
	if lengths|codings == 0 { // R33
		return Body{}, nil
	}
	if codings > 0 && minor == 0 { // R32
		return Body{}, errCoding10
	}
	if lengths > 1 { // R28
		return Body{}, errTwoLengths
	}
	if lengths > 0 && codings > 0 { // R29
		return Body{}, errBothFramings
	}
	if codings > 1 { // R30
		return Body{}, errCoding
	}
	if codings == 1 {
		return Body{Framing: Chunked}, checkCoding(h.valueOf(h.known(nameTransferEncoding)))
	}
	n, ok := parseLength(h.valueOf(h.known(nameContentLength)))
	if !ok { // R27
		return Body{}, errLength
	}
	return Body{Framing: Fixed, Length: n}, nil
}

// checkCoding accepts "chunked" and nothing else. A list that plays with chunked is faulty framing; any other coding is
// one we do not have.
func checkCoding(v []byte) *Error {
	if equalFold(v, "chunked") {
		return nil
	}
	for rest, more := v, true; more; {
		var coding []byte
		coding, rest, more = bytes.Cut(rest, comma)
		coding = trim(coding)
		if len(coding) == 0 || more && equalFold(coding, "chunked") { // R30
			return errCoding
		}
	}
	return errOtherCoding // R31
}

var comma = []byte(",")

// parseLength reads a Content-Length: 1 to 19 digits, at most 2^63-1 (R27, R43).
func parseLength(v []byte) (n int64, ok bool) {
	if len(v) == 0 || len(v) > 19 {
		return 0, false
	}
	var u uint64 // 19 digits cannot wrap it
	for _, c := range v {
		if !isDigit(c) {
			return 0, false
		}
		u = u*10 + uint64(c-'0')
	}
	return int64(u), u < 1<<63
}

// appendBody appends the framing field of a body, if it has one.
func appendBody(dst []byte, b Body) []byte {
	switch b.Framing {
	case Fixed:
		dst = append(dst, "Content-Length: "...)
		dst = appendInt(dst, b.Length)
		dst = append(dst, "\r\n"...)
	case Chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return dst
}
