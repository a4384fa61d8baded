package proxy

import (
	"testing"
	"time"

	"tideover/proxy/gate"
)

var patient = gate.Settings{Limit: 1000, Timeout: 10 * time.Second}

func TestAnswersPassThrough(t *testing.T) {
	r := newRig(t, patient, Settings{})
	child := r.newChild(gate.TargetOptions{}, echo)
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
