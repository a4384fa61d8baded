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

// retryInterval is the wait after a failed write. The ring keeps the lines meanwhile, so
// a disk that is full for a short time costs none.
const retryInterval = time.Second

// sink writes the lines of the ring to out, at the pace of out.
type sink struct {
	kind    sinkKind
	log     *Log
	reader  *reader
	out     io.Writer
	format  func([]byte, block) []byte // appends each line, with its line feed
	name    string                     // of out, for messages about failures; empty: none
	perLine bool                       // one line in each Write: a datagram
	file    *file                      // out, if it is a file

	retired chan struct{} // closed when the sink must end; see reader.until
	done    chan struct{} // closed when it has ended

	writes   atomic.Uint64 // number of Writes that have returned, with or without an error
	spooled  spooledLines  // of the text that is being written
	failed   error         // error of the last Write
	reported bool          // a line about the failure was written
}

// run writes until the Log has ended or the sink is retired, and its lines are written or
// cannot be.
func (s *sink) run() {
	defer s.end()
	var blocks []block
	var text []byte
	for {
		s.applyPending()
		var missed uint64
		blocks, missed = s.log.next(s.reader, blocks[:0])
		s.log.dropped.Add(missed)
		if missed == 0 && len(blocks) == 0 {
			if !s.wait() {
				return
			}
			continue
		}
		text = text[:0]
		if missed > 0 {
			text = s.put(text, s.log.droppedNote(missed, s.why()).block(), len(blocks) == 0)
		}
		for i, b := range blocks {
			text = s.put(text, b, i == len(blocks)-1)
		}
		clear(blocks) // release the texts
	}
}

// put appends the lines of a block to text. It writes the text if this was the last block, or each line
// by itself. It returns the buffer for the next block.
func (s *sink) put(text []byte, b block, last bool) []byte {
	if s.perLine {
		for line := range b.lines() {
			text = s.format(text[:0], line.block())
			s.log.dropped.Add(uint64(min(1, len(s.write(text)))))
		}
		return text[:0]
	}
	if text = s.appendBlock(text, b); !last && !s.spooled.full() {
		return text
	}
	s.spooled.begin(len(text))
	s.log.dropped.Add(uint64(bytes.Count(s.write(text), []byte{'\n'})))
	s.spooled.conclude()
	return text[:0]
}

// appendBlock appends a block to a text. A file has some lines of a process that has died already.
func (s *sink) appendBlock(text []byte, b block) []byte {
	if b.spool == nil || s.file == nil {
		return s.format(text, b)
	}
	written, rest := b.spool.recover(s.file.first, b.Line, s.format)
	text = append(text, rest...)
	if b = b.behind(written); b.count == 0 {
		return text
	}
	from := len(text)
	text = s.format(text, b)
	s.spooled.add(b, from, len(text))
	return text
}

// why is the reason for dropped lines.
func (s *sink) why() string {
	if s.failed != nil {
		return fmt.Sprintf("cannot write: %v", s.failed)
	}
	return "the writer was too slow"
}

// wait waits for lines. It returns false if there will be none.
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

// reopening is the channel of requests to reopen the file; nil if there is no file.
func (s *sink) reopening() <-chan chan error {
	if s.file == nil {
		return nil
	}
	return s.file.requests
}

// applyPending applies new file options and reopens the file if requested. It does not
// wait.
func (s *sink) applyPending() {
	if s.file == nil {
		return
	}
	if err := s.file.applyOptions(); err != nil {
		s.log.Note(0, "%v", err)
	}
	select {
	case done := <-s.file.requests:
		done <- s.file.open()
	default:
	}
}

// write writes all of text and retries after errors. When the Log ends or the sink is
// retired it stops retrying and returns the rest.
func (s *sink) write(text []byte) (left []byte) {
	s.failed = nil
	for {
		n, err := s.writeOnce(text)
		text = text[n:]
		s.writes.Add(1)
		if len(text) == 0 {
			s.reported = false
			return nil
		}
		s.failed = cmp.Or(err, io.ErrShortWrite)
		s.reportFailure()
		if errors.Is(s.failed, errTooLong) {
			return text
		}
		select {
		case <-time.After(retryInterval):
		case done := <-s.reopening():
			done <- s.file.open()
		case <-s.retired:
			return text
		case <-s.log.ended:
			return text
		}
		s.applyPending()
	}
}

func (s *sink) writeOnce(text []byte) (int, error) {
	if s.file == nil {
		return s.out.Write(text)
	}
	n, err := s.file.writeSpooled(text, &s.spooled)
	s.spooled.done += n
	return n, err
}

// reportFailure adds a line about a failure, once until a write succeeds.
func (s *sink) reportFailure() {
	if s.name == "" || s.reported {
		return
	}
	s.reported = true
	s.log.Note(0, "cannot write to %s: %v", s.name, s.failed)
}

// retire makes the sink end when it has written the lines up to now. Log.mu must be held.
func (s *sink) retire() {
	s.reader.until = s.log.ring.next()
	close(s.retired)
}

func (s *sink) end() {
	var err error
	if c, ok := s.out.(closer); ok {
		err = c.close()
	}
	s.log.sinks.remove(s, err)
	close(s.done)
}

// closer is an out that the sink must close.
type closer interface{ close() error }

// noEnd is reader.until of a reader without an end.
const noEnd = math.MaxUint64
