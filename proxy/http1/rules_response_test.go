package http1

import "strings"

// ok is a response with these fields; lines end in CRLF.
func ok(lines ...string) string {
	return "HTTP/1.1 200 OK\r\n" + strings.Join(append(lines, "\r\n"), "\r\n")
}

var (
	toKept = exchange{client: Client{Minor: 1, KeepAlive: true}}
	to10   = exchange{client: Client{Minor: 0}}
	keep10 = exchange{client: Client{Minor: 0, KeepAlive: true}}
	toHead = exchange{asked: Asked{Head: true}, client: Client{Minor: 1, KeepAlive: true}}
	toWS   = exchange{asked: Asked{Upgrade: true}, client: Client{Minor: 1, KeepAlive: true}}
	toEOF  = exchange{client: Client{Minor: 1, KeepAlive: true}, eof: true}
)

// bad is a response that becomes 502.
func bad(id, name, in string) rule {
	return rule{id: id, name: name, in: in, want: "502 " + id, exchange: &toKept}
}

// good is a response that passes and is written with these parts.
func good(id, name, in string, has ...string) rule {
	return rule{id: id, name: name, in: in, has: has, exchange: &toKept}
}

func (c rule) to(x exchange) rule { c.exchange = &x; return c }

// responseRules are the cases of R53, R64, R70 to R72 and R78.
func responseRules() []rule {
	early := "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n"
	final := ok("Content-Length: 0")
	switched := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
	many := strings.Repeat("X: 1\r\n", 199) + "Content-Length: 0"
	var cases []rule
	for _, line := range []string{"HTTP/1.1 2000 OK", "HTTP/1.1 099 OK", "HTTP/1.1 600 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1 1:0 OK", "HTTP/1.1  200 OK",
		"HTTP/1.1\t200 OK", "HTTP/1.1 200\tOK", "HTTP/1.2 200 OK", "HTTP/2.0 200 OK", "HTTP/2 200 OK", "HTTP/1.1", "HTTP/1.1 ", "HTTP/11 200 OK", "HTTP/1.1 -20 OK"} {
		cases = append(cases, bad("R70", line, line+"\r\nContent-Length: 0\r\n\r\n"))
	}
	for _, text := range []string{"hello world", "\r\n" + final, " " + final, "\n", "http/1.1 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n", "\x00", "HTP", "GET / HTTP/1.1\r\n"} {
		cases = append(cases, bad("R71", text, text))
	}
	for _, field := range []string{"X: a\x00b", "X: a\x07", "X: a\x7F", "X: a\nY: b", "X: a\rb", "X : a", ": a", "X(: a", "X", "X x", "X: a\r\n b",
		strings.Repeat("n", 257) + ": a", "Content_Length: 5", "Transfer_Encoding: chunked", "Keep_Alive: 5", "Connection: clos\xE9",
		"Connection: Content-Length", "Connection: a b", "Content-Length: 1\xA0"} {
		cases = append(cases, bad("R72", field, ok(field, "Content-Length: 0")))
	}
	return append(cases,
		good("R53", "103 to HTTP/1.1", early+final, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"),
		good("R53", "103 to HTTP/1.0", early+final, "HTTP/1.1 200 OK\r\n").to(keep10).without("103", "Link"),
		good("R53", "100 and 102 are swallowed", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nTransfer-Encoding: x\r\n\r\n"+final, "HTTP/1.1 200").
			without("100", "102"),
		good("R53", "8 of them", strings.Repeat(early, 8)+final, "200 OK"),
		bad("R53", "9 of them", strings.Repeat(early, 9)+final),
		bad("R53", "too long together", strings.Repeat("HTTP/1.1 103 E\r\nLink: "+strings.Repeat("x", 16000)+"\r\n\r\n", 5)+final),
		good("R53", "nothing behind it", early, "").as("more"),

		good("R64", "asked for", switched+"\x81\x00", "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").to(toWS),
		bad("R64", "not asked for", switched),
		bad("R64", "other protocol", strings.Replace(switched, "websocket", "h2c", 1)).to(toWS),
		bad("R64", "no Upgrade", strings.Replace(switched, "Upgrade: websocket\r\n", "", 1)).to(toWS),
		bad("R64", "not in Connection", strings.Replace(switched, "Connection: Upgrade", "Connection: close", 1)).to(toWS),
		bad("R64", "HTTP/1.0", strings.Replace(switched, "HTTP/1.1", "HTTP/1.0", 1)).to(toWS),
		good("R64", "refused by the app", "HTTP/1.1 403 No\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").to(toWS),

		good("R70", "no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 \r\n"),
		good("R70", "no space either", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 \r\n"),
		good("R70", "reason with tab and UTF-8", "HTTP/1.0 599 a\tb\xC3\xA4\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 599 a\tb\xC3\xA4\r\n"),
		bad("R70", "control octet in the reason", "HTTP/1.1 200 O\x07K\r\n\r\n").as("502 R72"),
		bad("R70", "bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n").as("502 R72"),
		good("R71", "begins like HTTP", "HTT", "").as("more"),
		good("R72", "underscores, tabs, UTF-8 pass", ok("X_Y: \ta\tb\xC3\xA4", "Proxy: x", "Content-Length: 0"), "X_Y: a\tb\xC3\xA4\r\nProxy: x\r\n"),
		good("R72", "order is kept", ok("Set-Cookie: a", "Date: x", "Set-Cookie: b", "Content-Length: 0"), "Set-Cookie: a\r\nDate: x\r\nSet-Cookie: b\r\n"),
		good("R72", "hop-by-hop and named ones are removed", ok("Connection: X-A, keep-alive", "X-A: 1", "Keep-Alive: 5", "Trailer: X", "TE: x",
			"Proxy-Connection: x", "Upgrade: h2c", "Proxy-Authenticate: Basic realm=\xE4", "Content-Length: 0"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),

		good("R78", "200 fields", ok(many), "X: 1\r\n"),
		bad("R78", "201 fields", ok("X: 1", many)),
		good("R78", "a line of 60 KiB", ok("X: "+strings.Repeat("v", 60<<10), "Content-Length: 0"), "v\r\n"),
		bad("R78", "over 64 KiB in one line", ok("X: "+strings.Repeat("v", 64<<10), "Content-Length: 0")),
		bad("R78", "over 64 KiB in several", ok(strings.Repeat("X: "+strings.Repeat("v", 8000)+"\r\n", 9)+"Content-Length: 0")),
		bad("R78", "status line without end", "HTTP/1.1 200 "+strings.Repeat("x", 64<<10)),
	)
}

// responseFramingRules are the cases of R73 to R76, R79 and R80.
func responseFramingRules() []rule {
	chunked := func(body string) string { return ok("Transfer-Encoding: chunked") + body }
	var cases []rule
	for _, lines := range []string{"Content-Length: 1, 1", "Content-Length: +1", "Content-Length: x", "Content-Length:", "Content-Length: 1\r\nContent-Length: 1",
		"Content-Length: 1\r\nContent-Length: 2", "Content-Length: 1\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: xchunked",
		"Transfer-Encoding: identity", "Transfer-Encoding:", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"} {
		cases = append(cases, bad("R73", lines, ok(lines)), bad("R73", lines+" to HEAD", ok(lines)).to(toHead))
	}
	for _, body := range []string{"5\nhello\r\n0\r\n\r\n", "x\r\n", "5\r\nhello0\r\n", "5;\r\nhello"} {
		cases = append(cases, good("R76", body, chunked(body)).refused())
	}
	length := "Content-Length: 5"
	return append(cases,
		bad("R73", "chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		good("R73", "chunked", chunked("2\r\nab\r\n0\r\n\r\n"), "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n").body("ab").flags("reusable"),
		good("R73", "length", ok("Content-Length: 002")+"ab", "Content-Length: 2\r\n\r\nab").body("ab").flags("reusable"),
		good("R73", "until close", ok("X: 1")+"abc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").to(toEOF).body("abc").flags("-"),

		good("R74", "HEAD keeps the length", ok(length), length+"\r\n\r\n").to(toHead).flags("-"),
		good("R74", "HEAD without a length", ok("Transfer-Encoding: chunked"), "HTTP/1.1 200 OK\r\n\r\n").to(toHead).flags("-"),
		good("R74", "304 keeps the length", "HTTP/1.1 304 X\r\n"+length+"\r\n\r\n", length+"\r\n\r\n").flags("reusable"),
		good("R74", "204 loses it", "HTTP/1.1 204 X\r\n"+length+"\r\n\r\n", "HTTP/1.1 204 X\r\n\r\n").flags("-"),
		good("R74", "204", "HTTP/1.1 204 X\r\n\r\n", "HTTP/1.1 204 X\r\n\r\n").flags("reusable"),
		good("R74", "304 with chunked", "HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 304 X\r\n\r\n").flags("-"),
		good("R74", "103 loses it", "HTTP/1.1 103 X\r\n"+length+"\r\n\r\n"+ok("Content-Length: 0"), "HTTP/1.1 103 X\r\n\r\n").without(length),

		good("R75", "closed by the child", ok("Connection: close", length)+"hello", "hello").flags("-"),
		good("R75", "HTTP/1.0", "HTTP/1.0 200 OK\r\n"+length+"\r\n\r\nhello", "hello").flags("-"),
		good("R75", "HTTP/1.0 kept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"+length+"\r\n\r\nhello", "hello").flags("reusable"),
		good("R75", "more than the body is not used", ok(length)+"hello"+ok(length)+"again", "hello").body("hello").without("again"),
		good("R75", "more than the chunks is not used", chunked("0\r\n\r\nmore"), "\r\n0\r\n\r\n").without("more"),

		bad("R76", "short of its length", ok(length)+"hell").to(toEOF),
		bad("R76", "without last chunk", chunked("5\r\nhello\r\n")).to(toEOF),
		bad("R76", "without the last empty line", chunked("0\r\n")).to(toEOF),

		good("R79", "dropped", chunked("0\r\nContent-Length: 5\r\nX-Sum: 1\r\n\r\n"), "\r\n\r\n0\r\n\r\n").without("Content-Length", "X-Sum"),
		good("R79", "dropped, chunk after chunk", chunked("1\r\na\r\n0\r\nSet-Cookie: x\r\n\r\n"), "1\r\na\r\n0\r\n\r\n").without("Cookie"),
		bad("R79", "malformed", chunked("0\r\nX: \x00\r\n\r\n")).as("502 R72"),
		bad("R79", "too many", chunked("0\r\n"+strings.Repeat("X: 1\r\n", 201)+"\r\n")).as("502 R78"),

		good("R80", "chunked to HTTP/1.0", chunked("2\r\nab\r\n0\r\n\r\n"), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab").to(keep10),
		good("R80", "length to HTTP/1.0", ok(length)+"hello", length+"\r\nConnection: close\r\n\r\nhello").to(to10),
		good("R80", "length to HTTP/1.0, kept", ok(length)+"hello", length+"\r\nConnection: keep-alive\r\n\r\nhello").to(keep10),
		good("R80", "until close to HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nabc", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc").to(exchange{eof: true}),
	)
}

// refused is for bodies whose fault has a rule of its own: any 502 will do.
func (c rule) refused() rule { c.want = "502"; return c }
