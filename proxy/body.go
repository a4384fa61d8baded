package proxy

import (
	"errors"
	"io"
	"math"
	"time"

	"tideover/proxy/http1"
	"tideover/proxy/netpoll"
)

// largeBody is how much of a body is still to come when it goes through a large buffer, on a
// goroutine.
const largeBody = 64 << 10

const (
	// splicedBody is how much of a body is still to come when it is worth a pipe.
	splicedBody = 512 << 10
	// splicedPiece is how much of it is taken at once. The kernel has as much of it in memory, beside
	// its socket buffers, while the app does not read.
	splicedPiece = 256 << 10
)

// A requestBody is a request's body as it arrives: first the bytes that came with the head, then
// what is read from the client. Only a goroutine reads one; each method that does is given the
// connection.
type requestBody struct {
	reader    http1.BodyReader
	framing   http1.Body
	raw       []byte // read and not decoded yet
	scratch   buffer // raw is a part of it, once it is not a part of the head's buffer any more
	awaits100 bool
	patient   bool // the client is slow: no memory is kept while it is waited for

	readTimeout time.Duration // how long the client may be waited for in all, and
	minRate     int64         // one second more for so many bytes of content; 0: without bound
	waited      time.Duration // so far
	workerWaits bool          // then what the client was ahead of the rate counts for readTimeout at most:
	forfeited   time.Duration // the rest of it
}

// begin prepares for the body of r.
func (b *requestBody) begin(r *http1.Request, limits *http1.Limits, readTimeout time.Duration, minRate int64) {
	b.framing, b.awaits100 = r.Body, r.Expect100
	b.readTimeout, b.minRate, b.waited, b.patient = readTimeout, minRate, 0, false
	b.reader.StartRequest(r.Body, limits)
}

// next returns the next piece of content, valid until the following call; io.EOF at the proper end.
// Other errors are an *http1.Error for a fault of the client's, os.ErrDeadlineExceeded when nothing
// came for timeout (it may be tried again), and another one when the client has closed the
// connection.
func (b *requestBody) next(c *conn, timeout time.Duration) ([]byte, error) {
	for {
		for len(b.raw) > 0 && !b.reader.Done() {
			data, n, fault := b.reader.Next(b.raw)
			b.raw = b.raw[n:]
			if fault != nil {
				return nil, fault
			}
			if len(data) > 0 {
				return data, nil
			}
		}
		if b.reader.Done() {
			return nil, io.EOF
		}
		if err := b.fill(c, timeout); err != nil {
			return nil, err
		}
	}
}

// fill reads more raw bytes; never more than the body has, where that is known.
func (b *requestBody) fill(c *conn, timeout time.Duration) error {
	left, err := b.prepare(c, timeout)
	if err != nil {
		return err
	}
	if b.patient {
		b.scratch.release()
		passed, err := c.waitReadable(min(timeout, left))
		b.waited += passed
		if left -= passed; err != nil {
			return err
		}
	}
	if b.reader.Remaining() > largeBody {
		b.scratch.enlarge()
	}
	b.scratch.reset()
	room := b.scratch.room(bufferSize)
	if b.framing.Framing == http1.Fixed {
		room = room[:min(int64(len(room)), b.framing.Length-b.reader.Total)]
	}
	n, passed, err := c.readTimed(room, max(time.Nanosecond, min(timeout, left)))
	b.waited += passed
	b.raw = room[:n]
	return brokenOff(err)
}

// prepare is for a read. It sends the 100 that the client may wait for, and returns how long the
// client may still be waited for in all.
func (b *requestBody) prepare(c *conn, timeout time.Duration) (left time.Duration, err error) {
	b.send100(c, timeout)
	if left = b.timeLeft(); left <= 0 {
		return 0, errBodySlow
	}
	return left, nil
}

