package proxy

import "bytes"

// ask asks the gate for a pass, and waits for it where it must.
func (x *exchange) ask() verdict {
	c := x.client
	v := x.server.gate.enter(&c.waiter)
	if v.outcome != held {
		v.note(x)
		return v
	}
	x.server.totals.held.Add(1)
	x.held = true
	if !x.settleDown() {
		if x.server.gate.leave(&c.waiter) {
			return verdict{outcome: overflowed}
		}
		return x.take()
	}
	return x.await()
}

// askAgain asks for another pass, at the old place: t, if any, is the target whose pass is given back.
func (x *exchange) askAgain(t *Target, busy bool) verdict {
	x.server.gate.requeue(&x.client.waiter, t, busy)
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
func (x *exchange) await() verdict {
	c := x.client
	gone := c.watch(!x.set.ServeHalfClosed) != errStopped
	if gone && x.server.gate.leave(&c.waiter) {
		return verdict{}
	}
	v := x.take()
	if v.outcome == passed && (gone || c.left(!x.set.ServeHalfClosed)) {
		x.server.gate.done(v.target, false)
		return verdict{}
	}
	return v
}

// take takes the verdict that is there or is just coming.
func (x *exchange) take() verdict {
	v := <-x.client.verdicts
	x.client.rearm()
	v.note(x)
	return v
}

// note notes what a verdict says about the wait, which may have been in another program.
func (v *verdict) note(x *exchange) {
	x.waited = v.waited
	if v.waited > 0 && !x.held {
		x.held = true
		x.server.totals.held.Add(1)
	}
}

// deny answers a request that got no pass; the zero verdict means that its client is gone.
func (x *exchange) deny(v verdict) bool {
	switch v.outcome {
	case expired:
		x.refuse(expiry, 503, x.set.RetryAfter, "held for as long as a request may wait; the app did not come back in time")
	case overflowed:
		x.refuse(overflow, 503, x.set.RetryAfter, "too many requests are waiting already")
	case refused:
		x.refuse(refusal, orDefault(v.refusal.Status, 503), v.refusal.RetryAfter, v.refusal.Cause)
	default:
		if !x.ended {
			x.leave()
		}
	}
	return x.keepAlive
}
