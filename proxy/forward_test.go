package proxy

import (
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tideover/proxy/gate"
)

// mirror answers with the head it got, octet for octet.
func mirror(k *appConn) {
	for {
		var head strings.Builder
		for !strings.HasSuffix(head.String(), "\r\n\r\n") {
			line, err := k.in.ReadString('\n')
			if err != nil {
				return
			}
			head.WriteString(line)
		}
		k.answer(200, head.String())
	}
}

// started is the one field that every request gets.
var started = regexp.MustCompile(`X-Request-Start: t=\d{10}\.\d{3}\n`)

// TestForwarding: the fields with the address of the client are those of a trusted front-end, or
// are set by the server.
func TestForwarding(t *testing.T) {
	nobody, these := []netip.Prefix{}, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	others := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("::1/128")}
	apache := "X-Forwarded-For: 203.0.113.9, 10.0.0.1\nX-Forwarded-Host: shop.example\nX-Forwarded-Server: www\nX-Forwarded-Proto: https\n" +
		"Forwarded: for=203.0.113.9\nX-Real-IP: 203.0.113.9\nSCRIPT_NAME: /shop\nREMOTE_USER: anna\n"
	sloppy := "X-Forwarded-Proto: https, http\nX-Forwarded-Port: 443, 80\nX-Forwarded-Port: 80\nX-Real-IP: 203.0.113.9, 10.0.0.1\nX-Real-IP: \n" +
		"X-Forwarded-Ssl: 1\nX-Forwarded-Ssl: 1\nX-Forwarded-Protocol: \n"
	ours := "X-Forwarded-For: 127.0.0.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\n"
	for _, c := range []struct {
		name     string
		unix     bool
		set      Settings
		sent     string
		status   int
		received string
	}{
		{"loopback is trusted", false, Settings{}, apache, 200, apache},
		{"a listed front-end is trusted", false, Settings{Trusted: these}, apache, 200, apache},
		{"nothing is made up for a front-end that says nothing", false, Settings{}, "", 200, ""},
		{"nobody is trusted", false, Settings{Trusted: nobody}, apache, 200, ours},
		{"others are trusted", false, Settings{Trusted: others}, apache, 200, ours},
		{"a unix peer is trusted", true, Settings{}, apache, 200, apache},
		{"a unix peer is, where it is named", true, Settings{Trusted: nobody, TrustUnix: true}, apache, 200, apache},
		{"a unix peer is not, where others are", true, Settings{Trusted: others}, apache, 200, "X-Forwarded-Proto: http\nX-Forwarded-Host: a\n"},
		{"loopback is not, where unix peers are", false, Settings{Trusted: nobody, TrustUnix: true}, apache, 200, ours},
		{"lists, empty ones and equal lines pass", false, Settings{}, sloppy, 200, sloppy},
		{"the scheme of the nearest front-end counts", false, Settings{}, "X-Forwarded-Proto: https\nX: 1\nX-Forwarded-Proto: http\n", 200, "X: 1\nX-Forwarded-Proto: http\n"},
		{"a trusted one's nonsense is dropped", false, Settings{}, "X-Forwarded-Port: https\nX-Real-IP: a b\nX: 1\nX-Forwarded-Ssl: \xff\n", 200, "X: 1\n"},
		{"a client's nonsense before the addresses is dropped", false, Settings{}, "X-Forwarded-For: <x>\nX-Forwarded-For: 203.0.113.9\n", 200, "X-Forwarded-For: 203.0.113.9\n"},
		{"an identity that comes twice is refused", false, Settings{}, "REMOTE_USER: anna\nRemote-User: eve\n", 400, ""},
		{"an untrusted one's nonsense is dropped", false, Settings{Trusted: nobody}, "X-Forwarded-Proto: a b\nX-Real-IP:\n", 200, ours},
		{"Proxy is nobody's", false, Settings{}, "Proxy: http://evil\nX: y\n", 200, "X: y\n"},
		{"underscores are dropped", false, Settings{}, "X_Under: 1\nX-Under: 2\n", 200, "X-Under: 2\n"},
		{"underscores pass where wished", false, Settings{PassUnderscores: true}, "X_Under: 1\nX-Under: 2\n", 200, "X_Under: 1\nX-Under: 2\n"},
		{"look-alikes never pass", false, Settings{PassUnderscores: true}, "X_Forwarded_For: 1.1.1.1\n", 400, ""},
		{"what Connection names is removed where wished", false, Settings{RemoveNamed: true}, "X-A: 1\nConnection: X-A, keep-alive\nKeep-Alive: 5\nTE: trailers\nX-B: 2\n", 200, "X-B: 2\n"},
		{"what a front-end has set is never removed by a client's Connection", false, Settings{}, "X-Auth-User: anna\nConnection: close, X-Auth-User\n", 400, ""},
		{"hop-by-hop fields are removed, named or not", false, Settings{}, "Connection: TE, keep-alive, Keep-Alive\nKeep-Alive: 5\nTE: trailers\nTrailer: X\nX-B: 2\n", 200, "X-B: 2\n"},
		{"what Connection may not name", false, Settings{}, "Connection: X-Forwarded-For\n", 400, ""},
		{"order, case and repeats stay", false, Settings{}, "x-b: 1\nCookie: a=1\nX-A: \ncookie: b=2\nX-B:  2 \n", 200, "x-b: 1\nCookie: a=1\nX-A: \ncookie: b=2\nX-B: 2\n"},
		{"Via is none of ours", false, Settings{}, "Via: 1.1 www\n", 200, "Via: 1.1 www\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if c.unix {
				l.Close()
				l, err = net.Listen("unix", filepath.Join(t.TempDir(), "public"))
			}
			if err != nil {
				t.Fatal(err)
			}
			r := newHarnessOn(t, l, patient, c.set)
			r.gate.Swap(r.newTestApp(gate.TargetOptions{}, mirror).Target)
			res, got := r.dial().say("GET /x HTTP/1.1\nHost: a\n" + c.sent + "\n").hear()
			if c.status != 200 {
				if res.StatusCode != c.status {
					t.Errorf("%s", res.Status)
				}
				return
			}
			got = strings.ReplaceAll(got, "\r\n", "\n")
			if n := len(started.FindAllString(got, -1)); n != 1 {
				t.Errorf("%d times X-Request-Start", n)
			}
			if got, want := started.ReplaceAllString(got, ""), "GET /x HTTP/1.1\nHost: a\n"+c.received+"\n"; got != want {
				t.Errorf("the app got\n%swant\n%s", got, want)
			}
		})
	}
}

