package proxy

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

// A blockingUpstream is a connection to the app on a goroutine, and the round trip that uses it.
// Only Close may be called from another goroutine, and by the upload.
type blockingUpstream struct {
	roundTrip
	client *blockingClient
	conn   conn
	upload upload
	stored storedResponse // where Settings.Buffering says so

	readErr    error // how reading ended, where the event loop found out
	fresh      bool  // it was opened for this request
	early      bool  // the response came before all of the request was written,
	goneBefore bool  // and the client had closed its connection before that
}

// forward sends the request to a target that it has a pass to, and the response to the client.
// again: there is no response, and the request goes back to the gate; busy: because the target
// takes no connections at present. Else the pass is done and the request has ended.
func (b *blockingClient) forward(t *gate.Target) (again, busy bool) {
	x := b.exchange
	x.target = t.Name()
	u, err := b.connect(t)
	if err != nil {
		return true, true
	}
	u.client, b.upstream = b, u
	p, err := u.sendRequest(x)
	if err == nil {
		p, err = u.awaitHead()
	}
	return u.handleResponse(p, err)
}

// connect returns a connection to the target: the one that became idle last, if it is fit, else a
// new one; for a request that must not be sent twice a new one, as in loopClient.sendRequest.
func (b *blockingClient) connect(t *gate.Target) (*blockingUpstream, error) {
	if x := b.exchange; x.attempts == 0 && x.settings.idempotent(&x.request) {
		if u := b.borrow(t); u != nil {
			return u, nil
		}
	}
	u, err := b.app.dialBlocking(t)
	if err == nil {
		u.hasLine, u.fresh = b.hasProxyLine(t), true
	}
	return u, err
}

// dialBlocking opens a connection to t. Every error means "not now", as in eventLoop.dial.
func (a *app) dialBlocking(t *gate.Target) (*blockingUpstream, error) {
	proof, ok := t.Proof()
	if !ok {
		return nil, errSuspended
	}
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: -1, Control: a.leaveReserve}
	c, err := d.Dial(t.Options().Network, t.Options().Address)
	if err == nil && !proof.Holds() {
		c.Close()
		err = unix.ECONNREFUSED // by the listening socket of the proof
	}
	if err != nil {
		if isListenerGone(err) {
			t.Suspend(proof)
		}
		return nil, err
	}
	u := &blockingUpstream{roundTrip: roundTrip{target: t}}
	if err := u.conn.open(c.(stream)); err != nil {
		c.Close()
		return nil, err
	}
	if !t.Add(u) {
		u.Close()
		return nil, net.ErrClosed
	}
	return u, nil
}

// leaveReserve makes a dial fail whose descriptor is of the reserve.
func (a *app) leaveReserve(_, _ string, raw syscall.RawConn) error {
	may := true
	if err := raw.Control(func(fd uintptr) { may = a.limiter.MayDial(int(fd)) }); err != nil || may {
		return err
	}
	return unix.EMFILE
}

// resumeRoundTrip goes on with a round trip that the event loop has begun, and then with the gate.
// It reports whether the connection may carry another request.
func (b *blockingClient) resumeRoundTrip(o offload) (keep bool) {
	u := o.upstream
	u.client, b.upstream = b, u
	again, busy := false, false
	switch {
	case o.reason == reasonAwaitingHead:
		again, busy = u.resumeSending()
	case o.reason == reasonStreaming:
		u.readErr = o.err
		again, busy = u.finish(u.copyBody())
	case u.responseStarted:
		again, busy = u.finish(o.err)
	default:
		again, busy = u.handleFailure(o.progress, o.err)
	}
	if again {
		return b.proxy(b.requeue(u.target, busy))
	}
	return b.exchange.keepAlive
}

// sendRequest writes the head and what is in memory of the body, in one piece, and has the upload
// send the rest. It is no error if not all could be written: the app may have answered before it
// had read all.
func (u *blockingUpstream) sendRequest(x *exchange) (progress, error) {
	u.begin(x, time.Now())
	u.upload.begin()
	out, line := x.appendRequest(u.out[:0], u.target)
	if !u.fresh {
		out = out[line:]
	}
	u.out = out
	whole := x.endsWithStored() && x.stored.inMemory()
	u.upload.beginWrite(whole)
	n, err := u.write(u.out, x.settings.Timeout)
	switch {
	case n == 0:
		return connected, err
	case err == errClientGone || err == errResponseTimeout:
		return requestSent, err
	case err == nil:
		u.endWrite()
	}
	x.consumed = x.consumed || x.overBudget
	if !whole {
		u.startUpload()
	}
	return requestSent, nil
}

// resumeSending writes what the event loop could not write of the request, and goes on.
func (u *blockingUpstream) resumeSending() (again, busy bool) {
	if len(u.unsent) > 0 {
		_, err := u.write(u.unsent, u.x.settings.Timeout)
		u.unsent = nil
		switch err {
		case nil:
			u.endWrite()
		case errClientGone, errResponseTimeout:
			return u.handleFailure(requestSent, err)
		} // after other errors the app may have answered all the same
	}
	return u.handleResponse(u.awaitHead())
}

