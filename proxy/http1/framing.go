package http1

import "bytes"

// Framing is how the end of a body is found (RFC 9112 section 6).
type Framing uint8

// The framings.
const (
	NoBody     Framing = iota // nothing follows the head
	Fixed                     // Content-Length: exactly Length bytes
	Chunked                   // Transfer-Encoding: chunked
	UntilClose                // responses only: everything until the connection ends
)

// Body is the framing of one body. A Fixed body of length 0 differs from NoBody in one way:
// Content-Length was received and is written.
type Body struct {
	Framing Framing
	Length  int64 // of a Fixed body, else 0
}

// Empty reports whether the body has no content.
func (b Body) Empty() bool { return b.Framing == NoBody || b.Framing == Fixed && b.Length == 0 }

// parseFraming determines the framing from Content-Length and Transfer-Encoding, for every method
// (RuleMethodIndependentFraming). Where repeated is set, equal lengths count as one, in several
// lines or in a list (RuleResponseFraming).
func (h *head) parseFraming(minor uint8, repeated bool) (Body, *Error) {
	lengths, codings := h.counts[nameContentLength], h.counts[nameTransferEncoding]
	if lengths|codings == 0 { // RuleNoFraming
		return Body{}, nil
	}
	if codings > 0 && minor == 0 {
		return Body{}, errCodingHTTP10
	}
	if lengths > 1 && !repeated {
		return Body{}, errDuplicateLength
	}
	if lengths > 0 && codings > 0 {
		return Body{}, errLengthAndCoding
	}
	if codings > 1 {
		return Body{}, errTransferEncoding
	}
	if codings == 1 {
		return Body{Framing: Chunked}, checkCoding(h.valueOf(h.knownField(nameTransferEncoding)))
	}
	n, ok := parseLength(h.valueOf(h.knownField(nameContentLength)))
	if lengths > 1 || !ok && repeated {
		n, ok = h.repeatedLength()
	}
	if !ok {
		return Body{}, errContentLength
	}
	return Body{Framing: Fixed, Length: n}, nil
}

// repeatedLength returns the one value that all Content-Length fields and all elements of their
// lists have.
func (h *head) repeatedLength() (n int64, ok bool) {
	n = -1
	for i := range h.fields {
		f := &h.fields[i]
		if f.id != nameContentLength {
			continue
		}
		for rest, more := h.valueOf(f), true; more; {
			var element []byte
			element, rest, more = bytes.Cut(rest, comma)
			length, ok := parseLength(trim(element))
			if !ok || n >= 0 && length != n {
				return 0, false
			}
			n = length
		}
	}
	return n, n >= 0
}

// checkCoding accepts "chunked" only. A malformed list, and chunked before another coding, are a
// wrong framing (400); another coding is unknown (501).
func checkCoding(v []byte) *Error {
	if equalFold(v, "chunked") {
		return nil
	}
	for rest, more := v, true; more; {
		var coding []byte
		coding, rest, more = bytes.Cut(rest, comma)
		coding = trim(coding)
		if len(coding) == 0 || more && equalFold(coding, "chunked") {
			return errTransferEncoding
		}
	}
	return errUnknownCoding
}

var comma = []byte(",")

// parseLength parses a Content-Length of 1 to 19 digits, at most 2^63-1 (RuleContentLength,
// RuleLengthOverflow).
func parseLength(v []byte) (n int64, ok bool) {
	if len(v) == 0 || len(v) > 19 {
		return 0, false
	}
	var u uint64 // 19 digits do not overflow it
	for _, c := range v {
		if !isDigit(c) {
			return 0, false
		}
		u = u*10 + uint64(c-'0')
	}
	return int64(u), u < 1<<63
}

// appendFraming appends Content-Length or Transfer-Encoding, or nothing for the other framings.
func appendFraming(dst []byte, b Body) []byte {
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
