package http1

import (
	"slices"
	"strconv"
	"strings"
)

// This part of the oracle says what must be written for a valid request.

// forwarded returns the head for the app.
func (m *oracleHead) forwarded(f *UpstreamOptions) string {
	host, target := "", m.target
	hosts := m.all("host")
	absolute := absoluteForm.FindStringSubmatch(m.target)
	switch {
	case absolute != nil:
		host, target = absolute[2], absolute[3]
		if target == "" && m.method == "OPTIONS" {
			target = "*"
		} else if !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
	case len(hosts) == 0:
		host = m.policy.DefaultHost
	}
	lines := []string{m.method + " " + target + " HTTP/1.1"}
	if host != "" {
		lines = append(lines, "Host: "+host)
	} else {
		host = hosts[0]
	}
	for i, f := range m.fields {
		if value, kept := m.kept(i, absolute != nil); kept {
			lines = append(lines, f.name+": "+value)
		}
	}
	if !m.policy.Trusted {
		if f.Peer.IsValid() {
			lines = append(lines, "X-Forwarded-For: "+f.Peer.String())
		}
		lines = append(lines, "X-Forwarded-Proto: "+f.Scheme, "X-Forwarded-Host: "+host)
	}
	if len(m.all("transfer-encoding")) > 0 {
		lines = append(lines, "Transfer-Encoding: chunked")
	}
	for _, v := range m.all("content-length") {
		n, _ := strconv.Atoi(v)
		lines = append(lines, "Content-Length: "+strconv.Itoa(n))
	}
	if m.upgrades() {
		lines = append(lines, "Connection: Upgrade", "Upgrade: websocket")
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// kept returns the value of field i as it is forwarded.
func (m *oracleHead) kept(i int, absolute bool) (value string, kept bool) {
	f := m.fields[i]
	for _, o := range m.options() {
		if strings.EqualFold(o, f.name) && !slices.Contains([]string{"close", "keep-alive", "upgrade"}, strings.ToLower(o)) {
			return "", false
		}
	}
	switch {
	case m.spoofed(f):
		return f.value, m.policy.PassUnderscores
	case among(f.key, hopNames), f.key == "content-length", f.key == "transfer-encoding", f.key == "expect", f.key == "proxy":
		return "", false
	case f.key == "host":
		return f.value, !absolute
	case f.key == "x-forwarded-for" && m.policy.Trusted:
		return m.keptHops(i)
	case among(f.key, schemeNames) && f.value != lastOf(m.all(f.key)):
		return "", false
	case among(f.key, schemeNames) && !oracleForwardingValue(f):
		return "", false
	case among(f.key, needlessNames) && m.policy.Trusted:
		return legalEnd(f)
	case isForwardingName(f.key):
		return f.value, m.policy.Trusted
	}
	return f.value, true
}

// legalEnd returns the longest part of a list that begins after a comma and is legal.
func legalEnd(f oracleField) (value string, kept bool) {
	for rest, more := f.value, true; more; {
		if value = strings.TrimLeft(rest, " \t"); oracleForwardingValue(oracleField{key: f.key, value: rest}) {
			return value, value != "" || f.value == ""
		}
		_, rest, more = strings.Cut(rest, ",")
	}
	return "", false
}

func lastOf(values []string) string { return values[len(values)-1] }

// keptHops returns what RuleForwardedForLimit keeps of one X-Forwarded-For line. Addresses are
// counted from the right, over all lines.
func (m *oracleHead) keptHops(i int) (value string, kept bool) {
	hops, octets := 0, 0
	for j := len(m.fields) - 1; j >= i; j-- {
		if m.fields[j].key != "x-forwarded-for" || m.spoofed(m.fields[j]) {
			continue
		}
		parts := strings.Split(m.fields[j].value, ",")
		value = ""
		for k := len(parts) - 1; k >= 0; k-- {
			tail := strings.Join(parts[k:], ",")
			if m.fields[j].value == "" {
				break
			}
			if hops++; hops > 32 || octets+len(tail) > 1024 || !oracleAddress.MatchString(parts[k]) {
				hops = 33
				return strings.TrimLeft(value, " \t"), j == i && strings.TrimLeft(value, " \t") != ""
			}
			value = tail
		}
		octets += len(m.fields[j].value)
	}
	return value, true
}

// upgrades reports whether the request is a handshake by RuleWebSocketUpgrade.
func (m *oracleHead) upgrades() bool {
	named := func(name string) bool {
		return slices.ContainsFunc(m.options(), func(o string) bool { return strings.EqualFold(o, name) })
	}
	upgrade, key, length := m.all("upgrade"), m.all("sec-websocket-key"), m.all("content-length")
	return m.method == "GET" && m.version == "HTTP/1.1" && named("upgrade") && !named("sec-websocket-key") &&
		len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket") &&
		len(key) == 1 && websocketKey.MatchString(key[0]) &&
		len(m.all("transfer-encoding")) == 0 && (len(length) == 0 || strings.Trim(length[0], "0") == "")
}
