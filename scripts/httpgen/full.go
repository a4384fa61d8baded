package httpgen

import (
	"fmt"
	"slices"
	"strings"
)

const (
	alphanumeric = lowers + uppers + digits
	rawPath      = alphanumeric + "-._~!$&'()*+,;=:@/%"             // '%' also without two digits
	rawOctets    = rawPath + "\x80\x85\xA0\xC3\xA9\xE9\xFF"         // with octets above 0x7F
	rawQuery     = alphanumeric + "-._~!$&'()*+,;=:@/?%\"<>\\^`{|}" // with octets that should be escaped
	valueChars   = alphanumeric + "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \t\xC3\xA4\xFF"
)

// vary changes the request of a shape to anything that the grammar allows.
func (d *draft) vary() {
	d.host = pick(d, "www.example.com", "127.0.0.1:8000", "[::1]:8000", "shop.example.", "my_app:80", "LOCALHOST", "xn--bcher-kva.example:8443")
	if d.oneIn(4) && len(d.target) < d.source.Line/2 {
		d.method = pick(d, "GET", "POST", "DELETE", "HEAD", "OPTIONS", "M-SEARCH", "get")
	}
	if d.oneIn(6) {
		d.version = "1.0"
	}
	switch d.IntN(7) {
	case 0:
		d.proxyFields()
	case 1:
		d.apiFields()
	case 2:
		d.randomFields()
	case 3:
		d.websocketFields()
	case 4:
		d.connectionFields()
	}
	if !d.hasBody && d.oneIn(3) {
		d.setBody(pick(d, nil, d.octets(d.upTo(d.source.Body))))
	}
	d.chunked = d.oneIn(2)
	d.expect = d.hasBody && d.oneIn(4)
	if d.oneIn(2) {
		d.Shuffle(len(d.fields), func(i, j int) { d.fields[i], d.fields[j] = d.fields[j], d.fields[i] })
	}
	if d.oneIn(2) {
		d.target = d.rawTarget()
	}
}

// addLines adds field lines while they are within the bounds.
func (d *draft) addLines(lines ...string) {
	size := len(d.target)
	for _, f := range d.fields {
		size += len(f) + len("\r\n")
	}
	for _, line := range lines {
		size += len(line) + len("\r\n")
		if len(line) <= d.source.Line && size < d.source.Head-2500 && len(d.fields) < d.source.Fields-10 {
			d.fields = append(d.fields, line)
		}
	}
}

// someOf returns a random part of lines, in their order.
func (d *draft) someOf(lines ...string) (kept []string) {
	for _, line := range lines {
		if d.oneIn(2) {
			kept = append(kept, line)
		}
	}
	return kept
}

// proxyFields are those that Apache, nginx, HAProxy and Caddy add. Some of them
// must not occur twice.
func (d *draft) proxyFields() {
	if slices.ContainsFunc(d.fields, func(f string) bool { return strings.HasPrefix(f, "X-Forwarded-") }) {
		return
	}
	client := fmt.Sprintf("198.51.100.%d", d.IntN(256))
	d.addLines(pick(d,
		[]string{"X-Forwarded-For: 203.0.113.7, " + client, "X-Forwarded-Host: www.example.com, www.example.com", "X-Forwarded-Server: web1", "Connection: Keep-Alive"},
		[]string{"X-Real-IP: " + client, "X-Forwarded-For: " + client, "X-Forwarded-Proto: https", "X-Forwarded-Port: 443", "Connection: close"},
		[]string{"x-forwarded-for: " + client, "X-Forwarded-For: 2001:db8::7", "X-Forwarded-Proto: http", "X-Unique-ID: " + d.word(30, alphanumeric)},
		[]string{"X-Forwarded-For: " + client, "X-Forwarded-Host: [::1]:8000", "X-Forwarded-Proto: https", "Forwarded: for=\"[2001:db8::1]:1\";proto=https"},
		[]string{"X-Forwarded-For: unknown", "X-Forwarded-Ssl: on", "X-Forwarded-Protocol: ssl", "SCRIPT_NAME: /shop", "REMOTE_USER: anna", "X-Forwarded-Prefix: /shop"},
	)...)
}

func (d *draft) apiFields() {
	d.addLines(d.someOf(
		"Authorization: Bearer "+d.word(1+d.IntN(900), alphanumeric+"-_."), "Idempotency-Key: "+d.word(1+d.IntN(36), alphanumeric+"-"),
		"X-Request-Id: "+d.word(1+d.IntN(32), alphanumeric), "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"X-Request-Start: t=1790000000.001", "Via: 1.1 varnish", "If-Match: *", "Proxy-Connection: keep-alive", "Keep-Alive: timeout=5",
		"Max-Forwards: 10", "Digest: sha-256=x=")...)
}

// randomFields have names and values of every octet that the grammar allows.
func (d *draft) randomFields() {
	for range d.IntN(60) {
		name := "x" + d.word(1+d.IntN(30), tchars)
		if d.oneIn(20) {
			name += "_y"
		}
		d.addLines(name + ": " + strings.Trim(d.word(1+d.IntN(100), valueChars), " \t"))
	}
	d.addLines(d.someOf("Empty: ", "Long: "+strings.Repeat("v", 8000), "Via: 1.0 a", "Via: 1.1 b", "Connection: , close,,not-there", "Upgrade: h2c, websocket")...)
}

func (d *draft) websocketFields() {
	d.addLines(d.someOf("Origin: https://www.example.com", "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate")...)
	d.addLines(pick(d, "Connection: Upgrade", "Connection: keep-alive, Upgrade"), "Upgrade: "+pick(d, "websocket", "WebSocket"),
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
}

// connectionFields control the connection, next to long and odd values.
func (d *draft) connectionFields() {
	var cookie strings.Builder
	for range d.IntN(12) {
		cookie.WriteString(d.word(1+d.IntN(12), tchars) + "=" + d.word(1+d.IntN(200), rawQuery) + "; ")
	}
	d.addLines(d.someOf(pick(d, "Connection: keep-alive", "Connection: close", "Connection: Keep-Alive, TE"), "TE: trailers", "Pragma: no-cache",
		"Referer: https://www.example.com/"+d.word(1+d.IntN(60), rawPath), "If-None-Match: W/\""+d.word(1+d.IntN(20), alphanumeric)+"\"",
		"Cookie: "+cookie.String()+"a=b", "Range: bytes=0-", "Origin: null")...)
}

// rawTarget returns a target in any form, also with octets that should be
// escaped.
func (d *draft) rawTarget() string {
	path := "/" + d.word(1+d.IntN(40), rawPath)
	switch d.IntN(7) {
	case 4:
		return "/" + d.word(1+d.IntN(40), rawOctets)
	case 0:
		return "//" + d.word(1+d.IntN(60), rawQuery)
	case 1:
		return "/search?q=" + strings.Repeat(d.word(1+d.IntN(20), rawPath)+"&", d.IntN(40))
	case 2:
		d.method = "OPTIONS"
		return "*"
	case 3:
		return pick(d, "http://", "HTTP://", "https://") + d.host + pick(d, "", path, "?"+d.word(1+d.IntN(5), alphanumeric))
	}
	return path
}

// respace writes some fields with other blanks around the value.
func (d *draft) respace() {
	for i, f := range d.fields {
		if name, value, found := strings.Cut(f, ": "); found && d.oneIn(8) && len(f) < d.source.Line-8 {
			d.fields[i] = name + ":" + pick(d, "", "  ", "\t", " \t ") + value + pick(d, "", " ", "\t ")
		}
	}
}
