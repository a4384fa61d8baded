package logs

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// retryAfter is the pause after a failed write, while the ring keeps what
// comes. A disk that is full for less than the ring holds loses nothing.
const retryAfter = time.Second

// sink takes lines from the ring to a writer, at the writer's own pace.
type sink struct {
	log    *Log
	reader *reader
	out    io.Writer
	format func([]byte, Line) []byte
	file   *file             // out, if it is one
	reopen <-chan chan error // asks to open the file anew

	writes atomic.Uint64 // that returned, well or not: a sign of life
	failed error         // why the last write had to be repeated
}

// run ends when the Log has ended and all is written, or cannot be.
func (s *sink) run() {
	defer s.log.unsubscribe(s.reader)
	var lines []Line
	var text []byte
	for {
		var missed uint64
		lines, missed = s.log.take(s.reader, lines[:0])
		text = s.formatAll(text[:0], lines, missed)
		clear(lines) // do not keep their texts
		if len(text) == 0 {
			if !s.wait() {
				return
			}
			continue
		}
		s.obey()
		left := s.write(text)
		s.log.dropped.Add(missed + uint64(bytes.Count(left, []byte{'\n'})))
	}
}

func (s *sink) formatAll(text []byte, lines []Line, missed uint64) []byte {
	if missed > 0 {
		text = s.format(text, s.log.missing(missed, s.why()))
	}
	for _, line := range lines {
		text = s.format(text, line)
	}
	return text
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
	case done := <-s.reopen:
		done <- s.file.open()
	case <-s.log.ended:
		return !s.log.drained(s.reader)
	}
	return true
}

// obey opens the file anew if that was asked for; it does not wait.
func (s *sink) obey() {
	select {
	case done := <-s.reopen:
		done <- s.file.open()
	default:
	}
}

// write puts all of text out, however often that has to be tried, unless the
// Log ends meanwhile: then it returns what is left.
func (s *sink) write(text []byte) (left []byte) {
	s.failed = nil
	for {
		n, err := s.out.Write(text)
		text = text[n:]
		s.writes.Add(1)
		if len(text) == 0 {
			return nil
		}
		s.failed = cmp.Or(err, io.ErrShortWrite)
		select {
		case <-time.After(retryAfter):
		case done := <-s.reopen:
			done <- s.file.open()
		case <-s.log.ended:
			return text
		}
	}
}
