package http1

import "strings"

func chunkRules() []ruleCase {
	var cases []ruleCase
	for _, size := range []string{"", " 5", "5 ", "5\t", "+5", "-5", "0x5", "5_0", "g", "00000000000000005", "5 ;a", "\x00", "5\xA0"} {
		cases = append(cases, refuse(RuleChunkSize, 400, "size "+size, post(size+"\r\nhello\r\n0\r\n\r\n")))
	}
	for _, ext := range []string{"", ";", "a;", ";a", "=", "=b", "a=", "a=;b", "a b", "a=b c", "a\x00", "a=\x01", "a=\"b", "a=\"\x01\"",
		"a=\"b\"c", "a=\"\\", "a ", "a=b ", "\ta", "a\t=b", "a=\"\t\"", "\xC3\xA4", "a,b", "a=\"x\"\"y\"", "a=\"\x7F\""} {
		cases = append(cases, refuse(RuleChunkExtension, 400, "extension "+ext, post("5;"+ext+"\r\nhello\r\n0\r\n\r\n")))
	}
	for _, ext := range []string{"a", "a=b", "a;b", "a=b;c=d", "a=\"b c\"", "a=\"b\\\"c\"", " a = b", "a ;b", "a=b ; c", "a=\"\xC3\xA4\"", "a=\"\""} {
		cases = append(cases, pass(RuleChunkRewrite, "extension "+ext, post("5;"+ext+"\r\nhello\r\n0;x=y\r\n\r\n"),
			"\r\n\r\n5\r\nhello\r\n0\r\n\r\n").body("hello"))
	}
	waste := strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\na\r\n", 90)
	return append(append(cases, trailerRules()...),
		pass(RuleChunkSize, "16 digits", post("0000000000000005\r\nhello\r\n0000\r\n\r\n")).body("hello"),
		pass(RuleChunkSize, "any case", post("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n")).body("01234567890123456789"),

		refuse(RuleChunkSizeLine, 400, "LF behind the size", post("5\nhello\r\n0\r\n\r\n")),
		refuse(RuleChunkSizeLine, 400, "CR alone behind the size", post("5\rhello\r\n0\r\n\r\n")),
		refuse(RuleChunkSizeLine, 400, "LF in an extension", post("5;a\nhello\r\n0\r\n\r\n")),
		refuse(RuleChunkSizeLine, 400, "CR in an extension", post("5;a\rb\r\nhello\r\n0\r\n\r\n")),
		refuse(RuleChunkSizeLine, 400, "LF in a quoted extension", post("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n")),
		refuse(RuleChunkSizeLine, 400, "CRLF in a quoted extension", post("5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n")).refusedAs(400, RuleChunkExtension),
		refuse(RuleChunkSizeLine, 400, "LF behind the last size", post("0\n\r\n")),

		refuse(RuleChunkExtension, 400, "line of 257", post("1;"+strings.Repeat("x", 255)+"\r\na\r\n0\r\n\r\n")),
		pass(RuleChunkExtension, "line of 256", post("1;"+strings.Repeat("x", 254)+"\r\na\r\n0\r\n\r\n")).body("a"),

		refuse(RuleChunkOverhead, 400, "long extensions", post(waste)),
		pass(RuleChunkOverhead, "a thousand chunks of one octet", post(strings.Repeat("1\r\na\r\n", 1000)+"0\r\n\r\n")).body(strings.Repeat("a", 1000)),
		pass(RuleChunkOverhead, "some long extensions", post(strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\na\r\n", 80)+"0\r\n\r\n")).body(strings.Repeat("a", 80)),

		refuse(RuleChunkDataEnd, 400, "data spill", post("3\r\nabcd\r\n0\r\n\r\n")),
		refuse(RuleChunkDataEnd, 400, "data too short", post("5\r\nabc\r\n0\r\n\r\n")),
		refuse(RuleChunkDataEnd, 400, "LF only", post("3\r\nabc\n0\r\n\r\n")),
		refuse(RuleChunkDataEnd, 400, "another octet for CR", post("3\r\nabcX\n0\r\n\r\n")),
		refuse(RuleChunkDataEnd, 400, "another octet for LF", post("3\r\nabc\rX0\r\n\r\n")),
		refuse(RuleChunkDataEnd, 400, "CR only", post("3\r\nabc\r0\r\n\r\n")),
		refuse(RuleChunkDataEnd, 400, "nothing between", post("3\r\nabc0\r\n\r\n")),

		pass(RuleIncompleteRequest, "no empty line", post("3\r\nabc\r\n0\r\n")).as("more"),
		pass(RuleIncompleteRequest, "no last chunk", post("3\r\nabc\r\n")).as("more"),
		pass(RuleIncompleteRequest, "half an empty line", post("0\r\n\r")).as("more"),
		pass(RuleIncompleteRequest, "trailers without end", post("0\r\nX: 1\r\n")).as("more"),
	)
}

func trailerRules() []ruleCase {
	var cases []ruleCase
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Trailer", "TE", "Authorization", "Connection",
		"Cookie", "Expect", "X-Forwarded-For", "X_Forwarded_Proto", "X-Forwarded-Anything", "content_length", "Proxy-Authorization", "Upgrade"} {
		cases = append(cases, refuse(RuleTrailers, 400, name, post("0\r\n"+name+": 1\r\n\r\n")))
	}
	return append(cases,
		pass(RuleTrailers, "dropped", post("0\r\nX-Sum: 1\r\nDigest:\r\n\r\n"), "\r\n\r\n0\r\n\r\n").without("X-Sum", "Digest"),
		refuse(RuleTrailers, 400, "bare LF", post("0\r\nX: 1\n\r\n")).refusedAs(400, RuleBareLF),
		refuse(RuleTrailers, 400, "bare LF as the empty line", post("0\r\n\n")).refusedAs(400, RuleBareLF),
		refuse(RuleTrailers, 400, "bare CR", post("0\r\nX: a\rb\r\n\r\n")).refusedAs(400, RuleBareCR),
		refuse(RuleTrailers, 400, "CR at the end", post("0\r\n\rX")).refusedAs(400, RuleBareCR),
		refuse(RuleTrailers, 400, "NUL", post("0\r\nX: \x00\r\n\r\n")).refusedAs(400, RuleNUL),
		refuse(RuleTrailers, 400, "control", post("0\r\nX: \x08\r\n\r\n")).refusedAs(400, RuleControlOctet),
		refuse(RuleTrailers, 400, "empty name", post("0\r\n: x\r\n\r\n")).refusedAs(400, RuleFieldName),
		refuse(RuleTrailers, 400, "illegal name", post("0\r\nX(: x\r\n\r\n")).refusedAs(400, RuleFieldName),
		refuse(RuleTrailers, 400, "long name", post("0\r\n"+strings.Repeat("n", 257)+": x\r\n\r\n")).refusedAs(400, RuleFieldName),
		refuse(RuleTrailers, 400, "blank before the colon", post("0\r\nX : x\r\n\r\n")).refusedAs(400, RuleBlankBeforeColon),
		refuse(RuleTrailers, 400, "no colon", post("0\r\nX\r\n\r\n")).refusedAs(400, RuleMissingColon),
		refuse(RuleTrailers, 400, "first line begins with a blank", post("0\r\n X: x\r\n\r\n")).refusedAs(400, RuleLeadingBlank),
		refuse(RuleTrailers, 400, "folded", post("0\r\nX: x\r\n y\r\n\r\n")).refusedAs(400, RuleObsFold),
	)
}
