package http1

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The oracle is a second parser of requests. It is slow, simple, and as different from the first as
// possible: it splits a whole head with Cut and Split, and checks each rule by itself. It reports
// every broken rule; the parser must refuse the same messages, and report one of these rules.

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
	framingNames    = " content-length transfer-encoding "
	hopNames        = " connection proxy-connection keep-alive te trailer proxy-authenticate proxy-authorization http2-settings upgrade "
	forwardingNames = " forwarded x-real-ip script-name path-info remote-user proxy "
	endToEndNames   = " host content-length transfer-encoding cookie authorization "
	asciiNames      = " host content-length transfer-encoding connection upgrade expect te trailer keep-alive proxy-connection "
	singleNames     = " script-name path-info remote-user "
	needlessNames   = " x-forwarded-proto x-forwarded-port x-forwarded-ssl x-forwarded-protocol x-real-ip " // dropped when they are illegal
	schemeNames     = " x-forwarded-proto x-forwarded-ssl x-forwarded-protocol "
)

func among(name, list string) bool { return strings.Contains(list, " "+name+" ") }

func isPlainASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

func isForwardingName(n string) bool {
	return among(n, forwardingNames) || strings.HasPrefix(n, "x-forwarded-") && n != "x-forwarded-"
}

// oracleField is a field line that has a name.
type oracleField struct {
	name, value string
	key         string // the name in lower case with dashes
}

// oracleHead is a request head as the oracle reads it.
type oracleHead struct {
	policy                  *Policy
	response                bool
	complete                bool
	method, target, version string
	fields                  []oracleField
	broken                  []string // verdicts of the broken rules
	length                  int      // of the head
}

func (m *oracleHead) breaks(broken bool, status int, rule Rule) {
	if broken {
		m.broken = append(m.broken, verdict(status, rule))
	}
}

// oracleRequest checks the head at the beginning of in.
func oracleRequest(in string, p *Policy) *oracleHead {
	m := &oracleHead{policy: p}
	s := strings.TrimPrefix(in, "\r\n")
	if s == "" || in == "\r" {
		return m
	}
	m.breaks(strings.ContainsAny(s[:1], "\r\n\t "), 400, RuleLeadingEmptyLine)
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
		m.checkHead()
	}
	return m
}

// octets checks the rules for octets and line ends.
func (m *oracleHead) octets(head string, complete bool) {
	if complete {
		head += "\r\n"
	}
	m.breaks(bareLF.MatchString(head), 400, RuleBareLF)
	m.breaks(bareCR.MatchString(head), 400, RuleBareCR)
	m.breaks(strings.Contains(head, "\x00"), 400, RuleNUL)
	m.breaks(controls.MatchString(head), 400, RuleControlOctet)
}

func (m *oracleHead) limits(lines []string, at int) {
	l := m.policy.Limits
	for i, line := range lines {
		if last := i == len(lines)-1; last && !m.complete {
			line = strings.TrimSuffix(line, "\r")
		}
		long := at+len(line) > l.Head-2
		if i == 0 {
			m.breaks(long || len(line) > l.StartLine, 414, RuleHeadLimits)
		} else {
			m.breaks(long || len(line) > l.Line, 431, RuleHeadLimits)
		}
		at += len(line) + 2
	}
	m.breaks(m.complete && at+2 > l.Head, 431, RuleHeadLimits)
}

func (m *oracleHead) requestLine(line string) {
	m.breaks(!threeParts.MatchString(line), 400, RuleRequestLine)
	parts := append(strings.SplitN(line, " ", 3), "", "")
	m.method, m.target, m.version = parts[0], parts[1], parts[2]
	run := tokenStart.FindString(line)
	m.breaks(len(run) > 32, 501, RuleMethod)
	m.breaks(len(run) < len(line) && !strings.ContainsAny(line[len(run):len(run)+1], " \t"), 400, RuleMethod)
	m.breaks(strings.Contains(m.target, "#"), 400, RuleTargetFragment)
	m.breaks(!wellVersion.MatchString(m.version), 400, RuleVersionSyntax)
	m.breaks(wellVersion.MatchString(m.version) && m.version != "HTTP/1.0" && m.version != "HTTP/1.1", 505, RuleVersion)
	m.breaks(m.method == "CONNECT", 405, RuleConnect)
	m.breaks(m.method == "TRACE", 405, RuleTrace)
	absolute := absoluteForm.FindStringSubmatch(m.target)
	switch {
	case strings.HasPrefix(m.target, "/"):
	case strings.HasPrefix(m.target, "*"):
		m.breaks(m.method != "OPTIONS" || m.target != "*", 400, RuleAsteriskForm)
	case absolute != nil && absolute[2]+absolute[3] != "":
		m.breaks(!oracleHost(absolute[2]), 400, RuleAbsoluteForm)
	default:
		m.breaks(true, 400, RuleOriginForm)
	}
}

