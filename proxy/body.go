package proxy

import (
	"errors"
	"io"
	"math"
	"os"
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
	begun     bool

	patience time.Duration // how long the client may be waited for in all, and
	rate     int64         // one second more for so many bytes of content; 0: for ever
	waited   time.Duration // so far
}

func (b *incoming) begin(r *http1.Request, limits *http1.Limits, patience time.Duration, rate int64) {
	b.framing, b.awaits100, b.begun = r.Body, r.Expect100, true
	b.patience, b.rate = patience, rate
	b.reader.StartRequest(r.Body, limits)
}

// next returns the next piece of content, valid until the following call; io.EOF at the proper end. Other errors are an
// *http1.Error for a fault of the client's, os.ErrDeadlineExceeded when nothing came for so long (it may be tried again), and
// anything else when the client is gone.
func (b *incoming) next(timeout time.Duration) ([]byte, error) {
	for {
		if b.reader.Done() {
			return nil, io.EOF
		}
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
	if err := b.sendContinue(timeout); err != nil {
		return err
	}
	b.scratch.start, b.scratch.end = 0, 0
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
	if n > 0 {
		return nil
	}
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

// sendContinue sends the interim answer a client waits for before it sends its body, once.
func (b *incoming) sendContinue(timeout time.Duration) error {
	if !b.awaits100 {
		return nil
	}
	b.awaits100 = false
	_, err := b.write([]byte(http1.Continue), timeout)
	return err
}

// over reports whether the whole body was read.
func (b *incoming) over() bool { return b.begun && b.reader.Done() }

const (
	// What a client may still send after an answer that did not wait for its body: Apache and nginx look at the answer only
	// when they have sent all of it, and turn a reset in between into a 502 of their own.
	drainBytes = 64 << 20
	drainTime  = 30 * time.Second
	drainIdle  = 5 * time.Second
	// What may follow a request that could not be understood.
	lingerBytes = 1 << 20
	lingerTime  = 5 * time.Second
	lingerIdle  = time.Second
)

// drain reads and forgets the rest of the body, within bounds.
func (b *incoming) drain() {
	if b.awaits100 {
		b.linger()
		return
	}
	end, taken := time.Now().Add(drainTime), 0
	for time.Now().Before(end) && taken < drainBytes {
		data, err := b.next(drainIdle)
		if err != nil {
			var fault *http1.Error
			if errors.As(err, &fault) {
				b.linger()
			}
			return
		}
		taken += len(data)
	}
}

// linger reads until the client closes, within bounds, so that a reset does not overtake the answer.
func (b *incoming) linger() {
	b.closeWrite()
	end, taken := time.Now().Add(lingerTime), 0
	for time.Now().Before(end) && taken < lingerBytes {
		b.scratch.start, b.scratch.end = 0, 0
		n, err := b.read(b.scratch.room(bufferSize), lingerIdle)
		if err != nil && !(n > 0 && errors.Is(err, os.ErrDeadlineExceeded)) {
			return
		}
		taken += n
	}
}

func (b *incoming) release() {
	b.raw = nil
	b.scratch.release()
}
