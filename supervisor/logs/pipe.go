package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pipeSize  = 1 << 20  // asked of the kernel; it may give less
	longest   = 64 << 10 // of one line, in bytes
	lastWords = 50 * time.Millisecond
)

// pipes are the open pipes of one generation.
type pipes struct {
	open  map[*os.File]Stream
	empty chan struct{} // closed with the last one
}

// Pipe returns the writing end of a new pipe for a child's stream: blocking,
// close-on-exec, owned by the caller, who closes it once the child has its
// copy. It is read until the last copy is closed, whatever becomes of the
// readers of the Log.
func (l *Log) Pipe(generation int, s Stream) (*os.File, error) {
	r, w, err := openPipe(fmt.Sprintf("%s.%d %s", l.app, generation, s))
	if err != nil {
		return nil, err
	}
	if err := l.Attach(Pipe{generation, s, r}); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Attach reads a pipe to its end. It owns the file from here on.
func (l *Log) Attach(p Pipe) error {
	if !l.open(p) {
		p.File.Close()
		return errors.New("the log of " + l.app + " is closed")
	}
	go func() { // Close waits for it by pumps
		defer l.pumps.Done()
		l.pump(p.File, Line{App: l.app, Generation: p.Generation, Stream: p.Stream})
		l.release(p.Generation, p.File)
	}()
	return nil
}

func openPipe(name string) (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("cannot open a pipe for %s: %w", name, err)
	}
	for size := pipeSize; size > 64<<10; size /= 2 {
		// Above the user's share of pipe memory the kernel refuses.
		if _, err := unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, size); err == nil {
			break
		}
	}
	// Our end is polled; the child's stays blocking, as a program expects.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, fmt.Errorf("cannot poll a pipe for %s: %w", name, err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

func (l *Log) open(pipe Pipe) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	p := l.pipes[pipe.Generation]
	if p == nil {
		p = &pipes{open: map[*os.File]Stream{}, empty: make(chan struct{})}
		l.pipes[pipe.Generation] = p
	}
	p.open[pipe.File] = pipe.Stream
	l.pumps.Add(1)
	return true
}

func (l *Log) release(generation int, r *os.File) {
	r.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pipes[generation]
	if delete(p.open, r); len(p.open) == 0 {
		close(p.empty)
		delete(l.pipes, generation)
	}
}

// hangUp makes every pump come to its end, although a child may still write:
// what waits in the pipes is read, and a little longer. It returns false when
// that was done before.
func (l *Log) hangUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.closed = true
	for _, p := range l.pipes {
		for r := range p.open {
			r.SetReadDeadline(time.Now().Add(lastWords))
		}
	}
	return true
}

// Settle waits until every pipe of the generation has been read to its end:
// then its last words are in Tail. A grandchild may keep a pipe open for ever,
// so ctx should have a deadline.
func (l *Log) Settle(ctx context.Context, generation int) {
	l.mu.Lock()
	p := l.pipes[generation]
	l.mu.Unlock()
	if p == nil {
		return
	}
	select {
	case <-p.empty:
	case <-ctx.Done():
	}
}

// pump reads r to its end. It does nothing that can wait but that.
func (l *Log) pump(r io.Reader, like Line) {
	var rest []byte // the beginning of a line
	chunk := make([]byte, longest)
	for {
		n, err := r.Read(chunk)
		rest = append(rest, chunk[:n]...)
		like.Time = time.Now()
		var lines []Line
		lines, rest = split(rest, like)
		if err != nil && len(rest) > 0 {
			like.Text = string(rest)
			lines = append(lines, like)
		}
		l.push(lines...)
		if err != nil {
			return
		}
	}
}

// split cuts whole lines off text, and pieces of those that are too long.
func split(text []byte, like Line) (lines []Line, rest []byte) {
	start := 0
	for start < len(text) {
		end := bytes.IndexByte(text[start:], '\n')
		switch {
		case end >= 0 && end <= longest:
			like.Text = string(text[start : start+end])
			start += end + 1
		case end > longest || len(text)-start > longest:
			like.Text = string(text[start : start+longest])
			start += longest
		default:
			return lines, append(text[:0], text[start:]...)
		}
		lines = append(lines, like)
	}
	return lines, text[:0]
}
