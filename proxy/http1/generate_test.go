package http1

import (
	"fmt"
	"math/rand"
	"strings"
)

// generator makes legal requests of real shape: what browsers, curl and API clients send, directly or through the
// usual front-ends, and what is odd but legal. The same seed makes the same requests.
type generator struct{ *rand.Rand }

func newGenerator(seed int64) generator { return generator{rand.New(rand.NewSource(seed))} }

// message is one generated request.
type message struct {
	text    string // as it is on the wire
	content string // its decoded body
}

func (g generator) pick(from ...string) string { return from[g.Intn(len(from))] }

// some returns a random part of lines, in their order.
func (g generator) some(lines ...string) (kept []string) {
	for _, l := range lines {
		if g.Intn(2) == 0 {
			kept = append(kept, l)
		}
	}
	return kept
}

// word is a random word of up to n letters out of an alphabet.
func (g generator) word(alphabet string, n int) string {
	var b strings.Builder
	for range 1 + g.Intn(n) {
		b.WriteByte(alphabet[g.Intn(len(alphabet))])
	}
	return b.String()
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	pathish = letters + "-._~!$&'()*+,;=:@/%"
	odd     = letters + "-._~!$&'()*+,;=:@/?%\"<>\\^`{|}"
	visible = letters + "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \t\xC3\xA4\xFF"
	tokens  = letters + "!#$%&'*+-.^`|~"
)

// request makes one message.
func (g generator) request() message {
	method := g.pick("GET", "GET", "GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND", "M-SEARCH", "get")
	version := g.pick("1.1", "1.1", "1.1", "1.1", "1.1", "1.0")
	host := g.pick("www.example.com", "127.0.0.1:8000", "[::1]:8000", "shop.example.", "my_app:80", "LOCALHOST", "xn--bcher-kva.example:8443")
	var lines []string
	switch g.Intn(7) {
	case 0:
		lines = g.browser()
	case 1:
		lines = []string{"User-Agent: curl/7.88.1", "Accept: */*"}
	case 2:
		lines = g.api()
	case 3:
		lines = append(g.browser(), g.frontEnd()...)
	case 4:
		lines = append(g.api(), g.frontEnd()...)
	case 5:
		lines = g.oddFields()
	case 6:
		lines = g.websocket()
	}
	framing, body, content := g.body(version == "1.1")
	if framing != "" {
		lines = append(lines, framing)
		if version == "1.1" && g.Intn(4) == 0 {
			lines = append(lines, "Expect: 100-"+g.pick("continue", "Continue"))
		}
	}
	g.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	lines = append([]string{"Host: " + host}, lines...)
	if version == "1.0" && g.Intn(2) == 0 {
		lines = lines[1:]
	}
	return message{
		text:    g.pick("", "", "", "\r\n") + method + " " + g.target(method, host, lines) + " HTTP/" + version + "\r\n" + g.spaced(lines) + "\r\n" + body,
		content: content,
	}
}

// target makes a target that fits.
func (g generator) target(method, host string, lines []string) string {
	path := "/" + g.word(pathish, 40)
	switch g.Intn(12) {
	case 0:
		path = "/"
	case 1:
		path = "//" + g.word(odd, 60)
	case 2:
		path = "/static/" + g.word(letters, 12) + ".css?v=" + g.word(letters, 8)
	case 3:
		path = "/search?q=" + strings.Repeat(g.word(pathish, 20)+"&", g.Intn(40))
	case 4:
		if method == "OPTIONS" {
			return "*"
		}
	case 5:
		if len(lines) > 0 && strings.HasPrefix(lines[0], "Host: ") {
			return g.pick("http://", "HTTP://", "https://") + host + g.pick("", path, "?"+g.word(letters, 5))
		}
	}
	return path
}

// spaced writes lines with any legal blanks around the values.
func (g generator) spaced(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		if name, value, _ := strings.Cut(l, ": "); g.Intn(8) == 0 {
			l = name + ":" + g.pick("", "  ", "\t", " \t ") + value + g.pick("", " ", "\t ")
		}
		b.WriteString(l + "\r\n")
	}
	return b.String()
}

func (g generator) browser() []string {
	return g.some(
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
		"Accept-Language: de,en-US;q=0.7,en;q=0.3", "Accept-Encoding: gzip, deflate, br, zstd", "DNT: 1", "Sec-GPC: 1",
		g.pick("Connection: keep-alive", "Connection: close", "Connection: Keep-Alive, TE"), "TE: trailers", "Upgrade-Insecure-Requests: 1",
		"sec-ch-ua: \"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\"", "sec-ch-ua-mobile: ?0", "Sec-Fetch-Dest: document", "Priority: u=0, i",
		"Referer: https://www.example.com/"+g.word(pathish, 60), "If-None-Match: W/\""+g.word(letters, 20)+"\"", "Range: bytes=0-",
		"Cookie: "+strings.Repeat(g.word(tokens, 12)+"="+g.word(odd, 200)+"; ", g.Intn(12))+"a=b", "Cache-Control: no-cache", "Pragma: no-cache",
		"Origin: null", "Content-Type: multipart/form-data; boundary=----WebKitFormBoundary"+g.word(letters, 16))
}

func (g generator) api() []string {
	return g.some(
		"User-Agent: python-requests/2.32", "Accept: application/json", "Content-Type: application/json; charset=utf-8",
		"Authorization: Bearer "+g.word(letters+"-_.", 900), "Idempotency-Key: "+g.word(letters+"-", 36), "X-Request-Id: "+g.word(letters, 32),
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Api-Key: "+g.word(letters, 40), "X-Request-Start: t=1790000000.001",
		"Via: 1.1 varnish", "If-Match: *", "Proxy-Connection: keep-alive", "Keep-Alive: timeout=5", "Max-Forwards: 10", "Digest: sha-256=x=")
}

