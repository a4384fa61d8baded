package http1

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// This is a second reader of requests, written to be obviously right and as unlike the first as possible: it takes a
// head apart with Cut and Split, and asks each rule by itself whether it is broken. It is slow, and does not care which
// rule is broken first: the engine must refuse exactly what breaks a rule, and name one of those that are.

var (
	tokenOnly    = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	tokenStart   = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]*")
	bareLF       = regexp.MustCompile(`(?:^|[^\r])\n`)
	bareCR       = regexp.MustCompile(`\r[^\n]`)
	controls     = regexp.MustCompile(`[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]`)
	threeParts   = regexp.MustCompile(`^[^ \t]+ [^ \t]+ [^ \t]+$`)
	wellVersion  = regexp.MustCompile(`^HTTP/[0-9]\.[0-9]$`)
	absoluteForm = regexp.MustCompile(`^(?i:(https?)://)([^/?]*)(.*)$`)
	digits19     = regexp.MustCompile(`^[0-9]{1,19}$`)
	hostAndPort  = regexp.MustCompile(`^(?:([0-9A-Za-z._-]+)|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?$`)
	websocketKey = regexp.MustCompile(`^[0-9A-Za-z+/]{22}==$`)
)

const (
	framingNames = " content-length transfer-encoding "
	hopNames     = " connection proxy-connection keep-alive te trailer proxy-authenticate proxy-authorization http2-settings upgrade "
	ownedNames   = " forwarded x-real-ip script-name path-info remote-user proxy "
	pinnedNames  = " host content-length transfer-encoding cookie authorization "
	asciiNames   = " host content-length transfer-encoding connection upgrade expect te trailer keep-alive proxy-connection forwarded x-real-ip" +
		" x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-forwarded-ssl x-forwarded-protocol "
	singleNames = " x-forwarded-proto x-forwarded-port x-forwarded-ssl x-forwarded-protocol x-real-ip script-name path-info remote-user "
)

func among(name, list string) bool { return strings.Contains(list, " "+name+" ") }

func isPlainASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

func isOwnedName(n string) bool {
	return among(n, ownedNames) || strings.HasPrefix(n, "x-forwarded-") && n != "x-forwarded-"
}

// plainField is a field line that has at least a name.
type plainField struct {
	name, value string
	key         string // the name as the rules know it: lower case, dashes
}

// plain is a request head as the oracle sees it.
type plain struct {
	policy                  *Policy
	response                bool
	complete                bool
	method, target, version string
	fields                  []plainField
	broken                  []string // verdicts of the rules that are broken
	length                  int      // of the head
}

func (m *plain) is(broken bool, status int, rule string) {
	if broken {
		m.broken = append(m.broken, strconv.Itoa(status)+" "+rule)
	}
}

// oracleRequest judges the head at the beginning of in.
func oracleRequest(in string, p *Policy) *plain {
	m := &plain{policy: p}
	s := strings.TrimPrefix(in, "\r\n")
	if s == "" || in == "\r" {
		return m
	}
	m.is(strings.ContainsAny(s[:1], "\r\n\t "), 400, "R1")
	head, _, complete := strings.Cut(s, "\r\n\r\n")
	m.complete = complete
	skipped := len(in) - len(s)
	m.length = skipped + len(head) + 4
	m.octets(head, complete)
	lines := strings.Split(head, "\r\n")
	m.limits(lines, skipped)
	if !complete {
		lines = lines[:len(lines)-1]
	}
	if len(lines) > 0 {
		m.requestLine(lines[0])
		for i, l := range lines[1:] {
			m.field(l, i == 0)
		}
	}
	if complete && m.broken == nil {
		m.whole()
	}
	return m
}

// octets holds the rules that no line may break.
func (m *plain) octets(head string, complete bool) {
	if complete {
		head += "\r\n"
	}
	m.is(bareLF.MatchString(head), 400, "R14")
	m.is(bareCR.MatchString(head), 400, "R15")
	m.is(strings.Contains(head, "\x00"), 400, "R16")
	m.is(controls.MatchString(head), 400, "R17")
}

func (m *plain) limits(lines []string, at int) {
	l := m.policy.Limits
	for i, line := range lines {
		if last := i == len(lines)-1; last && !m.complete {
			line = strings.TrimSuffix(line, "\r")
		}
		long := at+len(line) > l.Head-2
		if i == 0 {
			m.is(long || len(line) > l.Target, 414, "R26")
		} else {
			m.is(long || len(line) > l.Line, 431, "R26")
		}
		at += len(line) + 2
	}
	m.is(m.complete && at+2 > l.Head, 431, "R26")
}

