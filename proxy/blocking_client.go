package proxy

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

// bodyWait is how long a request that has passed the gate may take to read the rest of its body
// from the kernel. If it takes longer it gives its pass back: a slow upload must not occupy a
// worker.
const bodyWait = 5 * time.Millisecond

// A blockingClient is a client's connection on a goroutine, which serves its requests one after the
// other.
type blockingClient struct {
	*clientConn
	exchange *exchange
	conn     conn
	upstream *blockingUpstream // of the last round trip; nil: there was none

	pending sync.WaitGroup // the gate's decision
	home    *loopClient    // the connection's place in the event loop
	keep    bool           // it carries another request,
	fd      int            // on this descriptor; -1: there is none yet
}

// serve goes on with a request that the event loop has begun, and then with all that have been read
// behind it. It reports whether the connection may carry another one.
func (b *blockingClient) serve(o offload) (keep bool) {
	switch o.reason {
	case reasonNewRequest:
		keep = b.serveBegun()
	case reasonHeadTimeout:
		b.reject(errHeadTimeout)
		b.exchange.finish()
	case reasonDecision:
		keep = b.proxy(o.decision)
		b.exchange.finish()
	default:
		keep = b.resumeRoundTrip(o)
		b.exchange.finish()
	}
	for keep && !b.in.empty() {
		keep = b.serveRequest()
	}
	return keep
}

// serveRequest serves one request from its first byte to its last.
func (b *blockingClient) serveRequest() (keep bool) {
	b.updateRules()
	b.exchange.begin(b.clientConn, time.Now())
	return b.serveBegun()
}

// serveBegun serves a request of which a part of the head was read.
func (b *blockingClient) serveBegun() (keep bool) {
	x := b.exchange
	defer x.finish()
	switch {
	case !b.readHead():
		return false
	case x.bodyTooLarge():
		b.reject(errBodyTooLarge)
		return false
	case x.settings.isHealthCheck(&x.request):
		return b.answerHealthCheck()
	case !b.readBodyAhead():
		return false
	}
	return b.proxy(b.enterGate())
}

// proxy does what the gate has decided, as often as the request goes back to it.
func (b *blockingClient) proxy(d gate.Decision) (keep bool) {
	x := b.exchange
	for d.Outcome == gate.Passed {
		if b.bufferBody(bodyWait, bodyWait) != nil {
			d = b.requeueForBody(d.Target)
			continue
		}
		again, busy := b.forward(d.Target)
		if !again {
			return x.keepAlive
		}
		d = b.requeue(d.Target, busy)
	}
	return b.deny(d)
}

// readHead reads and parses the head. If it reports false, the request has its error response, or
// its client is gone.
func (b *blockingClient) readHead() bool {
	x := b.exchange
	for {
		n, fault := x.request.Parse(b.in.bytes(), &b.rules.policy)
		x.count()
		switch {
		case fault != nil:
			b.reject(fault)
			return false
		case n > 0:
			x.setHead(n)
			x.logDropped()
			return true
		}
		left := time.Until(x.startedAt.Add(x.settings.HeadTimeout))
		if !x.counted {
			left = x.settings.IdleTimeout
		}
		n, err := b.conn.read(b.in.room(b.rules.policy.Limits.Head), max(left, time.Nanosecond))
		b.in.end += n
		switch {
		case n > 0:
		case !x.counted:
			return false
		case errors.Is(err, os.ErrDeadlineExceeded):
			b.reject(errHeadTimeout)
			return false
		default:
			x.end(clientLeft, time.Now())
			return false
		}
	}
}

// readBodyAhead reads a body that is kept before the gate is asked, so that a slow upload occupies
// no worker. While the gate is shut it stays in the kernel instead; then only the
// 100 is sent, because front-ends give up without it. If it reports false, the request has ended.
func (b *blockingClient) readBodyAhead() bool {
	return !b.app.gate.WouldAdmit() || b.bodyRead(b.bufferBody(b.exchange.settings.BodyTimeout, 0))
}

