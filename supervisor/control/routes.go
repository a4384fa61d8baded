package control

import (
	"context"
	"io"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// route is one thing that can be asked on the control socket.
type route struct {
	method, path string
	least        role // who may
	acts         bool // changes something: logged
	streams      bool // answers as things happen, for as long as they take
	handle       func(*call) error
}

// routes is everything that can be asked, and by whom.
func routes() []route {
	return []route{
		{"GET", "/v1/status", member, false, false, tellStatus},
		{"POST", "/v1/logs", member, false, true, followLogs},
		{"POST", "/v1/reload", member, true, true, operation(api.Reload)},
		{"POST", "/v1/restart", owner, true, true, operation(api.Restart)},
		{"POST", "/v1/start", owner, true, true, operation(api.Start)},
		{"POST", "/v1/stop", owner, true, true, operation(api.Stop)},
		{"POST", "/v1/apply", owner, true, true, applyConfig},
		{"POST", "/v1/hold", member, true, true, keepHold},
		{"POST", "/v1/release", member, true, false, endHold},
		{"POST", "/v1/signal", owner, true, false, sendSignal},
		{"POST", "/v1/shutdown", owner, true, true, endDaemon},
	}
}

func tellStatus(c *call) error {
	answer, err := c.server.daemon.Status(c.request.URL.Query()["app"]...)
	if err != nil {
		return err
	}
	return c.reply(answer)
}

// operation carries out one verb on one app, and tells its phases as they
// happen. A peer that leaves stops waiting; the operation goes on.
func operation(verb api.Verb) func(*call) error {
	return func(c *call) error {
		var r api.Request
		if err := c.receive(&r); err != nil {
			return err
		}
		r.Verb, r.By = verb, c.by()
		result := c.server.daemon.Do(c.ctx, r, func(p api.Phase) {
			c.send(event{Phase: &p}) // a peer that left has ended c.ctx, and with it this
		})
		c.app, c.exit = result.App, result.Exit
		return c.send(event{Result: &result})
	}
}

// applyConfig makes the apps what the configuration file says, and tells the
// phases of what it takes. A peer that leaves stops waiting; what has begun goes
// on.
func applyConfig(c *call) error {
	var r api.ApplyRequest
	if err := c.receive(&r); err != nil {
		return err
	}
	r.By = c.by()
	result := c.server.daemon.Apply(c.ctx, r, func(p api.Phase) {
		c.send(event{Phase: &p})
	})
	c.exit = result.Exit
	return c.send(event{Applied: &result})
}

// keepHold answers twice: when the requests in flight have finished, and when the
// hold is over. A detached hold is left to its lease after the first. An
// attached one lasts as long as the request's body does: its end is the polite
// way to say that the command is done, and a peer that dies ends it as well.
func keepHold(c *call) error {
	c.wire.EnableFullDuplex() // HTTP/1.1 can; without it the body would have to end first
	var r holdRequest
	if err := c.decode(&r); err != nil {
		return err
	}
	if !r.Attached {
		if err := c.complete(); err != nil {
			return err
		}
	}
	c.app, r.By = r.App, c.by()
	ctx, left := context.WithCancel(c.ctx)
	defer left()
	if r.Attached {
		defer c.awaitEndOfBody(left)()
	}
	lease, err := c.server.daemon.Hold(ctx, r.App, r.HoldRequest)
	if err != nil {
		return err
	}
	report := lease.Report()
	if err := c.send(event{Held: &report}); err != nil && r.Attached {
		left()
	}
	if !r.Attached {
		return nil
	}
	<-ctx.Done()
	report = lease.End()
	return c.send(event{Ended: &report})
}

// awaitEndOfBody calls ended when the request's body ends, in whatever way.
// What it returns waits for that, and hurries it.
func (c *call) awaitEndOfBody(ended func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer ended()
		io.Copy(io.Discard, c.request.Body)
	}()
	return func() {
		c.wire.SetReadDeadline(time.Now())
		<-done
	}
}

func endHold(c *call) error {
	var r appRequest
	if err := c.receive(&r); err != nil {
		return err
	}
	c.app = r.App
	report, err := c.server.daemon.Release(r.App)
	if err != nil {
		return err
	}
	return c.reply(report)
}

func sendSignal(c *call) error {
	var r signalRequest
	if err := c.receive(&r); err != nil {
		return err
	}
	c.app = r.App
	if err := c.server.daemon.Signal(r.App, r.Signal); err != nil {
		return err
	}
	return c.reply(struct{}{})
}

func followLogs(c *call) error {
	var q api.LogQuery
	if err := c.receive(&q); err != nil {
		return err
	}
	err := c.server.daemon.Logs(c.ctx, q, func(l logs.Line) bool {
		return c.send(event{Line: &l}) == nil
	})
	if err != nil {
		return err
	}
	return c.send(event{End: true})
}

// endDaemon answers when everything is stopped: Serve's ctx ends then.
func endDaemon(c *call) error {
	var r shutdownRequest
	if err := c.receive(&r); err != nil {
		return err
	}
	c.server.daemon.Shutdown(r.Fast)
	<-c.ctx.Done()
	return c.send(event{End: true})
}
