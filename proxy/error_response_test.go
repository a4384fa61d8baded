package proxy

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tideover/proxy/gate"
)

func TestOwn503(t *testing.T) {
	overflow := func(r *harness) *testClient { return r.dial().get("/") }
	refused := func(r *harness) *testClient {
		r.gate.Refuse(&gate.Refusal{RetryAfter: 1500 * time.Millisecond, Cause: "the app is stopped"})
		return r.dial().get("/")
	}
	full, brief := gate.Settings{Timeout: time.Minute}, gate.Settings{Limit: 1, Timeout: time.Millisecond}
	for _, c := range []struct {
		name  string
		gate  gate.Settings
		set   Settings
		ask   func(*harness) *testClient
		after string
		media string
		body  string
	}{
		{"expired", brief, Settings{}, overflow, "5", "text/plain; charset=utf-8", "503 Service Unavailable\nheld for as long"},
		{"overflowed", full, Settings{}, overflow, "5", "text/plain; charset=utf-8", "503 Service Unavailable\ntoo many"},
		{"refused", full, Settings{}, refused, "2", "text/plain; charset=utf-8", "503 Service Unavailable\nthe app is stopped"},
		{"expired, own words", brief, Settings{RetryAfter: 90 * time.Second, ErrorPage: []byte("back soon")}, overflow, "90", "text/plain; charset=utf-8", "back soon"},
		{"overflowed, own page", full, Settings{RetryAfter: time.Millisecond, ErrorPage: []byte("<h1>soon</h1>")}, overflow, "1", "text/html", "<h1>soon</h1>"},
		{"refused, own page", full, Settings{RetryAfter: time.Hour, ErrorPage: []byte("<h1>soon</h1>")}, refused, "2", "text/html", "<h1>soon</h1>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newHarness(t, c.gate, c.set)
			res := c.ask(r).want(503, c.body)
			if after, media := res.Header.Get("Retry-After"), res.Header.Get("Content-Type"); after != c.after || media != c.media {
				t.Errorf("Retry-After %q, Content-Type %q", after, media)
			}
		})
	}
}

func TestOwnPageToHEADHasNoBody(t *testing.T) {
	r := newHarness(t, gate.Settings{}, Settings{ErrorPage: []byte("<h1>soon</h1>")})
	head, _ := http.NewRequest("HEAD", "http://a/", nil)
	c := r.dial().say("HEAD / HTTP/1.1\nHost: a\n\n")
	if res, body := c.hearTo(head); res.ContentLength != 13 || body != "" {
		t.Errorf("length %d, body %q", res.ContentLength, body)
	}
	c.get("/").want(503, "<h1>soon</h1>")
}

func TestOwnPageIsForA503Only(t *testing.T) {
	r := newHarness(t, patient, Settings{ErrorPage: []byte("<h1>soon</h1>")})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) { k.request(); k.say("rubbish\n") }).Target)
	r.dial().get("/").want(502, "not valid")
}

// logged returns the log's lines with this message.
func (r *harness) logged(message string) (lines []map[string]any) {
	for line := range strings.Lines(r.log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			r.Fatalf("%v: %s", err, line)
		}
		if fields["@message"] == message {
			lines = append(lines, fields)
		}
	}
	return lines
}

// A client that waits for a 100 and is refused sends no body, and no 100 after the answer asks for
// it.
func TestRefusedExpectationIsNotContinued(t *testing.T) {
	r := newHarness(t, gate.Settings{}, Settings{})
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 5\n\n")
	start := time.Now()
	c.want(503, "too many")
	c.ended()
	between(t, start, 0, later)
}

func TestAliveIsOnePathOnly(t *testing.T) {
	r := newHarness(t, patient, Settings{HealthPath: "/-/alive"})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	c := r.dial()
	c.get("/-/alive").want(200, "alive")
	c.get("/-/alive?x=y").want(200, "alive")
	c.get("/-/alive/").want(200, "GET /-/alive/")
	c.say("POST /-/alive HTTP/1.1\nHost: a\nContent-Length: 1\n\nx").want(200, "POST /-/alive x")
	c.say("GET /-/alive HTTP/1.1\nHost: a\nConnection: close\n\n").want(200, "alive")
	c.ended()
	head := r.dial().say("HEAD /-/alive HTTP/1.1\nHost: a\n\nGET /next HTTP/1.1\nHost: a\nConnection: close\n\n")
	if text, err := io.ReadAll(head.in); err != nil || strings.Contains(string(text), "\r\n\r\n200 OK") || !strings.HasSuffix(string(text), "GET /next ") {
		t.Errorf("%q %v", text, err)
	}
}

// A client that does not take our own answer gets no other one behind a part of it.
func TestOwnAnswerThatIsNotTaken(t *testing.T) {
	r := newHarness(t, gate.Settings{}, Settings{WriteTimeout: shortly, ErrorPage: make([]byte, 4*megabytes)})
	c := r.dial()
	c.Conn.(*net.TCPConn).SetReadBuffer(4096)
	c.get("/1").get("/2")
	r.counted("one", func(n Counters) bool { return n.Overflowed == 1 })
	r.eventually("closed", func() bool { return r.connected() == 0 })
	if n := r.server.Counters().Requests; n != 1 {
		t.Errorf("%d requests", n)
	}
}

// connected is how many clients there are.
func (r *harness) connected() (n int) {
	r.everyClient(func(*loopClient) { n++ })
	return n
}
