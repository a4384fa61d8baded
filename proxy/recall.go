package proxy

import (
	"slices"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

// A past is what became of a request before it was recalled.
type past struct {
	fed       int  // times it was lost after it had been written
	continued bool // its 100 was sent
	recalled  bool // it is in the client's buffer, whole, and is not looked at before the server goes on
}

// recall undoes the reading of the client's request x, which the gate has sent back: its bytes are the connection's again. It reports
// true, or false when they cannot be had any more; then the client has got a 503.
func (c *client) recall(x *exchange, v gate.Decision) bool {
	text, ok := textOf(x)
	if !ok {
		x.refuse(refusal, 503, x.set.RetryAfter, "tideover is being replaced, and the body was too large to be kept")
		return false
	}
	t := &x.server.totals
	t.requests.Add(^uint64(0))
	if x.held {
		t.held.Add(^uint64(0))
	}
	c.past = past{fed: x.fed, continued: x.request.Expect100 && !x.body.awaits100, recalled: true}
	c.waiter.CarriedWait = v.Waited
	x.body.raw = text
	return true
}

// textOf is the request as it arrived, as far as it did, and what is behind it. The framing of a chunked body may be another one; a piece of
// one cannot be made again.
func textOf(x *exchange) ([]byte, bool) {
	in := &x.client.in
	text := slices.Clone(in.data[in.start : in.start+x.head])
	chunked := x.request.Body.Framing == http1.Chunked
	switch {
	case x.spent, chunked && x.kept != nil && !x.complete:
		return nil, false
	case chunked && x.kept != nil:
		if len(x.kept) > 0 {
			text = http1.AppendChunk(text, x.kept)
		}
		text = append(text, http1.LastChunk...)
	default:
		text = append(text, x.kept...)
	}
	return append(text, x.body.raw...), true
}
