package http1

const maxMethodLength = 32

// parseRequestLine parses the request line that ends at end.
func (r *Request) parseRequestLine(end int) *Error {
	b := r.buf[:end]
	i := r.lineStart
	for i < end && fold[b[i]] != 0 {
		i++
	}
	if i-r.lineStart > maxMethodLength {
		return errMethodTooLong
	}
	if i == end || b[i] == '\t' {
		return errRequestLine
	}
	if b[i] != ' ' {
		return errMethod
	}
	r.method = span{int32(r.lineStart), int32(i)}
	j := i + 1
	for j < end && classes[b[j]]&inTarget != 0 { // RuleTargetOctet
		j++
	}
	if j == i+1 && (j == end || isBlank(b[j])) {
		return errRequestLine
	}
	if j < end && b[j] == '#' {
		return errFragment
	}
	if j < end && b[j] == '\t' {
		return errRequestLine
	}
	r.target = span{int32(i + 1), int32(j)}
	minor, err := parseVersion(b[min(j+1, end):])
	if err != nil {
		return err
	}
	r.Minor = minor
	r.Method = methodOf(b[r.lineStart:i])
	return r.parseTarget()
}

// parseVersion parses the third part of the request line.
func parseVersion(b []byte) (minor uint8, err *Error) {
	if len(b) != len("HTTP/1.1") || string(b[:5]) != "HTTP/" || !isDigit(b[5]) || b[6] != '.' || !isDigit(b[7]) {
		return 0, errNoVersion
	}
	if b[5] != '1' || b[7] > '1' {
		return 0, errVersion
	}
	return b[7] - '0', nil
}

// methodOf returns the Method of a token. Methods are case-sensitive (RFC 9110 section 9.1).
func methodOf(b []byte) Method {
	switch string(b) {
	case "GET":
		return MethodGet
	case "HEAD":
		return MethodHead
	case "POST":
		return MethodPost
	case "PUT":
		return MethodPut
	case "DELETE":
		return MethodDelete
	case "OPTIONS":
		return MethodOptions
	case "PATCH":
		return MethodPatch
	case "CONNECT":
		return MethodConnect
	case "TRACE":
		return MethodTrace
	}
	return MethodOther
}

// Idempotent reports whether the method is idempotent (RFC 9110 section 9.2.2). TRACE is not,
// because it is always refused.
func (m Method) Idempotent() bool {
	switch m {
	case MethodGet, MethodHead, MethodPut, MethodDelete, MethodOptions:
		return true
	}
	return false
}
