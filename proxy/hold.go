package proxy

import (
	"bytes"

	"tideover/proxy/gate"
)

// ask asks the gate for a pass, and waits for it where it must.
func (x *exchange) ask() gate.Decision {
	c := x.client
	v := x.server.gate.Enter(&c.waiter)
	if v.Outcome != gate.Held {
		x.note(v)
		return v
	}
	x.server.totals.held.Add(1)
	x.held = true
	if !x.settleDown() {
		if x.server.gate.Leave(&c.waiter) {
			return gate.Decision{Outcome: gate.Overflowed}
		}
		return x.take()
	}
	return x.await()
}

// askAgain asks for another pass, at the old place: t, if any, is the target whose pass is given back.
func (x *exchange) askAgain(t *gate.Target, busy bool) gate.Decision {
	x.server.gate.Requeue(&x.client.waiter, t, busy)
	return x.await()
}

// settleDown makes a request small for its wait: an exact copy of its head, and the body left where it is. It reports false when
// even that is too much for the app's budget.
func (x *exchange) settleDown() bool {
	c := x.client
	if !x.server.reserve(int64(x.head+len(x.body.raw)), x) {
		return false
	}
	x.body.raw = bytes.Clone(x.body.raw) // it lies behind the head, or in the scratch buffer
	x.body.scratch.release()
	c.in.end = c.in.start + x.head
	c.in.shrink()
	x.request.Rebase(c.in.data)
	x.body.sendContinue(x.set.WriteTimeout)
	return true
}

// await waits for the verdict or for the client to leave, whichever comes first.
func (x *exchange) await() gate.Decision {
	c := x.client
	gone := c.watch(!x.set.ServeHalfClosed) != errStopped
	if gone && x.server.gate.Leave(&c.waiter) {
		return gate.Decision{}
	}
	v := x.take()
	if v.Outcome == gate.Passed && (gone || c.left(!x.set.ServeHalfClosed)) {
		x.server.gate.Done(v.Target, false)
		return gate.Decision{}
	}
	return v
}

// take takes the verdict that is there or is just coming.
func (x *exchange) take() gate.Decision {
	v := <-x.client.verdicts
	x.client.rearm()
	x.note(v)
	return v
}

// note notes what a verdict says about the wait, which may have been in another program.
func (x *exchange) note(v gate.Decision) {
	x.waited = v.Waited
	if v.Waited > 0 && !x.held {
		x.held = true
		x.server.totals.held.Add(1)
	}
}

// deny answers a request that got no pass; the zero verdict means that its client is gone.
func (x *exchange) deny(v gate.Decision) bool {
	switch v.Outcome {
	case gate.Expired:
		x.refuse(expiry, 503, x.set.RetryAfter, "held for as long as a request may wait; the app did not come back in time")
	case gate.Overflowed:
		x.refuse(overflow, 503, x.set.RetryAfter, "too many requests are waiting already")
	case gate.Refused:
		x.refuse(refusal, orDefault(v.Refusal.Status, 503), v.Refusal.RetryAfter, v.Refusal.Cause)
	default:
		if !x.ended {
			x.leave()
		}
	}
	return x.keepAlive
}
