package proxy

import (
	"errors"
	"io"
	"math"
	"time"

	"tideover/proxy/http1"
)

// An incoming is a request's body on its way in: bytes that came with the head first, then what the client sends.
type incoming struct {
	*wire
	reader    http1.BodyReader
	framing   http1.Body
	raw       []byte // read and not decoded yet
	scratch   buffer // what raw points into once it is not the head's buffer any more
	awaits100 bool
	continued bool // the 100 was sent when this was another incoming

	patience time.Duration // how long the client may be waited for in all, and
	rate     int64         // one second more for so many bytes of content; 0: for ever
	waited   time.Duration // so far
}

func (b *incoming) begin(r *http1.Request, limits *http1.Limits, patience time.Duration, rate int64) {
	b.framing, b.awaits100 = r.Body, r.Expect100 && !b.continued
	b.patience, b.rate = patience, rate
	b.reader.StartRequest(r.Body, limits)
}

// next returns the next piece of content, valid until the following call; io.EOF at the proper end. Other errors are an
// *http1.Error for a fault of the client's, os.ErrDeadlineExceeded when nothing came for so long (it may be tried again), and
// anything else when the client is gone.
func (b *incoming) next(timeout time.Duration) ([]byte, error) {
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
		if err := b.fill(timeout); err != nil {
			return nil, err
		}
	}
}

// fill reads more raw bytes; never more than the body has, where that is known.
func (b *incoming) fill(timeout time.Duration) error {
	b.sendContinue(timeout)
	b.scratch.reset()
	room := b.scratch.room(bufferSize)
	if b.framing.Framing == http1.Fixed {
		room = room[:min(int64(len(room)), b.framing.Length-b.reader.Total)]
	}
	left := b.allowance()
	if left <= 0 {
		return errBodySlow
	}
	start := time.Now()
	n, err := b.read(room, min(timeout, left))
	b.waited += time.Since(start)
	b.raw = room[:n]
	if err == io.EOF { // the client's end is not the body's
		return io.ErrUnexpectedEOF
	}
	return err
}

// allowance is how long the client may still be waited for before its body counts as too slow. The time in which we do not read, because the
// request is held or the app is busy, is not the client's.
func (b *incoming) allowance() time.Duration {
	if b.rate == 0 {
		return math.MaxInt64
	}
	const most = int64(math.MaxInt64 / time.Second / 2)
	return b.patience + time.Duration(min(b.reader.Total/b.rate, most))*time.Second - b.waited
}

// sendContinue sends the interim answer a client waits for before it sends its body, once. Where that fails the client is gone, as who reads finds out.
func (b *incoming) sendContinue(timeout time.Duration) {
	if b.awaits100 {
		b.awaits100 = false
		b.write([]byte(http1.Continue), timeout)
	}
}

// over reports whether the whole body was read.
func (b *incoming) over() bool { return b.reader.Done() }

// bounds are how much more is read and forgotten of a client that has its answer.
type bounds struct {
	bytes      int
	time, idle time.Duration
}

var (
	// afterAnswer is for what a client still sends after an answer that did not wait for its body: Apache and nginx look at the
	// answer only when they have sent all of it, and turn a reset in between into a 502 of their own.
	afterAnswer = bounds{64 << 20, 30 * time.Second, 5 * time.Second}
	// afterNonsense is for what follows a request that could not be understood.
	afterNonsense = bounds{1 << 20, 5 * time.Second, time.Second}
)

// drain reads and forgets the rest of the body, within bounds. What has no end, because the client waits for a 100 or makes no sense
// any more, is lingered over.
func (b *incoming) drain(within bounds) {
	if b.awaits100 {
		b.linger(afterNonsense)
		return
	}
	end, taken := time.Now().Add(within.time), 0
	for time.Now().Before(end) && taken < within.bytes {
		data, err := b.next(within.idle)
		if err != nil {
			var fault *http1.Error
			if errors.As(err, &fault) {
				b.linger(within)
			}
			return
		}
		taken += len(data)
	}
}

// linger reads until the client closes, within bounds, so that a reset does not overtake the answer.
func (b *incoming) linger(within bounds) {
	b.closeWrite()
	end, taken := time.Now().Add(within.time), 0
	for time.Now().Before(end) && taken < within.bytes {
		b.scratch.reset()
		n, err := b.read(b.scratch.room(bufferSize), within.idle)
		if err != nil {
			return
		}
		taken += n
	}
}

func (b *incoming) release() {
	b.raw = nil
	b.scratch.release()
}
