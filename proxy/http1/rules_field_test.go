package http1

import (
	"slices"
	"strings"
)

func fieldRules() []ruleCase { return slices.Concat(octetRules(), nameRules()) }

func octetRules() []ruleCase {
	return []ruleCase{
		refuse(RuleBareLF, 400, "bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
		refuse(RuleBareLF, 400, "bare LF behind a field", get("X: 1\nY: 2")),
		refuse(RuleBareLF, 400, "bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n"),

		refuse(RuleBareCR, 400, "in a value", get("X: a\rb")),
		refuse(RuleBareCR, 400, "before CRLF", get("X: a\r")),
		refuse(RuleBareCR, 400, "as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\rX"),

		refuse(RuleNUL, 400, "in a value", get("X: a\x00b")),
		refuse(RuleNUL, 400, "in a name", get("X\x00: a")),
		refuse(RuleNUL, 400, "in the target", "GET /\x00 HTTP/1.1"+tail),

		refuse(RuleControlOctet, 400, "BEL in a value", get("X: a\x07b")),
		refuse(RuleControlOctet, 400, "DEL in a long value", get("X: "+strings.Repeat("a", 40)+"\x7F")),
		refuse(RuleControlOctet, 400, "ESC in a name", get("X\x1B: a")),
		refuse(RuleControlOctet, 400, "form feed behind a value", get("X: a\f")),
		pass(RuleControlOctet, "tab, space and UTF-8 pass", get("X: a\tb  c\xC3\xA4\xFF"), "X: a\tb  c\xC3\xA4\xFF\r\n"),
		pass(RuleControlOctet, "0x80 and 0xA0 pass", get("X: \x80\xA0\x85"), "X: \x80\xA0\x85\r\n"),
		refuse(RuleControlOctet, 400, "0xA0 before chunked", get("Transfer-Encoding: \xA0chunked")),
		refuse(RuleControlOctet, 400, "0x85 behind chunked", get("Transfer-Encoding: chunked\x85")),
		refuse(RuleControlOctet, 400, "UTF-8 in Host", "GET / HTTP/1.1\r\nHost: \xC3\xA4\r\n\r\n"),
		refuse(RuleControlOctet, 400, "in Content-Length", get("Content-Length: 1\xA0")),
		refuse(RuleControlOctet, 400, "in Connection", get("Connection: clos\xE9")),
		refuse(RuleControlOctet, 400, "in Expect", get("Expect: 100-continue\xA0")),
	}
}

func nameRules() []ruleCase {
	underscores := trustedPolicy
	underscores.PassUnderscores = true
	return []ruleCase{
		refuse(RuleFieldName, 400, "empty name", get(": x")),
		refuse(RuleFieldName, 400, "slash", get("X/Y: x")),
		refuse(RuleFieldName, 400, "quotes", get("\"X\": x")),
		refuse(RuleFieldName, 400, "octet beyond ASCII", get("X\xC3\xA4: x")),
		refuse(RuleFieldName, 400, "257 octets", get(strings.Repeat("n", 257)+": x")),
		pass(RuleFieldName, "256 octets", get(strings.Repeat("n", 256)+": x"), strings.Repeat("n", 256)+": x\r\n"),
		pass(RuleFieldName, "all kinds of letters", get("!#$%&'*+-.^`|~09Az: x"), "!#$%&'*+-.^`|~09Az: x\r\n"),

		refuse(RuleBlankBeforeColon, 400, "space", get("X : x")),
		refuse(RuleBlankBeforeColon, 400, "tab", get("Content-Length\t: 1")),
		refuse(RuleBlankBeforeColon, 400, "several", get("X \t : x")),

		refuse(RuleMissingColon, 400, "no colon", get("X")),
		refuse(RuleMissingColon, 400, "space only", get("X x")),
		refuse(RuleMissingColon, 400, "space at the end", get("X ")),

		refuse(RuleLeadingBlank, 400, "space", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
		refuse(RuleLeadingBlank, 400, "tab", "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n"),
		refuse(RuleLeadingBlank, 400, "nothing else", "GET / HTTP/1.1\r\n \r\n\r\n"),

		refuse(RuleObsFold, 400, "space", get("X: a", " b")),
		refuse(RuleObsFold, 400, "tab", get("X: a", "\tb: c")),
		refuse(RuleObsFold, 400, "blank line", get("X: a", " ")),

		pass(RuleOptionalWhitespace, "blanks around a value", get("X: \t a b \t "), "\r\nX: a b\r\n"),
		pass(RuleOptionalWhitespace, "no blank", get("X:a"), "\r\nX: a\r\n"),
		pass(RuleOptionalWhitespace, "empty value", get("X:"), "\r\nX: \r\n"),
		pass(RuleOptionalWhitespace, "blank value", get("X: \t  "), "\r\nX: \r\n"),
		pass(RuleOptionalWhitespace, "0xA0 is no blank", get("X: \xA0a\xA0"), "\r\nX: \xA0a\xA0\r\n"),
		pass(RuleOptionalWhitespace, "blank before a number", get("Content-Length:\t 0 "), "Content-Length: 0\r\n"),

		pass(RuleFieldOrder, "order is kept", get("B: 1", "A: 2", "B: 3"), "B: 1\r\nA: 2\r\nB: 3\r\n"),
		pass(RuleFieldOrder, "order around a removed one", get("B: 1", "Keep-Alive: 5", "C:2", "B: 3, 4"), "B: 1\r\nC: 2\r\nB: 3, 4\r\n"),

		refuse(RuleUnderscore, 400, "framing", get("Content_Length: 1")),
		refuse(RuleUnderscore, 400, "framing in capitals", get("TRANSFER_ENCODING: chunked")),
		refuse(RuleUnderscore, 400, "hop by hop", get("Keep_Alive: 5")),
		refuse(RuleUnderscore, 400, "forwarding", get("X_Forwarded_For: 6.6.6.6")),
		refuse(RuleUnderscore, 400, "forwarding, half", get("X-Forwarded_Proto: https")),
		refuse(RuleUnderscore, 400, "any X-Forwarded", get("X_Forwarded_Prefix: /adm")),
		refuse(RuleUnderscore, 400, "also where others pass", get("X_Real_Ip: 6.6.6.6")).under(underscores),
		pass(RuleUnderscore, "others are dropped", get("X_Under: 1", "Content_Type: x"), "Host: a\r\n").without("X_Under", "Content_Type"),
		pass(RuleUnderscore, "others pass where wanted", get("X_Under: 1"), "X_Under: 1\r\n").under(underscores),
		pass(RuleUnderscore, "a look-alike is no key", get("Idempotency_Key: 1")).flags("keep"),
	}
}

func limitRules() []ruleCase {
	line := func(n int) string { return "X: " + strings.Repeat("v", n-3) }
	target := func(n int) string {
		return "GET /" + strings.Repeat("t", n-len("GET / HTTP/1.1")) + " HTTP/1.1\r\nHost: a\r\n\r\n"
	}
	var many []string
	for range 99 {
		many = append(many, "X: 1")
	}
	head := func(n int) string { // of n octets
		l := line(8000)
		return get(l, l, l, l, line(n-len(get(l, l, l, l, ""))))
	}
	small := trustedPolicy
	small.Limits.Head = 64
	return []ruleCase{
		pass(RuleHeadLimits, "request line of 8190", target(8190), "t HTTP/1.1\r\n"),
		refuse(RuleHeadLimits, 414, "request line of 8191", target(8191)),
		refuse(RuleHeadLimits, 414, "request line without end", "GET /"+strings.Repeat("t", 9000)),
		refuse(RuleHeadLimits, 414, "request line longer than a small head", target(70)).under(small),
		pass(RuleHeadLimits, "field line of 8190", get(line(8190)), "v\r\n"),
		refuse(RuleHeadLimits, 431, "field line of 8191", get(line(8191))),
		refuse(RuleHeadLimits, 431, "field line without end", "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("v", 9000)),
		pass(RuleHeadLimits, "100 fields", get(many...), "X: 1\r\n"),
		refuse(RuleHeadLimits, 431, "101 fields", get(append(many, "X: 1")...)),
		pass(RuleHeadLimits, "32 KiB", head(32<<10), "v\r\n"),
		refuse(RuleHeadLimits, 431, "32 KiB and one octet", head(32<<10+1)),
		refuse(RuleHeadLimits, 431, "trailers with a long line", post("0\r\n"+line(8191)+"\r\n\r\n")),
		refuse(RuleHeadLimits, 431, "101 trailers", post("0\r\n"+strings.Repeat("X: 1\r\n", 101)+"\r\n")),
		refuse(RuleHeadLimits, 431, "33 KiB of trailers", post("0\r\n"+strings.Repeat(line(8000)+"\r\n", 5)+"\r\n")),
		pass(RuleHeadLimits, "100 trailers", post("0\r\n"+strings.Repeat("X: 1\r\n", 100)+"\r\n"), "\r\n0\r\n\r\n"),
	}
}
