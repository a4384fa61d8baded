package http1

import "bytes"

// targetForm decides which of the four forms of RFC 9112 section 3.2 the target has, and whether it may.
func (r *Request) targetForm() *Error {
	if r.Method == MethodConnect { // R9
		return errConnect
	}
	if r.Method == MethodTrace { // R10
		return errTrace
	}
	t := r.bytes(r.target)
	r.origin = r.target
	if t[0] == '/' {
		return nil
	}
	if t[0] == '*' {
		if len(t) != 1 || r.Method != MethodOptions { // R7
			return errAsterisk
		}
		return nil
	}
	scheme := schemeLen(t)
	if scheme == 0 { // R6
		return errRelative
	}
	return r.absolute(t, scheme)
}

// schemeLen is the length of "http://" or "https://" at the beginning of t, 0 if there is neither.
func schemeLen(t []byte) int {
	for _, s := range [...]string{"http://", "https://"} {
		if len(t) > len(s) && equalFold(t[:len(s)], s) {
			return len(s)
		}
	}
	return 0
}

// absolute reads an absolute-form target: what follows the authority is the origin-form that is forwarded.
func (r *Request) absolute(t []byte, scheme int) *Error {
	end := bytes.IndexAny(t[scheme:], "/?")
	if end < 0 {
		end = len(t) - scheme
	}
	authority := t[scheme : scheme+end]
	if _, _, ok := parseHost(authority); !ok { // R8
		return errAbsolute
	}
	at := r.target.from + int32(scheme)
	r.authority = span{at, at + int32(end)}
	r.origin.from = r.authority.to
	r.defaultPort = 80
	if scheme == len("https://") {
		r.defaultPort = 443
	}
	return nil
}

// appendOrigin appends the target in origin-form, or "*" (RFC 9112 section 3.2.4).
func (r *Request) appendOrigin(dst []byte) []byte {
	t := r.bytes(r.origin)
	if len(t) == 0 && r.Method == MethodOptions {
		return append(dst, '*')
	}
	if len(t) == 0 || t[0] == '?' {
		dst = append(dst, '/')
	}
	return append(dst, t...)
}

var slash = []byte("/")

// Path is the path of the target without the query, in origin-form and not decoded; "*" for OPTIONS *.
func (r *Request) Path() []byte {
	t := r.bytes(r.origin)
	if i := bytes.IndexByte(t, '?'); i >= 0 {
		t = t[:i]
	}
	if len(t) == 0 {
		return slash
	}
	return t
}
