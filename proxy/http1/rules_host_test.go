package http1

import "strings"

func hostRules() []ruleCase {
	host := func(v string) string { return "GET / HTTP/1.1\r\nHost: " + v + "\r\n\r\n" }
	strict := trustedPolicy
	strict.DefaultHost = ""
	var cases []ruleCase
	for _, v := range []string{"", "a b", "a/", "a\\b", "a,b", "u@a", "a?b", "a#b", "a:", "a:0", "a:65536", "a:080000", "a:18446744073709551617", "a/80", "a:8o", "a:1:2", ":80", ".",
		"..", "a..b", ".a", "[::1", "::1", "[::1]x", "[::1]:", "[1::2::3]", "[1:2:3:4:5:6:7:8:9]", "[fe80::1%eth0]", "[v1.x]", "[]", "a%20b",
		"[1:2:3:4:5:6:7::8]", "[::1.2.3.256]", "[12345::]", "[1:2:3]", "[:1::2]", "[1::2:]", "[:12:3]", "[1::2/3]", "[1.2.3.4]", "[1:2:3:4:5:1.2.3.4]",
		"[1:2:3:4:5:6:7:1.2.3.4]", "[1:2:3:4:5:6::1.2.3.4]", "[1:2:3:4:5::6:1.2.3.4:7]", "[::1.2.3]", "[::1.2.3.]", "[::1..2.3]", "[::1.2.3.04]",
		"[::1.2.3.4.5]", "[::1.2:3.4]", "[::1.2.3.18446744073709551617]", "[::1.2.3.1234]", strings.Repeat("a", 256), "a;b", "<a>", "http://a"} {
		cases = append(cases, refuse(RuleHost, 400, "Host "+v, host(v)))
	}
	for _, v := range []string{"a", "example.com", "EXAMPLE.com:8000", "example.com.", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:1",
		"[2001:DB8::192.0.2.1]:443", "my_app:8000", "xn--bcher-kva.example", "[1:2:3:4:5:6:7:8]", "[::]", "[1:2:3:4:5:6:7::]", "[1:2:3:4:5:6:1.2.3.4]", "[1:2:3:4:5::1.2.3.4]",
		"[::ffff:255.0.10.100]", strings.Repeat("a", 255)} {
		cases = append(cases, pass(RuleHost, "Host "+v, host(v), "\r\nHost: "+v+"\r\n"))
	}
	return append(append(cases, forwardingRules()...),
		refuse(RuleHost, 400, "no Host", "GET / HTTP/1.1\r\n\r\n"),
		refuse(RuleHost, 400, "two equal Hosts", get("Host: a")),
		refuse(RuleHost, 400, "two Hosts", get("host: b")),
		refuse(RuleHost, 400, "illegal in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n"),

		pass(RuleDefaultHost, "HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"),
		pass(RuleDefaultHost, "HTTP/1.0 with Host", "GET / HTTP/1.0\r\nHost: b\r\n\r\n", "Host: b\r\n").without("127.0.0.1"),
		refuse(RuleDefaultHost, 400, "no default", "GET / HTTP/1.0\r\n\r\n").under(strict),

		pass(RuleVia, "none is added", get(), "Host: a\r\n\r\n").without("Via"),
		pass(RuleVia, "the client's passes", get("Via: 1.1 x", "Via: 1.1 y"), "Via: 1.1 x\r\nVia: 1.1 y\r\n"),
	)
}