func (m *plain) requestLine(line string) {
	m.is(!threeParts.MatchString(line), 400, "R2")
	parts := append(strings.SplitN(line, " ", 3), "", "")
	m.method, m.target, m.version = parts[0], parts[1], parts[2]
	run := tokenStart.FindString(line)
	m.is(len(run) > 32, 501, "R3")
	m.is(len(run) < len(line) && !strings.ContainsAny(line[len(run):len(run)+1], " \t"), 400, "R3")
	m.is(strings.ContainsFunc(m.target, func(r rune) bool { return r <= ' ' || r >= 0x7F }), 400, "R4")
	m.is(strings.Contains(m.target, "#"), 400, "R5")
	m.is(!wellVersion.MatchString(m.version), 400, "R12")
	m.is(wellVersion.MatchString(m.version) && m.version != "HTTP/1.0" && m.version != "HTTP/1.1", 505, "R11")
	m.is(m.method == "CONNECT", 405, "R9")
	m.is(m.method == "TRACE", 405, "R10")
	absolute := absoluteForm.FindStringSubmatch(m.target)
	switch {
	case strings.HasPrefix(m.target, "/"):
	case strings.HasPrefix(m.target, "*"):
		m.is(m.method != "OPTIONS" || m.target != "*", 400, "R7")
	case absolute != nil && absolute[2]+absolute[3] != "":
		m.is(!isPlainHost(absolute[2]), 400, "R8")
	default:
		m.is(true, 400, "R6")
	}
}

// isPlainHost holds R44's grammar.
func isPlainHost(h string) bool {
	m := hostAndPort.FindStringSubmatch(h)
	if m == nil || len(h) > 255 {
		return false
	}
	if m[1] != "" && (strings.HasPrefix(m[1], ".") || strings.Contains(m[1], "..")) {
		return false
	}
	if m[2] != "" {
		if a, err := netip.ParseAddr(m[2]); err != nil || !a.Is6() {
			return false
		}
	}
	if m[3] != "" {
		port, _ := strconv.Atoi(m[3])
		return 1 <= port && port <= 65535
	}
	return true
}

// field holds the rules for one line.
func (m *plain) field(line string, first bool) {
	m.is(len(m.fields) >= m.policy.Limits.Fields, 431, "R26")
	run := tokenStart.FindString(line)
	rest := line[len(run):]
	blank := rest != "" && strings.ContainsAny(rest[:1], " \t")
	if run == "" && blank {
		m.is(first, 400, "R21")
		m.is(!first, 400, "R22")
		return
	}
	colonAhead := strings.HasPrefix(strings.TrimLeft(rest, " \t"), ":")
	m.is(blank && colonAhead, 400, "R19")
	m.is((blank || rest == "") && !colonAhead, 400, "R20")
	m.is(rest != "" && !blank && (run == "" || !colonAhead), 400, "R18")
	if !strings.HasPrefix(rest, ":") {
		return
	}
	m.is(len(run) > 256, 400, "R18")
	f := plainField{name: run, value: strings.Trim(rest[1:], " \t")}
	f.key = strings.ToLower(strings.ReplaceAll(run, "_", "-"))
	m.fields = append(m.fields, f)
	if m.response {
		m.is(strings.Contains(f.name, "_") && (among(f.key, hopNames) || among(f.key, framingNames)), 502, "R25")
		m.is((among(f.key, hopNames) || among(f.key, framingNames)) && among(f.key, asciiNames) && !isPlainASCII(f.value), 502, "R17")
		return
	}
	if m.lookAlike(f) {
		m.is(isOwnedName(f.key) || among(f.key, hopNames) || among(f.key, framingNames), 400, "R25")
		return
	}
	m.is(among(f.key, asciiNames) && !isPlainASCII(f.value), 400, "R17")
	if isOwnedName(f.key) && m.policy.Trusted && f.key != "proxy" {
		m.is(!isPlainForwarded(f), 400, "R48")
		m.is(among(f.key, singleNames) && len(m.all(f.key)) > 1, 400, "R48")
	}
}

// lookAlike reports whether a name has an underscore, and is not one of the three that are spelled so.
func (m *plain) lookAlike(f plainField) bool {
	if !m.response && (f.key == "script-name" || f.key == "path-info" || f.key == "remote-user") {
		return false
	}
	return strings.Contains(f.name, "_")
}

// all is the values of the fields that count under this name.
func (m *plain) all(key string) (values []string) {
	for _, f := range m.fields {
		if f.key == key && !m.lookAlike(f) {
			values = append(values, f.value)
		}
	}
	return values
}

