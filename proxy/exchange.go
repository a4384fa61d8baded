package proxy

import (
	"bytes"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
	"tideover/proxy/proxyproto"
)

const (
	// fastBody is how much of a body is kept in any case, where bodies are kept, and how much of it
	// a client sends in a second that is called fast: a front-end, or one near by.
	fastBody = 16 << 20
)

// An exchange is one request and what becomes of it. It goes with its connection from the event
// loop to a goroutine and back, and is used for one request after the other.
type exchange struct {
	app      *app
	client   *clientConn
	settings *Settings

	request    http1.Request
	headLen    int
	startedAt  time.Time // when its first byte was read
	counted    bool      // in the number of requests
	body       requestBody
	stored     storedBody // the body, or as much of it as was read ahead
	complete   bool       // stored is the whole body
	streaming  bool       // the rest of the body is read while the app has the request
	consumed   bool       // a part of the body was sent to the app and is not in stored
	overBudget bool       // the end of stored exceeds the app's budget: it is sent once
	compacted  bool       // the head is an exact copy
	reserved   int64      // bytes counted in app.buffered

	held     bool
	waited   time.Duration // at the gate
	attempts int           // times the request was lost after it had been written to the app
	target   string        // name of the last target, for logs
	status   int           // that the client gets; 0: none yet
	sent     int64         // bytes of the body of the app's response that the client gets
	resent   int           // times it was sent again after the app may have read it
	// responseFields are those of the app's response that the access log has; nil: it has none. It is a
	// pointer because most formats have none, and each connection has an exchange.
	responseFields *[]byte

	appTook   time.Duration // since the request was sent to the app; 0: it was not, or the app has it
	keepAlive bool          // the connection may carry another request
	ended     bool
}

// storeBody keeps a piece of the body, and decides whether the rest is kept too.
func (x *exchange) storeBody(p []byte) {
	s := &x.stored
	switch {
	case s.toMemory(x, p):
	case x.settings.Buffering && s.toFile(x, p):
		x.streaming = s.full || x.bodyIsFast()
	default:
		s.toTail(x, p)
		x.streaming = true
	}
	if x.body.done() && !x.overBudget {
		x.complete, x.streaming = true, false
	}
	if x.streaming && x.settings.Buffering {
		x.app.counters.streamed.Add(1)
	}
}

// endsWithStored reports whether what follows stored in the request is nothing at all.
func (x *exchange) endsWithStored() bool {
	return !x.streaming || x.request.Body.Framing == http1.Fixed && x.body.done()
}

// bodyIsFast reports whether so much of the body has come, and so fast, that a worker will not wait
// for the rest: to keep it would only make the request slower.
func (x *exchange) bodyIsFast() bool {
	n := x.stored.size()
	return n >= fastBody && float64(n) >= fastBody*x.body.waited.Seconds()
}

// begin prepares for a request of c. Its first byte was read at now.
func (x *exchange) begin(c *clientConn, now time.Time) {
	x.app, x.client, x.settings = c.app, c, c.rules.settings
	x.startedAt, x.counted = now, false
	x.request.Reset()
	x.body = requestBody{}
	x.stored, x.complete, x.streaming, x.consumed = storedBody{}, false, false, false
	x.overBudget, x.compacted, x.reserved = false, false, 0
	x.held, x.waited, x.attempts, x.target = false, 0, 0, ""
	x.status, x.appTook, x.sent, x.resent = 0, 0, 0, 0
	if x.responseFields != nil {
		*x.responseFields = (*x.responseFields)[:0]
	}
	x.keepAlive, x.ended = true, false
}

// count counts the request, once a byte of its head was read.
func (x *exchange) count() {
	if !x.counted && x.request.Started() {
		x.counted = true
		x.app.counters.requests.Add(1)
	}
}

// setHead says that the head is the first n bytes of the client's buffer. What is behind it belongs
// to the body.
func (x *exchange) setHead(n int) {
	x.panicAt("head")
	x.headLen, x.body.raw = n, x.client.in.bytes()[n:]
	// No request follows a handshake ([http1.RuleFailedUpgrade]).
	x.keepAlive = x.request.KeepAlive && !x.request.Upgrade && !x.app.noKeepAlive.Load()
	x.body.begin(&x.request, &x.client.rules.limits, x.settings.BodyTimeout, x.settings.MinRate)
	x.complete = x.request.Body.Empty()
	x.streaming = !x.settings.Buffering && x.request.Body.Framing == http1.Fixed && x.request.Body.Length > x.settings.Buffer
}

// bodyTooLarge reports whether the head announces a longer body than is allowed.
func (x *exchange) bodyTooLarge() bool {
	limit, b := x.settings.Limits.Body, x.request.Body
	return limit > 0 && b.Framing == http1.Fixed && b.Length > limit
}

// compact makes a request small for its wait at the gate: an exact copy of its head, and of what
// has come behind it. It reports false when even that exceeds the app's budget.
func (x *exchange) compact() bool {
	n := len(x.body.raw)
	if !x.compacted {
		n += x.headLen
	}
	if !x.reserve(int64(n)) {
		return false
	}
	x.body.raw = bytes.Clone(x.body.raw) // it is behind the head, or in the scratch buffer
	x.body.scratch.release()
	if x.compacted {
		return true
	}
	x.compacted = true
	in := &x.client.in
	in.end = in.start + x.headLen
	in.shrink()
	x.request.Rebase(in.data)
	return true
}

