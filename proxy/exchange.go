package proxy

import (
	"errors"
	"io"
	"os"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

// promptly is how long a request that was let through may take to hand over the body it still has in the kernel. Longer, and it
// gives its pass back: a slow upload must not occupy a worker.
const promptly = 5 * time.Millisecond

// An exchange is one request and what becomes of it. It belongs to its client and is used for one request after the other.
type exchange struct {
	client *client
	server *Server
	set    *Settings

	request   http1.Request
	head      int // length of its head
	began     time.Time
	body      incoming
	kept      []byte // the body, or as much of it as was read ahead
	complete  bool   // kept is the whole body
	streaming bool   // the body is too large to be kept
	spent     bool   // bytes of the body are gone that were not kept
	reserved  int64  // bytes counted in the server's budget

	held      bool
	waited    time.Duration
	fed       int    // times the request was lost after it had been written
	target    string // name of the last target, for logs
	keepAlive bool   // this connection may carry another request
	ended     bool
	attendant attendant
}

// run takes one request from its first byte to its end; it reports whether the connection may carry another one.
func (x *exchange) run() bool {
	x.begin(time.Now())
	defer x.finish()
	if !x.readHead() || !x.acceptable() {
		return false
	}
	if x.set.isAlive(&x.request) {
		return x.answerAlive()
	}
	if !x.readAhead() {
		return false
	}
	return x.goOn(x.ask())
}

// goOn does what the gate says, as often as it has to be asked again.
func (x *exchange) goOn(v gate.Decision) bool {
	for v.Outcome == gate.Passed {
		if !x.bodyAtHand() {
			v = x.giveBack(v.Target)
			continue
		}
		again, busy := x.relay(v.Target)
		if !again {
			return x.keepAlive
		}
		v = x.askAgain(v.Target, busy)
	}
	if v.Outcome == gate.Evicted {
		return x.client.recall(x, v)
	}
	return x.deny(v)
}

func (x *exchange) begin(now time.Time) {
	c := x.client
	x.set, x.began = c.rules.settings, now
	x.request.Reset()
	x.kept, x.complete, x.streaming, x.spent, x.reserved = nil, false, false, false, 0
	x.held, x.waited, x.fed, x.target, x.ended = false, 0, c.past.fed, "", false
	x.keepAlive = true
	x.body = incoming{wire: c.wire, continued: c.past.continued}
	c.past.recalled = false
}

// finish gives back what the request had. Bytes behind its body are the next request's.
func (x *exchange) finish() {
	x.server.buffered.Add(-x.reserved)
	x.reserved, x.kept = 0, nil
	x.client.in.hold(x.body.raw)
	x.body.release()
	if !x.client.past.recalled {
		x.client.past = past{}
	}
}

// end notes how the request ended, once.
func (x *exchange) end(e ending) {
	if x.ended {
		panic("proxy: a request ended twice")
	}
	x.ended = true
	x.server.totals.endings[e].Add(1)
}

// readHead reads and judges the head. If it reports false, the request has its answer, or its client is gone.
func (x *exchange) readHead() bool {
	c := x.client
	counted := false
	for {
		n, fault := x.request.Parse(c.in.bytes(), &c.rules.policy)
		if !counted && x.request.Begun() {
			x.server.totals.requests.Add(1)
			counted = true
		}
		switch {
		case fault != nil:
			x.reject(fault)
			return false
		case n > 0:
			x.headed(n)
			return true
		}
		left := time.Until(x.began.Add(x.set.HeadTimeout))
		if !counted {
			left = x.set.IdleTimeout
		}
		n, err := c.read(c.in.room(c.rules.policy.Limits.Head), max(left, time.Nanosecond))
		c.in.end += n
		switch {
		case n > 0:
		case !counted:
			return false
		case errors.Is(err, os.ErrDeadlineExceeded):
			x.reject(errHeadSlow)
			return false
		default:
			x.end(clientLeft)
			return false
		}
	}
}

// headed notes that the head is the first n bytes.
func (x *exchange) headed(n int) {
	x.head, x.body.raw = n, x.client.in.bytes()[n:]
	x.keepAlive = x.request.KeepAlive && !x.request.Upgrade && !x.server.lame.Load() // what follows a handshake is no request (R63)
}

// acceptable begins the body and applies what can be known of it beforehand.
func (x *exchange) acceptable() bool {
	x.body.begin(&x.request, &x.client.rules.limits, x.set.BodyTimeout, x.set.MinRate)
	if limit, b := x.set.Limits.Body, x.request.Body; limit > 0 && b.Framing == http1.Fixed && b.Length > limit {
		x.reject(errBodyLarge)
		return false
	}
	x.complete = x.request.Body.Empty()
	x.streaming = x.request.Body.Framing == http1.Fixed && x.request.Body.Length > x.set.Buffer
	return true
}

// readAhead reads a body that fits into the buffer before the gate is asked, so that a slow upload occupies nobody. While the gate
// is shut it stays in the kernel instead; then only the 100 is sent, because front-ends give up without it.
func (x *exchange) readAhead() bool {
	if x.complete || x.streaming || !x.server.gate.WouldAdmit() {
		return true
	}
	return x.settled(x.keepBody(x.set.BodyTimeout))
}

// bodyAtHand makes sure that a body which will be kept is, as far as that needs no waiting.
func (x *exchange) bodyAtHand() bool {
	return x.keepBody(promptly) == nil
}

// giveBack returns a pass that came too early, waits for the body, and asks again at the old place.
func (x *exchange) giveBack(t *gate.Target) gate.Decision {
	x.server.gate.Done(t, false)
	if !x.settled(x.keepBody(x.set.BodyTimeout)) {
		return gate.Decision{}
	}
	return x.askAgain(nil, false)
}

// settled turns what went wrong with a body into the request's end; it reports true when nothing did.
func (x *exchange) settled(err error) bool {
	var fault *http1.Error
	switch {
	case err == nil:
		return true
	case errors.As(err, &fault):
		x.reject(fault)
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.reject(errBodySlow)
	default:
		x.leave()
	}
	return false
}

// leave ends the request of a client that is gone.
func (x *exchange) leave() {
	x.keepAlive = false
	x.end(clientLeft)
}

// keepBody reads the body into memory, waiting at most timeout for each piece. When it turns out too large for that, the request
// becomes a streaming one and what was read is sent first.
func (x *exchange) keepBody(timeout time.Duration) error {
	if x.complete || x.streaming {
		return nil
	}
	if x.kept == nil {
		if !x.server.reserve(x.request.Body.Length, x) {
			x.streaming = true
			return nil
		}
		x.kept = make([]byte, 0, x.request.Body.Length)
	}
	for {
		data, err := x.body.next(timeout)
		if err == io.EOF {
			x.complete = true
			return nil
		}
		if err != nil {
			return err
		}
		if x.request.Body.Framing == http1.Chunked && !x.server.reserve(int64(len(data)), x) {
			x.streaming = true
		}
		x.kept = append(x.kept, data...)
		if int64(len(x.kept)) > x.set.Buffer {
			x.streaming = true
		}
		if x.streaming {
			return nil
		}
	}
}

// reserve counts bytes that are kept for a request; false when the app's total would be exceeded.
func (s *Server) reserve(n int64, x *exchange) bool {
	if s.buffered.Add(n) > x.set.BufferTotal {
		s.buffered.Add(-n)
		return false
	}
	x.reserved += n
	return true
}
