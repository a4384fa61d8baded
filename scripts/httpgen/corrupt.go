package httpgen

import (
	"math/rand/v2"
	"strings"
)

// fragments are inserted into messages to break a rule.
var fragments = []string{"\r", "\n", "\r\n", "\r\n\r\n", "\n\n", "\x00", "\x0b", "\x0c", "\x7f", "\x85", "\xA0", " ", "\t", ":", " :", "\r\n ", "\r\n\t", "#", "*",
	"http://a/", "@", "_", ",", ";", "\"", "+", "-", "0x", "HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/0.9", "CONNECT ", "TRACE ", "OPTIONS ", "PRI * ",
	"Content-Length: 5\r\n", "Content-Length: 1, 1\r\n", "Content_Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip, chunked\r\n",
	"Transfer-Encoding: identity\r\n", "Host: b\r\n", "Host:\r\n", "Connection: close, x\r\n", "Connection: Content-Length\r\n", "Connection: cookie\r\n",
	"Expect: 100-continue\r\n", "Expect: x\r\n", "X-Forwarded-For: 6.6.6.6\r\n", "X_Forwarded_For: 6.6.6.6\r\n", "X-Forwarded-Proto: https\r\n",
	"X-Forwarded-Proto: http\r\n", "X-Forwarded-Proto: https, http\r\n", "X-Forwarded-Ssl: on\r\n", "X-Forwarded-Port: 443, x\r\n", "X-Real-IP: <x>, 6.6.6.6\r\n",
	"X-Real-IP:\r\n", "Connection: x-forwarded-proto\r\n", "Connection: user-agent, accept\r\n", "Content-Length: 5, 5\r\n",
	"SCRIPT_NAME: /x\r\n", "Upgrade: websocket\r\n", "Upgrade: h2c\r\n", "0\r\n\r\n", "5\r\nhello\r\n", "ffffffffffffffff\r\n", "1;a\r\n", "GET / HTTP/1.1\r\n"}

// Corrupt makes one to three random changes to a message, a quarter of them near
// its end, in the framing of the body. Most results break a rule of the grammar.
func Corrupt(random *rand.Rand, text string) string {
	for range 1 + random.IntN(3) {
		i := random.IntN(len(text) + 1)
		if random.IntN(4) == 0 {
			i = len(text) - random.IntN(min(len(text), 200)+1)
		}
		j := min(len(text), i+random.IntN(4))
		switch random.IntN(5) {
		case 0:
			text = text[:i] + string([]byte{byte(random.IntN(256))}) + text[j:]
		case 1:
			text = text[:i] + text[j:]
		case 2:
			lines := strings.SplitAfter(text, "\r\n")
			k := random.IntN(len(lines))
			lines[k] += lines[random.IntN(len(lines))]
			text = strings.Join(lines, "")
		default:
			if k := strings.LastIndex(text[:i], "\r\n"); k >= 0 && random.IntN(2) == 0 {
				i, j = k+2, k+2
			}
			text = text[:i] + fragments[random.IntN(len(fragments))] + text[max(i, j):]
		}
	}
	return text
}
