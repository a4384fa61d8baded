package logs

import (
	"io"
	"sync/atomic"
	"time"
)

// The end of a Writer: its last lines are written while the output makes progress.
const (
	writerStuckAfter   = time.Second
	writerCloseTimeout = 5 * time.Second
)

// Writer writes lines to an output that may block, such as a pipe that is not read or a
// terminal after Ctrl-S. Write never waits: the lines go through a ring of 1 MiB to a
// goroutine that writes them, in order. When the ring is full, or the output returns
// errors, lines are dropped and counted, and a line in their place says how many. It is
// safe for concurrent use.
type Writer struct {
	lineWriter
	out io.Writer
}

// NewWriter returns a Writer to out. It must be closed.
func NewWriter(out io.Writer) *Writer {
	l := New(Options{App: "tideover", RingBytes: ownRing, Writer: out, plain: true})
	return &Writer{lineWriter: lineWriter{log: l}, out: out}
}

// Unwrap returns the output.
func (w *Writer) Unwrap() io.Writer { return w.out }

// FormatDropped sets the text of the line in the place of dropped ones. Without it the
// text is plain. format is called on the goroutine that writes.
func (w *Writer) FormatDropped(format func(lines uint64, cause string) string) {
	w.log.formatDropped.Store(&format)
}

// Flush waits until the lines up to now are written, up to two seconds.
func (w *Writer) Flush() {
	w.endLine()
	w.log.sinks.flush()
}

// Close writes the remaining lines. It gives up when the output makes no progress for a
// second, and after 5 s in all. It does not close the output.
func (w *Writer) Close() error {
	w.endLine()
	return w.log.end(writerStuckAfter, writerCloseTimeout)
}

// dropFormat is the type of FormatDropped's argument.
type dropFormat = atomic.Pointer[func(lines uint64, cause string) string]
