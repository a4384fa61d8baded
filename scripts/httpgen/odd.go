package httpgen

import "strings"

// oddFields has rare but legal field names and values.
func oddFields(d *draft) {
	d.method = pick(d, "GET", "GET", "POST", "DELETE", "HEAD")
	for range 1 + d.IntN(12) {
		name := pick(d, "X-"+d.lowercase(12), d.word(1+d.IntN(30), tchars), "X-A", "x-lower", "X-UPPER", "ETag", "Date", "Range", "Max-Forwards", "Accept", "Cookie", "A",
			"0", "1-2", "Content-Language", "Warning", "Pragma", "X-"+d.word(200, lowers))
		if hasMeaning(name) {
			continue
		}
		d.add(name, pick(d, "", " ", "caf\xe9", "caf\xc3\xa9 日本", "a\tb", "\"quoted \\\" string\"", "(comment (nested) \\) )", "a,b ,c", ",", ",,a", "a=b; c=\"d, e\"", "<x>; rel=\"y\"",
			"\x80\xff", d.word(1+d.IntN(60), queryChars), "100-continue", "GET / HTTP/1.1", "chunked", ":", "a: b", "=?utf-8?q?=C3=A9?=", "\\", "%0d%0a", "~", "é"))
	}
	if d.oneIn(3) {
		for range 2 + d.IntN(5) {
			d.add("X-Repeated", d.lowercase(5))
		}
	}
	if d.oneIn(4) {
		d.add("Cookie", "a=1")
		d.add("Cookie", d.cookies(60))
	}
	d.maybe("Keep-Alive", "timeout=5, max=100")
	d.maybe("Proxy-Connection", "keep-alive")
	if d.method == "POST" || d.method == "DELETE" && d.oneIn(2) {
		d.setBody(d.octets(d.upTo(3000)))
		d.chunked = d.oneIn(2)
	}
}

// hasMeaning reports whether a random name is that of a field with a grammar of its own.
func hasMeaning(name string) bool {
	return strings.EqualFold(name, "te") || strings.EqualFold(name, "host") || strings.EqualFold(name, "proxy")
}

// oddMethod has a rare or unregistered method.
func oddMethod(d *draft) {
	d.method = pick(d, "QUERY", "PURGE", "BAN", "LINK", "UNLINK", "M-SEARCH", "NOTIFY", "SUBSCRIBE", "ACL", "BIND", "REBIND", "get", "Foo", "X", "BASELINE-CONTROL",
		"UPDATEREDIRECTREF", d.word(1+d.IntN(32), uppers), "A.B", "A!B")
	d.add("User-Agent", d.lowercase(9)+"/1.0")
	if d.oneIn(2) {
		d.setBody([]byte(d.lowercase(100)))
		d.chunked = d.oneIn(3)
	}
}

// respell changes a few requests to legal spellings that few clients use.
func (d *draft) respell() {
	if d.oneIn(30) && d.version == "1.1" {
		d.fields = append(d.fields, pick(d, "Connection: close", "Connection: Close", "connection: close, not-there", "Connection: , close", "Connection: keep-alive, "))
	}
	if !d.source.Wire {
		return
	}
	for i, f := range d.fields {
		if name, value, _ := strings.Cut(f, ": "); d.oneIn(40) && len(f) < d.source.Line-8 {
			d.fields[i] = pick(d, name+":"+value, name+":   "+value, name+":\t"+value+"\t", name+": "+value+"  ", strings.ToLower(name)+": "+value, strings.ToUpper(name)+": "+value)
		}
	}
	switch {
	case d.oneIn(60) && len(d.target) < d.source.Line/2 && d.target[0] == '/':
		d.target = pick(d, "http", "HTTP", "Http") + "://" + d.host + d.target
	case d.oneIn(60):
		d.target = "http://" + d.host
	case d.method == "OPTIONS" && d.oneIn(3):
		d.target = "*"
	}
}
