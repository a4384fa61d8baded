package channel

import (
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// message is what is written: the header of its frames, and what is left of body and files.
type message struct {
	header
	body  []byte
	files []*os.File
}

func (m *message) check() error {
	if len(m.body) > MaxMessage || len(m.files) > MaxMessageFiles || slices.Contains(m.files, nil) {
		return ErrTooLarge
	}
	return nil
}

func (m *message) closeFiles() {
	closeFiles(m.files)
	m.files = nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// writer is the state of the goroutine that writes.
type writer struct {
	*Channel
	packet  []byte
	unacked bool // a frame with descriptors was not acknowledged yet
}

// write writes messages until the channel ends or the peer has closed its socket. Then the reader
// still reads what the peer has sent before, and ends the channel.
func (c *Channel) write() {
	w := &writer{Channel: c, packet: make([]byte, 0, headerSize+maxFrameBody)}
	for {
		m, err := w.next()
		if err == nil && m != nil {
			err = w.send(m)
		}
		if err != nil {
			return
		}
	}
}

// next returns the next message to be written; nil: an acknowledgement was written instead.
func (w *writer) next() (*message, error) {
	if m := w.reply(); m != nil {
		return m, nil
	}
	select {
	case <-w.ackDue:
		return nil, w.sendAck()
	case <-w.replied:
		return w.reply(), nil
	case m := <-w.calls:
		return m, nil
	case <-w.Done():
		return nil, ErrEnded
	}
}

// reply takes the oldest reply that waits.
func (w *writer) reply() *message {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.replies) == 0 {
		return nil
	}
	m := w.replies[0]
	w.replies[0] = nil
	w.replies = w.replies[1:]
	return m
}

func (w *writer) sendAck() error {
	return w.sendFrame(&header{kind: kindAck}, nil, nil)
}

// send writes a message, frame by frame, and closes its descriptors. An error ends the writer.
func (w *writer) send(m *message) error {
	defer m.closeFiles()
	body, files := m.body, m.files
	for first := true; first || len(body) > 0 || len(files) > 0; first = false {
		h := m.header
		part, some := body[:min(len(body), maxFrameBody)], files[:min(len(files), maxFrameFiles)]
		body, files = body[len(part):], files[len(some):]
		if len(body) > 0 || len(files) > 0 {
			h.flags |= flagMore
		}
		h.files = uint16(len(some))
		if h.files > 0 {
			if err := w.awaitAck(); err != nil {
				return err
			}
		}
		err := w.sendFrame(&h, part, some)
		var unsendable *unsendableError
		switch {
		case errors.As(err, &unsendable):
			return w.abort(m, unsendable)
		case err != nil:
			return err
		}
		w.unacked = w.unacked || h.files > 0
	}
	return nil
}

// awaitAck waits until the last frame with descriptors was acknowledged. Meanwhile the peer's
// are, or each side would wait for the other.
func (w *writer) awaitAck() error {
	if !w.unacked {
		return nil
	}
	stall := w.stallTimer()
	defer stall.Stop()
	for {
		select {
		case <-w.acked:
			w.unacked = false
			return nil
		case <-w.ackDue:
			if err := w.sendAck(); err != nil {
				return err
			}
		case <-w.Done():
			return ErrEnded
		}
	}
}

// unsendableError says that one message cannot be sent, while others can.
type unsendableError struct{ error }

func (e *unsendableError) Unwrap() error { return e.error }

// inFlightInterval is how often a frame is tried again while too many descriptors of this user are
// in flight, of other processes.
const inFlightInterval = 10 * time.Millisecond

// sendFrame writes one packet. It blocks while the peer does not read, WriteTimeout at most.
func (w *writer) sendFrame(h *header, body []byte, files []*os.File) error {
	w.packet = append(h.appendTo(w.packet[:0]), body...)
	stall := w.stallTimer()
	defer stall.Stop()
	if h.files == 0 {
		_, _, err := w.conn.WriteMsgUnix(w.packet, nil, nil)
		return err
	}
	for tries := 0; ; tries++ {
		err := withDescriptors(files, nil, func(all []int) error {
			_, _, err := w.conn.WriteMsgUnix(w.packet, unix.UnixRights(all...), nil)
			return err
		})
		if !errors.Is(err, unix.ETOOMANYREFS) {
			return err
		}
		if tries > int(w.options.WriteTimeout/2/inFlightInterval) {
			return &unsendableError{ErrDescriptors}
		}
		select {
		case <-time.After(inFlightInterval):
		case <-w.Done():
			return ErrEnded
		}
	}
}

// withDescriptors calls f with fds and the descriptor numbers of files, which stay open meanwhile.
func withDescriptors(files []*os.File, fds []int, f func([]int) error) error {
	if len(files) == 0 {
		return f(fds)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return &unsendableError{err}
	}
	var result error
	err = raw.Control(func(fd uintptr) { result = withDescriptors(files[1:], append(fds, int(fd)), f) })
	if err != nil {
		return &unsendableError{err}
	}
	return result
}

// abort withdraws a message that was sent in part or not at all.
func (w *writer) abort(m *message, cause error) error {
	if m.kind == kindCall {
		if p := w.settle(m.call); p != nil {
			p.finish(Answer{}, cause)
		}
		return w.sendFrame(&header{kind: kindCancel, epoch: m.epoch, call: m.call}, nil, nil)
	}
	return w.send(failure(callID{m.epoch, m.call}, codeUnsent, cause.Error()))
}
