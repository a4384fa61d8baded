package proxy

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/http1"
	"tideover/proxy/netpoll"
	"tideover/proxy/spool"
)

// disconnectCheckInterval is how often a goroutine looks whether the client is gone while the app
// does not take the request.
const disconnectCheckInterval = 50 * time.Millisecond

// maxPipes is how many uploads of an app are spliced at a time; further ones are copied. So the pieces
// that are in pipes take 16 MiB of the kernel's memory at most.
const maxPipes = 64

// processStart is the origin of moments that are kept as one number: the time since then is that of
// a monotonic clock.
var processStart = time.Now()

// An upload is the client's side of a round trip while the app works: a goroutine that sends the
// part of the body that was not buffered, and then watches for the client's disconnect. When the
// request cannot go on it closes the app's connection, which ends the round trip's read.
type upload struct {
	done chan struct{} // nil: it is not running
	err  error         // how it ended, after done

	written int64 // bytes of the request that the kernel has taken
	failed  bool  // a write has failed: a piece of the body is lost

	// blockedSince is since when the app is waited for, as a duration since processStart: to take a
	// piece of the request, or to answer. 0: the client is.
	blockedSince atomic.Int64
	stalled      time.Duration // in which this process did not run; of the goroutine that reads
	lastPiece    atomic.Bool   // the last piece of the request is being written, or was
	fullySent    atomic.Bool   // the kernel has taken all of the request
}

// begin prepares for a round trip.
func (p *upload) begin() {
	p.done, p.err = nil, nil
	p.written, p.failed, p.stalled = 0, false, 0
	p.blockedSince.Store(0)
	p.lastPiece.Store(false)
	p.fullySent.Store(false)
}

// sentWhole prepares for a round trip. Its request was written completely at that moment.
func (p *upload) sentWhole(at time.Time) {
	p.blockedSince.Store(int64(at.Sub(processStart)))
	p.lastPiece.Store(true)
	p.fullySent.Store(true)
}

// beginWrite says that a piece of the request is being written. The app may answer before it has
// taken it.
func (p *upload) beginWrite(last bool) {
	p.lastPiece.Store(last)
	p.blockedSince.Store(int64(time.Since(processStart)))
}

// endWrite says that the piece was taken: behind the last one the app is waited for, behind others
// the client.
func (p *upload) endWrite() {
	if p.lastPiece.Load() {
		p.fullySent.Store(true)
	} else {
		p.blockedSince.Store(0)
	}
}

// blocked is since when the app is waited for, later by the stalls of this process; zero: the client
// is.
func (p *upload) blocked() time.Time {
	if since := p.blockedSince.Load(); since != 0 {
		return processStart.Add(time.Duration(since) + p.stalled)
	}
	return time.Time{}
}

func (p *upload) running() bool { return p.done != nil }

// clientGone reports whether the upload has found that the client is gone.
func (p *upload) clientGone() bool {
	select {
	case <-p.done:
		return p.err == errClientGone
	default:
		return false
	}
}

// startUpload starts the goroutine. stopUpload waits for it.
func (u *blockingUpstream) startUpload() {
	p := &u.upload
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		defer func() {
			if cause := recover(); cause != nil {
				u.x.app.reportPanic(cause)
				p.err = errClientGone
				u.conn.shutdown() // it may be read from: for the head of the response
			}
		}()
		p.err = u.runUpload()
	}()
}

// stopUpload stops the upload, if it is running. gone: the client has closed its connection; fault:
// its body was at fault.
func (u *blockingUpstream) stopUpload() (gone bool, fault error) {
	p := &u.upload
	if !p.running() {
		return false, nil
	}
	u.client.conn.interrupt()
	<-p.done
	u.client.conn.clearInterrupt()
	p.done = nil
	switch p.err {
	case nil, errInterrupted:
		return false, nil
	case errClientGone:
		return true, nil
	}
	return false, p.err
}

// runUpload returns errClientGone, what was wrong with the client's body, or errInterrupted.
func (u *blockingUpstream) runUpload() error {
	u.x.panicAt("upload")
	if !u.upload.lastPiece.Load() {
		err := u.sendStored()
		if err == nil && !u.x.endsWithStored() {
			err = u.copyRequestBody()
		}
		if err != nil && err != errUploadRefused {
			return err
		}
	}
	set := u.x.settings
	if err := u.client.conn.waitHangup(set.finCounts()); err == errInterrupted {
		return err
	}
	if !set.FinishOnDisconnect {
		u.Close()
	}
	return errClientGone
}

// sendStored sends what was kept of the body and is not in memory with the head. While the disk is
// waited for it checks whether the client is gone.
func (u *blockingUpstream) sendStored() error {
	x, client := u.x, &u.client.conn
	chunked := x.request.Body.Framing == http1.Chunked && !x.complete
	r := x.stored.newReader()
	var out []byte
	for left := x.stored.size() - int64(len(x.stored.memory)); left > 0; {
		data, err := r.next(disconnectCheckInterval)
		switch {
		case client.isInterrupted():
			return errInterrupted
		case err == spool.ErrSlow:
			if set := x.settings; !set.FinishOnDisconnect && client.hungUp(set.finCounts()) {
				u.Close()
				return errClientGone
			}
			continue
		case err != nil:
			u.Close()
			return errSpoolUnreadable
		}
		if left -= int64(len(data)); chunked {
			data = http1.AppendChunk(out[:0], data)
			out = data
		}
		if err := u.sendPiece(data, left == 0 && x.endsWithStored()); err != nil {
			return err
		}
	}
	return nil
}

