package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"tideover/supervisor/api"
)

// HoldSession is a hold that is bound to a connection: it ends with End, with
// this process, or after HoldRequest.For, whichever comes first. When the supervisor dies, the hold goes on,
// and the next supervisor gets another connection.
type HoldSession struct {
	Started api.HoldReport // at the time when the requests in flight had finished
	// Interrupted says, after End, that the next supervisor has come too late: the hold had ended, and was begun
	// again.
	Interrupted bool

	client  *Client
	ctx     context.Context
	app     string
	request api.HoldRequest
	ends    time.Time       // when it ends by itself
	ending  context.Context // ends with End
	end     context.CancelFunc
	final   chan finalReport
}

type finalReport struct {
	report      api.HoldReport
	err         error
	interrupted bool
}

// holdConn is one connection of a HoldSession. The daemon ends the hold when the body ends.
type holdConn struct {
	*response
	requestBody *io.PipeWriter
}

func (c *holdConn) Close() {
	c.requestBody.Close()
	c.response.Close()
}

// OpenHold holds app's requests and returns when those in flight have finished.
// The caller must call End; its report says whether the hold had ended before.
func (c *Client) OpenHold(ctx context.Context, app string, r api.HoldRequest) (*HoldSession, error) {
	r.Attached = true
	if c.repeats && r.ID == "" {
		r.ID = newID()
	}
	h := &HoldSession{client: c, ctx: ctx, app: app, request: r, final: make(chan finalReport, 1)}
	h.ending, h.end = context.WithCancel(context.Background())
	conn, report, err := h.open()
	if err != nil {
		h.end()
		return nil, err
	}
	h.Started, h.ends = report, time.Now().Add(time.Duration(report.For*float64(time.Second)))
	go h.awaitFinal(conn)
	return h, nil
}

// open asks for the hold, until a supervisor has answered.
func (h *HoldSession) open() (conn *holdConn, report api.HoldReport, err error) {
	err = h.client.again(h.ctx, "hold", func() error {
		conn, report, err = h.openOnce()
		return err
	})
	return conn, report, err
}

func (h *HoldSession) openOnce() (*holdConn, api.HoldReport, error) {
	request, err := json.Marshal(newHoldRequest(h.app, h.request))
	if err != nil {
		return nil, api.HoldReport{}, asError(err)
	}
	reader, writer := io.Pipe()
	resp, err := h.client.send(endingBody(h.ctx, writer), http.MethodPost, "/v1/hold", io.MultiReader(bytes.NewReader(request), reader))
	if err != nil {
		writer.Close()
		return nil, api.HoldReport{}, err
	}
	conn := &holdConn{resp, writer}
	report, err := resp.holdReport()
	if err != nil {
		conn.Close()
		return nil, report, err
	}
	return conn, report, nil
}

// awaitFinal reads the last event. It comes before End when the hold ends first.
func (h *HoldSession) awaitFinal(conn *holdConn) {
	var f finalReport
	for {
		body := conn.requestBody
		stop := context.AfterFunc(h.ending, func() { body.Close() })
		var e event
		e, f.err = conn.nextEvent()
		stop()
		if f.err == nil && e.Ended == nil {
			f.err = errorf(api.ExitError, "", "the daemon's answer to hold makes no sense")
		}
		if f.err == nil {
			f.report = *e.Ended
		}
		conn.Close()
		if !h.client.repeats || !errors.Is(f.err, errInterrupted) {
			break
		}
		if err := h.client.awaitSupervisor(h.ctx, "hold"); err != nil {
			break
		}
		h.request.For = max(time.Until(h.ends), time.Millisecond) // where the hold is not known any more
		next, report, err := h.open()
		if err != nil {
			break
		}
		conn, f.interrupted = next, f.interrupted || report.Held == 0
	}
	h.final <- f
}

// End releases and reports the requests that were held. It is called once.
func (h *HoldSession) End() (api.HoldReport, error) {
	h.end()
	f := <-h.final
	h.Interrupted = f.interrupted
	return f.report, f.err
}