// requeueForBody gives a pass back that came too early, waits for the body, and asks again at the
// request's former place.
func (b *blockingClient) requeueForBody(t *gate.Target) gate.Decision {
	b.app.gate.Done(t, false)
	if !b.bodyRead(b.bufferBody(b.exchange.settings.BodyTimeout, 0)) {
		return gate.Decision{}
	}
	return b.requeue(nil, false)
}

// bodyRead turns an error of the body into the request's end. It reports true when there is none.
func (b *blockingClient) bodyRead(err error) bool {
	var fault *http1.Error
	switch {
	case err == nil:
		return true
	case errors.As(err, &fault):
		b.reject(fault)
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.reject(errBodySlow)
	default:
		b.exchange.clientGone(time.Now())
	}
	return false
}

// bufferBody reads the body into memory, and into the spool where bodies are kept there. It waits for
// at most timeout for each piece, and for in all for all of them (0: without bound); then the error
// is os.ErrDeadlineExceeded, and it may be called again. If the body turns out too long, the request
// is streamed, and what was read is sent first.
func (b *blockingClient) bufferBody(timeout, inAll time.Duration) error {
	x := b.exchange
	if x.complete || x.streaming {
		return nil
	}
	for start := time.Now(); !x.complete && !x.streaming; {
		wait := timeout
		if !x.body.patient {
			wait = min(timeout, bodyWait)
		}
		data, err := x.body.next(&b.conn, wait)
		switch {
		case err == io.EOF:
			x.complete = true
		case errors.Is(err, os.ErrDeadlineExceeded) && !x.body.patient && wait < timeout:
			x.body.patient = true
			x.compact() // where that exceeds the budget it keeps its buffer
		case err != nil:
			return err
		default:
			x.storeBody(data)
		}
		if inAll > 0 && !x.complete && time.Since(start) > inAll {
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

// enterGate asks the gate for a pass, and waits for it where it must.
func (b *blockingClient) enterGate() gate.Decision {
	x := b.exchange
	b.pending.Add(1)
	d := b.app.gate.Enter(&b.waiter)
	if d.Outcome != gate.Held {
		b.pending.Done()
		return d
	}
	x.recordHeld()
	if !x.compact() {
		if b.app.gate.Leave(&b.waiter) {
			b.pending.Done()
			return gate.Decision{Outcome: gate.Overflowed}
		}
		return b.decision()
	}
	x.body.send100(&b.conn, x.settings.WriteTimeout)
	return b.awaitDecision()
}

// requeue asks for another pass, at the request's former place. The pass to t, if any, is given
// back.
func (b *blockingClient) requeue(t *gate.Target, busy bool) gate.Decision {
	b.pending.Add(1)
	b.app.gate.Requeue(&b.waiter, t, busy)
	return b.awaitDecision()
}

// OnDecision ends the wait. The gate calls it, on any goroutine. The interrupt comes first, so that
// it is over when the decision is taken.
func (b *blockingClient) OnDecision(gate.Decision) {
	b.conn.interrupt()
	b.pending.Done()
}

// awaitDecision waits for the gate's decision or for the client to close the connection; then the
// result is the zero Decision.
func (b *blockingClient) awaitDecision() gate.Decision {
	finCounts := b.exchange.settings.finCounts()
	gone := b.conn.waitHangup(finCounts) != errInterrupted
	if gone && b.app.gate.Leave(&b.waiter) {
		b.pending.Done()
		return gate.Decision{}
	}
	d := b.decision()
	if d.Outcome == gate.Passed && (gone || b.conn.hungUp(finCounts)) {
		b.app.gate.Done(d.Target, false)
		return gate.Decision{}
	}
	return d
}

// decision takes the decision that has been delivered, or is just being delivered.
func (b *blockingClient) decision() gate.Decision {
	b.pending.Wait()
	b.conn.clearInterrupt()
	d := b.waiter.Decision()
	b.exchange.recordWait(d)
	return d
}

// write sends a part of the app's response. The only error is errClientGone: the client has closed
// the connection, or takes too little.
func (b *blockingClient) write(p []byte) error {
	set := b.rules.settings
	if b.conn.writeMinRate(p, set.WriteTimeout, set.MinRate) != nil {
		return errClientGone
	}
	return nil
}
