package proxy

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

var (
	errUnaccepted = errors.New("the app never accepted the connection")
	errSilent     = errors.New("no byte of an answer in time")
)

// A trip is one delivery of a request: on one connection to the app, which it has for itself. All that it knows is here and nothing
// of it on a stack, so that another goroutine may go on with it at any point.
type trip struct {
	x       *exchange
	u       *upstream
	body    http1.BodyReader // of the final response
	framing http1.Framing    // of what the client gets
	early   bool             // the response came before the request was handed over
	gone    bool             // and the client left before it came
	ended   bool             // so has the end of the response
	alone   int              // length of the head of a final response of which nothing else has come
	told    bool             // the final response has begun
	handed  bool             // bytes of the final response went to the client
}

// relay carries the request to a target it has a pass to, and the response back. again: it was not answered and goes back to the
// gate; busy: because the target takes no connections at present. Otherwise the pass is done and the request has ended.
func (x *exchange) relay(t *gate.Target) (again, busy bool) {
	x.target = t.Name()
	u, err := x.connect(t)
	if err != nil {
		return true, true
	}
	d := u.embark(x)
	state, err := d.send()
	if err == nil {
		state, err = d.awaitHead()
	}
	return d.arrive(state, err)
}

// arrive goes on with a trip on which the head of a response was waited for.
func (d *trip) arrive(state delivery, err error) (again, busy bool) {
	if err != nil {
		return d.lost(state, err)
	}
	if d.u.response.Status == 101 {
		d.tunnel()
		return false, false
	}
	d.begin()
	d.conclude(d.passBody())
	return false, false
}

// idempotent reports whether a request may reach the app twice.
func (s *Settings) idempotent(r *http1.Request) bool {
	return r.Method.Idempotent() || r.IdempotencyKey && s.IdempotencyKey
}

// send writes the head and what was kept of the body, in one piece. That not all could be written is no error: the app may have answered
// before it had read all.
func (d *trip) send() (delivery, error) {
	x, u := d.x, d.u
	u.out = appendRequest(u.out[:0], x)
	x.attendant.begin()
	x.attendant.handing(!x.streaming)
	n, err := d.give(u.out, x.set.Timeout)
	switch {
	case n == 0:
		return connected, err
	case err == errClientLeft || err == errSilent:
		return written, err
	case err == nil:
		x.attendant.handed()
	}
	if x.streaming {
		x.attendant.start(d)
	}
	return written, nil
}

// depart goes on with a trip that a loop began.
func (d *trip) depart() (again, busy bool) {
	if u := d.u; len(u.unsent) > 0 {
		_, err := d.give(u.unsent, d.x.set.Timeout)
		if u.unsent = nil; err == errClientLeft || err == errSilent {
			return d.lost(written, err)
		} // else the app may have answered all the same
	}
	return d.arrive(d.awaitHead())
}

// appendRequest appends the head and what was kept of the body.
func appendRequest(dst []byte, x *exchange) []byte {
	f := http1.Forward{Peer: x.client.peer, Scheme: "http", Start: x.began, Body: x.request.Body}
	if x.complete && !x.request.Body.Empty() {
		f.Body = http1.Body{Framing: http1.Fixed, Length: int64(len(x.kept))}
	}
	dst = x.request.AppendUpstream(dst, &f)
	if f.Body.Framing == http1.Chunked {
		return http1.AppendChunk(dst, x.kept)
	}
	return append(dst, x.kept...)
}

// bulk is how much of a body still to come makes it a long one.
const bulk = 64 << 10

// responseLimits bound what is kept of a response's head.
var responseLimits = http1.ResponseLimits()

// awaitHead reads the head of the response into u.response; it is at the front of u.in, u.headEnd bytes long. Interim ones before it
// are passed or dropped.
func (d *trip) awaitHead() (delivery, error) {
	x, u := d.x, d.u
	u.response.Reset(http1.Asked{Head: x.request.Method == http1.MethodHead, Upgrade: x.request.Upgrade})
	for {
		in := u.in.bytes()
		switch u.marked(in) {
		case marker:
			return written, errUnaccepted
		case perhaps:
			in = nil
		}
		n, fault := u.response.Parse(in, &responseLimits)
		switch {
		case fault != nil:
			return begun, fault
		case n > 0 && !u.response.Interim():
			u.headEnd = n
			return begun, nil
		case n > 0:
			d.passInterim()
			u.in.start += n
			u.response.Next()
			continue
		}
		if err := d.more(x.set.Timeout); err != nil {
			if len(in) > 0 {
				return begun, err
			}
			return written, err
		}
	}
}

// passInterim hands a 103 on to a client that understands it, and has not seen it already. That the client is gone is noticed elsewhere.
func (d *trip) passInterim() {
	x, u := d.x, d.u
	if u.response.PassesInterim(x.request.Minor) && x.fed == 0 {
		x.client.hand(u.response.AppendInterim(nil))
	}
}

// more reads from the app. After a short while without a byte it sets an attendant at the client's side; after timeout (0: never),
// in which the app neither takes what it is handed nor answers, it gives up with errSilent.
func (d *trip) more(timeout time.Duration) error {
	x, u := d.x, d.u
	for {
		wait := timeout
		switch since := x.attendant.waitsSince(); {
		case !x.attendant.busy():
			wait = lookAfter
		case timeout > 0 && since.IsZero():
			wait = min(timeout, time.Second) // its turn may begin meanwhile
		case timeout > 0:
			if wait = time.Until(since.Add(timeout)); wait <= 0 {
				return errSilent
			}
		}
		err := u.more(responseLimits.Head, wait)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if !x.attendant.busy() {
			x.attendant.start(d)
		}
	}
}

