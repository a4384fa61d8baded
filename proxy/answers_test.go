package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/gate"
)

func TestOwn503(t *testing.T) {
	overflow := func(r *rig) *caller { return r.dial().get("/") }
	refused := func(r *rig) *caller {
		r.gate.Refuse(&gate.Refusal{RetryAfter: 1500 * time.Millisecond, Cause: "the app is stopped"})
		return r.dial().get("/")
	}
	full, brief := gate.Settings{Timeout: time.Minute}, gate.Settings{Limit: 1, Timeout: time.Millisecond}
	for _, c := range []struct {
		name  string
		gate  gate.Settings
		set   Settings
		ask   func(*rig) *caller
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
			r := newRig(t, c.gate, c.set)
			res := c.ask(r).want(503, c.body)
			if after, media := res.Header.Get("Retry-After"), res.Header.Get("Content-Type"); after != c.after || media != c.media {
				t.Errorf("Retry-After %q, Content-Type %q", after, media)
			}
		})
	}
}

func TestOwnPageToHEADHasNoBody(t *testing.T) {
	r := newRig(t, gate.Settings{}, Settings{ErrorPage: []byte("<h1>soon</h1>")})
	head, _ := http.NewRequest("HEAD", "http://a/", nil)
	c := r.dial().say("HEAD / HTTP/1.1\nHost: a\n\n")
	if res, body := c.hearTo(head); res.ContentLength != 13 || body != "" {
		t.Errorf("length %d, body %q", res.ContentLength, body)
	}
	c.get("/").want(503, "<h1>soon</h1>")
}

func TestOwnPageIsForA503Only(t *testing.T) {
	r := newRig(t, patient, Settings{ErrorPage: []byte("<h1>soon</h1>")})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, func(k *talk) { k.request(); k.say("rubbish\n") }).Target)
	r.dial().get("/").want(502, "not valid")
}

// logged returns the log's lines with this message.
func (r *rig) logged(message string) (lines []map[string]any) {
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

func TestEqualAnswersAreFoldedInTheLog(t *testing.T) {
	r := newRig(t, gate.Settings{Limit: 100, Timeout: 50 * time.Millisecond}, Settings{})
	var all []*caller
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
	first, counted := r.logged("answered"), r.logged("answered alike")
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
		if _, ok := line["count"]; !ok && expired && (line["request_id"] != `id-\x227\x22` || line["client"] == "" || line["held"] == "0s") {
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

func TestConfigureCountsFromTheNextRequestOn(t *testing.T) {
	r := newRig(t, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, echo).Target)
	idle := r.dial()
	idle.get("/-/alive").want(200, "GET /-/alive")
	during := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 10\n\nhalf ")
	r.counted("begun", func(c Counters) bool { return c.Requests == 2 })
	r.server.Configure(Settings{HealthPath: "/-/alive", Limits: Limits{Body: 3}})
	idle.get("/-/alive").want(200, "200 OK\nalive")
	during.say("later").want(200, "half later")
	during.say("POST / HTTP/1.1\nHost: a\nContent-Length: 4\n\nabcd").want(413, "")
}

func TestLameServerAnswersOnceMoreOnEveryConnection(t *testing.T) {
	r := newRig(t, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, echo).Target)
	idle, refused := r.dial(), r.dial()
	idle.get("/1").want(200, "GET /1")
	refused.get("/1").want(200, "GET /1")
	r.server.CloseAfterNextResponse()
	for _, c := range []*caller{idle, r.dial()} {
		if res := c.get("/2").want(200, "GET /2"); !res.Close {
			t.Error("no Connection: close")
		}
		c.ended()
	}
	r.gate.Refuse(&gate.Refusal{Cause: "shutting down"})
	if res := refused.get("/3").want(503, "shutting down"); !res.Close {
		t.Error("no Connection: close")
	}
	refused.ended()
	r.server.WaitIdle(context.Background()) // nobody is left to wait for
}

func TestLingerWaitsForIdleConnectionsWithinBounds(t *testing.T) {
	r := newRig(t, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, echo).Target)
	idle := r.dial().get("/1")
	idle.want(200, "GET /1")
	r.server.CloseAfterNextResponse()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if r.server.WaitIdle(short); short.Err() == nil {
		t.Error("returned while a connection was idle")
	}
	lingered := make(chan struct{})
	go func() {
		defer close(lingered)
		r.server.WaitIdle(context.Background())
	}()
	idle.get("/2").want(200, "GET /2")
	idle.ended()
	<-lingered
}

func TestEndOfServe(t *testing.T) {
	r := newRig(t, patient, Settings{})
	answer := make(chan struct{})
	child := r.newChild(gate.TargetOptions{}, func(k *talk) { k.request(); <-answer; k.answer(200, "in time") })
	r.gate.Swap(child.Target)
	idle, working, beginning := r.dial(), r.dial().get("/"), r.dial().say("GET / HTTP/1.1\nHo")
	r.counted("begun", func(c Counters) bool { return c.Requests == 2 && c.Connections == 3 })
	r.eventually("in flight", func() bool { return child.accepted.Load() == 1 })
	r.end()
	idle.ended()
	close(answer)
	for _, c := range []*caller{working, beginning.say("st: a\n\n")} {
		if res := c.want(200, "in time"); !res.Close {
			t.Error("no Connection: close")
		}
		c.ended()
	}
}
