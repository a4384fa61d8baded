package httpgen

// behindCDN is a request that passed other proxies before. Some of them append to what they have
// received, in the same line or in a second one, and some fill in a value that is empty.
func behindCDN(d *draft) {
	d.method = pick(d, "GET", "POST")
	d.add("X-Forwarded-For", pick(d, "203.0.113.9", "203.0.113.9, 198.51.100.7", "2001:db8::1", "203.0.113.9:51234", "unknown, 203.0.113.9",
		"203.0.113.9,198.51.100.7,192.0.2.1", "[2001:db8::1]:4711"))
	d.fields = append(d.fields, pick(d, schemes...)...)
	d.maybe("X-Forwarded-Host", pick(d, "shop.example.com", "shop.example.com:8443", "a.example, b.example", "[2001:db8::2]:443"))
	d.fields = append(d.fields, pick(d, ports...)...)
	d.maybe("X-Forwarded-Prefix", pick(d, "/shop", "", "/a, /b"))
	d.maybe("X-Forwarded-Client-Cert", `By=spiffe://a/b;Hash=`+d.word(64, hex)+`;Subject="CN=x,OU=y";URI=spiffe://c/d`)
	d.fields = append(d.fields, pick(d, realAddresses...)...)
	d.maybe("Forwarded", pick(d, "for=203.0.113.9;proto=https;by=198.51.100.7", `for="[2001:db8::1]:4711"`, "for=192.0.2.43, for=198.51.100.17", "for=192.0.2.43;secret=a!b+c~1", `For="_gazonk";host="shop.example.com:8443"`))
	d.maybe("Via", pick(d, "1.1 varnish, 1.1 google", "2.0 a1b2.cloudfront.net (CloudFront)", "1.0 fred, 1.1 p.example.net"))
	d.maybe("CDN-Loop", "cloudflare; loops=1")
	d.maybe("CF-Connecting-IP", "203.0.113.9")
	d.maybe("CF-Ray", "8e6"+d.word(13, hex)+"-FRA")
	d.maybe("CF-Visitor", `{"scheme":"https"}`)
	d.maybe("X-Amzn-Trace-Id", "Root=1-67891233-abcdef012345678912345678;Sampled=1")
	d.maybe("traceparent", "00-"+d.word(32, hex)+"-"+d.word(16, hex)+"-01")
	d.maybe("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
	d.maybe("X-Request-Id", d.uuid())
	d.maybe("X-Request-Start", pick(d, "t=1732291234.567", "1732291234567", "t=1732291234567890"))
	d.maybe("Cookie", d.cookies(d.upTo(3000)))
	if d.method == "POST" {
		d.json(d.upTo(2000))
	}
}

// The ways in which front-ends, and what is in front of them, say how a client came.
var (
	schemes = [][]string{
		{"X-Forwarded-Proto: https"}, {"X-Forwarded-Proto: http"}, {"X-Forwarded-Proto: wss"}, {"X-Forwarded-Proto: "},
		{"X-Forwarded-Proto: https, http"}, {"X-Forwarded-Proto: http, https"}, {"X-Forwarded-Proto: https,https"},
		{"X-Forwarded-Proto: https", "X-Forwarded-Proto: https"},
		{"X-Forwarded-Proto: http", "X-Forwarded-Proto: http", "X-Forwarded-Ssl: off"},
		{"X-Forwarded-Proto: https", "X-Forwarded-Ssl: on", "X-Forwarded-Protocol: ssl"},
		{"X-Forwarded-Ssl: 1"}, {"X-Forwarded-Ssl: "}, {"X-Forwarded-Ssl: on", "X-Forwarded-Ssl: on"},
	}
	ports = [][]string{nil, nil, {"X-Forwarded-Port: 443"}, {"X-Forwarded-Port: 443, 80"}, {"X-Forwarded-Port: 443,443"}, {"X-Forwarded-Port: "},
		{"X-Forwarded-Port: 80", "X-Forwarded-Port: 443"}}
	realAddresses = [][]string{nil, nil, {"X-Real-IP: 203.0.113.9"}, {"X-Real-IP: 2001:db8::1"}, {"X-Real-IP: 203.0.113.9, 10.0.0.1"}, {"X-Real-IP: unknown"},
		{"X-Real-IP: "}, {"X-Real-IP: 203.0.113.9", "X-Real-IP: 10.0.0.1"}}
)
