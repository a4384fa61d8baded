package http1

import (
	"regexp"
	"strconv"
	"strings"
)

// This part of the oracle decodes chunked bodies, with regular expressions on the whole text.

const (
	tokenRE  = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
	valueRE  = `(?:` + tokenRE + `|"(?:[^\x00-\x1f"\\\x7f]|\\[^\x00-\x1f\x7f])*")`
	extRE    = `; *` + tokenRE + `(?: *= *` + valueRE + `)?`
	extsRE   = `(?:` + extRE + `(?: *` + extRE + `)*)?`
	fieldRE  = `^(` + tokenRE + `):[\t\x20-\x7e\x{80}-\x{10ffff}]*$`
	notInEnd = " host content-length transfer-encoding expect cookie authorization set-cookie content-type content-encoding content-range "
)

var (
	sizeLine    = regexp.MustCompile(`^([0-9A-Fa-f]{1,16})` + extsRE + `\r\n$`)
	trailerLine = regexp.MustCompile(fieldRE)
)

// Results of oracleChunked.
const (
	oracleDone    = "done"
	oracleMore    = "more"
	oracleRefused = "refused"
)

// oracleChunked decodes a chunked body. lenient: it is a response, where every trailer is allowed.
// It refuses a complete line or chunk, possibly later than BodyReader, which checks each octet.
func oracleChunked(in string, l Limits, lenient bool) (verdict, content, rest string) {
	excess := 0
	for {
		end := strings.Index(in, "\n") + 1
		if end == 0 {
			return oracleMore, content, ""
		}
		line := in[:end]
		m := sizeLine.FindStringSubmatch(line)
		if m == nil || len(line) > 258 {
			return oracleRefused, content, ""
		}
		size, err := strconv.ParseUint(m[1], 16, 64)
		if err != nil || size >= 1<<52 || l.Body > 0 && !lenient && uint64(len(content))+size > uint64(l.Body) {
			return oracleRefused, content, ""
		}
		in = in[end:]
		if size == 0 {
			verdict, rest = oracleTrailers(in, l, lenient)
			return verdict, content, rest
		}
		if size > uint64(len(in)) {
			size = uint64(len(in))
		}
		n := int(size)
		real, _ := strconv.ParseUint(m[1], 16, 64)
		if excess = max(0, excess+len(line)+2-16-2*int(real)); excess > 16<<10 {
			return oracleRefused, content, ""
		}
		content += in[:n]
		in = in[n:]
		if real > uint64(n) || in == "" || in == "\r" {
			return oracleMore, content, ""
		}
		if !strings.HasPrefix(in, "\r\n") {
			return oracleRefused, content, ""
		}
		in = in[2:]
	}
}

// oracleTrailers reads the section after the last chunk.
func oracleTrailers(in string, l Limits, lenient bool) (verdict, rest string) {
	octets := 0
	for fields := 0; ; fields++ {
		end := strings.Index(in, "\n") + 1
		octets += end
		switch {
		case end == 0 && octets+len(in) > l.Head:
			return oracleRefused, ""
		case end == 0:
			return oracleMore, ""
		case octets > l.Head:
			return oracleRefused, ""
		case in[:end] == "\r\n":
			return oracleDone, in[end:]
		}
		line, crlf := strings.CutSuffix(in[:end], "\r\n")
		m := trailerLine.FindStringSubmatch(line)
		if !crlf || m == nil || len(m[1]) > 256 || len(line) > l.Line || fields >= l.Fields {
			return oracleRefused, ""
		}
		key := strings.ToLower(strings.ReplaceAll(m[1], "_", "-"))
		if !lenient && (isForwardingName(key) || among(key, hopNames) || among(key, notInEnd)) {
			return oracleRefused, ""
		}
		in = in[end:]
	}
}

// completions are possible continuations of an incomplete body. If one of them makes a refused body
// valid, the refusal was wrong.
var completions = []string{"\n", "\r\n", "\n\r\n", "\r\n\r\n", "\n0\r\n\r\n", "\r\n0\r\n\r\n", "0\r\n\r\n", "1\r\na\r\n0\r\n\r\n", "a\r\n\r\n",
	":\r\n\r\n", "\"\r\n\r\n", "a\"\r\n\r\n", "a:\r\n\r\n", "a\r\n0\r\n\r\n", "\r\na\r\n0\r\n\r\n", "a\"\r\na\r\n0\r\n\r\n"}

// mayBecomeLegal reports whether a completion makes the body valid.
func mayBecomeLegal(in string, l Limits, lenient bool) bool {
	for _, c := range completions {
		if verdict, _, _ := oracleChunked(in+c, l, lenient); verdict == oracleDone {
			return true
		}
	}
	return false
}
