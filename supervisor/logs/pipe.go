package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pipeSize      = 1 << 20  // requested; the kernel may grant less
	maxLineLength = 64 << 10 // in bytes; a longer line is split
	closeGrace    = 50 * time.Millisecond
)

// pipes are the open pipes of one generation.
type pipes struct {
	open  map[*os.File]Pipe
	empty chan struct{} // closed when open is empty
}

// Pipe returns the write end of a new pipe for a stream of a child. It is blocking and
// close-on-exec. The caller owns it and must close it when the child is started. The pipe
// is read until every process has closed its copy.
func (l *Log) Pipe(generation int, s Stream) (*os.File, error) {
	r, w, err := l.KeptPipe(generation, s)
	if err == nil {
		r.Close()
	}
	return w, err
}

// KeptPipe is Pipe that also returns a duplicate of the read end, which is the caller's.
func (l *Log) KeptPipe(generation int, s Stream) (read, write *os.File, err error) {
	name := fmt.Sprintf("%s.%d %s", l.app, generation, s)
	r, w, err := openPipe(name)
	if err != nil {
		return nil, nil, err
	}
	if read, err = duplicate(r); err != nil {
		r.Close()
		w.Close()
		return nil, nil, err
	}
	p := Pipe{Generation: generation, Stream: s, File: r}
	if l.withSpools {
		p.Spool, _ = NewSpool(name) // without one a kill of this process takes lines along
	}
	if err := l.Attach(p); err != nil {
		read.Close()
		w.Close()
		return nil, nil, err
	}
	return read, w, nil
}

// Attach starts to read a pipe to its end. It owns the file from here on.
func (l *Log) Attach(p Pipe) error {
	if !l.addPipe(p) {
		p.File.Close()
		if p.Spool != nil {
			p.Spool.close()
		}
		return errors.New("the log of " + l.app + " is closed")
	}
	if p.Spool != nil {
		p.Spool.pipe = p.File
	}
	go func() { // Close waits for it by pumps
		defer l.copiers.Done()
		l.copyLines(p.File, p.Spool, Line{App: l.app, Generation: p.Generation, Stream: p.Stream})
		l.closePipe(p.Generation, p.File)
	}()
	return nil
}

func openPipe(name string) (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("cannot open a pipe for %s: %w", name, err)
	}
	for size := pipeSize; size > 64<<10; size /= 2 {
		// EPERM above fs.pipe-user-pages-soft of the user.
		if _, err := unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, size); err == nil {
			break
		}
	}
	// The read end is non-blocking for the runtime's poller, the write end is blocking as
	// programs expect.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, fmt.Errorf("cannot poll a pipe for %s: %w", name, err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

func (l *Log) addPipe(pipe Pipe) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	p := l.pipes[pipe.Generation]
	if p == nil {
		p = &pipes{open: map[*os.File]Pipe{}, empty: make(chan struct{})}
		l.pipes[pipe.Generation] = p
	}
	p.open[pipe.File] = pipe
	if pipe.Spool != nil && pipe.Generation > 0 {
		l.spools[pipe.Generation] = append(l.spools[pipe.Generation], pipe.Spool)
	}
	l.copiers.Add(1)
	return true
}

func (l *Log) closePipe(generation int, r *os.File) {
	r.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pipes[generation]
	if delete(p.open, r); len(p.open) == 0 {
		close(p.empty)
		delete(l.pipes, generation)
	}
}

// closePipes makes the goroutines that read pipes end within closeGrace, although a child
// may still write. It returns false if it was called before.
func (l *Log) closePipes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.closed = true
	for _, p := range l.pipes {
		for r := range p.open {
			r.SetReadDeadline(time.Now().Add(closeGrace))
		}
	}
	return true
}

// Settle waits until every pipe of the generation has been read to its end; then Tail has
// its last lines. ctx should have a deadline, because a grandchild may keep a pipe open
// for ever.
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

const (
	// endGrace is how long AwaitWritten waits for the ends of pipes: a process that is no part of the
	// generation any more may keep one open.
	endGrace = 50 * time.Millisecond
	// writeGrace is how long it waits for a file that takes nothing.
	writeGrace = time.Second
)

// AwaitWritten waits until what the processes of a generation have written is in the file, for about a second at most.
// They must have ended. Until then another process needs the pipes and their spools, should this one be killed.
func (l *Log) AwaitWritten(generation int) {
	ended, cancel := context.WithTimeout(context.Background(), endGrace)
	defer cancel()
	l.Settle(ended, generation)
	l.mu.Lock()
	spools := l.spools[generation]
	delete(l.spools, generation)
	l.mu.Unlock()
	if ended.Err() != nil {
		return
	}
	late := time.NewTimer(writeGrace)
	defer late.Stop()
	for _, s := range spools {
		select {
		case <-s.closed:
		case <-late.C:
			return
		}
	}
}

// copyLines reads r to its end and pushes the lines. It waits for nothing but r. spool may be nil.
func (l *Log) copyLines(r io.Reader, spool *Spool, like Line) {
	late := 5 // so often a pipe is read on after closeGrace
	b := block{Line: like, spool: spool}
	if spool != nil {
		b.start = spool.read
	}
	text, filled := make([]byte, maxLineLength+1), 0
	for {
		n, err := b.read(r, text[filled:])
		filled += n
		if errors.Is(err, os.ErrDeadlineExceeded) && late > 0 && l.goesOn(r) {
			late--
			continue
		}
		if err != nil && b.spool != nil && l.detaches(err) {
			b.spool.read = b.start // the next reader of the pipe has the rest, too
			return
		}
		b.Time = time.Now()
		for {
			lines, count, used := cutBlock(text[:filled], err != nil)
			if count == 0 {
				break
			}
			b.Text, b.count, b.end = lines, count, b.start+int64(used)
			l.push(b)
			filled, b.start = copy(text, text[used:filled]), b.end
		}
		if err != nil {
			if b.spool != nil {
				b.spool.finish()
			}
			return
		}
	}
}

// read reads r by the spool of the block. When that fails, r is read without it.
func (b *block) read(r io.Reader, to []byte) (n int, err error) {
	if b.spool == nil {
		return r.Read(to)
	}
	n, err = b.spool.Read(to)
	if err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	b.spool.finish()
	b.spool = nil
	return 0, nil
}

// goesOn reports whether a pipe is read on although the Log is being closed: on a busy machine what children have
// written may still be in it.
func (l *Log) goesOn(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok || l.detaches(os.ErrDeadlineExceeded) {
		return false
	}
	raw, err := f.SyscallConn()
	waiting := 0
	if err == nil {
		err = raw.Control(func(fd uintptr) { waiting, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) // an error: 0
	}
	return err == nil && waiting > 0 && f.SetReadDeadline(time.Now().Add(closeGrace)) == nil
}

// detaches reports whether an error of a read means that the pipe goes to another reader.
func (l *Log) detaches(err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed && errors.Is(err, os.ErrDeadlineExceeded)
}
