package http1

import (
	"strconv"
	"time"
)

// Forward is what the request alone does not tell about the head that is written for the child.
type Forward struct {
	Peer   string    // the client's address without port, for X-Forwarded-For; "": unix socket, none is written
	Scheme string    // "http" or "https", for X-Forwarded-Proto; "": http
	Start  time.Time // X-Request-Start where the request has none; zero: none is written
	Body   Body      // how the body is sent: Request.Body, or Fixed with its length once a chunked one was kept whole
	Close  bool      // ask the child to close after its response
}

// AppendUpstream appends the canonical head for the child: always HTTP/1.1 (R13), the target in origin-form (R5, R8), no
// hop-by-hop field (R46, R47), no Expect (R52), no Via of our own (R50), forwarding fields as the Policy says (R48), and
// one framing field or none. What it appends reads as the same request and is appended as the same bytes again.
func (r *Request) AppendUpstream(dst []byte, f *Forward) []byte {
	dst = append(dst, r.bytes(r.method)...)
	dst = append(dst, ' ')
	dst = r.appendOrigin(dst)
	dst = append(dst, " HTTP/1.1\r\n"...)
	if r.authority.to > 0 { // R8
		dst = appendField(dst, "Host", r.bytes(r.authority))
	} else if r.times[nameHost] == 0 { // R45
		dst = appendField(dst, "Host", r.policy.DefaultHost)
	}
	dst = r.appendFields(dst)
	if !f.Start.IsZero() && !r.carries(nameRequestStart) {
		dst = appendStart(dst, f.Start)
	}
	if !r.policy.Trusted { // R48
		dst = r.appendForwarded(dst, f)
	}
	dst = appendBody(dst, f.Body)
	switch {
	case r.Upgrade:
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case f.Close:
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// appendForwarded appends the forwarding fields of a client that is not a trusted front-end.
func (r *Request) appendForwarded(dst []byte, f *Forward) []byte {
	if f.Peer != "" {
		dst = appendField(dst, "X-Forwarded-For", f.Peer)
	}
	scheme := f.Scheme
	if scheme == "" {
		scheme = "http"
	}
	dst = appendField(dst, "X-Forwarded-Proto", scheme)
	if host := r.Host(); host != nil {
		return appendField(dst, "X-Forwarded-Host", host)
	}
	return appendField(dst, "X-Forwarded-Host", r.policy.DefaultHost)
}

// appendStart appends the time the request arrived, as front-ends write it: seconds with three decimals.
func appendStart(dst []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	dst = append(dst, "X-Request-Start: t="...)
	dst = strconv.AppendInt(dst, ms/1000, 10)
	dst = append(dst, '.', byte('0'+ms/100%10), byte('0'+ms/10%10), byte('0'+ms%10))
	return append(dst, "\r\n"...)
}

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }
