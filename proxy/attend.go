package proxy

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"tideover/proxy/http1"
)

const (
	// lookAfter is how long the app may work before somebody watches whether the client is still there: most answers come earlier.
	lookAfter = 20 * time.Millisecond
	// lookAgain is how often that is looked after while the app does not take what it is handed.
	lookAgain = 50 * time.Millisecond
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
	since atomic.Int64  // since when the app is waited for, to take what it is handed or to answer, in ns; 0: the client is
	last  atomic.Bool   // the last of the request is being handed over, or was
	all   atomic.Bool   // all of it was taken by the kernel
}

// begin prepares for another delivery.
func (a *attendant) begin() {
	a.began, a.done, a.err = time.Now(), nil, nil
	a.since.Store(0)
	a.last.Store(false)
	a.all.Store(false)
}

// flew says that a request without a body was handed over whole.
func (a *attendant) flew(at time.Time) {
	a.began, a.done, a.err = at, nil, nil
	a.since.Store(at.UnixNano())
	a.last.Store(true)
	a.all.Store(true)
}

// handing notes that a piece of the request is being handed over. The app may answer before it was taken.
func (a *attendant) handing(last bool) {
	a.last.Store(last)
	a.since.Store(time.Now().UnixNano())
}

// handed notes that the piece was taken: behind the last one the app is waited for, behind others the client.
func (a *attendant) handed() {
	if a.last.Load() {
		a.all.Store(true)
	} else {
		a.since.Store(0)
	}
}

// waitsSince is since when the app is waited for; zero: the client is.
func (a *attendant) waitsSince() time.Time {
	if ns := a.since.Load(); ns != 0 {
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
	case nil, errStopped:
		return false, nil
	case errClientLeft:
		return true, nil
	}
	return false, a.err
}

// attend returns errClientLeft, what was wrong with the client's body, or errStopped.
func (d *trip) attend() error {
	x, u := d.x, d.u
	if !x.attendant.last.Load() {
		if err := d.upload(); err != nil && err != errChild {
			return err
		}
	}
	if err := x.client.watch(!x.set.ServeHalfClosed); err == errStopped {
		return err
	}
	if !x.set.KeepWorking {
		u.Close()
	}
	return errClientLeft
}

// upload hands the body on as it comes.
func (d *trip) upload() error {
	x, u := d.x, d.u
	chunked := x.request.Body.Framing == http1.Chunked
	var out []byte
	for {
		if x.body.reader.Left() > bulk && len(x.body.raw) == 0 {
			x.body.scratch.reset()
			x.body.scratch.widen()
		}
		data, err := x.body.next(x.set.BodyTimeout)
		out = out[:0]
		switch {
		case err == errStopped:
			return err
		case err == io.EOF: // the end of a chunked body; another one is known by its last piece
			out = append(out, http1.LastChunk...)
		case err != nil:
			u.Close()
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
		x.attendant.handing(last)
		switch _, err := d.give(out, 0); {
		case err == errClientLeft:
			u.Close()
			return err
		case err != nil:
			return errChild
		}
		x.attendant.handed()
		if last {
			return nil
		}
	}
}

// give hands bytes to the app. As long as the app does not take them it looks whether the client is still there: errClientLeft. After
// timeout (0: never) it gives up with errSilent.
func (d *trip) give(p []byte, timeout time.Duration) (n int, err error) {
	x := d.x
	for start := time.Now(); ; {
		m, err := d.u.write(p[n:], lookAgain)
		n += m
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		case !x.set.KeepWorking && x.client.left(!x.set.ServeHalfClosed):
			return n, errClientLeft
		case timeout > 0 && time.Since(start) >= timeout:
			return n, errSilent
		}
	}
}
