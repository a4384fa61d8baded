package channel

import (
	"context"
	"os"
	"sync"
)

// A Request is a call of the peer. It must be answered once, by Answer or by Fail, at any time and
// from any goroutine; later answers do nothing.
type Request struct {
	Method     uint16
	Generation uint64
	Body       []byte
	Files      []*os.File // they belong to the handler

	channel *Channel
	id      callID
	context context.Context
	cancel  context.CancelFunc
	once    sync.Once
}

// Context ends when the peer has forgotten the call, when it was answered, and when the channel has
// ended.
func (r *Request) Context() context.Context { return r.context }

// Answer answers the request. It does not block. The files belong to the channel from here on,
// which closes them.
func (r *Request) Answer(body []byte, files ...*os.File) {
	m := &message{header: header{kind: kindAnswer, epoch: r.id.epoch, call: r.id.call}, body: body, files: files}
	if m.check() != nil {
		m.closeFiles()
		r.Fail(codeUnsent, ErrTooLarge.Error())
		return
	}
	r.reply(m)
}

// maxFailure is how many bytes of a failure's text are sent.
const maxFailure = 16 << 10

// Fail answers the request with an error. It does not block.
func (r *Request) Fail(code Code, text string) {
	r.reply(failure(r.id, code, text))
}

func failure(id callID, code Code, text string) *message {
	return &message{header: header{kind: kindFailure, code: uint16(code), epoch: id.epoch, call: id.call},
		body: []byte(text[:min(len(text), maxFailure)])}
}

func (r *Request) reply(m *message) {
	first := false
	r.once.Do(func() {
		first = true
		r.cancel()
		c := r.channel
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.requests, r.id)
		c.replyLocked(m)
	})
	if !first {
		m.closeFiles()
	}
}

// replyLocked has a message written that does not wait for its turn: an answer or a cancellation.
// How many there are is bounded by the calls that are open. c.mu must be held.
func (c *Channel) replyLocked(m *message) {
	if c.err != nil {
		m.closeFiles()
		return
	}
	c.replies = append(c.replies, m)
	select {
	case c.replied <- struct{}{}:
	default:
	}
}
