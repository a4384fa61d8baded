package logs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"
)

// retryAfter is the pause after a failed write, while the ring keeps what
// comes. A disk that is full for less than the ring holds loses nothing.
const retryAfter = time.Second

// sink takes lines from the ring to a writer, at the writer's own pace.
type sink struct {
	kind   kind
	log    *Log
	reader *reader
	out    io.Writer
	format func([]byte, Line) []byte
	name   string // of out, where it may fail and people want to know; empty: nobody
	single bool   // out takes one line in each call: a datagram
	file   *file  // out, if it is one

	retired chan struct{} // closed when it is to end with the lines it has by then
	gone    chan struct{} // closed when it has ended

	writes atomic.Uint64 // that returned, well or not: a sign of life
	failed error         // why the last write had to be repeated
	said   bool          // that it failed
}

// run ends when the Log has ended, or the sink was retired, and all is written
// or cannot be.
func (s *sink) run() {
	defer s.end()
	var lines []Line
	var text []byte
	for {
		s.obey()
		var missed uint64
		lines, missed = s.log.take(s.reader, lines[:0])
		s.log.dropped.Add(missed)
		if missed == 0 && len(lines) == 0 {
			if !s.wait() {
				return
			}
			continue
		}
		text = text[:0]
		if missed > 0 {
			text = s.put(s.format(text, s.log.missing(missed, s.why())), len(lines) == 0)
		}
		for i, line := range lines {
			text = s.put(s.format(text, line), i == len(lines)-1)
		}
		clear(lines) // do not keep their texts
	}
}

// put writes what has been formatted, where a line is written by itself or it
// was the last one. It returns what the next line is to be appended to.
func (s *sink) put(text []byte, last bool) []byte {
	if !s.single && !last {
		return text
	}
	left := s.write(text)
	if s.single {
		s.log.dropped.Add(uint64(min(1, len(left))))
	} else {
		s.log.dropped.Add(uint64(bytes.Count(left, []byte{'\n'})))
	}
	return text[:0]
}

func (s *sink) why() string {
	if s.failed != nil {
		return fmt.Sprintf("cannot write: %v", s.failed)
	}
	return "the writer was too slow"
}

// wait returns false when no line will come any more.
func (s *sink) wait() bool {
	select {
	case <-s.reader.wake:
	case done := <-s.reopening():
		done <- s.file.open()
	case <-s.retired:
		return !s.log.drained(s.reader)
	case <-s.log.ended:
		return !s.log.drained(s.reader)
	}
	return true
}

// reopening asks to open the file anew.
func (s *sink) reopening() <-chan chan error {
	if s.file == nil {
		return nil
	}
	return s.file.requests
}

// obey does what was asked of the file; it does not wait.
func (s *sink) obey() {
	if s.file == nil {
		return
	}
	if err := s.file.adopt(); err != nil {
		s.log.Note(0, "%v", err)
	}
	select {
	case done := <-s.file.requests:
		done <- s.file.open()
	default:
	}
}

// write puts all of text out, however often that has to be tried, unless no
// line will come any more: then it returns what is left.
func (s *sink) write(text []byte) (left []byte) {
	s.failed = nil
	for {
		n, err := s.out.Write(text)
		text = text[n:]
		s.writes.Add(1)
		if len(text) == 0 {
			s.said = false
			return nil
		}
		s.failed = cmp.Or(err, io.ErrShortWrite)
		s.complain()
		if errors.Is(s.failed, errTooLong) {
			return text
		}
		select {
		case <-time.After(retryAfter):
		case done := <-s.reopening():
			done <- s.file.open()
		case <-s.retired:
			return text
		case <-s.log.ended:
			return text
		}
		s.obey()
	}
}

// complain tells whoever looks at the output that it is not all written, once.
func (s *sink) complain() {
	if s.name == "" || s.said {
		return
	}
	s.said = true
	s.log.Note(0, "cannot write to %s: %v", s.name, s.failed)
}

// retire lets the sink end with the lines that came until now. The Log's lock
// is held.
func (s *sink) retire() {
	s.reader.until = s.log.ring.next()
	close(s.retired)
}

func (s *sink) end() {
	var err error
	if c, ok := s.out.(closer); ok {
		err = c.close()
	}
	s.log.sinks.forget(s, err)
	close(s.gone)
}

// closer is what a sink opened itself.
type closer interface{ close() error }

// unending is a reader's end as long as it is not to end.
const unending = math.MaxUint64
