package http1

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// This part of the oracle checks response heads. Every broken rule has status 502, so a test compares
// only whether a rule is broken.

var statusLineRE = regexp.MustCompile(`(?s)^HTTP/1\.([01]) ([1-9][0-9][0-9])(?: (.*))?$`)

// oracleResponseHead is a response head as the oracle reads it.
type oracleResponseHead struct {
	oracleHead
	status  int
	reason  string
	framing Framing // the framing that the app meant
	size    int64
}

// oracleResponse checks the head at the beginning of in.
func oracleResponse(in string, asked RequestInfo, limits Limits) *oracleResponseHead {
	m := &oracleResponseHead{oracleHead: oracleHead{policy: &Policy{Limits: limits}, response: true}}
	const prefix = "HTTP/"
	if n := min(len(in), len(prefix)); in[:n] != prefix[:n] {
		m.breaks(true, 502, RuleNotHTTP)
		return m
	}
	head, _, complete := strings.Cut(in, "\r\n\r\n")
	m.complete, m.length = complete, len(head)+4
	m.octets(head, complete)
	lines := strings.Split(head, "\r\n")
	m.limits(lines, 0)
	if !complete {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return m
	}
	status := statusLineRE.FindStringSubmatch(lines[0])
	m.breaks(status == nil, 502, RuleStatusLine)
	for i, l := range lines[1:] {
		m.field(l, i == 0)
	}
	if complete && m.broken == nil {
		m.version = "HTTP/1." + status[1]
		m.status, _ = strconv.Atoi(status[2])
		m.reason = status[3]
		m.connection()
		m.checkMeaning(asked)
	}
	return m
}

// checkMeaning checks what depends on the whole head.
func (m *oracleResponseHead) checkMeaning(asked RequestInfo) {
	ten := m.version == "HTTP/1.0"
	upgrade := m.all("upgrade")
	if m.status == 101 {
		named := slices.ContainsFunc(m.options(), func(o string) bool { return strings.EqualFold(o, "upgrade") })
		m.breaks(!asked.Upgrade || ten || !named || len(upgrade) != 1 || !strings.EqualFold(upgrade[0], "websocket"), 502, RuleSwitchingProtocols)
		return
	}
	if m.status < 200 {
		return
	}
	m.oracleHead.framing(ten)
	lengths := distinct(m.all("content-length"))
	if len(lengths) > 0 {
		m.size, _ = strconv.ParseInt(lengths[0], 10, 64)
	}
	switch {
	case asked.Head, m.status == 204, m.status == 304:
		m.framing = NoBody
	case len(m.all("transfer-encoding")) > 0:
		m.framing = Chunked
	case len(lengths) > 0:
		m.framing = Fixed
	default:
		m.framing = UntilClose
	}
}

// answered returns the head that the client must get.
func (m *oracleResponseHead) answered(c *ResponseOptions) string {
	lines := []string{"HTTP/1.1 " + strconv.Itoa(m.status) + " " + m.reason}
	for _, f := range m.fields {
		named := slices.ContainsFunc(m.options(), func(o string) bool { return strings.EqualFold(o, f.name) })
		if !named && !among(f.key, hopNames) && !among(f.key, framingNames) {
			lines = append(lines, f.name+": "+f.value)
		}
	}
	if c.Held && (m.status == 101 || m.status >= 200) {
		lines = append(lines, "Server-Timing: hold;dur="+strconv.FormatInt(c.Hold.Milliseconds(), 10))
	}
	closes := !c.KeepAlive
	switch {
	case m.status == 101:
		return strings.Join(append(lines, "Connection: Upgrade", "Upgrade: websocket"), "\r\n") + "\r\n\r\n"
	case m.status < 200:
		return strings.Join(lines, "\r\n") + "\r\n\r\n"
	case m.framing == Fixed, m.framing == NoBody && m.status != 204 && len(m.all("content-length")) > 0:
		lines = append(lines, "Content-Length: "+strconv.FormatInt(m.size, 10))
	case m.framing == NoBody:
	case c.Minor == 1:
		lines = append(lines, "Transfer-Encoding: chunked")
	default:
		closes = true
	}
	if closes {
		lines = append(lines, "Connection: close")
	} else if c.Minor == 0 {
		lines = append(lines, "Connection: keep-alive")
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}
