package logs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// copyBlock is how much of a pipe is read at once, in bytes. A line is not longer.
const copyBlock = 128 << 10

// A Copier copies what is written to a pipe into a file, in blocks of whole lines at which it does not
// look, because there may be as many lines as requests. While the file takes nothing the pipe is not
// read: it fills up, and its writer has to drop lines. All methods may be called from any goroutine.
type Copier struct {
	report  func(text string)
	read    *os.File
	former  []*os.File // pipes that are read beside it
	file    *file
	idle    chan struct{} // capacity 1; it has an element while no goroutine uses the file
	dropped atomic.Uint64
	closing chan struct{} // closed by Close
	end     sync.Once
	done    chan struct{} // closed when the goroutine that copies has ended
}

// NewCopier returns a running Copier and the write end of its pipe, which is blocking and close-on-exec.
// The caller owns it. What former pipes get is copied as well; their read ends belong to the Copier. The
// file is opened in the background; report is called with what goes wrong, from any goroutine.
func NewCopier(name string, o FileOptions, report func(text string), former ...*os.File) (*Copier, *os.File, error) {
	r, w, err := openPipe(name)
	if err != nil {
		return nil, nil, err
	}
	c := &Copier{report: report, read: r, former: former, file: newFile(o), idle: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{})}
	go c.run()
	return c, w, nil
}

// Configure changes the options of the file, before the next lines at the latest. It never waits. If a
// new file cannot be opened, the old one stays in use.
func (c *Copier) Configure(o FileOptions) {
	c.file.pending.Store(&o)
	select {
	case <-c.idle:
		c.applyOptions()
		c.idle <- struct{}{}
	default: // it is written to
	}
}

// Reopen reopens the file at its path, after another program has moved it.
func (c *Copier) Reopen() error {
	select {
	case <-c.idle:
		defer func() { c.idle <- struct{}{} }()
		return c.file.open()
	case <-time.After(reopenTimeout):
		return fmt.Errorf("cannot reopen the %s: a write to its file is stuck", c.read.Name())
	}
}

// Dropped returns the number of lines that were read and not written.
func (c *Copier) Dropped() uint64 { return c.dropped.Load() }

// Close writes what is in the pipe, and closes the file. The write ends must be closed. It gives up when
// the file takes nothing, or after some seconds.
func (c *Copier) Close() error {
	c.end.Do(func() {
		close(c.closing)
		for _, r := range append(c.former[:len(c.former):len(c.former)], c.read) {
			r.SetReadDeadline(time.Now().Add(stuckAfter)) // a process may have the write end still
		}
	})
	select {
	case <-c.done:
		return nil
	case <-time.After(closeTimeout):
		return errors.New("the last lines of the " + c.read.Name() + " could not be written: its writer is stuck")
	}
}

// KeptPipe returns a duplicate of the read end of its pipe, which is the caller's.
func (c *Copier) KeptPipe() (*os.File, error) { return duplicate(c.read) }

// run copies to the end of all pipes.
func (c *Copier) run() {
	defer close(c.done)
	c.applyOptions()
	c.idle <- struct{}{}
	var copies sync.WaitGroup
	for _, r := range append(c.former[:len(c.former):len(c.former)], c.read) {
		copies.Go(func() { c.copy(r) })
	}
	copies.Wait()
	<-c.idle
	if err := c.file.close(); err != nil {
		c.report(err.Error())
	}
}

// copy copies to the end of one pipe.
func (c *Copier) copy(from *os.File) {
	defer from.Close()
	block, filled := make([]byte, copyBlock), 0
	for {
		n, err := from.Read(block[filled:])
		filled += n
		whole := bytes.LastIndexByte(block[:filled], '\n') + 1
		if err != nil || filled == len(block) && whole == 0 {
			whole = filled
		}
		c.write(block[:whole])
		filled = copy(block, block[whole:filled])
		if err != nil {
			return
		}
	}
}

// write writes all of text and retries after errors. When the Copier is being closed it drops what the
// file does not take.
func (c *Copier) write(text []byte) {
	for reported := false; len(text) > 0; {
		<-c.idle
		c.applyOptions()
		n, err := c.file.Write(text)
		c.idle <- struct{}{}
		text = text[n:]
		if len(text) == 0 {
			return
		}
		if !reported {
			reported = true
			c.report(cmp.Or(err, io.ErrShortWrite).Error())
		}
		select {
		case <-time.After(retryInterval):
		case <-c.closing:
			c.dropped.Add(uint64(bytes.Count(text, []byte{'\n'})))
			return
		}
	}
}

// applyOptions applies new options of the file. No other goroutine may use it.
func (c *Copier) applyOptions() {
	if err := c.file.applyOptions(); err != nil {
		c.report(err.Error())
	}
}
