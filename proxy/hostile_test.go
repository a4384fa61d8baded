package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// A hostile is what a malicious child answers, and what must become of it.
type hostile struct {
	name  string
	bytes string // \n stands for CRLF, \v for a bare LF, \b for a bare CR
	want  int    // the status the client gets; cutOff: a response that visibly breaks off
	body  string // of a response that is sound but for what is behind it
}

const cutOff = -1

// crlf writes a hostile's bytes out.
func (h hostile) crlf() []byte {
	return []byte(strings.NewReplacer("\n", "\r\n", "\v", "\n", "\b", "\r").Replace(h.bytes))
}

// ok is a sound head of a response with three bytes of content.
const ok = "HTTP/1.1 200 OK\nContent-Length: 3\n"

// hostiles are grouped by what they attack.
func hostiles() (all []hostile) {
	add := func(group string, want int, answers ...string) {
		for i, bytes := range answers {
			all = append(all, hostile{name: fmt.Sprint(group, " ", i), bytes: bytes, want: want})
		}
	}
	sound := func(name, body, bytes string) { all = append(all, hostile{name, bytes, 200, body}) }

	add("no HTTP", 502, "hello world\n", "<html>EVIL</html>", "\n"+ok+"\nabc", " "+ok+"\nabc", "ICY 200 OK\n\n", "PRI * HTTP/2.0\n\nSM\n\n",
		"\x15\x03\x01\x00\x02\x02\x28", "\x00\x00\x12\x04\x00\x00\x00\x00\x00", "GET / HTTP/1.1\nHost: a\n\n", "\x00")
	for _, line := range []string{"HTTP/1.1 2000 OK", "HTTP/1.1 099 OK", "HTTP/1.1 000 OK", "HTTP/1.1 1000 OK", "HTTP/1.1 20 OK", "HTTP/1.1 +20 OK", "HTTP/1.1 2\x000 OK",
		"HTTP/2 200 OK", "HTTP/1.2 200 OK", "HTTP/0.9 200 OK", "HTTP/1.10 200 OK", "http/1.1 200 OK", "HTTP/1.1\t200 OK", "HTTP/1.1  200 OK",
		"HTTP/1.1 200OK", "HTTP/1.1 200\tOK", "HTTP/1.1 200 O\x00K", "HTTP/1.1 200 O\bK", "HTTP/1.1 200 O\vK", "HTTP/1.1 200 O\x7fK", "HTTP/1.1", "HTTP/1.1 "} {
		add("status line "+strconv.Quote(line), 502, line+"\nContent-Length: 3\n\nabc")
	}
	for _, field := range []string{"no colon", "Name : v", "Na me: v", ": v", " X: folded first", "X: a\n folded", "X: nul\x00", "X: cr\bcr", "X: lf\vlf", "X: bel\a",
		"Content_Length: 3", "Transfer_Encoding: chunked", "Connection: content-length", "Connection: transfer-encoding", "Connection: cookie", "Connection: a b",
		"Content-Length: 4", "Content-Length:", "Content-Length: 3, 4", "Transfer-Encoding: chunked", strings.Repeat("N", 300) + ": v", "X: " + strings.Repeat("v", 70<<10),
		strings.Repeat("A: b\n", 200) + "A: b", "Connection: " + strings.Repeat("a,", 40)} {
		add("field "+strconv.Quote(field[:min(30, len(field))]), 502, ok+field+"\n\nabc")
	}
	for _, status := range []int{600, 700, 999} {
		all = append(all, hostile{fmt.Sprint("status ", status), fmt.Sprintf("HTTP/1.1 %d Custom\nContent-Length: 3\n\nabc", status), status, "abc"})
	}
	sound("equal lengths", "abc", ok+"Content-Length: 3\n\nabc")
	sound("a list of equal lengths", "abc", "HTTP/1.1 200 OK\nContent-Length: 3, 3\n\nabc")
	add("endless head", 502, "HTTP/1.1 200 OK\n"+strings.Repeat("Set-Cookie: a="+strings.Repeat("x", 600)+"\n", 180))
	for _, length := range []string{"", "+3", "-3", "3,4", "3, 4", "3,", "3,,3", "3,+3", "3, 3\nContent-Length: 4", "0x3", "3 ", "3 3", "1e1", "99999999999999999999", "9223372036854775808", "３"} {
		want := 502
		if length == "3 " {
			want = 200
		}
		add("length "+strconv.Quote(length), want, "HTTP/1.1 200 OK\nContent-Length: "+length+"\n\nabc")
	}
	for _, coding := range []string{"", "xchunked", "chunked, chunked", "gzip, chunked", "identity", "chunked\v", "\x0cchunked", "chunked;q=1", "\"chunked\"", "chunked\nTransfer-Encoding: chunked"} {
		add("coding "+strconv.Quote(coding), 502, "HTTP/1.1 200 OK\nTransfer-Encoding: "+coding+"\n\n3\nabc\n0\n\n")
	}
	add("chunked in 1.0", 502, "HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n")
	for _, body := range []string{"0x3\nabc\n0\n\n", "-3\nabc\n0\n\n", " 3\nabc\n0\n\n", "3 \nabc\n0\n\n", "3\vabc\n0\n\n", "3\babc\n0\n\n", "3\nabcd\n0\n\n", "3\nab\n0\n\n",
		"3\nabc\v0\n\n", "3;\nabc\n0\n\n", "3;a=\vb\nabc\n0\n\n", "3;a=\x00\nabc\n0\n\n", "00000000000000003\nabc\n0\n\n", "fffffffffffffff\nabc", "\nabc",
		"3\nabc\n0\nno colon\n\n", "3\nabc\n0\nX : v\n\n", "3\nabc\n0\nX: a\n b\n\n", "3\nabc\n0\n", "3\nabc\n", "3\nab", "zz\n",
		strings.Repeat("1;x="+strings.Repeat("y", 200)+"\na\n", 1000)} {
		add("chunks "+strconv.Quote(body[:min(30, len(body))]), cutOff, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"+body)
	}
	add("short", cutOff, ok+"\nab", "HTTP/1.1 200 OK\nContent-Length: 9223372036854775807\n\nabc", "HTTP/1.0 200 OK\nContent-Length: 4\nConnection: keep-alive\n\nabc")
	add("interim", 502, "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: upgrade\n\nEVIL", strings.Repeat("HTTP/1.1 103 Hints\n\n", 9)+ok+"\nabc",
		strings.Repeat("HTTP/1.1 100 Continue\n\n", 20000), "HTTP/1.1 103 H\nX : y\n\n"+ok+"\nabc", "HTTP/1.1 100 C\nContent-Length: 3\n\nabc"+ok+"\nabc",
		"HTTP/1.1 103 H\nLink: "+strings.Repeat("x", 40<<10)+"\n\nHTTP/1.1 103 H\nLink: "+strings.Repeat("x", 40<<10)+"\n\n"+ok+"\nabc")
	sound("extra response", "abc", ok+"\nabc"+ok+"\nEVIL")
	sound("extra bytes", "abc", ok+"\nabcEVIL")
	sound("extra behind chunks", "abc", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n"+ok+"\nEVIL")
	sound("trailers", "abc", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\nContent-Length: 9\nSet-Cookie: EVIL=1\n\n")
	sound("eight hints", "abc", strings.Repeat("HTTP/1.1 103 Hints\nLink: </a>\n\n", 8)+ok+"\nabc")
	sound("other interims", "abc", "HTTP/1.1 100 Continue\n\nHTTP/1.1 102 P\nTransfer-Encoding: chunked\n\nHTTP/1.1 199 Q\nContent-Length: 5\n\n"+ok+"\nabc")
	sound("hop-by-hop", "abc", ok+"Connection: keep-alive, X-Evil\nX-Evil: EVIL\nKeep-Alive: timeout=9\nProxy-Authenticate: EVIL\nUpgrade: h2c\n\nabc")
	sound("no length", "abc", "HTTP/1.1 200 OK\n\nabc")
	return all
}

// TestMaliciousChild lets one child give hostile answers to one client and sound ones to another,
// on the same connections where that is possible: no byte of the former may reach the latter, and
// nothing may get stuck.
func TestMaliciousChild(t *testing.T) {
	r := newHarness(t, patient, Settings{Timeout: 5 * time.Second})
	cases := hostiles()
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		for req := k.request(); req != nil; req = k.request() {
			i, err := strconv.Atoi(req.Header.Get("Evil"))
			if err != nil {
				k.answer(200, req.URL.Path)
				continue
			}
			answer, end := cases[i].crlf(), cases[i].end()
			for at := range answer {
				if req.URL.Path == "/whole" || at > 2000 || at >= end {
					k.Write(answer[at:])
					break
				}
				k.Write(answer[at : at+1])
			}
			if cases[i].want == cutOff || cases[i].name == "no length" || cases[i].name == "no HTTP 9" {
				return // else the connection stays open, and tempts
			}
		}
	}).Target)
	victim := r.dial()
	for i, h := range cases {
		for _, path := range []string{"/whole", "/bytewise"} {
			r.attack(t, h, i, path)
			victim.get(fmt.Sprintf("/victim/%d", i)).want(200, fmt.Sprintf("/victim/%d", i))
		}
	}
	r.counted("nothing under way", func(Counters) bool { return r.gate.Snapshot().InFlight == 0 })
	t.Logf("%d kinds: %+v", len(cases), r.server.Counters())
}

