package http1

import (
	"bufio"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestAnswer(t *testing.T) {
	date := time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)
	page := []byte("<p>Back soon.</p>")
	for _, c := range []struct {
		name   string
		answer LocalResponse
		want   string
	}{
		{"held too long", LocalResponse{Status: 503, Cause: "held too long", RetryAfter: 1500 * time.Millisecond, Held: true, Hold: 30 * time.Second, Date: date},
			"HTTP/1.1 503 Service Unavailable\r\nDate: Sun, 22 Nov 2026 14:00:00 GMT\r\nRetry-After: 2\r\nCache-Control: no-store\r\n" +
				"Server-Timing: hold;dur=30000\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 38\r\nConnection: close\r\n\r\n" +
				"503 Service Unavailable\nheld too long\n"},
		{"page", LocalResponse{Status: 503, Page: page, Minor: 1, KeepAlive: true},
			"HTTP/1.1 503 Service Unavailable\r\nCache-Control: no-store\r\nContent-Type: text/html\r\nContent-Length: 17\r\n\r\n<p>Back soon.</p>"},
		{"page with a type, to HEAD", LocalResponse{Status: 503, Page: page, PageType: "text/x", Head: true, Minor: 0, KeepAlive: true},
			"HTTP/1.1 503 Service Unavailable\r\nCache-Control: no-store\r\nContent-Type: text/x\r\nContent-Length: 17\r\nConnection: keep-alive\r\n\r\n"},
		{"alive", LocalResponse{Status: 200, Minor: 1, KeepAlive: true},
			"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 7\r\n\r\n200 OK\n"},
	} {
		if got := string(AppendLocalResponse(nil, &c.answer)); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

// Every status that tideover itself sends has its reason phrase.
func TestReasons(t *testing.T) {
	for _, status := range []int{200, 400, 405, 408, 413, 414, 417, 431, 501, 502, 503, 504, 505} {
		line := "HTTP/1.1 " + strconv.Itoa(status) + " "
		if got := string(AppendLocalResponse(nil, &LocalResponse{Status: status})); !strings.HasPrefix(got, line) || strings.HasPrefix(got, line+"Error\r\n") {
			t.Errorf("%d: %q", status, got)
		}
	}
	if got := string(AppendLocalResponse(nil, &LocalResponse{Status: 599})); !strings.HasPrefix(got, "HTTP/1.1 599 Error\r\n") {
		t.Errorf("%q", got)
	}
}

func TestChunkHeaders(t *testing.T) {
	for _, n := range []int{1, 9, 10, 15, 16, 255, 4096, 1<<31 - 1, 1<<52 - 1} {
		if got := string(AppendChunkHeader(nil, n)); got != strconv.FormatInt(int64(n), 16)+"\r\n" {
			t.Errorf("%d: %q", n, got)
		}
	}
	if got := AppendChunk(nil, nil); got != nil {
		t.Errorf("an empty chunk would end the body: %q", got)
	}
	body := string(AppendChunk(AppendChunk(nil, []byte("hello ")), []byte("world"))) + LastChunk
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(ok("Transfer-Encoding: chunked")+body)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r.Body); err != nil || string(got) != "hello world" {
		t.Errorf("%q %v", got, err)
	}
}

func TestAccessors(t *testing.T) {
	const in = "\r\nPUT http://Shop.example/a%2Fb?c=d HTTP/1.1\r\nHost: shop.example\r\nX-Request-Id: 7\r\nKeep-Alive: 5\r\n\r\n"
	var r Request
	if r.Started() {
		t.Error("begun before anything came")
	}
	for _, part := range []string{"\r", "\r\n"} {
		if n, err := r.Parse([]byte(part), &trustedPolicy); n != 0 || err != nil || r.Started() {
			t.Errorf("an empty line is no beginning: %d %v", n, err)
		}
	}
	if n, err := r.Parse([]byte(in), &trustedPolicy); n != len(in) || err != nil || !r.Started() {
		t.Fatal(n, err)
	}
	for _, c := range []struct{ what, got, want string }{
		{"method", string(r.MethodName()), "PUT"}, {"target", string(r.Target()), "http://Shop.example/a%2Fb?c=d"},
		{"path", string(r.Path()), "/a%2Fb"}, {"host", string(r.Host()), "Shop.example"},
		{"value", string(r.Value("x-request-ID")), "7"}, {"dropped value", string(r.Value("Keep-Alive")), "5"}, {"no value", string(r.Value("X")), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s is %q, want %q", c.what, c.got, c.want)
		}
	}
	if !r.Method.Idempotent() || MethodPost.Idempotent() || MethodPatch.Idempotent() || MethodOther.Idempotent() || !MethodDelete.Idempotent() {
		t.Error("idempotent methods are GET, HEAD, PUT, DELETE, OPTIONS")
	}
	for target, path := range map[string]string{"http://shop.example": "/", "http://shop.example?x": "/", "/a?": "/a"} {
		r.Reset()
		if _, err := r.Parse([]byte("GET "+target+" HTTP/1.1\r\nHost: shop.example\r\n\r\n"), &trustedPolicy); err != nil || string(r.Path()) != path {
			t.Errorf("path of %s is %q, want %q (%v)", target, r.Path(), path, err)
		}
	}
	r.Reset()
	if _, err := r.Parse([]byte("GET / HTTP/1.0\r\n\r\n"), &trustedPolicy); err != nil || r.Host() != nil {
		t.Errorf("host of HTTP/1.0 without one: %q %v", r.Host(), err)
	}
}

func TestResponseAccessors(t *testing.T) {
	var r Response
	limits := ResponseLimits()
	if _, err := r.Parse([]byte(ok("Date: x", "Content-Length: 1")), &limits); err != nil {
		t.Fatal(err)
	}
	if string(r.Reason()) != "OK" || string(r.Value("date")) != "x" || r.Value("X") != nil || r.Interim() {
		t.Errorf("%q %q", r.Reason(), r.Value("date"))
	}
	if _, err := r.Parse([]byte("x"), &limits); err == nil || err.Error() != "response is not HTTP/1 (R71 NotHTTP)" {
		t.Errorf("the next response: %v", err)
	}
	if n, err := r.Parse([]byte(smallResponse), &limits); n != 0 || err != errNotHTTP {
		t.Errorf("an error stays: %d %v", n, err)
	}
}

// A Parse after a complete head starts with the next head. A Parse with fewer octets than before
// needs more.
func TestParseAgain(t *testing.T) {
	var r Request
	for _, in := range []string{get("X: 1"), get(), browserRequest} {
		if n, err := r.Parse([]byte(in), &trustedPolicy); n != len(in) || err != nil {
			t.Errorf("%d %v", n, err)
		}
	}
	r.Reset()
	if _, err := r.Parse([]byte(" "), &trustedPolicy); err != errLeadingOctet || !r.Started() {
		t.Errorf("%v, begun: %v", err, r.Started())
	}
	if n, err := r.Parse([]byte(get()), &trustedPolicy); n != 0 || err != errLeadingOctet {
		t.Errorf("an error stays: %d %v", n, err)
	}
	r.Reset()
	for _, n := range []int{20, 5, 30} {
		if got, err := r.Parse([]byte(browserRequest[:n]), &trustedPolicy); got != 0 || err != nil {
			t.Errorf("%d %v", got, err)
		}
	}
	var response Response
	limits := ResponseLimits()
	for _, in := range []string{"HTTP/1.1 103 Early Hints\r\n\r\n", smallResponse, smallResponse} {
		if n, err := response.Parse([]byte(in), &limits); n != len(in) || err != nil {
			t.Errorf("%d %v", n, err)
		}
	}
	if response.interims != 0 {
		t.Errorf("%d interim heads before a response that had none", response.interims)
	}
	for i := range maxInterims + 2 {
		n, err := response.Parse([]byte("HTTP/1.1 103 Early Hints\r\n\r\n"), &limits)
		if refused := i >= maxInterims; (err != nil) != refused || refused != (n == 0) {
			t.Errorf("%d interim heads, one after the other: %d %v", i+1, n, err)
		}
	}
}

func TestRequestStart(t *testing.T) {
	f := testUpstreamOptions
	f.Start = time.UnixMilli(1_790_000_000_042)
	f.Close = true
	removeNamed := trustedPolicy
	removeNamed.RemoveNamed = true
	for in, want := range map[string]string{
		get():                       "Host: a\r\nX-Request-Start: t=1790000000.042\r\nConnection: close\r\n\r\n",
		get("X-Request-Start: t=1"): "Host: a\r\nX-Request-Start: t=1\r\nConnection: close\r\n\r\n",
		get("X_Request_Start: t=1"): "Host: a\r\nX-Request-Start: t=1790000000.042\r\nConnection: close\r\n\r\n",
		get("Connection: x-request-start", "X-Request-Start: t=1"): "Host: a\r\nX-Request-Start: t=1790000000.042\r\nConnection: close\r\n\r\n",
	} {
		var r Request
		if _, err := r.Parse([]byte(in), &removeNamed); err != nil {
			t.Fatal(err)
		}
		if got := string(r.AppendUpstream(nil, &f)); !strings.HasSuffix(got, want) {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
}

// A chunked body that was buffered is sent with its length.
func TestKeptBodyHasALength(t *testing.T) {
	var r Request
	if _, err := r.Parse([]byte(post("")), &untrustedPolicy); err != nil {
		t.Fatal(err)
	}
	f := UpstreamOptions{Body: Body{Framing: Fixed, Length: 12}}
	want := "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nContent-Length: 12\r\n\r\n"
	if got := string(r.AppendUpstream(nil, &f)); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestBodyReader(t *testing.T) {
	limits := RequestLimits()
	var b BodyReader
	b.StartRequest(Body{Framing: Fixed, Length: 5}, &limits)
	if b.Done() || b.Remaining() != 5 {
		t.Errorf("done %v, left %d", b.Done(), b.Remaining())
	}
	data, n, err := b.Next([]byte("hel"))
	if string(data) != "hel" || n != 3 || err != nil || b.Remaining() != 2 || b.Total != 3 {
		t.Errorf("%q %d %v, left %d, total %d", data, n, err, b.Remaining(), b.Total)
	}
	if err := b.End(); err == nil || err.Status != 400 || err.Rule != RuleIncompleteRequest || b.End() != err {
		t.Errorf("a short body ends with %v", err)
	}
	if _, n, err := b.Next([]byte("lo")); n != 0 || err == nil {
		t.Errorf("an error stays: %d %v", n, err)
	}
	b.StartRequest(Body{}, &limits)
	if data, n, err := b.Next([]byte("GET /")); data != nil || n != 0 || err != nil || !b.Done() || b.End() != nil {
		t.Errorf("no body: %q %d %v", data, n, err)
	}
	b.StartResponse(Body{Framing: UntilClose}, &limits)
	if data, n, err := b.Next([]byte("abc")); string(data) != "abc" || n != 3 || err != nil || b.Done() || b.Remaining() != -1 {
		t.Errorf("until close: %q %d %v", data, n, err)
	}
	if b.End() != nil || !b.Done() {
		t.Error("a close ends it")
	}
	b.StartRequest(Body{Framing: Chunked}, &limits)
	if _, _, err := b.Next([]byte("x")); err != errChunkSize || b.End() != err {
		t.Errorf("the first error stays: %v, %v", err, b.End())
	}
}