// awaitHead reads the head of the response, which is then at the front of in, headLen bytes long.
// Interim responses before it are forwarded or dropped.
func (u *blockingUpstream) awaitHead() (progress, error) {
	u.resetResponse()
	for {
		n, err := u.parseHead()
		switch {
		case err == errNeverAccepted:
			return requestSent, err
		case err != nil:
			return responseStarted, err
		case n > 0 && !u.response.Interim():
			u.headLen = n
			return responseStarted, nil
		case n > 0:
			u.forwardInterim()
			u.in.start += n
			u.response.NextHead()
			continue
		}
		if err := u.read(u.x.settings.Timeout); err != nil {
			return u.progress(err), err
		}
	}
}

// forwardInterim sends a 103 to a client that understands it and has not had one. A failed write is
// noticed elsewhere.
func (u *blockingUpstream) forwardInterim() {
	if x := u.x; u.response.PassesInterim(x.request.Minor) && x.attempts == 0 {
		u.client.write(u.response.AppendInterim(nil))
	}
}

// read reads from the app. After a short while without a byte it has the upload watch for the
// client's disconnect. After timeout (0: without bound), in which the app neither reads the request
// nor answers, it gives up with errResponseTimeout.
func (u *blockingUpstream) read(timeout time.Duration) error {
	for {
		wait := timeout
		switch blocked := u.upload.blocked(); {
		case !u.upload.running():
			wait = disconnectCheckDelay
		case timeout > 0 && blocked.IsZero():
			wait = min(timeout, time.Second) // the app's turn may begin meanwhile
		case timeout > 0:
			if wait = time.Until(blocked.Add(timeout)); wait <= 0 {
				return errResponseTimeout
			}
		}
		err := u.readInto(responseLimits.Head, wait)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if !u.upload.running() {
			u.startUpload()
		}
	}
}

// handleResponse goes on when the head of the response has come, or an error instead.
func (u *blockingUpstream) handleResponse(p progress, err error) (again, busy bool) {
	switch {
	case err != nil:
		return u.handleFailure(p, err)
	case u.response.Status == 101:
		return u.tunnel()
	}
	return u.finish(u.copyResponse())
}

// handleFailure decides about a failed request before the first byte of a response was sent to the
// client: it returns the request to the gate or answers it with an error.
func (u *blockingUpstream) handleFailure(p progress, err error) (again, busy bool) {
	b, x, t := u.client, u.x, u.target
	if err == errNeverAccepted && (u.upload.running() || x.consumed) { // a running upload may still consume
		u.takeBack()
	}
	u.discard()
	defer u.end()
	gone, clientFault := u.stopUpload()
	x.status, x.appTook = 0, time.Since(u.startedAt)
	end := func() { x.app.gate.Done(t, false) }
	var fault *http1.Error
	switch {
	case gone || err == errClientGone:
		end()
		x.clientGone(time.Now())
		return false, false
	case clientFault == errSpoolUnreadable:
		x.fail(badGateway, 502)
		end()
		b.writeError(502, 0, clientFault.Error())
		return false, false
	case clientFault != nil:
		end()
		b.bodyRead(clientFault)
		return false, false
	case err == errResponseTimeout:
		x.fail(timedOut, 504)
		end()
		b.writeError(504, 0, "the app did not answer in time")
		return false, false
	case errors.As(err, &fault):
		x.fail(badGateway, 502)
		end()
		b.writeError(502, 0, "the app's response is not valid: "+fault.Error())
		return false, false
	}
	f := u.classify(p, err)
	if f.retryable() && !(x.settings.NoResend && f.mayHaveRun()) {
		if f.mayHaveRun() {
			x.app.counters.resent.Add(1)
			x.resent++
		}
		x.appTook = 0
		return true, p == connected
	}
	x.fail(badGateway, 502) // counted when the target has no request in flight any more
	end()
	b.writeError(502, 0, f.cause())
	return false, false
}

// copyResponse sends the head of the response and then its body.
func (u *blockingUpstream) copyResponse() error {
	u.early, u.goneBefore = !u.upload.lastPiece.Load(), u.upload.clientGone()
	if u.early { // http1.RuleEarlyResponse
		u.x.keepAlive = false
	}
	u.startResponse()
	return u.copyBody()
}

// copyBody sends what is in out and then the rest of the body, each piece as soon as it comes.
func (u *blockingUpstream) copyBody() error {
	u.stored.begin(u.client, u, u.x.settings)
	for {
		if err := u.copyRaw(); err != nil {
			return err
		}
		done, fault := u.reframe()
		if fault != nil {
			return fault
		}
		if len(u.out) > 0 {
			if err := u.send(u.out); err != nil {
				return err
			}
			u.out = u.out[:0]
		}
		if done {
			return nil
		}
		if u.body.Remaining() > largeBody {
			u.in.enlarge()
		}
		if err := u.read(0); err == io.EOF {
			return u.onUpstreamEOF()
		} else if err != nil {
			return err
		}
	}
}

