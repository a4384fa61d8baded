package httpgen

import (
	"encoding/json"
	"fmt"
	"strings"
)

const (
	chromeAgent  = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
	firefoxAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
	safariAgent  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"
	pageAccept   = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)

func (d *draft) languages() string {
	return pick(d, "en-US,en;q=0.9", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", "fr", "zh-CN,zh;q=0.9,en;q=0.8", "*", "en-GB,en-US;q=0.9,en;q=0.8,pl;q=0.7")
}

// chrome writes the first fields of every request of Chrome.
func (d *draft) chrome() {
	d.hostFirst = true
	d.add("Connection", "keep-alive")
	d.maybe("Cache-Control", pick(d, "max-age=0", "no-cache"))
	d.add("sec-ch-ua", `"Google Chrome";v="131", "Chromium";v="131", "Not_A Brand";v="24"`)
	d.add("sec-ch-ua-mobile", pick(d, "?0", "?1"))
	d.add("sec-ch-ua-platform", pick(d, `"Windows"`, `"macOS"`, `"Linux"`, `"Android"`))
	d.maybe("sec-ch-ua-full-version-list", `"Google Chrome";v="131.0.6778.86", "Not_A Brand";v="24.0.0.0"`)
	d.maybe("DNT", "1")
	d.add("User-Agent", chromeAgent)
}

// chromeTail writes the last fields of every request of Chrome.
func (d *draft) chromeTail(site, mode, dest string) {
	d.add("Sec-Fetch-Site", site)
	d.add("Sec-Fetch-Mode", mode)
	if mode == "navigate" {
		d.maybe("Sec-Fetch-User", "?1")
	}
	d.add("Sec-Fetch-Dest", dest)
	d.maybe("Referer", "https://"+d.source.Host+d.path())
	d.add("Accept-Encoding", "gzip, deflate, br, zstd")
	d.add("Accept-Language", d.languages())
	if !d.oneIn(3) {
		d.add("Cookie", d.cookies(d.upTo(min(4000, d.source.Line-200))))
	}
}

func chromePage(d *draft) {
	d.chrome()
	d.add("Upgrade-Insecure-Requests", "1")
	d.add("Accept", pageAccept)
	d.chromeTail(pick(d, "none", "same-origin", "cross-site"), "navigate", "document")
	d.maybe("If-None-Match", pick(d, `"`+d.word(32, hex)+`"`, `W/"`+d.word(16, hex)+`"`, "*", `"a", W/"b", "c,d"`))
	d.maybe("If-Modified-Since", "Tue, 15 Nov 1994 12:45:26 GMT")
}

func chromeFetch(d *draft) {
	d.chrome()
	d.method = pick(d, "GET", "POST", "POST", "PUT", "PATCH", "DELETE", "DELETE")
	d.add("Accept", pick(d, "*/*", "application/json, text/plain, */*", "application/json"))
	if d.method != "GET" && (d.method != "DELETE" || d.oneIn(2)) {
		d.add("Content-Type", pick(d, "application/json", "application/json;charset=UTF-8", "text/plain;charset=UTF-8", "application/merge-patch+json"))
		d.json(d.upTo(20 << 10))
	}
	d.maybe("X-Requested-With", "XMLHttpRequest")
	d.maybe("X-CSRFToken", d.word(64, urlSafe))
	d.maybe("Authorization", "Bearer "+d.jwt(600))
	d.add("Origin", pick(d, "https://"+d.source.Host, "null", "https://app.example.com:8443"))
	d.chromeTail(pick(d, "same-origin", "cross-site", "same-site"), pick(d, "cors", "no-cors"), "empty")
	d.maybe("Priority", "u=1, i")
}

func chromeForm(d *draft) {
	d.chrome()
	d.method = "POST"
	d.add("Origin", "https://"+d.source.Host)
	d.add("Content-Type", "application/x-www-form-urlencoded")
	d.add("Upgrade-Insecure-Requests", "1")
	d.add("Accept", pageAccept)
	d.chromeTail("same-origin", "navigate", "document")
	d.setBody([]byte(strings.TrimPrefix(d.query(), "?")))
}

func chromeUpload(d *draft) {
	d.chrome()
	d.method = pick(d, "POST", "PUT")
	boundary := "----WebKitFormBoundary" + d.word(16, urlSafe)
	d.add("Content-Type", "multipart/form-data; boundary="+boundary)
	d.add("Origin", "https://"+d.source.Host)
	d.add("Accept", "*/*")
	d.chromeTail("same-origin", "cors", "empty")
	d.setBody(fmt.Appendf(nil, "--%s\r\nContent-Disposition: form-data; name=\"f\"; filename=\"%s.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n%s\r\n--%[1]s--\r\n",
		boundary, d.lowercase(8), d.octets(d.upTo(d.source.Body))))
}

func preflight(d *draft) {
	d.chrome()
	d.method = "OPTIONS"
	d.add("Accept", "*/*")
	d.add("Access-Control-Request-Method", pick(d, "PUT", "DELETE", "PATCH"))
	d.add("Access-Control-Request-Headers", "authorization,content-type,x-csrftoken")
	d.maybe("Access-Control-Request-Private-Network", "true")
	d.add("Origin", "https://app.example.com")
	d.chromeTail("cross-site", "cors", "empty")
}

func chromeImage(d *draft) {
	d.chrome()
	d.add("Accept", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8")
	d.chromeTail("same-origin", "no-cors", pick(d, "image", "video", "script", "style", "font"))
	if d.oneIn(3) {
		d.add("Range", pick(d, "bytes=0-", "bytes=0-1023", "bytes=-500", "bytes=0-0,-1", "bytes=9500-9999, 0-499"))
		d.maybe("If-Range", `"`+d.word(8, hex)+`"`)
	}
}

func firefoxPage(d *draft) {
	d.hostFirst = true
	d.add("User-Agent", firefoxAgent)
	d.add("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	d.add("Accept-Language", "de,en-US;q=0.7,en;q=0.3")
	d.add("Accept-Encoding", "gzip, deflate, br, zstd")
	d.maybe("Sec-GPC", "1")
	d.add("Connection", "keep-alive")
	d.maybe("Cookie", d.cookies(d.upTo(2000)))
	d.add("Upgrade-Insecure-Requests", "1")
	d.add("Sec-Fetch-Dest", "document")
	d.add("Sec-Fetch-Mode", "navigate")
	d.add("Sec-Fetch-Site", "none")
	d.add("Priority", "u=0, i")
	d.maybe("TE", "trailers")
	d.maybe("Pragma", "no-cache")
}

func safariPage(d *draft) {
	d.hostFirst = true
	d.method = pick(d, "GET", "GET", "HEAD")
	d.add("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	d.maybe("Cookie", d.cookies(d.upTo(1000)))
	d.add("User-Agent", safariAgent)
	d.add("Accept-Language", "en-GB,en;q=0.9")
	d.add("Accept-Encoding", "gzip, deflate")
	d.add("Connection", "keep-alive")
	d.maybe("X-Purpose", "preview")
}

func eventSource(d *draft) {
	d.chrome()
	d.add("Accept", "text/event-stream")
	d.maybe("Last-Event-ID", pick(d, "17", "", "caf\xc3\xa9"))
	d.chromeTail("same-origin", "cors", "empty")
}

// cookies returns a value of the Cookie field of at most so many octets, as
// browsers send it: also with octets that the grammar of cookies does not allow.
func (d *draft) cookies(most int) string {
	names := []string{"sessionid", "csrftoken", "_ga", "_gid", "_ga_1A2B3C", "OptanonConsent", "__Host-sid", "__Secure-id", "AWSALB", "ph_x", "lang", "a.b", "x!"}
	var b strings.Builder
	for {
		value := pick(d, d.word(32, lowers+digits), "GA1.2.1467890123.1716239022", "%7B%22a%22%3A1%7D", `"quoted value"`, "", d.word(1+d.IntN(300), base64)+"==",
			"isGpcEnabled=0&datestamp=Mon+Nov+16+2026", `{"a":1,"b":[2,3]}`, "a:b|c~d", "\"caf\xc3\xa9\"", "1")
		one := fmt.Sprintf("%s=%s", pick(d, names...), value)
		if b.Len() > 0 {
			one = "; " + one
		}
		if b.Len()+len(one) > most {
			if b.Len() == 0 {
				return "a=1"
			}
			return b.String()
		}
		b.WriteString(one)
	}
}

func (d *draft) jwt(n int) string {
	return "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9." + d.word(n, urlSafe) + "." + d.word(342, urlSafe)
}

// setBody gives the request a body with this content.
func (d *draft) setBody(content []byte) { d.content, d.hasBody = content, true }

func (d *draft) json(n int) {
	text, err := json.Marshal(map[string]any{"id": d.uuid(), "text": d.word(n, queryChars), "n": d.IntN(1000), "ü": nil})
	if err != nil {
		panic(err) // strings and a number
	}
	d.setBody(text)
}

// octets returns n random octets.
func (d *draft) octets(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(d.Uint32())
	}
	return b
}
