package control

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"tideover/supervisor/api"
)

const (
	// againTimeout bounds the wait for the next supervisor after the death of one.
	againTimeout = 30 * time.Second
	// againInterval is the time between two questions, while supervisors end before they answer.
	againInterval = 20 * time.Millisecond
	// maxAgain is how often one request is sent again.
	maxAgain = 20
)

// errInterrupted is the cause of an error of a connection that the daemon has ended without an answer: its
// supervisor has died, or was replaced, and the next one accepts on the same socket.
var errInterrupted = errors.New("the connection has ended")

// again calls do, and calls it again each time that the supervisor has ended before it had answered and the
// next one answers. do must be safe to be repeated. what is named in the error.
func (c *Client) again(ctx context.Context, what string, do func() error) error {
	for n := 0; ; n++ {
		err := do()
		if err == nil || !c.repeats || !errors.Is(err, errInterrupted) || ctx.Err() != nil {
			return err
		}
		if n >= maxAgain {
			return errUnknown(what)
		}
		switch again := c.awaitSupervisor(ctx, what); {
		case errors.Is(again, errNoDaemon): // it has ended for good
			return err
		case again != nil:
			return again
		}
	}
}

// awaitSupervisor returns when a supervisor answers.
func (c *Client) awaitSupervisor(ctx context.Context, what string) error {
	soon, cancel := context.WithTimeout(ctx, againTimeout)
	defer cancel()
	for {
		var status api.Status
		err := c.call(soon, http.MethodGet, "/v1/status", nil, &status)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return c.wrapError(ctx, err)
		case soon.Err() != nil:
			return errUnknown(what)
		case !errors.Is(err, errInterrupted):
			return err
		}
		select {
		case <-time.After(againInterval):
		case <-soon.Done():
		}
	}
}

// errUnknown is the error when no supervisor says what has become of a request.
func errUnknown(what string) *api.Error {
	return errorf(api.ExitError, "tideover status and tideover history say it, when it answers", "tideover has ended while it was asked and does not answer: whether the %s was carried out is not known", what)
}

// newID returns an id for a request. It cannot be guessed.
func newID() string { return rand.Text() }

// maxID is how long an id may be.
const maxID = 64

func checkID(id string) error {
	if len(id) > maxID {
		return errorf(api.ExitUsage, "", "the id of a request has at most %d characters", maxID)
	}
	return nil
}
