package proxy

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"tideover/proxy/http1"
)

const (
	// lookAfter is how long the app may work before somebody watches whether the client is still there: most answers come earlier.
	lookAfter = 20 * time.Millisecond
	// newsTime is how long to wait for the news that the gate has let go of a target whose connection just ended.
	newsTime = 10 * time.Millisecond
	// dyingTime is how long to wait for news of the whole target's death after one of its connections broke.
	dyingTime = 250 * time.Millisecond
)

var (
	errClientLeft = errors.New("the client left")
	errTargetGone = errors.New("the app's processes are gone")
	errChild      = errors.New("the app takes no more of the body")
)

// An attendant stays at the client's side while the app works: it hands on the rest of a body that was not kept, then watches
// whether the client leaves. When the request cannot go on it closes the app's connection, which ends the other side's reading.
type attendant struct {
	began time.Time
	done  chan struct{} // nil: not started
	err   error         // after done
	whole atomic.Int64  // when the last of the request began to be handed over, in ns; 0: not yet
	all   atomic.Bool   // all of it was taken by the kernel
}

// begin prepares for another delivery.
func (a *attendant) begin() {
	a.began, a.done, a.err = time.Now(), nil, nil
	a.whole.Store(0)
	a.all.Store(false)
}

// sending notes that the last of the request is being handed over: the app may answer before sent is called.
func (a *attendant) sending() { a.whole.Store(time.Now().UnixNano()) }

func (a *attendant) sent() { a.all.Store(true) }

// sentAt is when the last of the request was handed over; zero: not yet.
func (a *attendant) sentAt() time.Time {
	if ns := a.whole.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

func (a *attendant) busy() bool { return a.done != nil }

// gone reports whether the client is known to have left by now.
func (a *attendant) gone() bool {
	select {
	case <-a.done:
		return a.err == errClientLeft
	default:
		return false
	}
}

func (a *attendant) start(d *trip) {
	a.done = make(chan struct{})
	go func() {
		defer close(a.done)
		a.err = d.attend()
	}()
}

// join stops the attendant, if there is one, and waits for it. left: the client went away; fault: the client's body was at fault.
func (a *attendant) join(x *exchange) (left bool, fault error) {
	if a.done == nil {
		return false, nil
	}
	x.client.stop()
	<-a.done
	x.client.rearm()
	a.done = nil
	switch a.err {
	case nil, errStopped, errChild:
		return false, nil
	case errClientLeft:
		return true, nil
	}
	return false, a.err
}

// attend returns errClientLeft, what was wrong with the client's body, errChild, or errStopped.
func (d *trip) attend() error {
	x, u := d.x, d.u
	if x.attendant.sentAt().IsZero() {
		if err := d.upload(); err != nil {
			return err
		}
	}
	if err := x.client.watch(!x.set.ServeHalfClosed); err == errStopped {
		return err
	}
	if !x.set.KeepWorking {
		u.cut()
	}
	return errClientLeft
}

// upload hands the body on as it comes.
func (d *trip) upload() error {
	x, u := d.x, d.u
	chunked := x.request.Body.Framing == http1.Chunked
	var out []byte
	for {
		data, err := x.body.next(x.set.BodyTimeout)
		out = out[:0]
		switch {
		case err == errStopped:
			return err
		case err == io.EOF && chunked:
			out = append(out, http1.LastChunk...)
		case err != nil && err != io.EOF:
			u.cut()
			if !isFault(err) {
				err = errClientLeft
			}
			return err
		case chunked:
			out = http1.AppendChunk(out, data)
		default:
			out = data
		}
		x.spent = true
		last := err == io.EOF || !chunked && x.body.over()
		if last {
			x.attendant.sending()
		}
		if _, failed := u.write(out, x.set.Timeout); failed != nil {
			return errChild
		}
		if last {
			x.attendant.sent()
			return nil
		}
	}
}