// reserve counts bytes that are kept for the request; false when the app's budget would be
// exceeded.
func (x *exchange) reserve(n int64) bool {
	if !x.app.reserve(n, x.settings.BufferTotal) {
		return false
	}
	x.reserved += n
	return true
}

// recordWait takes over what a decision says about the wait.
func (x *exchange) recordWait(d gate.Decision) {
	x.waited = d.Waited
	if d.Waited > 0 && !x.held {
		x.recordHeld()
	}
}

// recordFields keeps what the access log has of the fields of the app's response.
func (x *exchange) recordFields(response *http1.Response) {
	f := x.client.rules.access
	if !f.WantsResponse() {
		return
	}
	if x.responseFields == nil {
		x.responseFields = new([]byte)
	}
	*x.responseFields = f.AppendResponse((*x.responseFields)[:0], response)
}

// loggedResponse is what recordFields has kept of the response; empty: nothing.
func (x *exchange) loggedResponse() []byte {
	if x.responseFields == nil {
		return nil
	}
	return *x.responseFields
}

func (x *exchange) recordHeld() {
	x.held = true
	x.app.counters.held.Add(1)
}

// appendRequest appends what is sent to the app at once: the head, and what is in memory of the
// body. Before it, line bytes long, is the PROXY line of a new connection; on one that is used again
// the request begins behind it. So a line never is in a write of its own: then it could be that the
// app has it, and nothing else, and whether it has begun with the request would not be known.
func (x *exchange) appendRequest(dst []byte, t *gate.Target) (out []byte, line int) {
	o := t.Options()
	before := len(dst)
	if x.client.hasProxyLine(t) {
		dst = proxyproto.AppendLine(dst, x.client.remote, *x.client.local)
	}
	line = len(dst) - before
	f := http1.UpstreamOptions{Peer: x.client.remote.Addr(), Scheme: "http", Start: x.startedAt, Body: x.request.Body, Close: o.OneRequest && x.client.hasProxyLine(t),
		OneForwardedFor: o.Peer == gate.PeerOneForwardedFor, Trusted: x.settings.Trusted} // http1.RuleOneForwardedFor
	if x.complete && !x.request.Body.Empty() {
		f.Body = http1.Body{Framing: http1.Fixed, Length: x.stored.size()}
	}
	dst = x.request.AppendUpstream(dst, &f)
	if f.Body.Framing == http1.Chunked {
		return http1.AppendChunk(dst, x.stored.memory), line
	}
	return append(dst, x.stored.memory...), line
}

// end counts the outcome of the request, once.
func (x *exchange) end(o outcome, now time.Time) {
	if x.ended {
		panic("proxy: a request ended twice")
	}
	x.ended = true
	e := ending{outcome: o, status: x.status, took: now.Sub(x.startedAt), app: x.appTook, hold: x.waited, held: x.held, now: now}
	x.app.counters.end(&e)
	if x.settings.Access.wants(&e, x.settings.AccessSlow) {
		x.app.access.write(x, &e)
	}
}

// fail ends the request with an error response of the server's own.
func (x *exchange) fail(o outcome, status int) {
	x.status = status
	x.end(o, time.Now())
}

// clientGone ends the request of a client that has closed its connection.
func (x *exchange) clientGone(now time.Time) {
	x.keepAlive = false
	x.end(clientLeft, now)
}

// logError logs an error response to the request.
func (x *exchange) logError(status int, cause string) {
	request := printable(x.request.MethodName()) + " " + printable(x.request.Target())
	key := errorKey{status: status, app: x.app.name, request: request, cause: cause, target: x.target}
	x.app.errorLog.write(key, x.client.address(), printable(x.request.Value("X-Request-Id")), x.waited)
}

// logEvicted logs that the client was disconnected because others needed its space in the spool.
func (x *exchange) logEvicted() {
	x.app.errorLog.writeEvicted(x.app.name, printable(x.request.MethodName())+" "+printable(x.request.Target()), x.client.address())
}

// logDropped logs that a forwarding field of a trusted front-end was dropped, or that those of
// a client that is not trusted were replaced, if that is so.
func (x *exchange) logDropped() {
	if x.request.HasForeignForwarding() {
		x.app.errorLog.writeForeign(x.app.name, x.client)
	}
	if field, value, cause := x.request.DroppedForwarding(); field != "" {
		x.app.errorLog.writeDropped(x.app.name, field, cause, value, x.client)
	}
}

// releaseBody gives back what was kept of the body, which is not needed any more.
func (x *exchange) releaseBody() {
	kept := min(x.reserved, int64(x.headLen+len(x.body.raw)))
	x.app.buffered.Add(kept - x.reserved)
	x.reserved = kept
	x.stored.release()
}

// finish gives back what the request had. Bytes behind its body are the next request's
// ([http1.RulePipelining]).
func (x *exchange) finish() {
	x.app.buffered.Add(-x.reserved)
	x.reserved = 0
	x.stored.release()
	x.client.in.hold(x.body.raw)
	x.body.release()
}
