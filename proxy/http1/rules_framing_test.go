package http1

import "strings"

func framingRules() []ruleCase {
	length := func(v, body string) string { return get("Content-Length: "+v) + body }
	coding := func(v string) string { return get("Transfer-Encoding: "+v) + "0\r\n\r\n" }
	limited := trustedPolicy
	limited.Limits.Body = 5
	var cases []ruleCase
	for _, v := range []string{"+1", "-1", "0x1", "1_0", "1 0", "1,1", "1, 1", "", "1.0", "1;", "\"1\"", "a",
		strings.Repeat("0", 20), "12345678901234567890"} {
		cases = append(cases, refuse(RuleContentLength, 400, "Content-Length "+v, length(v, "")))
	}
	for _, v := range []string{",chunked", "chunked,", "chunked, chunked", "chunked, gzip", "", ",", "gzip,,chunked"} {
		cases = append(cases, refuse(RuleTransferEncoding, 400, "Transfer-Encoding "+v, coding(v)))
	}
	for _, v := range []string{"gzip, chunked", "identity", "xchunked", "chunked;q=1", "\"chunked\"", "chunked chunked", "'chunked'", "gzip"} {
		cases = append(cases, refuse(RuleUnknownTransferCoding, 501, "Transfer-Encoding "+v, coding(v)))
	}
	return append(append(cases, overflowRules()...),
		pass(RuleContentLength, "leading zeros", length("0005", "hello"), "Content-Length: 5\r\n").body("hello").without("0005"),
		pass(RuleContentLength, "zero", length("0", ""), "Content-Length: 0\r\n"),

		refuse(RuleDuplicateContentLength, 400, "different", get("Content-Length: 1", "Content-Length: 2")),
		refuse(RuleDuplicateContentLength, 400, "equal", get("Content-Length: 1", "content-length: 1")),

		refuse(RuleLengthAndTransferEncoding, 400, "length first", get("Content-Length: 5", "Transfer-Encoding: chunked")),
		refuse(RuleLengthAndTransferEncoding, 400, "coding first", get("Transfer-Encoding: chunked", "Content-Length: 0")),
		refuse(RuleLengthAndTransferEncoding, 400, "other coding", get("Content-Length: 5", "Transfer-Encoding: identity")),

		pass(RuleTransferEncoding, "chunked", coding("chunked"), "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		pass(RuleTransferEncoding, "any case, blanks", coding(" \tCHUnked\t "), "Transfer-Encoding: chunked\r\n"),
		refuse(RuleTransferEncoding, 400, "two lines", get("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")),
		refuse(RuleTransferEncoding, 400, "two lines, one empty", get("Transfer-Encoding: chunked", "Transfer-Encoding:")),

		refuse(RuleTransferEncodingHTTP10, 400, "chunked", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		refuse(RuleTransferEncodingHTTP10, 400, "identity and a length", "POST / HTTP/1.0\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\n"),

		pass(RuleNoFraming, "GET", get(), "Host: a\r\n\r\n").without("Content-Length", "Transfer-Encoding"),
		pass(RuleNoFraming, "POST", "POST / HTTP/1.1"+tail, "Host: a\r\n\r\n").without("Content-Length", "Transfer-Encoding"),

		pass(RuleMethodIndependentFraming, "DELETE, chunked", "DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").body("abc"),
		pass(RuleMethodIndependentFraming, "GET with a length", length("3", "abc"), "Content-Length: 3\r\n\r\nabc").body("abc"),
		pass(RuleMethodIndependentFraming, "OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "Content-Length: 1\r\n\r\nx"),
		pass(RuleMethodIndependentFraming, "HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "Content-Length: 1\r\n\r\nx"),

		pass(RuleBodyLimits, "at the limit", length("5", "12345"), "12345").under(limited),
		refuse(RuleBodyLimits, 413, "length over the limit", length("6", "")).under(limited),
		refuse(RuleBodyLimits, 413, "chunk over the limit", post("6\r\n")).under(limited),
		refuse(RuleBodyLimits, 413, "chunks over the limit", post("3\r\nabc\r\n3\r\n")).under(limited),
		pass(RuleBodyLimits, "chunks at the limit", post("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")).body("abcde").under(limited),
	)
}

func overflowRules() (cases []ruleCase) {
	length := func(v, body string) string { return get("Content-Length: "+v) + body }
	for _, v := range []string{"2147483648", "4294967296", "9007199254740992", "9223372036854775807"} {
		cases = append(cases, pass(RuleLengthOverflow, "Content-Length "+v, length(v, "")).as("more"))
	}
	for _, v := range []string{"9223372036854775808", "18446744073709551616", "18446744073709551621"} {
		cases = append(cases, refuse(RuleLengthOverflow, 400, "Content-Length "+v, length(v, "12345")).refusedAs(400, RuleContentLength))
	}
	for _, v := range []string{"80000000", "100000000", "fffffffffffff"} {
		cases = append(cases, pass(RuleLengthOverflow, "chunk of "+v, post(v+"\r\n")).as("more"))
	}
	for _, v := range []string{"10000000000000", "8000000000000000", "ffffffffffffffff", "10000000000000000", "10000000000000005"} {
		cases = append(cases, refuse(RuleLengthOverflow, 400, "chunk of "+v, post(v+"\r\n")).refusedAs(400, RuleChunkSize))
	}
	return cases
}
