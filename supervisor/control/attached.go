package control

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"tideover/supervisor/api"
)

// Attachment is a hold that lasts as long as this process and no longer than
// its lease: whatever kills the caller ends it too.
type Attachment struct {
	Begun api.HoldReport // when the requests in flight had finished

	answer *answer
	body   *io.PipeWriter
	ended  chan ending
}

type ending struct {
	report api.HoldReport
	err    error
}

// HoldAttached holds app's requests until End, or until this process or the
// lease ends; what ended it first shows in the report. It returns when the requests in flight have finished. The caller
// must call End.
func (c *Client) HoldAttached(ctx context.Context, app string, r api.HoldRequest) (*Attachment, error) {
	r.Attached = true
	request, err := json.Marshal(holdRequest{app, r})
	if err != nil {
		return nil, asError(err)
	}
	reader, writer := io.Pipe()
	// The body stays open: its end is what tells the daemon to release.
	rest := io.MultiReader(bytes.NewReader(request), reader)
	answer, err := c.send(ctx, http.MethodPost, "/v1/hold", rest)
	if err != nil {
		writer.Close()
		return nil, err
	}
	a := &Attachment{answer: answer, body: writer, ended: make(chan ending, 1)}
	if a.Begun, err = answer.held(); err != nil {
		a.close()
		return nil, err
	}
	go a.await()
	return a, nil
}

// await takes the last word of the daemon, which comes before End when the
// daemon ends first.
func (a *Attachment) await() {
	e, err := a.answer.next()
	if err == nil && e.Ended == nil {
		err = fault(api.ExitError, "", "the daemon's answer to hold makes no sense")
	}
	if err != nil {
		a.ended <- ending{err: err}
		return
	}
	a.ended <- ending{report: *e.Ended}
}

// End releases, and tells what the hold meant for clients. Called once.
func (a *Attachment) End() (api.HoldReport, error) {
	a.body.Close()
	end := <-a.ended
	a.answer.Close()
	return end.report, end.err
}

func (a *Attachment) close() {
	a.body.Close()
	a.answer.Close()
}
