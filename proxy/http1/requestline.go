package http1

// longestMethod is R3's bound.
const longestMethod = 32

// requestLine reads the request line that ends at end.
func (r *Request) requestLine(end int) *Error {
	b := r.buf[:end]
	i := r.start
	for i < end && fold[b[i]] != 0 {
		i++
	}
	if i-r.start > longestMethod { // R3
		return errMethodLong
	}
	if i == end || b[i] == '\t' { // R2
		return errRequestLine
	}
	if b[i] != ' ' { // R3
		return errMethod
	}
	r.method = span{int32(r.start), int32(i)}
	j := i + 1
	for j < end && classes[b[j]]&inTarget != 0 {
		j++
	}
	if j == i+1 && (j == end || isBlank(b[j])) { // R2
		return errRequestLine
	}
	if j < end && b[j] == '#' { // R5
		return errFragment
	}
	if j < end && b[j] == '\t' { // R2
		return errRequestLine
	}
	if j < end && b[j] != ' ' { // R4
		return errTargetOctet
	}
	r.target = span{int32(i + 1), int32(j)}
	minor, err := requestVersion(b[min(j+1, end):])
	if err != nil {
		return err
	}
	r.Minor = minor
	r.Method = methodOf(b[r.start:i])
	return r.targetForm()
}

// requestVersion reads the third part of the request line.
func requestVersion(b []byte) (minor uint8, err *Error) {
	if len(b) != len("HTTP/1.1") || string(b[:5]) != "HTTP/" || !isDigit(b[5]) || b[6] != '.' || !isDigit(b[7]) { // R12
		return 0, errNoVersion
	}
	if b[5] != '1' || b[7] > '1' { // R11
		return 0, errVersion
	}
	return b[7] - '0', nil
}

// methodOf identifies a method. Methods are case-sensitive (R3).
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

// Idempotent reports whether RFC 9110 section 9.2.2 lets a request with this method be sent twice.
func (m Method) Idempotent() bool {
	switch m {
	case MethodGet, MethodHead, MethodPut, MethodDelete, MethodOptions:
		return true
	}
	return false
}
