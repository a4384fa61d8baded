package proxy

import (
	"io"
	"time"

	"tideover/proxy/http1"
	"tideover/proxy/spool"
)

// A storedBody is content that was read from one side before the other side took it. It lies in
// three places, in this order: in memory, in a spool file, and in memory again what the spool did
// not take. Its memory is counted in app.buffered.
type storedBody struct {
	memory []byte
	file   *spool.File // nil: nothing is there
	tail   []byte
	full   bool // the file takes no more
}

// size is the number of bytes.
func (s *storedBody) size() int64 {
	n := int64(len(s.memory) + len(s.tail))
	if s.file != nil {
		n += s.file.Size()
	}
	return n
}

// inMemory reports whether all of it is in memory, in one piece.
func (s *storedBody) inMemory() bool { return s.file == nil && len(s.tail) == 0 }

// toMemory appends p to the memory, if the request may have so much, and the app.
func (s *storedBody) toMemory(x *exchange, p []byte) bool {
	if !s.inMemory() || int64(len(s.memory)+len(p)) > x.settings.Buffer {
		return false
	}
	grown, ok := x.grow(s.memory, len(p))
	if ok {
		s.memory = append(grown, p...)
	}
	return ok
}

// toFile appends p to the file. What that does not take goes to memory, and it takes no more then.
func (s *storedBody) toFile(x *exchange, p []byte) bool {
	if x.app.spool == nil || s.full {
		return false
	}
	if s.file == nil {
		s.file = x.app.spool.NewFile()
	}
	n, err := s.file.Append(p)
	if s.full = err != nil; s.full {
		s.toTail(x, p[n:])
	}
	return true
}

// toTail appends p behind all that is there, in memory. Beyond the app's budget the request cannot
// be sent again.
func (s *storedBody) toTail(x *exchange, p []byte) {
	x.overBudget = !x.reserve(int64(len(p)))
	if s.inMemory() {
		s.memory = append(s.memory, p...)
	} else {
		s.tail = append(s.tail, p...)
	}
}

// release gives the file back; the memory is counted in exchange.reserved.
func (s *storedBody) release() {
	if s.file != nil {
		s.file.Release()
	}
	*s = storedBody{}
}

// grow returns p with room for n bytes more, which is counted. It reports false when the app's
// budget would be exceeded.
func (x *exchange) grow(p []byte, n int) ([]byte, bool) {
	if need := len(p) + n; need > cap(p) {
		size := min(2*cap(p), int(x.settings.Buffer))
		if b := x.request.Body; b.Framing == http1.Fixed {
			size = int(min(int64(size), b.Length))
		}
		size = max(size, need)
		if !x.reserve(int64(size - cap(p))) {
			return p, false
		}
		p = append(make([]byte, 0, size), p...)
	}
	return p, true
}

// A storedReader reads what lies behind the first memory of a storedBody.
type storedReader struct {
	file *spool.Reader // nil: read to its end
	tail []byte
}

func (s *storedBody) newReader() storedReader {
	r := storedReader{tail: s.tail}
	if s.file != nil {
		r.file = s.file.NewReader(largeBufferSize)
	}
	return r
}

// next returns the next piece, valid until the following call; io.EOF at the end. spool.ErrSlow says
// that the disk has not answered within timeout: next is to be called again.
func (r *storedReader) next(timeout time.Duration) ([]byte, error) {
	if r.file != nil {
		p, err := r.file.Next(timeout)
		if err != io.EOF {
			return p, err
		}
		r.file = nil
	}
	p := r.tail
	if r.tail = nil; len(p) == 0 {
		return nil, io.EOF
	}
	return p, nil
}
