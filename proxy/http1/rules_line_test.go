package http1

import (
	"slices"
	"strings"
)

const tail = "\r\nHost: a\r\n\r\n"

func requestLineRules() []ruleCase {
	return slices.Concat(methodRules(), targetRules(), absoluteRules(), versionRules())
}

func methodRules() []ruleCase {
	return []ruleCase{
		pass(RuleLeadingEmptyLine, "one empty line is skipped", "\r\n"+get(), "GET / HTTP/1.1\r\nHost: a\r\n"),
		refuse(RuleLeadingEmptyLine, 400, "two empty lines", "\r\n\r\n"+get()),
		refuse(RuleLeadingEmptyLine, 400, "space before the method", " "+get()),
		refuse(RuleLeadingEmptyLine, 400, "tab behind the empty line", "\r\n\t"+get()),
		refuse(RuleLeadingEmptyLine, 400, "LF alone", "\n"+get()),
		refuse(RuleLeadingEmptyLine, 400, "CR alone", "\r"+get()),

		refuse(RuleRequestLine, 400, "two spaces before the target", "GET  / HTTP/1.1"+tail),
		refuse(RuleRequestLine, 400, "tab behind the method", "GET\t/ HTTP/1.1"+tail),
		refuse(RuleRequestLine, 400, "tab behind the target", "GET /\tHTTP/1.1"+tail),
		refuse(RuleRequestLine, 400, "method only", "GET"+tail),
		refuse(RuleRequestLine, 400, "method and space", "GET "+tail),
		refuse(RuleRequestLine, 400, "vertical tab", "GET /\vHTTP/1.1"+tail).refusedAs(400, RuleControlOctet),
		refuse(RuleRequestLine, 400, "CR between the parts", "GET\r/ HTTP/1.1"+tail).refusedAs(400, RuleBareCR),

		refuse(RuleMethod, 400, "slash in the method", "GE/T / HTTP/1.1"+tail),
		refuse(RuleMethod, 400, "octet beyond ASCII in the method", "GE\xC3\x89 / HTTP/1.1"+tail),
		refuse(RuleMethod, 501, "33 octets", strings.Repeat("M", 33)+" / HTTP/1.1"+tail),
		pass(RuleMethod, "32 octets", strings.Repeat("M", 32)+" / HTTP/1.1"+tail, strings.Repeat("M", 32)+" / HTTP/1.1\r\n"),
		pass(RuleMethod, "case is kept", "get / HTTP/1.1"+tail, "get / HTTP/1.1\r\n"),
		pass(RuleMethod, "any token", "M-SEARCH / HTTP/1.1"+tail, "M-SEARCH / HTTP/1.1\r\n"),
	}
}

func targetRules() []ruleCase {
	return []ruleCase{
		pass(RuleTargetOctet, "UTF-8 as it is", "GET /caf\xC3\xA9 HTTP/1.1"+tail, "GET /caf\xC3\xA9 HTTP/1.1\r\n"),
		pass(RuleTargetOctet, "Latin-1 in a query", "GET /?q=caf\xE9 HTTP/1.1"+tail, "GET /?q=caf\xE9 HTTP/1.1\r\n"),
		pass(RuleTargetOctet, "octets that Unicode calls blanks and controls", "GET /\x80\x85\xA0\xFF HTTP/1.1"+tail, "GET /\x80\x85\xA0\xFF HTTP/1.1\r\n"),
		pass(RuleTargetOctet, "behind an authority", "GET http://a/\xE9 HTTP/1.1"+tail, "GET /\xE9 HTTP/1.1\r\n"),
		refuse(RuleTargetOctet, 400, "in an authority", "GET http://\xE9/ HTTP/1.1"+tail).refusedAs(400, RuleAbsoluteForm),
		refuse(RuleTargetOctet, 400, "before the slash", "GET \xFF/ HTTP/1.1"+tail).refusedAs(400, RuleOriginForm),
		refuse(RuleTargetOctet, 400, "DEL", "GET /\x7F HTTP/1.1"+tail).refusedAs(400, RuleControlOctet),

		refuse(RuleTargetFragment, 400, "fragment", "GET /#top HTTP/1.1"+tail),
		refuse(RuleTargetFragment, 400, "fragment behind a query", "GET /?a=1#b HTTP/1.1"+tail),
		refuse(RuleTargetFragment, 400, "number sign first", "GET # HTTP/1.1"+tail),
		pass(RuleTargetFragment, "byte for byte", "GET //a/../%2e/%0d%0a;x/%zz?q=%2F&\"<>\\^`{|}' HTTP/1.1"+tail,
			"GET //a/../%2e/%0d%0a;x/%zz?q=%2F&\"<>\\^`{|}' HTTP/1.1\r\n"),

		refuse(RuleOriginForm, 400, "relative", "GET index.html HTTP/1.1"+tail),
		refuse(RuleOriginForm, 400, "query only", "GET ?a HTTP/1.1"+tail),
		refuse(RuleOriginForm, 400, "authority-form", "GET example.com:80 HTTP/1.1"+tail),
		refuse(RuleOriginForm, 400, "unknown scheme", "GET ftp://a/ HTTP/1.1"+tail),
		refuse(RuleOriginForm, 400, "scheme without authority", "GET http:// HTTP/1.1"+tail),

		pass(RuleAsteriskForm, "OPTIONS", "OPTIONS * HTTP/1.1"+tail, "OPTIONS * HTTP/1.1\r\n"),
		refuse(RuleAsteriskForm, 400, "GET", "GET * HTTP/1.1"+tail),
		refuse(RuleAsteriskForm, 400, "OPTIONS and more than an asterisk", "OPTIONS */ HTTP/1.1"+tail),
	}
}

