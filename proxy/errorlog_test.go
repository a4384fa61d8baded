package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/gate"
)

func TestCountsAreWrittenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		j := newErrorLog(hclog.New(&hclog.LoggerOptions{Output: log, JSONFormat: true}))
		write := func(path string, times int) {
			for range times {
				j.write(errorKey{status: 503, request: path}, "client", "", 0)
			}
		}
		counts := func(want int) {
			t.Helper()
			synctest.Wait()
			if n := strings.Count(log.String(), "error response repeated"); n != want {
				t.Errorf("%d counts are written, want %d: %s", n, want, log)
			}
		}
		write("/a", 3)
		time.Sleep(2 * time.Second)
		write("/b", 3)
		counts(0)
		time.Sleep(dedupWindow - 2*time.Second)
		counts(1) // of /a; /b is not old enough
		time.Sleep(dedupWindow)
		counts(2)
		write("/a", 2) // nothing was remembered any more
		time.Sleep(dedupWindow)
		counts(3)
		write("/c", 1)
		time.Sleep(2 * dedupWindow)
		counts(3)
	})
}

func TestADroppedForwardingFieldIsALineAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		j := newErrorLog(hclog.New(&hclog.LoggerOptions{Output: log, JSONFormat: true}))
		client := &clientConn{}
		for range 1000 {
			j.writeDropped("shop", "x-forwarded-port", "its value is illegal", []byte("\x1bevil\""), client)
		}
		j.writeDropped("shop", "x-real-ip", "its value is illegal", []byte("<x>"), client)
		for _, lines := range []int{0, 1} {
			time.Sleep(droppedDedupWindow * time.Duration(lines))
			synctest.Wait()
			first, again := strings.Count(log.String(), `"forwarding field dropped"`), strings.Count(log.String(), `"forwarding field dropped again"`)
			if first != 2 || again != lines {
				t.Errorf("%d lines and %d counts, want 2 and %d: %s", first, again, lines, log)
			}
		}
		if text := log.String(); !strings.Contains(text, `"count":999`) || !strings.Contains(text, `\\x1bevil\\x22`) || strings.Contains(text, "status") {
			t.Error(text)
		}
	})
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"GET":                    "GET",
		"a b~":                   "a b~",
		"a\x00\x1f":              `a\x00\x1f`,
		"\x7f\x80\xff":           `\x7f\x80\xff`,
		`"\`:                     `\x22\x5c`,
		strings.Repeat("x", 200): strings.Repeat("x", 200),
		strings.Repeat("x", 201): strings.Repeat("x", 200) + "...",
	} {
		if got := printable([]byte(in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestEqualAnswersAreFoldedInTheLog(t *testing.T) {
	r := newHarness(t, gate.Settings{Limit: 100, Timeout: 50 * time.Millisecond}, Settings{})
	var all []*testClient
	for range 20 {
		all = append(all, r.dial().say("GET /a\x22b HTTP/1.1\nHost: a\nX-Request-Id: 7\x1d\n\n"))
	}
	for range 10 {
		all = append(all, r.dial().say("GET /same HTTP/1.1\nHost: a\nX-Request-Id: id-\"7\"\n\n"))
	}
	for i, c := range all {
		c.want([]int{400, 503}[i/20], "")
	}
	r.counted("answers", func(c Counters) bool { return c.BadRequest == 20 && c.Expired == 10 })
	r.server.app.errorLog.flush()
	first, counted := r.logged("error response"), r.logged("error response repeated")
	if len(first) != 2 || len(counted) != 2 {
		t.Fatalf("%v %v", first, counted)
	}
	for _, line := range append(first, counted...) {
		expired := line["status"] == 503.0
		if line["app"] != "shop" || line["cause"] == "" || expired != (line["request"] == "GET /same") {
			t.Errorf("%v", line)
		}
		if n, isCount := line["count"]; isCount && n != 19.0 && n != 9.0 {
			t.Errorf("%v", line)
		}
		if _, ok := line["count"]; !ok && expired && (line["request_id"] != `id-\x227\x22` || line["client"] == "" || line["held_s"] == 0.0) {
			t.Errorf("%v", line)
		}
	}
}

func TestLogStaysBoundedWhateverIsAsked(t *testing.T) {
	log := &lockedBuffer{}
	j := newErrorLog(hclog.New(&hclog.LoggerOptions{Output: log, JSONFormat: true}))
	for i := range 3 * maxDedupLines {
		j.write(errorKey{status: 503, request: fmt.Sprint("GET /", i)}, "client", "", 0)
	}
	if n := len(j.recent); n != maxDedupLines {
		t.Errorf("%d lines are remembered", n)
	}
	j.flush()
	if n := len(j.recent); n != 0 {
		t.Errorf("%d lines are remembered after the flush", n)
	}
}

// A front-end that is not trusted is one line for all its requests, and clients of the Internet cannot
// fill the log.
func TestAFrontEndThatIsNotTrustedIsSaidOnce(t *testing.T) {
	log := &lockedBuffer{}
	j := newErrorLog(hclog.New(&hclog.LoggerOptions{Output: log, JSONFormat: true}))
	balancer := &clientConn{remote: netip.MustParseAddrPort("[::ffff:10.0.0.7]:4711")}
	for range 3 {
		j.writeForeign("shop", balancer)
		j.writeForeign("shop", &clientConn{})
	}
	if text := log.String(); strings.Count(text, "not trusted") != 2 || !strings.Contains(text, `add \"10.0.0.7\" to trusted`) || !strings.Contains(text, `add \"unix\"`) {
		t.Errorf("the log is\n%s", text)
	}
	for i := range 1000 {
		j.writeForeign("shop", &clientConn{remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 80)})
	}
	if n := strings.Count(log.String(), "front-end not trusted"); n != maxForeign {
		t.Errorf("%d lines", n)
	}
}
