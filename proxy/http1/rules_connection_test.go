package http1

import (
	"slices"
	"strings"
)

func connectionRules() []ruleCase {
	return slices.Concat(optionRules(), upgradeRules(), persistenceRules())
}

func optionRules() []ruleCase {
	removeNamed, underscores := trustedPolicy, trustedPolicy
	removeNamed.RemoveNamed, underscores.PassUnderscores = true, true
	var cases []ruleCase
	for _, name := range []string{"Host", "Content-Length", "transfer-encoding", "Cookie", "Authorization", "X-Forwarded-For", "x_forwarded_proto",
		"X-Forwarded-Anything", "Forwarded", "X-Real-IP", "SCRIPT_NAME", "Remote-User", "Proxy"} {
		cases = append(cases, refuse(RuleConnectionOptions, 400, name, get("Connection: close, "+name)))
	}
	for _, name := range []string{"Proxy-Connection", "Keep-Alive", "TE", "Trailer", "Proxy-Authenticate", "Proxy-Authorization", "HTTP2-Settings", "Upgrade"} {
		cases = append(cases, pass(RuleHopByHop, name, get(strings.ToLower(name)+": x", name+": y", "X: 1"), "Host: a\r\nX: 1\r\n\r\n"),
			pass(RuleHopByHop, name+", named", get("Connection: close, "+name, name+": y", "X: 1"), "Host: a\r\nX: 1\r\n\r\n"))
	}
	expect := func(v, framing string) string { return get("Expect: "+v, framing) + "x" }
	for _, v := range []string{"", "200-ok", "100-continue, 100-continue", "100-continue;q=1", "100 continue", "x"} {
		cases = append(cases, refuse(RuleExpect, 417, "Expect "+v, expect(v, "Content-Length: 1")))
	}
	return append(cases,
		pass(RuleConnectionOptions, "named fields are removed", get("Connection: X-A, x-b", "X-A: 1", "X-B: 2", "X-a: 3", "X-C: 4"), "Host: a\r\nX-C: 4\r\n\r\n").under(removeNamed),
		pass(RuleConnectionOptions, "all lines are one list", get("Connection:", "X-A: 1", "connection: ,X-A ,, close", "X-B: 2"), "Host: a\r\nX-B: 2\r\n\r\n").flags("-").under(removeNamed),
		pass(RuleConnectionOptions, "a field named before it comes", get("X-A: 1", "Connection: X-A", "X-A: 2"), "Host: a\r\n\r\n").under(removeNamed),
		refuse(RuleConnectionOptions, 400, "a name", get("Connection: close, X-Auth-User", "X-Auth-User: alice")),
		refuse(RuleConnectionOptions, 400, "a name of the second line", get("Connection: close", "X-A: 1", "connection: ,x-a", "X-B: 2")),
		refuse(RuleConnectionOptions, 400, "the name of an empty field", get("Connection: X-A", "X-A:")),
		refuse(RuleConnectionOptions, 400, "a name with an underscore that passes", get("Connection: x_a", "X_A: 1")).under(underscores),
		refuse(RuleConnectionOptions, 400, "a name from an untrusted client", get("Connection: X-A", "X-A: 1")).untrusted(),
		refuse(RuleConnectionOptions, 400, "an end-to-end name where named ones are removed", get("Connection: Cookie", "Cookie: a=b")).under(removeNamed),
		pass(RuleConnectionOptions, "names without a field", get("Connection: keep-alive, X-A, x-b", "X-C: 4"), "Host: a\r\nX-C: 4\r\n\r\n").flags("keep"),
		pass(RuleConnectionOptions, "a name of a field that is dropped", get("Connection: x_a, Expect", "X_A: 1", "Expect: 100-continue"), "Host: a\r\n\r\n"),
		pass(RuleConnectionOptions, "a dash is no underscore", get("Connection: X_A", "X-A: 1"), "X-A: 1\r\n"),
		refuse(RuleConnectionOptions, 400, "no token", get("Connection: close/x")),
		refuse(RuleConnectionOptions, 400, "blank inside", get("Connection: keep alive")),
		refuse(RuleConnectionOptions, 400, "33 options", get("Connection: "+strings.Repeat("x,", 33))),
		pass(RuleConnectionOptions, "32 options", get("Connection: "+strings.Repeat("x,", 32)), "Host: a\r\n\r\n"),
		pass(RuleConnectionOptions, "no key when it is named", get("Idempotency-Key: 1", "Connection: idempotency-key")).flags("keep").under(removeNamed),

		pass(RuleHopByHop, "Apache's Connection", get("Connection: Keep-Alive", "X: 1"), "Host: a\r\nX: 1\r\n\r\n"),

		pass(RuleExpect, "100-continue", expect("100-continue", "Content-Length: 1"), "Content-Length: 1\r\n").flags("expect keep").without("Expect"),
		pass(RuleExpect, "any case", expect("100-Continue", "Content-Length: 1")).flags("expect keep"),
		pass(RuleExpect, "without a body", expect("100-continue", "Content-Length: 0")).flags("keep"),
		pass(RuleExpect, "HTTP/1.0 has none", "POST / HTTP/1.0\r\nExpect: x\r\nContent-Length: 1\r\n\r\nx").flags("-"),
		refuse(RuleExpect, 417, "twice", get("Expect: 100-continue", "Expect: 100-continue")),

		pass(RuleContinue, "not forwarded", expect("100-continue", "Content-Length: 1"), "Host: a\r\n").without("Expect"),
		pass(RuleContinue, "not forwarded from HTTP/1.0", "GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", "GET").without("Expect"),
	)
}