// frontEnd is what Apache, nginx, HAProxy and Caddy add.
func (g generator) frontEnd() []string {
	client := fmt.Sprintf("198.51.100.%d", g.Intn(256))
	return [][]string{
		{"X-Forwarded-For: 203.0.113.7, " + client, "X-Forwarded-Host: www.example.com, www.example.com", "X-Forwarded-Server: web1", "Connection: Keep-Alive"},
		{"X-Real-IP: " + client, "X-Forwarded-For: " + client, "X-Forwarded-Proto: https", "X-Forwarded-Port: 443", "Connection: close"},
		{"x-forwarded-for: " + client, "X-Forwarded-For: 2001:db8::7", "X-Forwarded-Proto: http", "X-Unique-ID: " + g.word(letters, 30)},
		{"X-Forwarded-For: " + client, "X-Forwarded-Host: [::1]:8000", "X-Forwarded-Proto: https", "Forwarded: for=\"[2001:db8::1]:1\";proto=https"},
		{"X-Forwarded-For: unknown", "X-Forwarded-Ssl: on", "X-Forwarded-Protocol: ssl", "SCRIPT_NAME: /shop", "REMOTE_USER: anna", "X-Forwarded-Prefix: /shop"},
	}[g.Intn(5)]
}

func (g generator) oddFields() (lines []string) {
	for range g.Intn(60) {
		name := "x" + g.word(tokens, 30)
		if g.Intn(20) == 0 {
			name += "_y"
		}
		lines = append(lines, name+": "+strings.Trim(g.word(visible, 100), " \t"))
	}
	return append(lines, g.some("Empty: ", "Long: "+strings.Repeat("v", 8000), "Via: 1.0 a", "Via: 1.1 b", "Connection: , close,,x-y", "Upgrade: h2c, websocket")...)
}

func (g generator) websocket() []string {
	return append(g.some("Origin: https://www.example.com", "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate"),
		g.pick("Connection: Upgrade", "Connection: keep-alive, Upgrade"), "Upgrade: "+g.pick("websocket", "WebSocket"),
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
}

// body makes a framing field, a body on the wire and its content.
func (g generator) body(chunks bool) (framing, wire, content string) {
	content = g.word(visible+"\r\n\x00", 300)
	switch g.Intn(6) {
	case 0:
		return "Content-Length: 0", "", ""
	case 1:
		return fmt.Sprintf("Content-Length: %0*d", g.Intn(10), len(content)), content, content
	case 2:
		if chunks {
			return "Transfer-Encoding: " + g.pick("chunked", "Chunked"), g.chunks(content), content
		}
	}
	return "", "", ""
}

// chunks writes content in chunks of any size and spelling, with extensions and trailers.
func (g generator) chunks(content string) string {
	var b strings.Builder
	extension := func() string {
		return g.pick("", "", "", ";a", ";a=b", ";name=\"quoted; \\\" string\"", "; a = b;c", ";sha=0123456789abcdef")
	}
	for content != "" {
		n := 1 + g.Intn(len(content))
		fmt.Fprintf(&b, g.pick("%x", "%X", "%06x")+"%s\r\n%s\r\n", n, extension(), content[:n])
		content = content[n:]
	}
	return b.String() + g.pick("0", "000") + extension() + "\r\n" + g.pick("", "", "X-Checksum: "+g.word(letters, 30)+"\r\nServer-Timing:x\r\n") + "\r\n"
}

// dictionary is what hostile requests are made of.
var dictionary = []string{"\r", "\n", "\r\n", "\r\n\r\n", "\n\n", "\x00", "\x0b", "\x0c", "\x7f", "\x85", "\xA0", " ", "\t", ":", " :", "\r\n ", "\r\n\t", "#", "*",
	"http://a/", "@", "_", ",", ";", "\"", "+", "-", "0x", "HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/0.9", "CONNECT ", "TRACE ", "OPTIONS ", "PRI * ",
	"Content-Length: 5\r\n", "Content-Length: 1, 1\r\n", "Content_Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip, chunked\r\n",
	"Transfer-Encoding: identity\r\n", "Host: b\r\n", "Host:\r\n", "Connection: close, x\r\n", "Connection: Content-Length\r\n", "Connection: cookie\r\n",
	"Expect: 100-continue\r\n", "Expect: x\r\n", "X-Forwarded-For: 6.6.6.6\r\n", "X_Forwarded_For: 6.6.6.6\r\n", "X-Forwarded-Proto: https\r\n",
	"SCRIPT_NAME: /x\r\n", "Upgrade: websocket\r\n", "Upgrade: h2c\r\n", "0\r\n\r\n", "5\r\nhello\r\n", "ffffffffffffffff\r\n", "1;a\r\n", "GET / HTTP/1.1\r\n"}

// spoil makes a few random changes, most of which break a rule.
func (g generator) spoil(text string) string {
	for range 1 + g.Intn(3) {
		i := g.Intn(len(text) + 1)
		j := min(len(text), i+g.Intn(4))
		switch g.Intn(5) {
		case 0:
			text = text[:i] + string(byte(g.Intn(256))) + text[j:]
		case 1:
			text = text[:i] + text[j:]
		case 2:
			lines := strings.SplitAfter(text, "\r\n")
			k := g.Intn(len(lines))
			lines[k] += lines[g.Intn(len(lines))]
			text = strings.Join(lines, "")
		default:
			if k := strings.LastIndex(text[:i], "\r\n"); k >= 0 && g.Intn(2) == 0 {
				i, j = k+2, k+2
			}
			text = text[:i] + dictionary[g.Intn(len(dictionary))] + text[max(i, j):]
		}
	}
	return text
}