func absoluteRules() []ruleCase {
	absolute := func(target, host string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	}
	return []ruleCase{
		pass(RuleAbsoluteForm, "origin-form and Host", absolute("http://Example.com/a?b", "example.com"),
			"GET /a?b HTTP/1.1\r\nHost: Example.com\r\n").without("http://"),
		pass(RuleAbsoluteForm, "default port", absolute("http://a:80/", "A"), "GET / HTTP/1.1\r\nHost: a:80\r\n"),
		pass(RuleAbsoluteForm, "default port of https", absolute("HTTPS://a/", "a:443"), "GET / HTTP/1.1\r\nHost: a\r\n"),
		pass(RuleAbsoluteForm, "no path", absolute("http://a", "a"), "GET / HTTP/1.1\r\n"),
		pass(RuleAbsoluteForm, "no path but a query", absolute("http://a?b", "a"), "GET /?b HTTP/1.1\r\n"),
		pass(RuleAbsoluteForm, "OPTIONS without path", "OPTIONS http://a HTTP/1.1"+tail, "OPTIONS * HTTP/1.1\r\n"),
		refuse(RuleAbsoluteForm, 400, "other host", absolute("http://a/", "b")),
		refuse(RuleAbsoluteForm, 400, "other port", absolute("http://a:81/", "a")),
		refuse(RuleAbsoluteForm, 400, "port of the other scheme", absolute("http://a:443/", "a")),
		refuse(RuleAbsoluteForm, 400, "userinfo", absolute("http://u@a/", "a")),
		refuse(RuleAbsoluteForm, 400, "empty authority", absolute("http:///x", "a")),
		refuse(RuleAbsoluteForm, 400, "empty port", absolute("http://a:/", "a")),
		refuse(RuleAbsoluteForm, 400, "port with a letter", absolute("http://a:80x/", "a")),
		refuse(RuleAbsoluteForm, 400, "port out of range", absolute("http://a:65536/", "a")),
		refuse(RuleAbsoluteForm, 400, "HTTP/1.0 without Host", "GET http://a/ HTTP/1.0\r\n\r\n"),
		refuse(RuleAbsoluteForm, 400, "no Host", "GET http://a/ HTTP/1.1\r\n\r\n").refusedAs(400, RuleHost),

		refuse(RuleConnect, 405, "authority-form", "CONNECT a:443 HTTP/1.1"+tail),
		refuse(RuleConnect, 405, "origin-form", "CONNECT / HTTP/1.1"+tail),

		refuse(RuleTrace, 405, "origin-form", "TRACE / HTTP/1.1"+tail),
		refuse(RuleTrace, 405, "asterisk", "TRACE * HTTP/1.0"+tail),
	}
}

func versionRules() []ruleCase {
	return []ruleCase{
		refuse(RuleVersion, 505, "HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		refuse(RuleVersion, 505, "HTTP/1.2", "GET / HTTP/1.2"+tail),
		refuse(RuleVersion, 505, "HTTP/9.9", "GET / HTTP/9.9"+tail),
		refuse(RuleVersion, 505, "HTTP/0.9", "GET / HTTP/0.9"+tail),

		refuse(RuleVersionSyntax, 400, "no version", "GET /"+tail),
		refuse(RuleVersionSyntax, 400, "space and no version", "GET / "+tail),
		refuse(RuleVersionSyntax, 400, "lower case", "GET / http/1.1"+tail),
		refuse(RuleVersionSyntax, 400, "one number", "GET / HTTP/2"+tail),
		refuse(RuleVersionSyntax, 400, "more digits", "GET / HTTP/1.10"+tail),
		refuse(RuleVersionSyntax, 400, "leading zero", "GET / HTTP/01.1"+tail),
		refuse(RuleVersionSyntax, 400, "blank at the end", "GET / HTTP/1.1 "+tail),
		refuse(RuleVersionSyntax, 400, "four parts", "GET / HTTP/1.1 HTTP/1.1"+tail),
		refuse(RuleVersionSyntax, 400, "comma", "GET / HTTP/1,1"+tail),
		refuse(RuleVersionSyntax, 400, "other protocol", "GET / ICAP/1.0"+tail),
		refuse(RuleVersionSyntax, 400, "no digit", "GET / HTTP/x.1"+tail),
		refuse(RuleVersionSyntax, 400, "no second digit", "GET / HTTP/1.x"+tail),

		pass(RuleUpstreamVersion, "from HTTP/1.0", "GET / HTTP/1.0"+tail, "GET / HTTP/1.1\r\n"),
		pass(RuleUpstreamVersion, "from HTTP/1.1", "GET / HTTP/1.1"+tail, "GET / HTTP/1.1\r\n"),
	}
}