// copyRaw sends, without a copy, what need not be reframed.
func (u *blockingUpstream) copyRaw() error {
	if u.framing == http1.Chunked || len(u.out) > 0 || u.in.empty() {
		return nil
	}
	data, n, fault := u.body.Next(u.in.bytes())
	u.in.start += n
	if fault != nil {
		return fault
	}
	if len(data) == 0 {
		return nil
	}
	u.x.sent += int64(len(data))
	return u.send(data)
}

// send gives the client a piece of the response. Where the app is not to wait for a slow client, what
// that does not take at once is stored.
func (u *blockingUpstream) send(p []byte) error {
	u.bytesSent = true
	u.client.home.responding.Store(true)
	if u.x.settings.Buffering {
		return u.stored.write(p)
	}
	return u.client.write(p)
}

// onUpstreamEOF ends a response at the end of its connection. It is whole only if the app has not
// just died ([http1.RuleCloseDelimitedResponse]).
func (u *blockingUpstream) onUpstreamEOF() error {
	if fault := u.body.End(); fault != nil {
		return fault
	}
	if targetDied(u.target) {
		return errTargetGone
	}
	if u.framing == http1.Chunked {
		return u.send([]byte(http1.LastChunk))
	}
	return nil
}

// finish ends a request after its response has started. err is nil when the response is complete:
// what was not sent to the client is stored. The request ends for the target at once, and for the
// client when it has all that there is of the response.
func (u *blockingUpstream) finish(err error) (again, busy bool) {
	if err != nil && !u.bytesSent {
		return u.handleFailure(responseStarted, err)
	}
	b, x := u.client, u.x
	x.appTook = time.Since(u.startedAt)
	reuse := err == nil && u.reusable() && u.conn.quiet() && u.upload.fullySent.Load()
	if !reuse {
		u.discard()
	}
	gone, clientFault := u.stopUpload()
	var o outcome
	if err == nil && u.stored.sending() {
		u.leave(reuse, true)
		x.releaseBody()
		o = u.conclude(x, x.app.unsent.await(&u.stored), gone, nil)
	} else {
		o = u.conclude(x, cmp.Or(u.stored.failure(), err), gone, clientFault)
		u.leave(reuse, err == nil)
	}
	if o == answered {
		b.home.responding.Store(false)
		if u.early {
			x.body.drain(&b.conn, drainAfterResponse)
		}
		return false, false
	}
	if o == truncated {
		x.app.unsent.await(&u.stored)
	}
	b.conn.abort() // what the kernel still has for a slow reader must not look whole
	u.stored.wait()
	return false, false
}

// leave ends the request for the target, whose connection is kept where reuse says so.
func (u *blockingUpstream) leave(reuse, answered bool) {
	b, t := u.client, u.target
	u.end()
	if reuse {
		u.giveBack(b.home)
	}
	b.app.gate.Done(t, answered)
}

// conclude counts how a request has ended after its response has started.
func (u *blockingUpstream) conclude(x *exchange, err error, gone bool, clientFault error) outcome {
	switch {
	case err == nil && !u.goneBefore:
		x.end(answered, time.Now())
		return answered
	case err == errEvicted:
		x.app.counters.evicted.Add(1)
		x.logEvicted()
		x.clientGone(time.Now())
		return clientLeft
	case gone || err == errClientGone:
		x.clientGone(time.Now())
		return clientLeft
	case clientFault != nil && clientFault != errSpoolUnreadable:
		x.keepAlive = false
		x.end(badRequest, time.Now())
		return badRequest
	}
	x.keepAlive = false
	x.end(truncated, time.Now())
	x.logError(u.response.Status, "the response broke off: "+err.Error())
	return truncated
}

// readInto reads further bytes behind those in the buffer, which may grow to limit bytes.
func (u *blockingUpstream) readInto(limit int, wait time.Duration) error {
	if u.readErr != nil {
		return u.readErr
	}
	room := u.in.room(limit)
	n, err := u.conn.readLarge(room), error(nil)
	if n == 0 {
		var passed time.Duration
		start := time.Now()
		n, passed, err = u.conn.readTimed(room, wait)
		u.upload.stalled += time.Since(start) - passed
	}
	if n > 0 {
		u.in.end += n
		u.target.SetHeard()
	}
	return err
}

// Close ends the connection; a read under way returns an error.
func (u *blockingUpstream) Close() {
	if u.conn.stream != nil { // else the event loop has closed it
		u.conn.close()
	}
}

// Abandon ends the connection. What was sent on it by now is read, and then its end.
func (u *blockingUpstream) Abandon() {
	if u.conn.stream != nil {
		u.conn.shutdown()
	}
}

// discard closes the connection. Its round trip ends with end, once no upload uses it any more.
func (u *blockingUpstream) discard() {
	u.target.Remove(u)
	u.Close()
}
