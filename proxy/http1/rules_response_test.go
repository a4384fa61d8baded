package http1

import (
	"fmt"
	"strings"
)

// ok returns a response with these field lines.
func ok(lines ...string) string {
	return "HTTP/1.1 200 OK\r\n" + strings.Join(append(lines, "\r\n"), "\r\n")
}

var (
	keptClient       = responseCase{client: ResponseOptions{Minor: 1, KeepAlive: true}}
	http10Client     = responseCase{client: ResponseOptions{Minor: 0}}
	keptHTTP10Client = responseCase{client: ResponseOptions{Minor: 0, KeepAlive: true}}
	headRequest      = responseCase{asked: RequestInfo{Head: true}, client: ResponseOptions{Minor: 1, KeepAlive: true}}
	upgradeRequest   = responseCase{asked: RequestInfo{Upgrade: true}, client: ResponseOptions{Minor: 1, KeepAlive: true}}
	closingUpstream  = responseCase{client: ResponseOptions{Minor: 1, KeepAlive: true}, eof: true}
)

// refusedResponse is a response that breaks the rule.
func refusedResponse(id Rule, name, in string) ruleCase {
	return ruleCase{id: id, name: name, in: in, want: verdict(502, id), response: &keptClient}
}

// passedResponse is a valid response. has are parts of what is written.
func passedResponse(id Rule, name, in string, has ...string) ruleCase {
	return ruleCase{id: id, name: name, in: in, has: has, response: &keptClient}
}

func (c ruleCase) to(x responseCase) ruleCase { c.response = &x; return c }

