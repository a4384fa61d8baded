package proxy

import (
	"bytes"
	"errors"
	"syscall"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

// responseLimits bound what is kept of a response's head.
var responseLimits = http1.ResponseLimits()

// A roundTrip is one attempt to send a request on one connection to the app. All its state is here
// and none on a stack, so that the event loop or a goroutine can continue it at any point. It
// belongs to the [loopUpstream] or [blockingUpstream] that has the connection.
type roundTrip struct {
	x         *exchange // nil: the connection is idle
	target    *gate.Target
	hasLine   bool      // the connection has begun with a PROXY line: it is its client's own
	startedAt time.Time // when the request was written
	turn      int       // of its pass; see gate.Waiter.Turn
	unsent    []byte    // of the request
	in        buffer    // read from the app and not consumed
	out       []byte    // what is being written, to either side

	response        http1.Response
	headLen         int              // length of the response's head, at the front of in
	body            http1.BodyReader // of the final response
	framing         http1.Framing    // of what the client gets
	responseStarted bool             // the head of the final response is in out, or was
	bytesSent       bool             // bytes of the final response were written
	bodyDone        bool             // the end of the final response is in out, or was
}

// begin prepares for a request. The memory of the former response is kept.
func (rt *roundTrip) begin(x *exchange, now time.Time) {
	rt.x, rt.startedAt, rt.turn = x, now, x.client.waiter.Turn()
	rt.responseStarted, rt.bytesSent, rt.bodyDone = false, false, false
	rt.resetResponse()
}

// resetResponse makes the parser begin at the front of in.
func (rt *roundTrip) resetResponse() {
	r := &rt.x.request
	rt.response.Reset(http1.RequestInfo{Head: r.Method == http1.MethodHead, Upgrade: r.Upgrade})
}

// end says that the connection is idle, or closed.
func (rt *roundTrip) end() {
	rt.x, rt.unsent, rt.out = nil, nil, nil
	rt.in.release()
}

// parseHead parses the head of the response at the front of in. n is its length; 0: more is to be
// read. The error is errNeverAccepted or an *http1.Error.
func (rt *roundTrip) parseHead() (n int, err error) {
	in := rt.in.bytes()
	if marker := rt.target.Options().Marker; len(marker) > 0 && len(in) > 0 {
		switch {
		case bytes.HasPrefix(in, marker):
			return 0, errNeverAccepted
		case bytes.HasPrefix(marker, in): // it may become the marker
			return 0, nil
		}
	}
	n, fault := rt.response.Parse(in, &responseLimits)
	if fault != nil {
		return 0, fault
	}
	return n, nil
}

// progress is how far the round trip has come when it fails with err before the end of the
// response's head.
func (rt *roundTrip) progress(err error) progress {
	in := rt.in.bytes()
	if len(in) == 0 || err == errNeverAccepted || bytes.HasPrefix(rt.target.Options().Marker, in) {
		return requestSent
	}
	return responseStarted
}

// startResponse puts the response's head, which is at the front of in, before what the client gets.
func (rt *roundTrip) startResponse() {
	x := rt.x
	x.panicAt("response")
	rt.responseStarted = true
	x.status = rt.response.Status
	x.recordFields(&rt.response)
	if x.app.noKeepAlive.Load() {
		x.keepAlive = false
	}
	rt.out, rt.framing = rt.response.AppendClient(rt.out[:0],
		&http1.ResponseOptions{Minor: x.request.Minor, KeepAlive: x.keepAlive, Held: x.held, Hold: x.waited})
	rt.in.start += rt.headLen
	if rt.framing == http1.UntilClose {
		x.keepAlive = false
	}
	rt.body.StartResponse(rt.response.Body, &responseLimits)
}

// reframe appends what has come from the app to what the client gets, in the client's framing.
// done: that was all.
func (rt *roundTrip) reframe() (done bool, fault *http1.Error) {
	for !rt.in.empty() && !rt.body.Done() {
		data, n, fault := rt.body.Next(rt.in.bytes())
		rt.in.start += n
		if fault != nil {
			return false, fault
		}
		rt.x.sent += int64(len(data))
		if rt.framing == http1.Chunked {
			rt.out = http1.AppendChunk(rt.out, data)
		} else {
			rt.out = append(rt.out, data...)
		}
	}
	done = rt.body.Done()
	if done && !rt.bodyDone && rt.framing == http1.Chunked {
		rt.out = append(rt.out, http1.LastChunk...)
	}
	rt.bodyDone = done
	return done, nil
}

// reusable reports whether the connection is fit for another request after its response. After a
// response without a length in its head more bytes can arrive at any time, and some servers send a
// body where there must be none.
func (rt *roundTrip) reusable() bool {
	f := rt.response.Body.Framing
	return rt.persistent() && (f == http1.Fixed || f == http1.Chunked) && rt.in.empty()
}

// persistent reports whether neither side closes the connection after the response.
func (rt *roundTrip) persistent() bool {
	o := rt.target.Options()
	return rt.response.Reusable && !o.HalfClose && !(o.OneRequest && rt.hasLine)
}

// classify says what is known about the round trip, which failed with err. It waits for the news
// whether the whole target has died.
func (rt *roundTrip) classify(p progress, err error) failedAttempt {
	x := rt.x
	f := failedAttempt{
		progress: p, idempotent: x.settings.idempotent(&x.request), noBody: x.request.Body.Empty(), replayable: !x.consumed,
		reset: errors.Is(err, syscall.ECONNRESET), neverAccepted: err == errNeverAccepted,
		elapsed: time.Since(rt.target.AcceptedAt(rt.turn, rt.startedAt)),
	}
	if f.mayHaveRun() {
		x.attempts++
	}
	f.attempts = x.attempts
	f.workerDied = workerDiedAlone(rt.target, f.elapsed)
	return f
}
