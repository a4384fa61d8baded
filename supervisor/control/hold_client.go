package control

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"tideover/supervisor/api"
)

// HoldSession is a hold that is bound to a connection: it ends with End, with
// this process, or after HoldRequest.For, whichever comes first.
type HoldSession struct {
	Started api.HoldReport // at the time when the requests in flight had finished

	response *response
	body     *io.PipeWriter
	final    chan finalReport
}

type finalReport struct {
	report api.HoldReport
	err    error
}

// OpenHold holds app's requests and returns when those in flight have finished.
// The caller must call End; its report says whether the hold had ended before.
func (c *Client) OpenHold(ctx context.Context, app string, r api.HoldRequest) (*HoldSession, error) {
	r.Attached = true
	request, err := json.Marshal(newHoldRequest(app, r))
	if err != nil {
		return nil, asError(err)
	}
	reader, writer := io.Pipe()
	// The daemon releases when the request's body ends.
	body := io.MultiReader(bytes.NewReader(request), reader)
	resp, err := c.send(ctx, http.MethodPost, "/v1/hold", body)
	if err != nil {
		writer.Close()
		return nil, err
	}
	h := &HoldSession{response: resp, body: writer, final: make(chan finalReport, 1)}
	if h.Started, err = resp.holdReport(); err != nil {
		h.close()
		return nil, err
	}
	go h.awaitFinal()
	return h, nil
}

// awaitFinal reads the last event. It comes before End when the hold ends first.
func (h *HoldSession) awaitFinal() {
	e, err := h.response.nextEvent()
	if err == nil && e.Ended == nil {
		err = errorf(api.ExitError, "", "the daemon's answer to hold makes no sense")
	}
	if err != nil {
		h.final <- finalReport{err: err}
		return
	}
	h.final <- finalReport{report: *e.Ended}
}

// End releases and reports the requests that were held. It is called once.
func (h *HoldSession) End() (api.HoldReport, error) {
	h.body.Close()
	end := <-h.final
	h.response.Close()
	return end.report, end.err
}

func (h *HoldSession) close() {
	h.body.Close()
	h.response.Close()
}