// attack asks for one hostile answer and judges what comes.
func (r *harness) attack(t *testing.T, h hostile, i int, path string) {
	c := r.dial()
	c.say(fmt.Sprintf("GET %s HTTP/1.1\nHost: a\nEvil: %d\n\n", path, i))
	defer c.Close()
	var seen bytes.Buffer
	c.in.Reset(io.TeeReader(c.Conn, &seen))
	res, body, err := c.final()
	switch {
	case bytes.Contains(seen.Bytes(), []byte("EVIL")):
		t.Errorf("%s %s: the client got %q", h.name, path, seen.Bytes())
	case h.want == cutOff:
		if err == nil && res.StatusCode != 502 { // 502 where nothing had gone to the client yet
			t.Errorf("%s %s: looks whole: %q", h.name, path, seen.Bytes())
		}
		return
	case err != nil || res.StatusCode != h.want || res.Close:
		t.Errorf("%s %s: got %q %v, want %d", h.name, path, seen.Bytes(), err, h.want)
		return
	case h.body != "" && body != h.body:
		t.Errorf("%s %s: body %q, want %q", h.name, path, body, h.body)
	}
	c.get("/after").want(200, "/after")
}

// end is the offset from which the child writes the rest of an answer at once, though it writes
// octet by octet before: surplus bytes arrive together with the last byte of the answer. On a reused
// connection later surplus bytes could not be told from the answer to the next request.
func (h hostile) end() int {
	answer := string(h.crlf())
	if body := strings.Index(answer, h.body); strings.HasPrefix(h.name, "extra") && body >= 0 {
		return body + len(h.body) - 1
	}
	return len(answer)
}

