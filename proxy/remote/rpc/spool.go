package rpc

import (
	"context"
	"errors"
	"os"
	"time"

	"tideover/proxy/remote/channel"
)

// spoolTimeout bounds the wait for a file of the spool. Nothing waits for it but the pool of files.
const spoolTimeout = 10 * time.Second

// Supervisor is what the process that relays may ask of its supervisor.
type Supervisor struct{ server *server }

// Replace asks for another relay to take the place of this one. It does not wait; to ask again changes
// nothing.
func (s *Supervisor) Replace() {
	s.server.replaceOnce.Do(func() { close(s.server.replace) })
}

// SpoolFile returns an empty file without a name, which the supervisor has opened. It must not be
// called on the goroutine of a call that is answered at once.
func (s *Supervisor) SpoolFile() (*os.File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), spoolTimeout)
	defer cancel()
	answer, err := s.server.call(ctx, channel.Call{Method: methodSpool, Body: encode(none{}), AnswerFiles: 1})
	if err != nil {
		return nil, err
	}
	if len(answer.Files) != 1 {
		closeFiles(answer.Files)
		return nil, errors.New("the supervisor has sent no file for the spool")
	}
	return answer.Files[0], nil
}

// spoolOpener opens the files of a relay's spool, one at a time: a disk that hangs takes one
// goroutine, however often the relay asks.
type spoolOpener struct {
	open func() (*os.File, error) // nil: there are none
	busy chan struct{}            // cap 1
}

// SetSpool names what opens an empty file without a name for the relay. It must be called before
// Start.
func (c *Client) SetSpool(open func() (*os.File, error)) {
	c.spool = spoolOpener{open: open, busy: make(chan struct{}, 1)}
}

// answer answers a call of SpoolFile. It does not wait for the disk.
func (s *spoolOpener) answer(r *channel.Request) {
	if s.open == nil {
		r.Fail(codeError, "there is no spool")
		return
	}
	select {
	case s.busy <- struct{}{}:
	default:
		r.Fail(codeError, "the disk of the spool does not answer")
		return
	}
	go func() { // ends when the disk answers
		defer func() { <-s.busy }()
		f, err := s.open()
		if err != nil {
			r.Fail(codeError, err.Error())
			return
		}
		r.Answer(encode(none{}), f)
	}()
}
