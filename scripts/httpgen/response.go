package httpgen

import (
	"fmt"
	"strings"
)

// repeatLength repeats some Content-Length fields, in the line or in a second one, as apps do
// whose framework and middleware both write one.
func (d *draft) repeatLength() {
	last := len(d.fields) - 1
	name, value, _ := strings.Cut(d.fields[last], ": ")
	if name != "Content-Length" || !d.oneIn(6) {
		return
	}
	if d.oneIn(2) {
		d.fields = append(d.fields, d.fields[last])
		return
	}
	d.fields[last] += ", " + value
}

// Response generates the response with this number, after up to two interim
// responses. A response without a framing field ends with the connection.
func (s Source) Response(number int) string {
	d := s.draft(number)
	status := pick(d, "200 OK", "200 OK", "201 Created", "204 No Content", "301 Moved", "304 Not Modified", "404 Not Found", "500 X", "200", "200 ", "700 Custom", "999")
	d.fields = d.someOf("Server: gunicorn", "Date: Sun, 22 Nov 2026 14:00:00 GMT", "Connection: "+pick(d, "close", "keep-alive", "x-y, close"), "X_Y: 1", "x-y: 2",
		"Set-Cookie: a="+d.word(1+d.IntN(80), alphanumeric)+"; Path=/; HttpOnly", "Set-Cookie: b=1", "Content-Security-Policy: "+d.word(1+d.IntN(900), valueChars),
		"Content-Type:text/html; charset=utf-8 ", "Keep-Alive: 5", "Vary: Accept", "Upgrade: h2c", "Trailer: X-Sum", "Via: 1.1 x", "Location: /")
	interim := strings.Repeat("HTTP/1.1 "+pick(d, "103 Early Hints\r\nLink: </a>;rel=preload", "100 Continue", "102 Processing")+"\r\n\r\n", d.IntN(3))
	r := Request{Body: []byte(d.word(1+d.IntN(50), valueChars))}
	if d.oneIn(2) {
		d.setBody(pick(d, nil, d.octets(d.upTo(s.Body))))
		d.chunked = d.oneIn(2)
		d.frame(&r)
		d.repeatLength()
	}
	d.Shuffle(len(d.fields), func(i, j int) { d.fields[i], d.fields[j] = d.fields[j], d.fields[i] })
	d.respace()
	fields := strings.Join(append(d.fields, ""), "\r\n")
	return fmt.Sprintf("%sHTTP/1.%s %s\r\n%s\r\n%s", interim, pick(d, "1", "1", "1", "0"), status, fields, r.Body)
}