// lost decides about a request that got no response from the app, or none of it went on to the client: it goes back to the gate, or it ends here.
func (d *trip) lost(state delivery, err error) (again, busy bool) {
	x, u := d.x, d.u
	u.Close()
	left, clientFault := x.attendant.join(x)
	end := func() { x.server.gate.Done(u.target, false) }
	var fault *http1.Error
	switch {
	case left || err == errClientLeft:
		end()
		x.leave()
		return false, false
	case clientFault != nil:
		end()
		x.settled(clientFault)
		return false, false
	case err == errSilent:
		end()
		x.refuse(timedOut, 504, 0, "the app did not answer in time")
		return false, false
	case errors.As(err, &fault):
		end()
		x.refuse(badGateway, 502, 0, "the app's response is not valid: "+fault.Error())
		return false, false
	}
	l := d.account(state, err)
	if l.resendable() && !(x.set.NoResend && state == written && !l.unaccepted) {
		if state == written && !l.unaccepted { // nobody saw the other ones
			x.server.totals.resent.Add(1)
		}
		return true, state == connected
	}
	end()
	x.refuse(badGateway, 502, 0, l.cause())
	return false, false
}

// account writes a failed delivery down.
func (d *trip) account(state delivery, err error) loss {
	x, u := d.x, d.u
	l := loss{
		state: state, idempotent: x.set.idempotent(&x.request), empty: x.request.Body.Empty(), whole: !x.spent,
		reset: errors.Is(err, syscall.ECONNRESET), unaccepted: err == errUnaccepted,
		ran: time.Since(x.attendant.began),
	}
	if state == written && !l.unaccepted {
		x.fed++
	}
	l.fed = x.fed
	l.alone = l.ran >= workerTimeout && !u.target.WaitInactive(dyingTime)
	return l
}

// begin puts the response's head in front of what the client gets.
func (d *trip) begin() {
	x, u := d.x, d.u
	d.told = true
	d.early, d.gone = !x.attendant.last.Load(), x.attendant.gone()
	if d.early || x.server.lame.Load() {
		x.keepAlive = false
	}
	u.out, d.framing = u.response.AppendClient(u.out[:0], &http1.Client{Minor: x.request.Minor, KeepAlive: x.keepAlive, Held: x.held, Hold: x.waited})
	u.in.start += u.headEnd
	if d.framing == http1.UntilClose {
		x.keepAlive = false
	}
	d.body.StartResponse(u.response.Body, &responseLimits)
}

// conclude ends a response: err is nil when the client has been given all of it.
func (d *trip) conclude(err error) {
	x, u := d.x, d.u
	c, t, early := x.client, u.target, d.early
	if err != nil && !d.handed {
		d.lost(begun, err)
		return
	}
	reusable := err == nil && u.mayReuse() && x.attendant.all.Load()
	if !reusable {
		u.end()
	}
	left, clientFault := x.attendant.join(x)
	switch {
	case err == nil && !d.gone:
		x.end(answered)
	case left || err == errClientLeft:
		x.leave()
		c.abort() // what the kernel still has for a slow reader must not look whole
	case clientFault != nil:
		x.keepAlive = false
		x.end(badRequest)
		c.abort()
	default:
		x.keepAlive = false
		x.end(cutShort)
		d.logCut(err)
		c.abort()
	}
	if reusable {
		u.settle()
	}
	x.server.gate.Done(t, err == nil)
	if err == nil && early {
		x.body.drain(afterAnswer)
	}
}

// digest turns what came from the app into what the client gets; done: that was all.
func (d *trip) digest() (done bool, fault *http1.Error) {
	u := d.u
	for !u.in.empty() && !d.body.Done() {
		data, n, fault := d.body.Next(u.in.bytes())
		u.in.start += n
		if fault != nil {
			return false, fault
		}
		if d.framing == http1.Chunked {
			u.out = http1.AppendChunk(u.out, data)
		} else {
			u.out = append(u.out, data...)
		}
	}
	done = d.body.Done()
	if done && !d.ended && d.framing == http1.Chunked {
		u.out = append(u.out, http1.LastChunk...)
	}
	d.ended = done
	return done, nil
}

// passBody hands on the head that is in u.out and then the body, each piece as soon as it is there.
func (d *trip) passBody() error {
	x, u := d.x, d.u
	for {
		if err := d.passThrough(); err != nil {
			return err
		}
		done, fault := d.digest()
		if fault != nil {
			return fault
		}
		if len(u.out) > 0 {
			d.handed = true
			if err := x.client.hand(u.out); err != nil {
				return err
			}
			u.out = u.out[:0]
		}
		if done {
			return nil
		}
		if d.body.Left() > bulk {
			u.in.widen()
		}
		if err := d.more(0); err == io.EOF {
			return d.endOfStream()
		} else if err != nil {
			return err
		}
	}
}

// passThrough hands on, without a copy, what need not be written anew.
func (d *trip) passThrough() error {
	u := d.u
	if d.framing == http1.Chunked || len(u.out) > 0 || u.in.empty() {
		return nil
	}
	data, n, fault := d.body.Next(u.in.bytes())
	u.in.start += n
	if fault != nil {
		return fault
	}
	if len(data) == 0 {
		return nil
	}
	d.handed = true
	return d.x.client.hand(data)
}

// endOfStream ends a response whose connection has ended in good order.
func (d *trip) endOfStream() error {
	if fault := d.body.End(); fault != nil {
		return fault
	}
	if died(d.u.target) { // R77
		return errTargetGone
	}
	if d.framing == http1.Chunked {
		return d.x.client.hand([]byte(http1.LastChunk))
	}
	return nil
}
