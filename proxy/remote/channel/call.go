package channel

import (
	"cmp"
	"context"
	"os"
)

// A Call is what one process asks of the other.
type Call struct {
	Method     uint16
	Generation uint64 // what it is about; not read here
	Body       []byte
	// Files belong to the channel from here on, which closes them, also when the call fails.
	Files []*os.File
	// AnswerBody is how many bytes the answer may have, AnswerFiles how many descriptors. More of
	// them end the channel. 0: Options.MaxBody and none.
	AnswerBody, AnswerFiles int
}

// An Answer is the answer to a call. Files belong to the caller.
type Answer struct {
	Body  []byte
	Files []*os.File
}

// Call sends a call and waits for its answer. The error is a *[Failure] that the peer has answered
// with, the cause of ctx, or why nothing could be sent. When ctx ends the peer is told that the
// call is forgotten; it may have been executed.
func (c *Channel) Call(ctx context.Context, call Call) (Answer, error) {
	m := &message{header: header{kind: kindCall, code: call.Method, generation: call.Generation}, body: call.Body, files: call.Files}
	if err := m.check(); err != nil {
		m.closeFiles()
		return Answer{}, err
	}
	select {
	case c.slots <- struct{}{}: // given back by settle
	case <-ctx.Done():
		m.closeFiles()
		return Answer{}, context.Cause(ctx)
	case <-c.Done():
		m.closeFiles()
		return Answer{}, c.Err()
	}
	p := &pending{answered: make(chan struct{}), maxBody: cmp.Or(call.AnswerBody, c.options.MaxBody), maxFiles: call.AnswerFiles}
	if err := c.register(m, p); err != nil {
		m.closeFiles()
		return Answer{}, err
	}
	select {
	case c.calls <- m:
	case <-ctx.Done():
		m.closeFiles()
		if c.settle(m.call) != nil {
			return Answer{}, context.Cause(ctx)
		}
	case <-p.answered: // the channel has ended
		m.closeFiles()
	}
	select {
	case <-p.answered:
	case <-ctx.Done():
		if c.forget(m, p) {
			return Answer{}, context.Cause(ctx)
		}
		<-p.answered
	}
	return p.answer, p.err
}

// pending is a call of this side until its answer has come. Its fields are set before answered is
// closed.
type pending struct {
	answered          chan struct{}
	maxBody, maxFiles int // of the answer

	answer    Answer
	err       error
	forgotten bool // Channel.mu must be held
}

// finish gives the call its answer.
func (p *pending) finish(a Answer, err error) {
	if p.forgotten {
		closeFiles(a.Files)
		return
	}
	p.answer, p.err = a, err
	close(p.answered)
}

// register gives a call its number.
func (c *Channel) register(m *message, p *pending) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.lastCall++
	m.call, m.epoch = c.lastCall, c.options.Epoch
	if m.epoch == 0 {
		m.epoch = c.epoch
	}
	c.open[m.call] = p
	return nil
}

// settle removes a call that has its answer, and returns it; nil: there is none.
func (c *Channel) settle(call uint64) *pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.open[call]
	if p != nil {
		delete(c.open, call)
		<-c.slots
	}
	return p
}

// answerLimits returns what the answer to a call may have.
func (c *Channel) answerLimits(call uint64) (body, files int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.open[call]; p != nil {
		return p.maxBody, p.maxFiles
	}
	return c.options.MaxBody, 0
}

// forget has the answer to a call dropped and tells the peer. It reports whether the caller must
// not wait for the answer any more. The call keeps its slot until the peer answers, so that
// forgotten calls are bounded too.
func (c *Channel) forget(m *message, p *pending) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.open[m.call] != p {
		return false
	}
	p.forgotten = true
	c.replyLocked(&message{header: header{kind: kindCancel, epoch: m.epoch, call: m.call}})
	return true
}