// brokenOff turns the end of the connection into an error: it is not the end of the body.
func brokenOff(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// maySplice reports whether what comes next may go to the app by way of a pipe, unseen: it is a long
// piece of content and nothing else.
func (b *requestBody) maySplice() bool {
	return b.framing.Framing == http1.Fixed && len(b.raw) == 0 && b.reader.Remaining() > splicedBody
}

// splice is next into a pipe, which is empty. n is the length of the piece.
func (b *requestBody) splice(c *conn, p *netpoll.Pipe, timeout time.Duration) (n int, err error) {
	left, err := b.prepare(c, timeout)
	if err != nil {
		return 0, err
	}
	b.scratch.release()
	limit := min(splicedPiece, b.reader.Remaining())
	n, passed, err := c.fillTimed(p, int(limit), max(time.Nanosecond, min(timeout, left)))
	b.waited += passed
	b.reader.Skip(int64(n))
	return n, brokenOff(err)
}

// timeLeft is how long the client may still be waited for before its body counts as too slow. The
// time in which nothing is read, because the request is held or the app is busy, does not count.
func (b *requestBody) timeLeft() time.Duration {
	if b.minRate == 0 {
		return math.MaxInt64
	}
	const maximum = int64(math.MaxInt64 / time.Second / 2)
	left := b.readTimeout + time.Duration(min(b.reader.Total/b.minRate, maximum))*time.Second - b.waited - b.forfeited
	if b.workerWaits && left > b.readTimeout {
		b.forfeited += left - b.readTimeout
		left = b.readTimeout
	}
	return left
}

// occupyWorker says that a worker waits for the rest of the body, which has to come at a rate of its
// own from now on, however fast or slow the client was before.
func (b *requestBody) occupyWorker(minRate int64) {
	if b.workerWaits {
		return
	}
	b.minRate = max(b.minRate, minRate)
	b.forfeited = b.timeLeft() - b.readTimeout
	b.workerWaits = true
}

// send100 sends the 100 (Continue) that a client waits for before it sends its body, once. A failed
// write is left to the next read, which fails too.
func (b *requestBody) send100(c *conn, timeout time.Duration) {
	if b.awaits100 {
		b.awaits100 = false
		c.write([]byte(http1.Continue), timeout)
	}
}

// done reports whether the whole body was read.
func (b *requestBody) done() bool { return b.reader.Done() }

// drainLimits bound what is read and dropped of a client that has its response.
type drainLimits struct {
	bytes      int
	time, idle time.Duration
}

var (
	// drainAfterResponse is for what a client still sends after a response that did not wait for
	// its body. Apache and nginx look at the response only when they have sent all of it, and turn
	// a reset in between into a 502 of their own.
	drainAfterResponse = drainLimits{64 << 20, 30 * time.Second, 5 * time.Second}
	// drainAfterError is for what follows a request that could not be parsed.
	drainAfterError = drainLimits{1 << 20, 5 * time.Second, time.Second}
)

// drain reads and drops the rest of the body, within limits. Where that has no known end, because
// the client waits for a 100 or its framing is at fault, it lingers.
func (b *requestBody) drain(c *conn, limits drainLimits) {
	if b.awaits100 {
		b.linger(c, drainAfterError)
		return
	}
	taken := 0
	for before := b.waited; b.waited-before < limits.time && taken < limits.bytes; {
		data, err := b.next(c, limits.idle)
		if err != nil {
			var fault *http1.Error
			if errors.As(err, &fault) {
				b.linger(c, limits)
			}
			return
		}
		taken += len(data)
	}
}

// linger sends a FIN and reads until the client closes, within limits, so that no reset overtakes
// the response ([http1.RuleLingeringClose]).
func (b *requestBody) linger(c *conn, limits drainLimits) {
	c.closeWrite()
	taken := 0
	for left := limits.time; left > 0 && taken < limits.bytes; {
		b.scratch.reset()
		n, passed, err := c.readTimed(b.scratch.room(bufferSize), limits.idle)
		if err != nil {
			return
		}
		left -= passed
		taken += n
	}
}

// release drops the bytes and gives the memory back.
func (b *requestBody) release() {
	b.raw = nil
	b.scratch.release()
}
