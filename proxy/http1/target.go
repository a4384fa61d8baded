package http1

import "bytes"

// parseTarget determines the form of the target (RFC 9112 section 3.2) and whether it is allowed.
func (r *Request) parseTarget() *Error {
	if r.Method == MethodConnect {
		return errConnect
	}
	if r.Method == MethodTrace {
		return errTrace
	}
	t := r.text(r.target)
	r.origin = r.target
	if t[0] == '/' {
		return nil
	}
	if t[0] == '*' {
		if len(t) != 1 || r.Method != MethodOptions {
			return errAsteriskForm
		}
		return nil
	}
	scheme := schemeLen(t)
	if scheme == 0 {
		return errTargetForm
	}
	return r.parseAbsolute(t, scheme)
}

// schemeLen returns the length of "http://" or "https://" at the beginning of t, or 0.
func schemeLen(t []byte) int {
	for _, s := range [...]string{"http://", "https://"} {
		if len(t) > len(s) && equalFold(t[:len(s)], s) {
			return len(s)
		}
	}
	return 0
}

// parseAbsolute splits a target in absolute-form into the authority and the origin-form that is
// forwarded.
func (r *Request) parseAbsolute(t []byte, scheme int) *Error {
	end := bytes.IndexAny(t[scheme:], "/?")
	if end < 0 {
		end = len(t) - scheme
	}
	authority := t[scheme : scheme+end]
	if _, _, ok := parseHost(authority); !ok {
		return errTargetAuthority
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
	t := r.text(r.origin)
	if len(t) == 0 && r.Method == MethodOptions {
		return append(dst, '*')
	}
	if len(t) == 0 || t[0] == '?' {
		dst = append(dst, '/')
	}
	return append(dst, t...)
}

var slash = []byte("/")

// Path returns the path of the target, not decoded and without the query; "*" for OPTIONS *.
func (r *Request) Path() []byte {
	t := r.text(r.origin)
	if i := bytes.IndexByte(t, '?'); i >= 0 {
		t = t[:i]
	}
	if len(t) == 0 {
		return slash
	}
	return t
}
