package http1

import (
	"bufio"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const smallRequest = "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: wrk\r\n\r\n"

const browserRequest = "GET /shop/basket/?page=2&sort=price HTTP/1.1\r\n" +
	"Host: www.example.com\r\n" +
	"Connection: keep-alive\r\n" +
	"sec-ch-ua: \"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\", \"Google Chrome\";v=\"128\"\r\n" +
	"sec-ch-ua-mobile: ?0\r\n" +
	"sec-ch-ua-platform: \"Linux\"\r\n" +
	"Upgrade-Insecure-Requests: 1\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n" +
	"Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n" +
	"Referer: https://www.example.com/shop/\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7\r\n" +
	"Cookie: csrftoken=0aZ8fQx3y7pR1mK5vN2wB6tH9jL4cS0d; sessionid=x7c5v3b1n9m8k6j4h2g0f1d3s5a7p9o8\r\n\r\n"

const smallResponse = "HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: Sun, 22 Nov 2026 14:00:00 GMT\r\nConnection: keep-alive\r\n" +
	"Content-Type: text/html; charset=utf-8\r\nContent-Length: 12\r\n\r\n"

func benchmarkParse(b *testing.B, text string) {
	in := []byte(text)
	var r Request
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		if n, err := r.Parse(in, &trustedPolicy); n != len(in) || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkParseSmall(b *testing.B)   { benchmarkParse(b, smallRequest) }
func BenchmarkParseBrowser(b *testing.B) { benchmarkParse(b, browserRequest) }

func benchmarkRequest(b *testing.B, text string, trusted bool) {
	in := []byte(text)
	out := make([]byte, 0, 16<<10)
	p := Policy{Limits: RequestLimits(), Trusted: trusted}
	f := UpstreamOptions{Peer: netip.MustParseAddr("192.0.2.7"), Scheme: "http", Start: time.Unix(1790000000, 0)}
	var r Request
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		if n, err := r.Parse(in, &p); n != len(in) || err != nil {
			b.Fatal(n, err)
		}
		f.Body = r.Body
		out = r.AppendUpstream(out[:0], &f)
	}
}

func BenchmarkRequestSmall(b *testing.B)     { benchmarkRequest(b, smallRequest, true) }
func BenchmarkRequestBrowser(b *testing.B)   { benchmarkRequest(b, browserRequest, true) }
func BenchmarkRequestUntrusted(b *testing.B) { benchmarkRequest(b, browserRequest, false) }

func BenchmarkResponse(b *testing.B) {
	in := []byte(smallResponse)
	out := make([]byte, 0, 16<<10)
	l := ResponseLimits()
	var r Response
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(RequestInfo{})
		if n, err := r.Parse(in, &l); n != len(in) || err != nil {
			b.Fatal(n, err)
		}
		out, _ = r.AppendClient(out[:0], &ResponseOptions{Minor: 1, KeepAlive: true})
	}
}

// Nothing is allocated for a message once the slices have grown to size.
func TestNothingIsAllocated(t *testing.T) {
	var (
		request  Request
		response Response
		body     BodyReader
		limits   = ResponseLimits()
		out      = make([]byte, 0, 64<<10)
		forward  = UpstreamOptions{Peer: netip.MustParseAddr("192.0.2.7"), Scheme: "http", Start: time.Unix(1790000000, 0), Body: Body{Framing: Chunked}, Close: true}
		chunks   = []byte("5;a=\"b\"\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
	)
	removeNamed := trustedPolicy
	removeNamed.RemoveNamed = true
	heads := [][]byte{[]byte(browserRequest), []byte(get("Connection: x-a, close", "X-A: 1", "X_Y: 2", "Expect: 100-continue", "Content-Length: 5")),
		[]byte("GET http://a/ HTTP/1.1\r\nHost: A:80\r\nUpgrade: websocket\r\n\r\n"), []byte("GET / HTTP/1.0\r\n\r\n"),
		[]byte(get("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: a, b", "Transfer-Encoding: chunked")), []byte(get("X: a\x00")),
		[]byte(get("X-Forwarded-Proto: https, http", "X-Forwarded-Proto: http", "X-Forwarded-Port: 443, no", "X-Real-IP:", "X-Forwarded-For: <x>, 1.2.3.4")),
		[]byte(get("Connection: X-A, close", "X-A: 1"))}
	answers := [][]byte{[]byte(smallResponse), []byte(ok("Transfer-Encoding: chunked", "Connection: x, close", "X: 1")), []byte("HTTP/1.1 99 X\r\n\r\n"), []byte(ok("Content-Length: 5, 5", "Content-Length: 5"))}
	allocations := testing.AllocsPerRun(100, func() {
		for _, p := range []*Policy{&trustedPolicy, &untrustedPolicy, &removeNamed} {
			for _, in := range heads {
				request.Reset()
				for _, n := range []int{len(in) / 2, len(in)} {
					if _, err := request.Parse(in[:n], p); err != nil {
						out = AppendError(out[:0], err, &request)
					}
				}
				if request.err == nil {
					out = request.AppendUpstream(out[:0], &forward)
				}
			}
		}
		for _, in := range answers {
			response.Reset(RequestInfo{})
			if _, err := response.Parse(in, &limits); err == nil {
				out, _ = response.AppendClient(out[:0], &ResponseOptions{Held: true, Hold: time.Second})
			}
		}
		body.StartRequest(Body{Framing: Chunked}, &limits)
		for in := chunks; len(in) > 0; {
			data, n, err := body.Next(in)
			if err != nil {
				t.Fatal(err)
			}
			in = in[n:]
			out = AppendChunk(out[:0], data)
		}
		out = AppendLocalResponse(out[:0], &LocalResponse{Status: 503, Cause: "held too long", RetryAfter: time.Second, Date: forward.Start})
	})
	if allocations != 0 {
		t.Errorf("%v allocations, want none", allocations)
	}
}

func BenchmarkChunked(b *testing.B) {
	in := AppendChunk(AppendChunk(nil, make([]byte, 1000)), make([]byte, 3000))
	limits := RequestLimits()
	var body BodyReader
	body.StartRequest(Body{Framing: Chunked}, &limits)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		for rest := in; len(rest) > 0; {
			_, n, err := body.Next(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}

// BenchmarkNetHTTP is the reference: what net/http needs for the same request on the same machine.
func BenchmarkNetHTTP(b *testing.B) {
	var text strings.Reader
	stream := bufio.NewReader(&text)
	b.ReportAllocs()
	for b.Loop() {
		text.Reset(browserRequest)
		stream.Reset(&text)
		if _, err := http.ReadRequest(stream); err != nil {
			b.Fatal(err)
		}
	}
}