// final reads the response behind the interim ones.
func (c *testClient) final() (*http.Response, string, error) {
	for {
		res, err := http.ReadResponse(c.in, nil)
		if err != nil {
			return nil, "", err
		}
		if res.StatusCode == 103 {
			continue
		}
		body, err := io.ReadAll(res.Body)
		return res, string(body), err
	}
}

// TestChildThatClosesAfterEachByte cuts sound responses at every octet: before the first it looks
// like a dead worker and a GET is tried twice, within the head it is a 502, within the body the
// client sees the end missing.
func TestChildThatClosesAfterEachByte(t *testing.T) {
	answers := []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 103 H\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
	}
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		req := k.request()
		if req == nil {
			return
		}
		var answer, at int
		fmt.Sscanf(req.URL.Path, "/%d/%d", &answer, &at)
		io.WriteString(k, answers[answer][:at])
	}).Target)
	for i, answer := range answers {
		for at := range len(answer) + 1 {
			c := r.dial().get(fmt.Sprintf("/%d/%d", i, at))
			res, body, err := c.final()
			switch {
			case at == len(answer):
				if err != nil || res.StatusCode != 200 || body != "abc" {
					t.Errorf("%q: %v %q %v", answer, res, body, err)
				}
			case err == nil && res.StatusCode != 502:
				t.Errorf("%q: looks whole: %d %q", answer[:at], res.StatusCode, body)
			}
		}
	}
	// Sent again, once: each one of which the client has had no byte but a hint.
	r.counted("all ended", func(c Counters) bool {
		return c.Answered == 3 && c.BadGateway+c.Cut == c.Requests-3 && c.BadGateway <= c.Resent && c.Resent <= c.Requests-3
	})
}