// sendPiece writes a piece of the body to the app.
func (u *blockingUpstream) sendPiece(p []byte, last bool) error {
	u.upload.beginWrite(last)
	_, err := u.write(p, 0)
	return u.pieceSent(err)
}

// pieceSent goes on when a piece was written, or could not be: errClientGone, or errUploadRefused.
func (u *blockingUpstream) pieceSent(err error) error {
	switch {
	case err == errClientGone:
		u.Close()
		return err
	case err != nil:
		return errUploadRefused
	}
	u.endWrite()
	return nil
}

// endWrite says that a piece of the request was taken.
func (u *blockingUpstream) endWrite() {
	u.upload.endWrite()
	if u.target.Options().HalfClose && u.upload.fullySent.Load() && !u.x.request.Upgrade {
		u.conn.closeWrite()
	}
}

// copyRequestBody sends the body as it comes.
func (u *blockingUpstream) copyRequestBody() error {
	x := u.x
	body := &x.body
	chunked := x.request.Body.Framing == http1.Chunked
	if x.settings.Buffering {
		body.occupyWorker(x.settings.WorkerMinRate)
	}
	var out []byte
	for mayTry := true; ; {
		if mayTry && body.maySplice() {
			if done, err := u.spliceRequestBody(); done || err != nil {
				return err
			}
			mayTry = false
		}
		data, err := body.next(&u.client.conn, x.settings.BodyTimeout)
		out = out[:0]
		switch {
		case err == io.EOF: // of a chunked body; another one ends with its last piece
			out = append(out, http1.LastChunk...)
		case err != nil:
			return u.bodyBroke(err)
		case chunked:
			out = http1.AppendChunk(out, data)
		default:
			out = data
		}
		x.consumed = true
		last := err == io.EOF || !chunked && body.done()
		if err := u.sendPiece(out, last); err != nil || last {
			return err
		}
	}
}

// spliceRequestBody sends the rest of a body inside the kernel, without a copy. It reports false
// where that is not possible.
func (u *blockingUpstream) spliceRequestBody() (done bool, err error) {
	x := u.x
	body := &x.body
	pipe := x.app.openPipe()
	if pipe == nil {
		return false, nil
	}
	defer x.app.closePipe(pipe)
	for !body.done() {
		n, err := body.splice(&u.client.conn, pipe, x.settings.BodyTimeout)
		switch {
		case isNotPermitted(err):
			return false, nil
		case err != nil:
			return false, u.bodyBroke(err)
		}
		x.consumed = true
		u.upload.beginWrite(body.done())
		_, err = u.untilTaken(0, func() (int, error) {
			m, err := u.conn.drain(pipe, n, disconnectCheckInterval)
			n -= m
			return m, err
		})
		if err := u.pieceSent(err); err != nil {
			return false, err
		}
	}
	return true, nil
}

// isNotPermitted reports whether a system call has failed because the kernel, or a filter of system
// calls, does not have it for these descriptors.
func isNotPermitted(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM)
}

// openPipe returns a pipe for an upload; nil: there are as many as there may be, or no descriptors to
// spare. closePipe closes it.
func (a *app) openPipe() *netpoll.Pipe {
	if a.pipes.Add(1) <= maxPipes {
		if p, err := netpoll.OpenPipe(); err == nil && a.limiter.MayUse(p.Highest()) {
			return p
		} else if err == nil {
			p.Close()
		}
	}
	a.pipes.Add(-1)
	return nil
}

func (a *app) closePipe(p *netpoll.Pipe) {
	p.Close()
	a.pipes.Add(-1)
}

// bodyBroke ends the upload when no more of the body can be read.
func (u *blockingUpstream) bodyBroke(err error) error {
	if err == errInterrupted {
		return err
	}
	u.Close()
	if !isClientFault(err) {
		err = errClientGone
	}
	return err
}

// write writes to the app. While that does not take it, it checks whether the client is gone:
// errClientGone. After timeout (0: without bound) it gives up with errResponseTimeout.
func (u *blockingUpstream) write(p []byte, timeout time.Duration) (n int, err error) {
	return u.untilTaken(timeout, func() (int, error) {
		m, err := u.conn.write(p, disconnectCheckInterval)
		p = p[m:]
		return m, err
	})
}

// untilTaken is write, of what the function writes: as much as the app takes, each time until the
// deadline of disconnectCheckInterval has passed.
func (u *blockingUpstream) untilTaken(timeout time.Duration, write func() (int, error)) (n int, err error) {
	set := u.x.settings
	for waited := time.Duration(0); ; waited += disconnectCheckInterval {
		m, err := write()
		n += m
		u.upload.written += int64(m)
		u.upload.failed = err != nil // a deadline is tried again
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		case !set.FinishOnDisconnect && u.client.conn.hungUp(set.finCounts()):
			return n, errClientGone
		case timeout > 0 && waited >= timeout:
			return n, errResponseTimeout
		}
	}
}