var forwardedGrammar = map[string]*regexp.Regexp{
	"forwarded":            regexp.MustCompile("^[0-9A-Za-z._:\\[\\]% \t,;=\"/!#$&'*+^`|~-]*$"),
	"x-forwarded-for":      regexp.MustCompile(`^[0-9A-Za-z._:\[\]% \t,-]*$`),
	"x-forwarded-proto":    tokenOnly,
	"x-forwarded-protocol": tokenOnly,
	"x-forwarded-ssl":      regexp.MustCompile(`^(?i:on|off)$`),
	"x-real-ip":            regexp.MustCompile(`^[0-9A-Za-z._:\[\]%-]+$`),
	"script-name":          regexp.MustCompile(`^(/|$)`),
	"path-info":            regexp.MustCompile(`^(/|$)`),
}

func isPlainForwarded(f plainField) bool {
	switch f.key {
	case "x-forwarded-port":
		n, err := strconv.Atoi(f.value)
		return err == nil && digits19.MatchString(f.value) && len(f.value) <= 5 && 1 <= n && n <= 65535
	case "x-forwarded-host":
		return !slices.ContainsFunc(strings.Split(f.value, ","), func(h string) bool {
			h = strings.Trim(h, " \t")
			return h != "" && !isPlainHost(h)
		})
	}
	g := forwardedGrammar[f.key]
	return g == nil || g.MatchString(f.value)
}

// options is the one list that all Connection fields are.
func (m *plain) options() (o []string) {
	for _, v := range m.all("connection") {
		for e := range strings.SplitSeq(v, ",") {
			if e = strings.Trim(e, " \t"); e != "" {
				o = append(o, e)
			}
		}
	}
	return o
}

// whole holds the rules about the head as a whole.
func (m *plain) whole() {
	ten := m.version == "HTTP/1.0"
	hosts := m.all("host")
	absolute := absoluteForm.FindStringSubmatch(m.target)
	m.is(len(hosts) > 1 || len(hosts) == 1 && !isPlainHost(hosts[0]) || len(hosts) == 0 && !ten, 400, "R44")
	m.is(len(hosts) == 0 && ten && absolute == nil && m.policy.DefaultHost == "", 400, "R45")
	if absolute != nil {
		m.is(len(hosts) != 1 || withPort(hosts[0], absolute[1]) != withPort(absolute[2], absolute[1]), 400, "R8")
	}
	m.framing(ten)
	m.connection()
	if expect := m.all("expect"); !ten && len(expect) > 0 {
		m.is(len(expect) > 1 || !strings.EqualFold(expect[0], "100-continue"), 417, "R51")
	}
}

func (m *plain) connection() {
	options := m.options()
	m.is(len(options) > 32, 400, "R46")
	for _, o := range options {
		key := strings.ToLower(strings.ReplaceAll(o, "_", "-"))
		m.is(!tokenOnly.MatchString(o) || among(key, pinnedNames) || isOwnedName(key), 400, "R46")
	}
}

func (m *plain) framing(ten bool) {
	lengths, codings := m.all("content-length"), m.all("transfer-encoding")
	m.is(len(codings) > 0 && ten, 400, "R32")
	m.is(len(lengths) > 1, 400, "R28")
	m.is(len(lengths) > 0 && len(codings) > 0, 400, "R29")
	m.is(len(codings) > 1, 400, "R30")
	for _, v := range lengths {
		n, err := strconv.ParseInt(v, 10, 64)
		m.is(!digits19.MatchString(v) || err != nil, 400, "R27")
		m.is(m.policy.Limits.Body > 0 && n > m.policy.Limits.Body, 413, "body")
	}
	for _, v := range codings {
		parts := strings.Split(v, ",")
		for i := range parts {
			parts[i] = strings.ToLower(strings.Trim(parts[i], " \t"))
		}
		early := slices.Index(parts, "chunked")
		m.is(slices.Contains(parts, "") || early >= 0 && early < len(parts)-1, 400, "R30")
		m.is(len(parts) > 1 || parts[0] != "chunked", 501, "R31")
	}
}

// withPort is a host in lower case with its port.
func withPort(host, scheme string) string {
	host = strings.ToLower(host)
	m := hostAndPort.FindStringSubmatch(host)
	if m == nil || m[3] == "" {
		return host + map[string]string{"http": ":80", "https": ":443"}[strings.ToLower(scheme)]
	}
	port, _ := strconv.Atoi(m[3])
	return strings.TrimSuffix(host, m[3]) + strconv.Itoa(port)
}