func forwardingRules() []ruleCase {
	forged := get("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1", "X-Forwarded-Ssl: on",
		"X-Forwarded-Protocol: ssl", "X-Forwarded-Prefix: /adm", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "SCRIPT_NAME: /adm",
		"PATH_INFO: /adm", "REMOTE_USER: root", "Remote-User: root", "Script-Name: /adm", "Proxy: http://6.6.6.6")
	var cases []ruleCase
	for _, field := range []string{"X-Forwarded-For: 6.6.6.6, 10.0.0.1", "X-Forwarded-For: [2001:db8::1]:80, unknown, _x", "X-Forwarded-For:  a",
		"X-Forwarded-Proto: https", "X-Forwarded-Host: a.example, b:80", "X-Forwarded-Host: ", "X-Forwarded-Port: 443", "X-Forwarded-Ssl: On",
		"X-Forwarded-Ssl: off", "X-Forwarded-Protocol: ssl", "X-Forwarded-Server: s", "X-Forwarded-Prefix: /x y",
		"Forwarded: for=\"[::1]:80\";proto=https, for=_x", "Forwarded: for=_a;x!#$%&'*+=^`|~", "X-Real-IP: 2001:db8::1", "SCRIPT_NAME: /adm", "SCRIPT_NAME: ", "script_name: /x",
		"PATH_INFO: /a b", "REMOTE_USER: M\xC3\xBCller", "Remote-User: root", "Script-Name: /x"} {
		name, value, _ := strings.Cut(field, ": ")
		written := name + ": " + strings.TrimSpace(value) + "\r\n"
		cases = append(cases, pass(RuleForwardingFields, "trusted "+field, get(field), "Host: a\r\n"+written+"\r\n"))
		cases = append(cases, pass(RuleForwardingFields, "untrusted "+field, get(field)).without("\r\n"+written).untrusted())
	}
	for _, value := range []string{"https, http", "https,https", "HTTPS , http", ",https", "https,", ","} {
		for _, name := range []string{"X-Forwarded-Proto", "X-Forwarded-Protocol", "X-Forwarded-Ssl"} {
			cases = append(cases, pass(RuleForwardingFields, name+" "+value, get(name+": "+value), "Host: a\r\n"+name+": "+value+"\r\n\r\n"))
		}
	}
	for _, field := range []string{"X-Forwarded-Ssl: 1", "X-Forwarded-Ssl: yes", "X-Forwarded-Port: 443, 80", "X-Forwarded-Port: 443,", "X-Real-IP: 203.0.113.9, 10.0.0.1",
		"X-Real-IP: unknown", "X-Real-IP: [2001:db8::1]:4711,::1", "X-Forwarded-Port: 443\r\nX-Forwarded-Port: 80", "X-Real-IP: 1.2.3.4\r\nX-Real-IP: 5.6.7.8",
		"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https", "X-Forwarded-Ssl: on\r\nX-Forwarded-Ssl: on\r\nX-Forwarded-Ssl: on",
		"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off"} {
		cases = append(cases, pass(RuleForwardingFields, "trusted "+field, get(field), "Host: a\r\n"+field+"\r\n\r\n"))
	}
	for _, name := range []string{"X-Forwarded-Proto", "X-Forwarded-Protocol", "X-Forwarded-Port", "X-Forwarded-Ssl", "X-Real-IP"} {
		cases = append(cases, pass(RuleForwardingFields, "an empty "+name, get(name+":"), "Host: a\r\n"+name+": \r\n\r\n"))
		for _, value := range []string{"a b", "<x>", "https;x", "\"1\"", "\xA01", "1\xC3\xA4", "a/b"} {
			cases = append(cases, pass(RuleForwardingFields, name+" "+value, get(name+": "+value, "X: 1"), "Host: a\r\nX: 1\r\n\r\n"))
		}
	}
	for _, field := range []string{"X-Forwarded-Port: 0", "X-Forwarded-Port: 65536", "X-Forwarded-Port: https", "X-Forwarded-Port: 443, 0", "X-Real-IP: 1.2.3.4, <x>", "X-Real-IP: <x>,"} {
		cases = append(cases, pass(RuleForwardingFields, "trusted "+field, get(field), "Host: a\r\n\r\n"))
	}
	for sent, written := range map[string]string{"X-Forwarded-Port: <x>, 443": "443", "X-Forwarded-Port: 80,no ,\t443, 8443": "443, 8443", "X-Real-IP: <x>,203.0.113.9": "203.0.113.9",
		"X-Real-IP: a b, \xA0, 1.2.3.4,,5.6.7.8": "1.2.3.4,,5.6.7.8", "X-Real-IP: <x>, ,": ","} {
		name, _, _ := strings.Cut(sent, ":")
		cases = append(cases, pass(RuleForwardingFields, "the legal end of "+sent, get(sent), "Host: a\r\n"+name+": "+written+"\r\n\r\n"))
	}
	for lines, last := range map[string]string{"https|http": "http", "http|https": "https", "https|https, http": "https, http", "https, http|http": "http",
		"https|": "", "|https": "https", "HTTPS|https": "https", "https|http|https": "https", "https|https|http": "http"} {
		for _, name := range []string{"X-Forwarded-Proto", "x-forwarded-protocol", "X-Forwarded-Ssl"} {
			field := func(v string) string { return name + ": " + v + "\r\n" }
			sent := get(name + ": " + strings.ReplaceAll(lines, "|", "\r\n"+name+": "))
			written := strings.Repeat(field(last), strings.Count("|"+lines+"|", "|"+last+"|"))
			if lines == "https|http|https" {
				written = field(last) + field(last)
			}
			cases = append(cases, pass(RuleForwardingFields, name+" "+lines, sent, "Host: a\r\n"+written+"\r\n"))
		}
	}
	for _, lines := range []string{"https\r\nX-Forwarded-Proto: a b", "a b\r\nX-Forwarded-Proto: c d"} {
		cases = append(cases, pass(RuleForwardingFields, "an illegal last line "+lines, get("X-Forwarded-Proto: "+lines), "Host: a\r\n\r\n"))
	}
	for _, field := range []string{"X-Forwarded-Host: a b", "X-Forwarded-Host: a/b", "Forwarded: for=<x>", "SCRIPT_NAME: adm", "Forwarded: for=a\xA0", "X-Forwarded-Host: \xC3\xA4",
		"PATH_INFO: adm", "SCRIPT_NAME: /a\r\nScript-Name: /a", "REMOTE_USER: a\r\nREMOTE_USER: b", "REMOTE_USER: a\r\nRemote-User: a"} {
		cases = append(cases, refuse(RuleForwardingFields, 400, "trusted "+field, get(field)))
	}
	hops := func(n int) string { return strings.Repeat("1.1.1.1, ", n-1) + "2.2.2.2" }
	long := strings.Repeat("x", 600)
	return append(cases,
		pass(RuleForwardingFields, "untrusted, all", forged, "Host: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\r\n").untrusted(),
		pass(RuleForwardingFields, "untrusted, HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", "X-Forwarded-Host: 127.0.0.1:8000\r\n").untrusted().
			without("X-Forwarded-Host: \r\n"),
		pass(RuleForwardingFields, "trusted, Proxy never passes", get("Proxy: http://6.6.6.6"), "Host: a\r\n\r\n"),
		pass(RuleForwardingFields, "trusted, two lines of hops", get("X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2"),
			"X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n"),

		pass(RuleForwardedForLimit, "nothing is appended", get("X-Forwarded-For: 1.1.1.1"), "X-Forwarded-For: 1.1.1.1\r\n\r\n").without("192.0.2.7"),
		pass(RuleForwardedForLimit, "32 hops", get("X-Forwarded-For: "+hops(32)), "X-Forwarded-For: "+hops(32)+"\r\n"),
		pass(RuleForwardedForLimit, "33 hops", get("X-Forwarded-For: 3.3.3.3, "+hops(32)), "X-Forwarded-For: "+hops(32)+"\r\n").without("3.3.3.3"),
		pass(RuleForwardedForLimit, "33 hops in two lines", get("X-Forwarded-For: 3.3.3.3, 4.4.4.4", "X-Forwarded-For: "+hops(31)),
			"X-Forwarded-For: 4.4.4.4\r\nX-Forwarded-For: "+hops(31)+"\r\n").without("3.3.3.3"),
		pass(RuleForwardedForLimit, "over 1 KiB", get("X-Forwarded-For: "+long+", "+long), "X-Forwarded-For: "+long+"\r\n").without(long+","),
		pass(RuleForwardedForLimit, "over 1 KiB in two lines", get("X-Forwarded-For: "+long, "X-Forwarded-For: "+long), "Host: a\r\nX-Forwarded-For: "+long+"\r\n\r\n"),
		pass(RuleForwardedForLimit, "one hop over 1 KiB", get("X-Forwarded-For: 1.1.1.1, "+long+long), "Host: a\r\n\r\n"),
		pass(RuleForwardedForLimit, "what a client made up before the addresses", get("X-Forwarded-For: ' OR 1=1, \xE9, 203.0.113.9, 10.0.0.1"),
			"Host: a\r\nX-Forwarded-For: 203.0.113.9, 10.0.0.1\r\n\r\n"),
		pass(RuleForwardedForLimit, "what a client made up in a line of its own", get("X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: <x>", "X-Forwarded-For: 2.2.2.2"),
			"Host: a\r\nX-Forwarded-For: 2.2.2.2\r\n\r\n"),
		pass(RuleForwardedForLimit, "no address at all", get("X-Forwarded-For: 1.1.1.1, <x>"), "Host: a\r\n\r\n"),
		pass(RuleForwardedForLimit, "quotes", get("X-Forwarded-For: \"1.2.3.4\", 5.6.7.8"), "Host: a\r\nX-Forwarded-For: 5.6.7.8\r\n\r\n"),
		pass(RuleForwardedForLimit, "an empty one stays", get("X-Forwarded-For:"), "Host: a\r\nX-Forwarded-For: \r\n\r\n"),
		pass(RuleForwardedForLimit, "exactly 1 KiB", get("X-Forwarded-For: "+strings.Repeat("x", 1024)), strings.Repeat("x", 1024)+"\r\n"),
	)
}