// TestHostOfHTTP10: a request without one is sent to the target's default, else to the address the
// client called.
func TestHostOfHTTP10(t *testing.T) {
	for _, byDefault := range []string{"", "shop.example:8000"} {
		r := newHarness(t, patient, Settings{})
		r.gate.Swap(r.newTestApp(gate.TargetOptions{DefaultHost: byDefault}, mirror).Target)
		_, got := r.dial().say("GET / HTTP/1.0\nX-Request-Start: t=1.000\n\n").hear()
		want := "GET / HTTP/1.1\r\nHost: " + orDefault(byDefault, r.addr) + "\r\nX-Request-Start: t=1.000\r\n\r\n"
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What a client sends behind its last request makes close(2) reset the connection. The response is
// out by then.
func TestLastResponseIsWholeAlthoughTheClientHasSentMore(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	body := strings.Repeat("x", 8000)
	arrived, answer := make(chan struct{}), make(chan struct{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		for k.request() != nil {
			arrived <- struct{}{}
			<-answer
			k.say("HTTP/1.1 200 OK\nContent-Length: 8000\n\n" + body)
		}
	}).Target)
	for range 50 {
		c := r.dial().say("GET /page HTTP/1.1\nHost: shop.test\nConnection: close\n\n")
		<-arrived
		c.say("more")
		answer <- struct{}{}
		c.want(200, body)
	}
}

// TestSyncWorkersGetAFreshConnectionEach: they say Connection: close, and nothing is kept for them.
func TestSyncWorkersGetAFreshConnectionEach(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.say("HTTP/1.1 200 OK\nConnection: close\nContent-Length: 0\n\n")
		io.Copy(io.Discard, k) // gunicorn 26 lingers for 2 s unless it is closed at once
	})
	r.gate.Swap(child.Target)
	c := r.dial()
	for i := range 5 {
		if res := c.get("/").want(200, ""); res.Close {
			t.Error("the worker's Connection: close reached the client")
		}
		r.eventually("closed", child.idle)
		if n := child.accepted.Load(); n != int64(i+1) {
			t.Errorf("%d connections for %d requests", n, i+1)
		}
	}
}