// oracleHost reports whether h follows the grammar of RuleHost.
func oracleHost(h string) bool {
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

// field checks one field line.
func (m *oracleHead) field(line string, first bool) {
	m.breaks(len(m.fields) >= m.policy.Limits.Fields, 431, RuleHeadLimits)
	run := tokenStart.FindString(line)
	rest := line[len(run):]
	blank := rest != "" && strings.ContainsAny(rest[:1], " \t")
	if run == "" && blank {
		m.breaks(first, 400, RuleLeadingBlank)
		m.breaks(!first, 400, RuleObsFold)
		return
	}
	colonAhead := strings.HasPrefix(strings.TrimLeft(rest, " \t"), ":")
	m.breaks(blank && colonAhead, 400, RuleBlankBeforeColon)
	m.breaks((blank || rest == "") && !colonAhead, 400, RuleMissingColon)
	m.breaks(rest != "" && !blank && (run == "" || !colonAhead), 400, RuleFieldName)
	if !strings.HasPrefix(rest, ":") {
		return
	}
	m.breaks(len(run) > 256, 400, RuleFieldName)
	f := oracleField{name: run, value: strings.Trim(rest[1:], " \t")}
	f.key = strings.ToLower(strings.ReplaceAll(run, "_", "-"))
	m.fields = append(m.fields, f)
	if m.response {
		m.breaks(strings.Contains(f.name, "_") && (among(f.key, hopNames) || among(f.key, framingNames)), 502, RuleUnderscore)
		m.breaks((among(f.key, hopNames) || among(f.key, framingNames)) && among(f.key, asciiNames) && !isPlainASCII(f.value), 502, RuleControlOctet)
		return
	}
	if m.spoofed(f) {
		m.breaks(isForwardingName(f.key) || among(f.key, hopNames) || among(f.key, framingNames), 400, RuleUnderscore)
		return
	}
	m.breaks(among(f.key, asciiNames) && !isPlainASCII(f.value), 400, RuleControlOctet)
	if isForwardingName(f.key) && m.policy.Trusted && f.key != "proxy" {
		m.breaks(!among(f.key, needlessNames) && !oracleForwardingValue(f), 400, RuleForwardingFields)
		m.breaks(among(f.key, singleNames) && len(m.all(f.key)) > 1, 400, RuleForwardingFields)
	}
}

// spoofed reports whether a name has an underscore and is not one of the three names defined with
// one.
func (m *oracleHead) spoofed(f oracleField) bool {
	if !m.response && (f.key == "script-name" || f.key == "path-info" || f.key == "remote-user") {
		return false
	}
	return strings.Contains(f.name, "_")
}

// all returns the values of the fields that count under this name.
func (m *oracleHead) all(key string) (values []string) {
	for _, f := range m.fields {
		if f.key == key && !m.spoofed(f) {
			values = append(values, f.value)
		}
	}
	return values
}

var forwardedGrammar = map[string]*regexp.Regexp{
	"forwarded":            regexp.MustCompile("^[0-9A-Za-z._:\\[\\]% \t,;=\"/!#$&'*+^`|~-]*$"),
	"x-forwarded-proto":    listOf("[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
	"x-forwarded-protocol": listOf("[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
	"x-forwarded-ssl":      listOf("[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
	"x-forwarded-port":     listOf("0{0,4}[1-9]|0{0,3}[1-9][0-9]|0{0,2}[1-9][0-9]{2}|0?[1-9][0-9]{3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"),
	"x-real-ip":            listOf(`[0-9A-Za-z._:\[\]%-]+`),
	"script-name":          regexp.MustCompile(`^(/|$)`),
	"path-info":            regexp.MustCompile(`^(/|$)`),
}

// oracleAddress is an element of X-Forwarded-For.
var oracleAddress = regexp.MustCompile(`^[0-9A-Za-z._:\[\]% \t-]*$`)

// listOf returns the grammar of a list, in which elements may be empty.
func listOf(element string) *regexp.Regexp {
	one := "[ \t]*(?:" + element + ")?[ \t]*"
	return regexp.MustCompile("^" + one + "(?:," + one + ")*$")
}

func oracleForwardingValue(f oracleField) bool {
	if f.key == "x-forwarded-host" {
		return !slices.ContainsFunc(strings.Split(f.value, ","), func(h string) bool {
			h = strings.Trim(h, " \t")
			return h != "" && !oracleHost(h)
		})
	}
	g := forwardedGrammar[f.key]
	return g == nil || g.MatchString(f.value)
}

// options returns the options of all Connection fields.
func (m *oracleHead) options() (o []string) {
	for _, v := range m.all("connection") {
		for e := range strings.SplitSeq(v, ",") {
			if e = strings.Trim(e, " \t"); e != "" {
				o = append(o, e)
			}
		}
	}
	return o
}

// checkHead checks what depends on the whole head.
func (m *oracleHead) checkHead() {
	ten := m.version == "HTTP/1.0"
	hosts := m.all("host")
	absolute := absoluteForm.FindStringSubmatch(m.target)
	m.breaks(len(hosts) > 1 || len(hosts) == 1 && !oracleHost(hosts[0]) || len(hosts) == 0 && !ten, 400, RuleHost)
	m.breaks(len(hosts) == 0 && ten && absolute == nil && m.policy.DefaultHost == "", 400, RuleDefaultHost)
	if absolute != nil {
		m.breaks(len(hosts) != 1 || withPort(hosts[0], absolute[1]) != withPort(absolute[2], absolute[1]), 400, RuleAbsoluteForm)
	}
	m.framing(ten)
	m.connection()
	if expect := m.all("expect"); !ten && len(expect) > 0 {
		m.breaks(len(expect) > 1 || !strings.EqualFold(expect[0], "100-continue"), 417, RuleExpect)
	}
}

func (m *oracleHead) connection() {
	options := m.options()
	m.breaks(len(options) > 32, 400, RuleConnectionOptions)
	for _, o := range options {
		key := strings.ToLower(strings.ReplaceAll(o, "_", "-"))
		m.breaks(!tokenOnly.MatchString(o) || among(key, endToEndNames) || isForwardingName(key), 400, RuleConnectionOptions)
		m.breaks(m.namesField(o), 400, RuleConnectionOptions)
	}
}

// namesField reports whether the option names a field that must not be removed.
func (m *oracleHead) namesField(option string) bool {
	if m.response || m.policy.RemoveNamed || among(strings.ToLower(option), " close keep-alive upgrade ") {
		return false
	}
	return slices.ContainsFunc(m.fields, func(f oracleField) bool {
		removed := among(f.key, hopNames) || f.key == "expect" || m.spoofed(f) && !m.policy.PassUnderscores
		return strings.EqualFold(f.name, option) && !removed
	})
}

func (m *oracleHead) framing(ten bool) {
	lengths, codings := m.all("content-length"), m.all("transfer-encoding")
	m.breaks(len(codings) > 0 && ten, 400, RuleTransferEncodingHTTP10)
	if m.response {
		lengths = distinct(lengths)
	}
	m.breaks(len(lengths) > 1, 400, RuleDuplicateContentLength)
	m.breaks(len(lengths) > 0 && len(codings) > 0, 400, RuleLengthAndTransferEncoding)
	m.breaks(len(codings) > 1, 400, RuleTransferEncoding)
	for _, v := range lengths {
		n, err := strconv.ParseInt(v, 10, 64)
		m.breaks(!digits19.MatchString(v) || err != nil, 400, RuleContentLength)
		m.breaks(m.policy.Limits.Body > 0 && n > m.policy.Limits.Body, 413, RuleBodyLimits)
	}
	for _, v := range codings {
		parts := strings.Split(v, ",")
		for i := range parts {
			parts[i] = strings.ToLower(strings.Trim(parts[i], " \t"))
		}
		early := slices.Index(parts, "chunked")
		m.breaks(slices.Contains(parts, "") || early >= 0 && early < len(parts)-1, 400, RuleTransferEncoding)
		m.breaks(len(parts) > 1 || parts[0] != "chunked", 501, RuleUnknownTransferCoding)
	}
}

// distinct returns the different values of the lengths and of the lists among them, as written in
// decimal without leading zeros. What is no length is returned as it is.
func distinct(lengths []string) (values []string) {
	for _, v := range lengths {
		for e := range strings.SplitSeq(v, ",") {
			e = strings.Trim(e, " \t")
			if n, err := strconv.ParseInt(e, 10, 64); err == nil && digits19.MatchString(e) {
				e = strconv.FormatInt(n, 10)
			}
			if !slices.Contains(values, e) {
				values = append(values, e)
			}
		}
	}
	return values
}

// withPort returns a host in lower case with its port.
func withPort(host, scheme string) string {
	host = strings.ToLower(host)
	m := hostAndPort.FindStringSubmatch(host)
	if m == nil || m[3] == "" {
		return host + map[string]string{"http": ":80", "https": ":443"}[strings.ToLower(scheme)]
	}
	port, _ := strconv.Atoi(m[3])
	return strings.TrimSuffix(host, m[3]) + strconv.Itoa(port)
}
