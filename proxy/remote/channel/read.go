package channel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// reader is the state of the goroutine that reads.
type reader struct {
	*Channel
	packet  []byte
	control []byte
	partial *incoming // the message that has begun; nil: none
}

// incoming is a message of the peer, as far as it has come.
type incoming struct {
	header
	body  bytes.Buffer
	files []*os.File
	lost  bool // descriptors of it were lost

	maxBody, maxFiles int
}

// read reads frames until the channel ends.
func (c *Channel) read() {
	r := &reader{Channel: c, packet: make([]byte, headerLimit+maxFrameBody+1), control: make([]byte, unix.CmsgSpace(4*scmMaxFD))}
	err := r.readAll()
	if r.partial != nil {
		closeFiles(r.partial.files)
	}
	c.end(err)
}

const (
	headerLimit = 255 // a header's length is one byte
	scmMaxFD    = 253 // SCM_MAX_FD
)

func (r *reader) readAll() error {
	for {
		n, control, flags, err := r.readPacket()
		if err != nil {
			return err
		}
		files, err := receivedFiles(control)
		if err != nil {
			return err
		}
		if flags&unix.MSG_TRUNC != 0 {
			closeFiles(files)
			return protocolError("a frame is longer than %d bytes", len(r.packet))
		}
		if err := r.frame(r.packet[:n], files, flags&unix.MSG_CTRUNC != 0); err != nil {
			return err
		}
	}
}

// readPacket reads one packet. When the peer closes its socket with unread packets, the kernel
// reports ECONNRESET once, before the packets that the peer has sent.
func (r *reader) readPacket() (n int, control []byte, flags int, err error) {
	for reset := false; ; reset = true {
		n, c, flags, _, err := r.conn.ReadMsgUnix(r.packet, r.control)
		switch {
		case err == nil:
			return n, r.control[:c], flags, nil
		case errors.Is(err, io.EOF):
			return 0, nil, 0, errors.New("the other process has exited")
		case !errors.Is(err, unix.ECONNRESET) || reset:
			return 0, nil, 0, err
		}
	}
}

// receivedFiles returns the descriptors that came with a packet. They are close-on-exec, because
// ReadMsgUnix sets MSG_CMSG_CLOEXEC.
func receivedFiles(control []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		if messages[i].Header.Level != unix.SOL_SOCKET || messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			closeFiles(files)
			return nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// frame handles one packet. truncated says that descriptors of it were lost.
func (r *reader) frame(packet []byte, files []*os.File, truncated bool) error {
	h, body, err := parseFrame(packet)
	if err != nil {
		closeFiles(files)
		return protocolError("%w", err)
	}
	lost := truncated || len(files) < int(h.files)
	if len(files) > int(h.files) || h.files > 0 && h.kind != kindCall && h.kind != kindAnswer {
		closeFiles(files)
		return protocolError("a frame has descriptors that it does not announce")
	}
	if h.files > 0 {
		select {
		case r.ackDue <- struct{}{}:
		default:
			closeFiles(files)
			return protocolError("descriptors were sent before the former ones were acknowledged")
		}
	}
	switch h.kind {
	case kindAck:
		select {
		case r.acked <- struct{}{}:
		default:
			return protocolError("an acknowledgement of nothing")
		}
	case kindCancel:
		return r.cancelled(&h)
	case kindCall, kindAnswer, kindFailure:
		return r.part(&h, body, files, lost)
	}
	return nil
}

// part adds a frame to the message that it belongs to, and handles the message when it is complete.
func (r *reader) part(h *header, body []byte, files []*os.File, lost bool) error {
	if h.kind == kindFailure {
		r.dropPartial(h)
	}
	m := r.partial
	switch {
	case m == nil:
		m = &incoming{header: *h, maxBody: r.options.MaxBody, maxFiles: r.options.MaxFiles}
		if h.kind != kindCall {
			m.maxBody, m.maxFiles = r.answerLimits(h.call)
		}
	case m.kind != h.kind || m.epoch != h.epoch || m.call != h.call:
		closeFiles(files)
		return protocolError("a message begins within another one")
	}
	r.partial = m
	m.files = append(m.files, files...)
	m.lost = m.lost || lost
	if m.body.Len()+len(body) > m.maxBody {
		return protocolError("a message has more than %d bytes", m.maxBody)
	}
	if len(m.files) > m.maxFiles {
		return protocolError("a message has more than %d descriptors", m.maxFiles)
	}
	m.body.Write(body)
	if m.lost { // no partial set of descriptors is handed on, and these numbers are needed
		closeFiles(m.files)
		m.files = nil
	}
	if h.flags&flagMore != 0 {
		return nil
	}
	r.partial = nil
	if m.kind == kindCall {
		return r.request(m)
	}
	return r.answer(m)
}

// dropPartial drops the message that has begun if it belongs to the call of h.
func (r *reader) dropPartial(h *header) {
	if m := r.partial; m != nil && m.epoch == h.epoch && m.call == h.call {
		closeFiles(m.files)
		r.partial = nil
	}
}

// cancelled handles the peer's word that it has forgotten a call.
func (r *reader) cancelled(h *header) error {
	if r.partial != nil && r.partial.kind == kindCall {
		r.dropPartial(h)
	}
	r.mu.Lock()
	request := r.requests[callID{h.epoch, h.call}]
	r.mu.Unlock()
	if request != nil {
		request.cancel()
	}
	return nil
}

// request hands a call to the handler.
func (r *reader) request(m *incoming) error {
	id := callID{m.epoch, m.call}
	late, err := r.admit(id)
	switch {
	case err != nil:
		closeFiles(m.files)
		return err
	case late:
		closeFiles(m.files)
		r.refuse(id, codeEpoch, "a later process has taken over")
		return nil
	case m.lost:
		r.refuse(id, codeDescriptors, ErrDescriptors.Error())
		return nil
	}
	request := &Request{Method: m.code, Generation: m.generation, Body: m.body.Bytes(), Files: m.files, channel: r.Channel, id: id}
	request.context, request.cancel = context.WithCancel(r.context)
	r.mu.Lock()
	r.requests[id] = request
	r.mu.Unlock()
	r.options.Handler(request)
	return nil
}

// admit checks that the peer may make this call now. late says that it comes from a process that
// another one has replaced.
func (r *reader) admit(id callID) (late bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch _, twice := r.requests[id]; {
	case r.options.Handler == nil:
		return false, protocolError("a call that is not expected")
	case twice:
		return false, protocolError("two calls of one number")
	case len(r.requests)+len(r.replies) >= 2*MaxCalls:
		return false, protocolError("more than %d calls are open", MaxCalls)
	}
	if id.epoch < r.epoch {
		return true, nil
	}
	if id.epoch > r.epoch {
		r.epoch = id.epoch
		for former, request := range r.requests {
			if former.epoch < id.epoch {
				request.cancel()
			}
		}
	}
	return false, nil
}

func (r *reader) refuse(id callID, code Code, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replyLocked(failure(id, code, text))
}

// answer gives a call its answer. One of another epoch belongs to a predecessor of this process.
func (r *reader) answer(m *incoming) error {
	var p *pending
	if r.options.Epoch == 0 || m.epoch == r.options.Epoch {
		p = r.settle(m.call)
	}
	switch {
	case p == nil:
		closeFiles(m.files)
	case m.kind == kindFailure:
		p.finish(Answer{}, &Failure{Code: Code(m.code), Text: m.body.String()})
	case m.lost:
		p.finish(Answer{}, ErrDescriptors)
	default:
		p.finish(Answer{Body: m.body.Bytes(), Files: m.files}, nil)
	}
	return nil
}