// TestWhatIsNotSentTwiceGetsAFreshConnection: the app may be closing an idle one at that very
// moment.
func TestWhatIsNotSentTwiceGetsAFreshConnection(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, echo)
	r.gate.Swap(child.Target)
	c := r.dial()
	for _, step := range []struct {
		method string
		fresh  bool
	}{{"GET", true}, {"GET", false}, {"POST", true}, {"PUT", false}, {"PATCH", true}} {
		before := child.accepted.Load()
		c.say(step.method+" / HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi").want(200, step.method+" / hi")
		if fresh := child.accepted.Load() > before; fresh != step.fresh {
			t.Errorf("%s: a fresh connection: %v", step.method, fresh)
		}
	}
}

func TestAnswersPassThrough(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	child := r.newTestApp(gate.TargetOptions{}, echo)
	r.gate.Swap(child.Target)
	c := r.dial()
	for range 3 {
		c.get("/a?b=c").want(200, "GET /a ")
		c.say("POST /form HTTP/1.1\nHost: shop.test\nContent-Length: 5\n\nhello").want(200, "POST /form hello")
		c.say("POST /chunks HTTP/1.1\nHost: shop.test\nTransfer-Encoding: chunked\n\n3\nabc\n2;x=y\nde\n0\n\n").want(200, "POST /chunks abcde")
	}
	r.counted("9 answered", func(c Counters) bool { return c.Answered == 9 && c.Requests == 9 })
	if n := child.accepted.Load(); n > 7 {
		t.Errorf("%d connections to the app for 9 requests", n)
	}
}

// TestADroppedForwardingFieldIsLogged: also of a request with a body, which a goroutine reads.
func TestADroppedForwardingFieldIsLogged(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	c := r.dial()
	c.say("GET / HTTP/1.1\nHost: a\nX-Forwarded-Proto: https\nX-Forwarded-Proto: http\n\n").want(200, "GET / ")
	c.say("POST / HTTP/1.1\nHost: a\nX-Forwarded-Port: no\nContent-Length: 2\n\nhi").want(200, "POST / hi")
	c.say("GET / HTTP/1.1\nHost: a\nX-Forwarded-For: <x>, 203.0.113.9\n\n").want(200, "GET / ")
	c.say("GET / HTTP/1.1\nHost: a\nX-Forwarded-Proto: https, http\nX-Real-IP:\n\n").want(200, "GET / ")
	want := map[string]string{"x-forwarded-proto": "https", "x-forwarded-port": "no", "x-forwarded-for": "<x>, 203.0.113.9"}
	lines := r.logged("forwarding field dropped")
	for _, line := range lines {
		if value, ok := line["value"].(string); !ok || value != want[line["field"].(string)] || line["cause"] == "" || line["app"] != "shop" || line["client"] == "" {
			t.Errorf("%v", line)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d lines, want %d: %v", len(lines), len(want), lines)
	}
}
