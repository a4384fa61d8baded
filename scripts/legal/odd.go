package legal

import (
	"fmt"
	"strings"
)

// behindCDN has come through other proxies before.
func behindCDN(d *draft) {
	d.method = pick(d, "GET", "POST")
	d.add("X-Forwarded-For", pick(d, "203.0.113.9", "203.0.113.9, 198.51.100.7", "2001:db8::1", "203.0.113.9:51234", "unknown, 203.0.113.9",
		"203.0.113.9,198.51.100.7,192.0.2.1", "[2001:db8::1]:4711"))
	d.add("X-Forwarded-Proto", pick(d, "https", "http"))
	d.some("X-Forwarded-Host", pick(d, "shop.example.com", "shop.example.com:8443", "a.example, b.example", "[2001:db8::2]:443"))
	d.some("X-Forwarded-Port", "443")
	d.some("X-Forwarded-Prefix", "/shop")
	d.some("X-Forwarded-Client-Cert", `By=spiffe://a/b;Hash=`+d.word(64, hex)+`;Subject="CN=x,OU=y";URI=spiffe://c/d`)
	d.some("X-Real-IP", pick(d, "203.0.113.9", "2001:db8::1"))
	d.some("Forwarded", pick(d, "for=203.0.113.9;proto=https;by=198.51.100.7", `for="[2001:db8::1]:4711"`, "for=192.0.2.43, for=198.51.100.17", "for=192.0.2.43;secret=a!b+c~1", `For="_gazonk";host="shop.example.com:8443"`))
	d.some("Via", pick(d, "1.1 varnish, 1.1 google", "2.0 a1b2.cloudfront.net (CloudFront)", "1.0 fred, 1.1 p.example.net"))
	d.some("CDN-Loop", "cloudflare; loops=1")
	d.some("CF-Connecting-IP", "203.0.113.9")
	d.some("CF-Ray", "8e6"+d.word(13, hex)+"-FRA")
	d.some("CF-Visitor", `{"scheme":"https"}`)
	d.some("X-Amzn-Trace-Id", "Root=1-67891233-abcdef012345678912345678;Sampled=1")
	d.some("traceparent", "00-"+d.word(32, hex)+"-"+d.word(16, hex)+"-01")
	d.some("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
	d.some("X-Request-Id", d.uuid())
	d.some("X-Request-Start", pick(d, "t=1732291234.567", "1732291234567", "t=1732291234567890"))
	d.some("Cookie", d.cookies(d.upTo(3000)))
	if d.method == "POST" {
		d.json(d.upTo(2000))
	}
}

// long is near one of the bounds.
func long(d *draft) {
	line, head := d.source.Line, d.source.Head-1500 // room for the other fields, and those that front-ends add
	d.target = "/" + d.small(20)
	add := func(name, value string) { d.add(name, value[:min(len(value), line-len(name)-2)]) }
	switch d.IntN(4) {
	case 0: // one line
		add("Cookie", d.cookies(min(line-len("Cookie: "), head)))
	case 1: // the target
		d.target = "/search?q=" + d.word(min(line, head)-len("GET /search?q= HTTP/1.1"), queryChars)
	case 2: // many lines
		for i := range d.source.Most - 14 {
			d.add(fmt.Sprintf("X-Field-%d", i), d.small(20))
		}
	default: // the head as a whole
		for head > 0 && len(d.fields) < d.source.Most-10 {
			n := min(line, head)
			add(pick(d, "X-Token", "X-State", "X-Amz-Security-Token", "Referer", "Authorization"), d.word(n, urlish))
			head -= n + 40
		}
	}
	d.some("User-Agent", chromeAgent)
}

// oddFields has what the grammar of fields has room for.
func oddFields(d *draft) {
	d.method = pick(d, "GET", "GET", "POST", "DELETE", "HEAD")
	for range 1 + d.IntN(12) {
		name := pick(d, "X-"+d.small(12), d.word(1+d.IntN(30), tchars), "X-A", "x-lower", "X-UPPER", "ETag", "Date", "Range", "Max-Forwards", "Accept", "Cookie", "A",
			"0", "1-2", "Content-Language", "Warning", "Pragma", "X-"+d.word(200, lowers))
		if owned(name) {
			continue
		}
		d.add(name, pick(d, "", " ", "caf\xe9", "caf\xc3\xa9 日本", "a\tb", "\"quoted \\\" string\"", "(comment (nested) \\) )", "a,b ,c", ",", ",,a", "a=b; c=\"d, e\"", "<x>; rel=\"y\"",
			"\x80\xff", d.word(1+d.IntN(60), queryChars), "100-continue", "GET / HTTP/1.1", "chunked", ":", "a: b", "=?utf-8?q?=C3=A9?=", "\\", "%0d%0a", "~", "é"))
	}
	if d.one(3) {
		for range 2 + d.IntN(5) {
			d.add("X-Repeated", d.small(5))
		}
	}
	if d.one(4) {
		d.add("Cookie", "a=1")
		d.add("Cookie", d.cookies(60))
	}
	d.some("Keep-Alive", "timeout=5, max=100")
	d.some("Proxy-Connection", "keep-alive")
	if d.method == "POST" || d.method == "DELETE" && d.one(2) {
		d.bring(d.octets(d.upTo(3000)))
		d.chunked = d.one(2)
	}
}

// owned says whether a name made by chance means something.
func owned(name string) bool {
	return strings.EqualFold(name, "te") || strings.EqualFold(name, "host") || strings.EqualFold(name, "proxy")
}

// oddMethod uses one that few know.
func oddMethod(d *draft) {
	d.method = pick(d, "QUERY", "PURGE", "BAN", "LINK", "UNLINK", "M-SEARCH", "NOTIFY", "SUBSCRIBE", "ACL", "BIND", "REBIND", "get", "Foo", "X", "BASELINE-CONTROL",
		"UPDATEREDIRECTREF", d.word(1+d.IntN(32), uppers), "A.B", "A!B")
	d.add("User-Agent", d.small(9)+"/1.0")
	if d.one(2) {
		d.bring([]byte(d.small(100)))
		d.chunked = d.one(3)
	}
}

// unusual spells a few requests as few senders do.
func (d *draft) unusual() {
	if d.one(30) && d.version == "1.1" {
		d.fields = append(d.fields, pick(d, "Connection: close", "Connection: Close", "connection: close, x-y", "Connection: , close", "Connection: keep-alive, "))
	}
	if !d.source.Wire {
		return
	}
	for i, f := range d.fields {
		if name, value, _ := strings.Cut(f, ": "); d.one(40) && len(f) < d.source.Line-8 {
			d.fields[i] = pick(d, name+":"+value, name+":   "+value, name+":\t"+value+"\t", name+": "+value+"  ", strings.ToLower(name)+": "+value, strings.ToUpper(name)+": "+value)
		}
	}
	switch {
	case d.one(60) && len(d.target) < d.source.Line/2:
		d.target = pick(d, "http", "HTTP", "Http") + "://" + d.source.Host + d.target
	case d.one(60):
		d.target = "http://" + d.source.Host
	case d.method == "OPTIONS" && d.one(3):
		d.target = "*"
	}
}