func TestBodyWhereThereMustBeNone(t *testing.T) {
	for _, line := range []string{"HEAD 200 OK", "GET 204 No Content", "GET 304 Not Modified"} {
		method, status, _ := strings.Cut(line, " ")
		for _, framing := range []string{"Content-Length: 4", "Transfer-Encoding: chunked", "X: y"} {
			r := newHarness(t, patient, Settings{})
			child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
				for req := k.request(); req != nil; req = k.request() {
					if req.URL.Path != "/" {
						k.answer(200, req.URL.Path)
						continue
					}
					k.say("HTTP/1.1 " + status + "\n" + framing + "\n\nEVIL")
				}
			})
			r.gate.Swap(child.Target)
			req, _ := http.NewRequest(method, "http://a/", nil)
			c := r.dial().say(method + " / HTTP/1.1\nHost: a\n\n")
			if res, body := c.hearTo(req); body != "" || res.Close {
				t.Errorf("%s %s: %q", line, framing, body)
			}
			c.get("/after").want(200, "/after")
			r.dial().get("/victim").want(200, "/victim")
		}
	}
}

func TestHostileHandshakes(t *testing.T) {
	for name, answer := range map[string]string{
		"another protocol": "HTTP/1.1 101 S\nUpgrade: h2c\nConnection: upgrade\n\n", "no protocol": "HTTP/1.1 101 S\nConnection: upgrade\n\n",
		"not in Connection": "HTTP/1.1 101 S\nUpgrade: websocket\n\n", "1.0": "HTTP/1.0 101 S\nUpgrade: websocket\nConnection: upgrade\n\n",
		"two": "HTTP/1.1 101 S\nUpgrade: websocket, h2c\nConnection: upgrade\n\n", "twice": "HTTP/1.1 101 S\nUpgrade: websocket\nUpgrade: websocket\nConnection: upgrade\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t, patient, Settings{})
			child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) { k.request(); k.say(answer + "EVIL"); io.Copy(io.Discard, k) })
			r.gate.Swap(child.Target)
			c := r.dial().say(handshake + "EVIL")
			if res := c.want(502, "not valid"); !res.Close {
				t.Error("bytes behind the handshake would be read as a request")
			}
			c.ended()
			r.counted("no tunnel", func(c Counters) bool { return c.Tunnels == 0 && c.BadGateway == 1 && child.Tunnels() == 0 })
		})
	}
}

// TestChildThatStopsTalking: silence before the end of the head is a 504; afterwards it lasts for
// as long as the client stays.
func TestChildThatStopsTalking(t *testing.T) {
	for _, part := range []string{"", "H", "HTTP/1.1 200 OK\n", "HTTP/1.1 103 H\n\n", "HTTP/1.1 100 C\n\nHTTP/1.1 200"} {
		r := newHarness(t, patient, Settings{Timeout: 100 * time.Millisecond})
		r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) { k.request(); k.say(part); io.Copy(io.Discard, k) }).Target)
		if res, _, err := r.dial().get("/").final(); err != nil || res.StatusCode != 504 {
			t.Errorf("%q: %v %v", part, res, err)
		}
		r.counted("timed out", func(c Counters) bool { return c.TimedOut == 1 })
	}
	for _, part := range []string{ok + "\na", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3", "HTTP/1.1 200 OK\n\n"} {
		r := newHarness(t, patient, Settings{Timeout: time.Second})
		child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) { k.request(); k.say(part); io.Copy(io.Discard, k) })
		r.gate.Swap(child.Target)
		c := r.dial().get("/")
		c.in.Peek(1)
		c.Close()
		if err := child.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
	}
}
