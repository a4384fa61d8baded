package httpgen

import "strings"

const (
	unreserved = lowers + uppers + digits + "-._~"
	subDelims  = "!$&'()*+,;="
	pathChars  = unreserved + subDelims + ":@"
	queryChars = pathChars + "/?"
	unescaped  = queryChars + "|[]{}^\\`\"<>" // octets that browsers do not escape in a query
)

// path returns a target in origin-form.
func (d *draft) path() string {
	if d.oneIn(6) {
		return pick(d, "/", "/", "/?", "/??", "/.well-known/acme-challenge/"+d.word(43, urlSafe), "/favicon.ico", "/robots.txt", "/healthz",
			"/index.html", "/a//b", "//", "//double/slash", "/a/./b", "/a/../b", "/a/b/..", "/trailing/", "/~user/", "/a;v=1/b;v=2", "/a:b", "/@user",
			"/100%25", "/a%20b", "/caf%C3%A9", "/a%2Fb", "/%7Euser", "/a+b", "/*", "/(1)", "/a,b,c", "/x=y", "/$value", "/'quoted'", "/!", "/caf\xc3\xa9", "/?q=caf\xe9")
	}
	var b strings.Builder
	for range 1 + d.IntN(5) {
		b.WriteByte('/')
		switch d.IntN(8) {
		case 0:
			b.WriteString(d.word(1+d.IntN(20), pathChars))
		case 1:
			b.WriteString(d.percent(1 + d.IntN(12)))
		case 2:
			b.WriteString(d.word(1+d.IntN(6), digits))
		case 3:
			b.WriteString(d.uuid())
		default:
			b.WriteString(d.lowercase(10))
		}
	}
	if d.oneIn(5) {
		b.WriteString(pick(d, ".html", ".json", ".js", ".php", ".tar.gz", "/", ".min.css", ".jpg"))
	}
	return b.String() + d.query()
}

// query returns a query with its question mark, or none; a few are as long as a
// line may be.
func (d *draft) query() string {
	if d.oneIn(2) {
		return pick(d, "", "", "", "?")
	}
	most := 120
	if d.oneIn(20) {
		most = d.source.Line - 800
	}
	var b strings.Builder
	b.WriteByte('?')
	for most = d.upTo(most); b.Len() < most; {
		if b.Len() > 1 {
			b.WriteString(pick(d, "&", "&", "&", ";", "&&"))
		}
		b.WriteString(pick(d, "q", "id", "page", "utm_source", "a[]", "filter[name]", "ids[0]", "_", "$top", "x.y") + pick(d, "=", "=", "=", ""))
		switch d.IntN(7) {
		case 0:
			b.WriteString(d.percent(1 + d.IntN(10)))
		case 1:
			b.WriteString(d.word(1+d.IntN(20), queryChars))
		case 2:
			b.WriteString(d.word(1+d.IntN(8), unescaped))
		case 3:
			b.WriteString("https://example.com/a?b=c")
		case 4:
			b.WriteString(d.word(1+d.IntN(200), urlSafe))
		default:
			b.WriteString(d.lowercase(8))
		}
	}
	return b.String()
}

// percent returns n percent-encoded octets of text in several languages.
func (d *draft) percent(n int) string {
	text := pick(d, "Ünïcödé-ÄÖÜß", "日本語のテキスト", "кириллица", "عربى", "a b&c=d/e?f#g%h+i", "🙂🚢", "\"<>\\^`{|}")
	const upper, lower = "0123456789ABCDEF", "0123456789abcdef"
	digit := pick(d, upper, upper, lower)
	var b strings.Builder
	for i := range n {
		c := text[i%len(text)]
		b.WriteByte('%')
		b.WriteByte(digit[c>>4])
		b.WriteByte(digit[c&15])
	}
	return b.String()
}

func (d *draft) uuid() string {
	return d.word(8, hex) + "-" + d.word(4, hex) + "-4" + d.word(3, hex) + "-a" + d.word(3, hex) + "-" + d.word(12, hex)
}