func upgradeRules() []ruleCase {
	removeNamed := trustedPolicy
	removeNamed.RemoveNamed = true
	const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	const upgraded = "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	websocket := func(lines ...string) string { return get(append([]string{"Connection: Upgrade", key}, lines...)...) }
	ordinary := func(id Rule, name, in string) ruleCase {
		return pass(id, name, in, "Host: a\r\n").without("Upgrade", "upgrade", "websocket").flags("keep")
	}
	return []ruleCase{
		pass(RuleWebSocketUpgrade, "websocket", websocket("Upgrade: websocket"), key+"\r\n"+upgraded).flags("keep upgrade"),
		pass(RuleWebSocketUpgrade, "any case, one of several options", get("connection: keep-alive, UPGRADE", key, "upgrade: WebSocket"), upgraded).flags("keep upgrade"),
		pass(RuleWebSocketUpgrade, "every letter of a key", get("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: +/09azAZ+/09azAZ+/09AA=="), upgraded),
		pass(RuleWebSocketUpgrade, "Content-Length 0", websocket("Upgrade: websocket", "Content-Length: 0"), "Content-Length: 0\r\n"+upgraded),
		ordinary(RuleWebSocketUpgrade, "POST", strings.Replace(websocket("Upgrade: websocket"), "GET", "POST", 1)),
		ordinary(RuleWebSocketUpgrade, "no Connection", get("Upgrade: websocket", key)),
		ordinary(RuleWebSocketUpgrade, "no key", get("Connection: upgrade", "Upgrade: websocket")),
		ordinary(RuleWebSocketUpgrade, "two keys", websocket("Upgrade: websocket", key)),
		ordinary(RuleWebSocketUpgrade, "short key", get("Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: abc=")),
		ordinary(RuleWebSocketUpgrade, "illegal key", get("Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!==")),
		ordinary(RuleWebSocketUpgrade, "illegal key, beyond the letters", get("Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ{==")),
		ordinary(RuleWebSocketUpgrade, "key without padding", get("Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQaa")),
		ordinary(RuleWebSocketUpgrade, "key is for one hop", get("Connection: upgrade, sec-websocket-key", "Upgrade: websocket", key)).under(removeNamed),
		ordinary(RuleWebSocketUpgrade, "body", websocket("Upgrade: websocket", "Content-Length: 1")+"x"),
		ordinary(RuleWebSocketUpgrade, "chunked", websocket("Upgrade: websocket", "Transfer-Encoding: chunked")+"0\r\n\r\n"),
		ordinary(RuleWebSocketUpgrade, "not alone", websocket("Upgrade: websocket, h2c")),
		ordinary(RuleWebSocketUpgrade, "twice", websocket("Upgrade: websocket", "Upgrade: websocket")),
		pass(RuleWebSocketUpgrade, "HTTP/1.0", "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"+key+"\r\n\r\n", "GET").without("Upgrade", "websocket\r\n").flags("-"),

		ordinary(RuleH2C, "h2c", get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")).without("HTTP2"),
		ordinary(RuleH2C, "h2c with a key", websocket("Upgrade: h2c")),
	}
}

// persistenceRules also has the cases of Request.IdempotencyKey.
func persistenceRules() []ruleCase {
	return []ruleCase{
		pass(RulePersistence, "HTTP/1.1", get()).flags("keep"),
		pass(RulePersistence, "HTTP/1.1, close", get("Connection: Close")).flags("-"),
		pass(RulePersistence, "HTTP/1.1, both", get("Connection: keep-alive, close")).flags("-"),
		pass(RulePersistence, "HTTP/1.0", "GET / HTTP/1.0\r\n\r\n").flags("-"),
		pass(RulePersistence, "HTTP/1.0, keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").flags("keep"),
		pass(RulePersistence, "HTTP/1.0, both", "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n").flags("-"),
		pass(RulePersistence, "a key", get("Idempotency-Key: 8e03978e")).flags("keep key"),
		pass(RulePersistence, "an empty key", get("Idempotency-Key:")).flags("keep"),
	}
}