func responseRules() []ruleCase {
	early := "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n"
	final := ok("Content-Length: 0")
	switched := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
	many := strings.Repeat("X: 1\r\n", 199) + "Content-Length: 0"
	var cases []ruleCase
	for _, line := range []string{"HTTP/1.1 2000 OK", "HTTP/1.1 099 OK", "HTTP/1.1 000 OK", "HTTP/1.1 1000 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1 1:0 OK", "HTTP/1.1  200 OK",
		"HTTP/1.1\t200 OK", "HTTP/1.1 200\tOK", "HTTP/1.2 200 OK", "HTTP/2.0 200 OK", "HTTP/2 200 OK", "HTTP/1.1", "HTTP/1.1 ", "HTTP/11 200 OK", "HTTP/1.1 -20 OK"} {
		cases = append(cases, refusedResponse(RuleStatusLine, line, line+"\r\nContent-Length: 0\r\n\r\n"))
	}
	for _, text := range []string{"hello world", "\r\n" + final, " " + final, "\n", "http/1.1 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n", "\x00", "HTP", "GET / HTTP/1.1\r\n"} {
		cases = append(cases, refusedResponse(RuleNotHTTP, text, text))
	}
	for _, field := range []string{"X: a\x00b", "X: a\x07", "X: a\x7F", "X: a\nY: b", "X: a\rb", "X : a", ": a", "X(: a", "X", "X x", "X: a\r\n b",
		strings.Repeat("n", 257) + ": a", "Content_Length: 5", "Transfer_Encoding: chunked", "Keep_Alive: 5", "Connection: clos\xE9",
		"Connection: Content-Length", "Connection: a b", "Content-Length: 1\xA0"} {
		cases = append(cases, refusedResponse(RuleResponseFields, field, ok(field, "Content-Length: 0")))
	}
	return append(cases,
		passedResponse(RuleInterimResponses, "103 to HTTP/1.1", early+final, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"),
		passedResponse(RuleInterimResponses, "103 to HTTP/1.0", early+final, "HTTP/1.1 200 OK\r\n").to(keptHTTP10Client).without("103", "Link"),
		passedResponse(RuleInterimResponses, "100 and 102 are swallowed", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nTransfer-Encoding: x\r\n\r\n"+final, "HTTP/1.1 200").
			without("100", "102"),
		passedResponse(RuleInterimResponses, "8 of them", strings.Repeat(early, 8)+final, "200 OK"),
		refusedResponse(RuleInterimResponses, "9 of them", strings.Repeat(early, 9)+final),
		refusedResponse(RuleInterimResponses, "too long together", strings.Repeat("HTTP/1.1 103 E\r\nLink: "+strings.Repeat("x", 16000)+"\r\n\r\n", 5)+final),
		passedResponse(RuleInterimResponses, "nothing behind it", early, "").as("more"),

		passedResponse(RuleSwitchingProtocols, "asked for", switched+"\x81\x00", "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").to(upgradeRequest),
		refusedResponse(RuleSwitchingProtocols, "not asked for", switched),
		refusedResponse(RuleSwitchingProtocols, "other protocol", strings.Replace(switched, "websocket", "h2c", 1)).to(upgradeRequest),
		refusedResponse(RuleSwitchingProtocols, "no Upgrade", strings.Replace(switched, "Upgrade: websocket\r\n", "", 1)).to(upgradeRequest),
		refusedResponse(RuleSwitchingProtocols, "not in Connection", strings.Replace(switched, "Connection: Upgrade", "Connection: close", 1)).to(upgradeRequest),
		refusedResponse(RuleSwitchingProtocols, "HTTP/1.0", strings.Replace(switched, "HTTP/1.1", "HTTP/1.0", 1)).to(upgradeRequest),
		passedResponse(RuleSwitchingProtocols, "refused by the app", "HTTP/1.1 403 No\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").to(upgradeRequest),

		passedResponse(RuleStatusLine, "no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 \r\n"),
		passedResponse(RuleStatusLine, "no space either", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 \r\n"),
		passedResponse(RuleStatusLine, "reason with tab and UTF-8", "HTTP/1.0 599 a\tb\xC3\xA4\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 599 a\tb\xC3\xA4\r\n"),
		passedResponse(RuleStatusLine, "600", "HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 600 OK\r\n"),
		passedResponse(RuleStatusLine, "a status of an app's own", "HTTP/1.1 700 Custom\r\nContent-Length: 3\r\n\r\nok\n", "HTTP/1.1 700 Custom\r\n").body("ok\n").flags("reusable"),
		passedResponse(RuleStatusLine, "999", "HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 999 Denied\r\n"),
		refusedResponse(RuleStatusLine, "control octet in the reason", "HTTP/1.1 200 O\x07K\r\n\r\n").refusedAs(502, RuleResponseFields),
		refusedResponse(RuleStatusLine, "bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n").refusedAs(502, RuleResponseFields),
		passedResponse(RuleNotHTTP, "begins like HTTP", "HTT", "").as("more"),
		passedResponse(RuleResponseFields, "underscores, tabs, UTF-8 pass", ok("X_Y: \ta\tb\xC3\xA4", "Proxy: x", "Content-Length: 0"), "X_Y: a\tb\xC3\xA4\r\nProxy: x\r\n"),
		passedResponse(RuleResponseFields, "order is kept", ok("Set-Cookie: a", "Date: x", "Set-Cookie: b", "Content-Length: 0"), "Set-Cookie: a\r\nDate: x\r\nSet-Cookie: b\r\n"),
		passedResponse(RuleResponseFields, "hop-by-hop and named ones are removed", ok("Connection: X-A, keep-alive", "X-A: 1", "Keep-Alive: 5", "Trailer: X", "TE: x",
			"Proxy-Connection: x", "Upgrade: h2c", "Proxy-Authenticate: Basic realm=\xE4", "Content-Length: 0"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),

		passedResponse(RuleResponseHeadLimits, "200 fields", ok(many), "X: 1\r\n"),
		refusedResponse(RuleResponseHeadLimits, "201 fields", ok("X: 1", many)),
		passedResponse(RuleResponseHeadLimits, "a line of 60 KiB", ok("X: "+strings.Repeat("v", 60<<10), "Content-Length: 0"), "v\r\n"),
		refusedResponse(RuleResponseHeadLimits, "over 64 KiB in one line", ok("X: "+strings.Repeat("v", 64<<10), "Content-Length: 0")),
		refusedResponse(RuleResponseHeadLimits, "over 64 KiB in several", ok(strings.Repeat("X: "+strings.Repeat("v", 8000)+"\r\n", 9)+"Content-Length: 0")),
		refusedResponse(RuleResponseHeadLimits, "status line without end", "HTTP/1.1 200 "+strings.Repeat("x", 64<<10)),
	)
}

func responseFramingRules() []ruleCase {
	chunked := func(body string) string { return ok("Transfer-Encoding: chunked") + body }
	var cases []ruleCase
	for _, lines := range []string{"Content-Length: 1, 2", "Content-Length: 1,", "Content-Length: ,1", "Content-Length: 1,,1", "Content-Length: 1 1", "Content-Length: 1;1",
		"Content-Length: 1, +1", "Content-Length: +1", "Content-Length: x", "Content-Length:", "Content-Length: 1\r\nContent-Length:",
		"Content-Length: 1, 1\r\nContent-Length: 1, 2", "Content-Length: 1, 1\r\nTransfer-Encoding: chunked", "Content-Length: 9223372036854775808, 9223372036854775808",
		"Content-Length: 1\r\nContent-Length: 2", "Content-Length: 1\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: xchunked",
		"Transfer-Encoding: identity", "Transfer-Encoding:", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"} {
		cases = append(cases, refusedResponse(RuleResponseFraming, lines, ok(lines)), refusedResponse(RuleResponseFraming, lines+" to HEAD", ok(lines)).to(headRequest))
	}
	for body, rule := range map[string]Rule{"5\nhello\r\n0\r\n\r\n": RuleChunkSizeLine, "x\r\n": RuleChunkSize, "5\r\nhello0\r\n": RuleChunkDataEnd,
		"5;\r\nhello": RuleChunkExtension, strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\na\r\n", 90): RuleChunkOverhead} {
		cases = append(cases, refusedResponse(rule, fmt.Sprintf("body %.20q", body), chunked(body)))
	}
	length := "Content-Length: 5"
	return append(cases,
		refusedResponse(RuleResponseFraming, "chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		passedResponse(RuleResponseFraming, "chunked", chunked("2\r\nab\r\n0\r\n\r\n"), "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n").body("ab").flags("reusable"),
		passedResponse(RuleResponseFraming, "a list of equal lengths", ok("Content-Length: 5, 5")+"hello", "OK\r\nContent-Length: 5\r\n\r\nhello").body("hello").flags("reusable"),
		passedResponse(RuleResponseFraming, "equal lengths in two lines", ok("Content-Length: 5", "X: 1", "content-length: 05")+"hello", "OK\r\nX: 1\r\nContent-Length: 5\r\n\r\nhello").body("hello").flags("reusable"),
		passedResponse(RuleResponseFraming, "lines and lists", ok("Content-Length: 2,\t2", "Content-Length: 2")+"ab", "OK\r\nContent-Length: 2\r\n\r\nab").body("ab"),
		passedResponse(RuleResponseFraming, "equal lengths of a HEAD", ok("Content-Length: 5, 5"), "Content-Length: 5\r\n").to(headRequest),
		passedResponse(RuleResponseFraming, "length", ok("Content-Length: 002")+"ab", "Content-Length: 2\r\n\r\nab").body("ab").flags("reusable"),
		passedResponse(RuleResponseFraming, "until close", ok("X: 1")+"abc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").to(closingUpstream).body("abc").flags("-"),

		passedResponse(RuleResponseWithoutBody, "HEAD keeps the length", ok(length), length+"\r\n\r\n").to(headRequest).flags("-"),
		passedResponse(RuleResponseWithoutBody, "HEAD without a length", ok("Transfer-Encoding: chunked"), "HTTP/1.1 200 OK\r\n\r\n").to(headRequest).flags("-"),
		passedResponse(RuleResponseWithoutBody, "304 keeps the length", "HTTP/1.1 304 X\r\n"+length+"\r\n\r\n", length+"\r\n\r\n").flags("reusable"),
		passedResponse(RuleResponseWithoutBody, "204 loses it", "HTTP/1.1 204 X\r\n"+length+"\r\n\r\n", "HTTP/1.1 204 X\r\n\r\n").flags("-"),
		passedResponse(RuleResponseWithoutBody, "204", "HTTP/1.1 204 X\r\n\r\n", "HTTP/1.1 204 X\r\n\r\n").flags("reusable"),
		passedResponse(RuleResponseWithoutBody, "304 with chunked", "HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 304 X\r\n\r\n").flags("-"),
		passedResponse(RuleResponseWithoutBody, "103 loses it", "HTTP/1.1 103 X\r\n"+length+"\r\n\r\n"+ok("Content-Length: 0"), "HTTP/1.1 103 X\r\n\r\n").without(length),

		passedResponse(RuleUpstreamReuse, "closed by the child", ok("Connection: close", length)+"hello", "hello").flags("-"),
		passedResponse(RuleUpstreamReuse, "HTTP/1.0", "HTTP/1.0 200 OK\r\n"+length+"\r\n\r\nhello", "hello").flags("-"),
		passedResponse(RuleUpstreamReuse, "HTTP/1.0 kept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"+length+"\r\n\r\nhello", "hello").flags("reusable"),
		passedResponse(RuleUpstreamReuse, "more than the body is not used", ok(length)+"hello"+ok(length)+"again", "hello").body("hello").without("again"),
		passedResponse(RuleUpstreamReuse, "more than the chunks is not used", chunked("0\r\n\r\nmore"), "\r\n0\r\n\r\n").without("more"),

		refusedResponse(RuleIncompleteResponse, "short of its length", ok(length)+"hell").to(closingUpstream),
		refusedResponse(RuleIncompleteResponse, "without last chunk", chunked("5\r\nhello\r\n")).to(closingUpstream),
		refusedResponse(RuleIncompleteResponse, "without the last empty line", chunked("0\r\n")).to(closingUpstream),

		passedResponse(RuleResponseTrailers, "dropped", chunked("0\r\nContent-Length: 5\r\nX-Sum: 1\r\n\r\n"), "\r\n\r\n0\r\n\r\n").without("Content-Length", "X-Sum"),
		passedResponse(RuleResponseTrailers, "dropped, chunk after chunk", chunked("1\r\na\r\n0\r\nSet-Cookie: x\r\n\r\n"), "1\r\na\r\n0\r\n\r\n").without("Cookie"),
		refusedResponse(RuleResponseTrailers, "malformed", chunked("0\r\nX: \x00\r\n\r\n")).refusedAs(502, RuleResponseFields),
		refusedResponse(RuleResponseTrailers, "too many", chunked("0\r\n"+strings.Repeat("X: 1\r\n", 201)+"\r\n")).refusedAs(502, RuleResponseHeadLimits),

		passedResponse(RuleHTTP10Client, "chunked to HTTP/1.0", chunked("2\r\nab\r\n0\r\n\r\n"), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab").to(keptHTTP10Client),
		passedResponse(RuleHTTP10Client, "length to HTTP/1.0", ok(length)+"hello", length+"\r\nConnection: close\r\n\r\nhello").to(http10Client),
		passedResponse(RuleHTTP10Client, "length to HTTP/1.0, kept", ok(length)+"hello", length+"\r\nConnection: keep-alive\r\n\r\nhello").to(keptHTTP10Client),
		passedResponse(RuleHTTP10Client, "until close to HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nabc", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc").to(responseCase{eof: true}),
	)
}
