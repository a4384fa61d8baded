package control

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// route is one path of the control socket.
type route struct {
	method, path string
	minRole      role // the lowest role that may use it
	marks        marks
	handle       func(*call) error
}

// marks are what else is to be known of a route.
type marks int

const (
	changes  marks = 1 << iota // it changes something, and is logged
	forPage                    // also for a request of the page that shows its user's token
	ofMember                   // only for the process that takes this host's turns in its fleet
	reads    marks = 0
)

// routes is every path, and the role it needs.
func routes() []route {
	return []route{
		{"GET", "/v1/status", roleViewer, reads, handleStatus},
		{"GET", "/metrics", roleViewer, reads, handleMetrics},
		{"GET", "/v1/check", roleOperator, reads, handleCheck},
		{"POST", "/v1/logs", roleReader, reads | forPage, handleLogs},
		{"POST", "/v1/history", roleViewer, reads, handleHistory},
		{"POST", "/v1/log-text", roleReader, reads, handleLogText},
		{"GET", "/v1/programs", roleReader, reads, handlePrograms},
		{"POST", "/v1/reload", roleOperator, changes | forPage, handleOperation(api.Reload)},
		{"POST", "/v1/restart", roleSupervisor, changes | forPage, handleOperation(api.Restart)},
		{"POST", "/v1/rollback", roleOperator, changes, handleOperation(api.Rollback)},
		{"POST", "/v1/start", roleSupervisor, changes | forPage, handleOperation(api.Start)},
		{"POST", "/v1/stop", roleSupervisor, changes | forPage, handleOperation(api.Stop)},
		{"POST", "/v1/apply", roleSupervisor, changes, handleApply},
		{"POST", "/v1/hold", roleOperator, changes | forPage, handleHold},
		{"POST", "/v1/release", roleOperator, changes | forPage, handleRelease},
		{"POST", "/v1/drain", roleOperator, changes | forPage, handleDrain},
		{"POST", "/v1/undrain", roleOperator, changes | forPage, handleUndrain},
		{"POST", "/v1/signal", roleSupervisor, changes, handleSignal},
		{"POST", "/v1/listen", roleAdmin, changes, handleListen},
		{"POST", "/v1/unlisten", roleAdmin, changes, handleUnlisten},
		{"POST", "/v1/clear-log", roleSupervisor, changes, handleClearLog},
		{"POST", "/v1/reread", roleSupervisor, reads, handleReread},
		{"POST", "/v1/add-group", roleSupervisor, changes, handleGroup(Backend.AddGroup)},
		{"POST", "/v1/remove-group", roleSupervisor, changes, handleGroup(Backend.RemoveGroup)},
		{"POST", "/v1/renew", roleSupervisor, changes, handleRenew},
		{"GET", "/v1/fleet", roleViewer, reads, handleFleet},
		{"POST", "/v1/fleet-report", roleOperator, reads | ofMember, handleSetFleet},
		{"POST", "/v1/turn", roleOperator, changes | ofMember, handleTurn},
		{"POST", "/v1/upgrade", roleAdmin, changes, handleUpgrade},
		{"POST", "/v1/shutdown", roleSupervisor, changes, handleShutdown},
	}
}

func handleStatus(c *call) error {
	status, err := c.server.backend.Status(c.request.URL.Query()["app"]...)
	if err != nil {
		return err
	}
	return c.reply(status)
}

// handleMetrics answers in the text format of Prometheus, which is why its path is not of this API.
func handleMetrics(c *call) error {
	var text bytes.Buffer
	if err := c.server.backend.Metrics(&text); err != nil {
		return err
	}
	c.writeHeader("text/plain; version=0.0.4; charset=utf-8", http.StatusOK)
	c.controller.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.w.Write(text.Bytes())
	return err
}

// handleCheck asks the apps whether they answer.
func handleCheck(c *call) error {
	status, err := c.server.backend.Check(c.ctx, c.request.URL.Query()["app"]...)
	if err != nil {
		return err
	}
	return c.reply(status)
}

// handleOperation carries out a verb on one app and sends its phases as they
// happen. The operation goes on when the client leaves.
func handleOperation(verb api.Verb) func(*call) error {
	return func(c *call) error {
		var r api.Request
		c.controller.EnableFullDuplex() // for an attached request; else net/http reads the body to its end before it writes
		if err := c.decode(&r); err != nil {
			return err
		}
		if err := checkID(r.ID); err != nil {
			return err
		}
		if len(r.Command) > 0 {
			if err := c.mayCommand(verb); err != nil {
				return err
			}
		}
		if r.Attached {
			withdrawn := make(chan struct{})
			r.Withdrawn = withdrawn
			defer c.onEndOfBody(func() { close(withdrawn) })()
		} else if err := c.expectEOF(); err != nil {
			return err
		}
		r.Verb, r.By, r.InTurn = verb, c.caller(), r.Attached && c.isMember()
		if r.InTurn {
			r.By = api.Caller{Via: api.ViaRollout}
		}
		result := c.server.backend.Do(c.ctx, r, func(p api.Phase) {
			c.sendEvent(event{Phase: newPhaseEvent(p)}) // fails when the client has left; then c.ctx has ended, too
		})
		c.app, c.exit = result.App, result.Exit
		return c.sendEvent(event{Result: &result})
	}
}

// mayCommand returns an error unless a reload of this caller may carry a command: it is the admin
// process, for a rollout, and the configuration allows it.
func (c *call) mayCommand(verb api.Verb) error {
	switch {
	case !c.isMember() || verb != api.Reload:
		return errorf(api.ExitDenied, "hooks.before_start runs one at each start", "only a reload of a rollout has a command")
	case !c.viewer.rights.Commands:
		return errorf(api.ExitDenied, "hooks.before_start runs one without that", "the rollout carries a command, and fleet.allow_command of this host is not true")
	}
	return nil
}

// handleApply applies the configuration file and sends the phases of each app as
// they happen. What has begun goes on when the client leaves.
func handleApply(c *call) error {
	var r api.ApplyRequest
	if err := c.decodeAll(&r); err != nil {
		return err
	}
	if err := checkID(r.ID); err != nil {
		return err
	}
	r.By = c.caller()
	result := c.server.backend.Apply(c.ctx, r, func(p api.Phase) {
		c.sendEvent(event{Phase: newPhaseEvent(p)})
	})
	c.exit = result.Exit
	return c.sendEvent(event{Applied: &result})
}

// handleHold sends an event when the requests in flight have finished. A detached
// hold then goes on without the connection. An attached hold ends with the
// request's body, which the client closes and which ends with the client, too; a
// second event reports its end.
func handleHold(c *call) error {
	c.controller.EnableFullDuplex() // else net/http reads the body to its end before it writes
	var r holdRequest
	if err := c.decode(&r); err != nil {
		return err
	}
	if !r.Attached {
		if err := c.expectEOF(); err != nil {
			return err
		}
	}
	if err := checkID(r.ID); err != nil {
		return err
	}
	c.app, r.By = r.App, c.caller()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	if r.Attached {
		defer c.onEndOfBody(cancel)()
	}
	hold, err := c.server.backend.Hold(ctx, r.App, r.request())
	if err != nil {
		return err
	}
	report := hold.Report()
	if err := c.sendEvent(event{Held: &report}); err != nil && r.Attached {
		cancel()
	}
	if !r.Attached {
		return nil
	}
	<-ctx.Done()
	report = hold.End()
	return c.sendEvent(event{Ended: &report})
}

// onEndOfBody calls f when the request's body has ended or failed. stop ends the
// reading of the body and waits for f.
func (c *call) onEndOfBody(f func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer f()
		io.Copy(io.Discard, c.request.Body)
	}()
	return func() {
		c.controller.SetReadDeadline(time.Now())
		<-done
	}
}

func handleRelease(c *call) error {
	var r appRequest
	if err := c.decodeAll(&r); err != nil {
		return err
	}
	c.app = r.App
	report, err := c.server.backend.Release(r.App, c.caller())
	if err != nil {
		return err
	}
	return c.reply(report)
}

func handleDrain(c *call) error {
	var r drainRequest
	if err := c.decodeAll(&r); err != nil {
		return err
	}
	c.app = r.App
	report, err := c.server.backend.Drain(r.App, api.DrainRequest{For: time.Duration(r.For), By: c.drainer()})
	if err != nil {
		return err
	}
	return c.reply(report)
}

// drainer is the caller of a drain for load balancers.
func (c *call) drainer() string {
	if c.isMember() {
		return api.ViaRollout
	}
	return c.caller().String()
}

func handleUndrain(c *call) error {
	var r appRequest
	if err := c.decodeAll(&r); err != nil {
		return err
	}
	c.app = r.App
	report, err := c.server.backend.Undrain(r.App, c.drainer())
	if err != nil {
		return err
	}
	return c.reply(report)
}

func handleSignal(c *call) error {
	var r signalRequest
	if err := c.decodeAll(&r); err != nil {
		return err
	}
	c.app = r.App
	if err := c.server.backend.Signal(r.App, r.Signal); err != nil {
		return err
	}
	return c.reply(struct{}{})
}

// handleListen and handleUnlisten are for a move from another supervisor and back.
func handleListen(c *call) error {
	var r listenRequest
	if err := c.decodeAll(&r); err != nil {
		return err
	}
	c.app = r.App
	if err := c.server.backend.Listen(c.ctx, r.request()); err != nil {
		return err
	}
	return c.reply(struct{}{})
}

func handleUnlisten(c *call) error {
	var r unlistenRequest
	if err := c.decodeAll(&r); err != nil {
		return err
	}
	c.app = r.App
	if err := c.server.backend.Unlisten(r.App, r.PathOnly); err != nil {
		return err
	}
	return c.reply(struct{}{})
}

func handleLogs(c *call) error {
	var q api.LogQuery
	if err := c.decodeAll(&q); err != nil {
		return err
	}
	err := c.server.backend.Logs(c.ctx, q, func(l logs.Line) bool {
		return c.sendEvent(event{Line: &l}) == nil
	})
	if err != nil {
		return err
	}
	return c.sendEvent(event{End: true})
}

// handleHistory sends records; to viewers without what the app has written, and without the arguments
// of the caller. A reader that takes nothing for writeTimeout is cut off; it can go on
// behind the last id that it has got.
func handleHistory(c *call) error {
	var q api.HistoryQuery
	if err := c.decodeAll(&q); err != nil {
		return err
	}
	err := c.server.backend.History(c.ctx, q, func(r api.Record) bool {
		if c.role < roleReader {
			r.Probe, r.Output, r.By.Command = "", nil, ""
		}
		return c.sendEvent(event{Record: &r}) == nil
	})
	if err != nil {
		return err
	}
	return c.sendEvent(event{End: true})
}

func handleLogText(c *call) error {
	var q api.LogTextQuery
	if err := c.decodeAll(&q); err != nil {
		return err
	}
	text, err := c.server.backend.LogText(q)
	if err != nil {
		return err
	}
	return c.reply(text)
}

// handlePrograms answers with the apps as clients of supervisord see them; with ?configured=true with
// those of the configuration file.
func handlePrograms(c *call) error {
	programs, err := c.server.backend.Programs(c.request.URL.Query().Get("configured") == "true")
	if err != nil {
		return err
	}
	return c.reply(programList{programs})
}

func handleClearLog(c *call) error {
	var r appRequest
	if err := c.decodeAll(&r); err != nil {
		return err
	}
	c.app = r.App
	if err := c.server.backend.ClearLog(r.App); err != nil {
		return err
	}
	return c.reply(struct{}{})
}

func handleReread(c *call) error {
	if err := c.decodeAll(&struct{}{}); err != nil {
		return err
	}
	groups, err := c.server.backend.Reread(c.ctx, c.caller())
	if err != nil {
		return err
	}
	return c.reply(groups)
}

// handleGroup adds or removes a group of supervisord.
func handleGroup(f func(b Backend, ctx context.Context, group string, by api.Caller) error) func(*call) error {
	return func(c *call) error {
		var r groupRequest
		if err := c.decodeAll(&r); err != nil {
			return err
		}
		if err := f(c.server.backend, c.ctx, r.Group, c.caller()); err != nil {
			return err
		}
		return c.reply(struct{}{})
	}
}

// handleRenew begins to apply the configuration and to reload every app, as SIGHUP does.
func handleRenew(c *call) error {
	if err := c.decodeAll(&struct{}{}); err != nil {
		return err
	}
	c.server.backend.Renew(c.caller())
	return c.reply(struct{}{})
}

func handleFleet(c *call) error {
	f := c.server.backend.Fleet()
	if f == nil {
		return errorf(api.ExitNotRunning, "[fleet] in the configuration makes it a member of one", "this host is in no fleet, or nothing is known of it yet")
	}
	return c.reply(f)
}

func handleSetFleet(c *call) error {
	var f api.Fleet
	if err := c.decodeAll(&f); err != nil {
		return err
	}
	c.server.backend.SetFleet(f)
	return c.reply(struct{}{})
}

// handleTurn is a turn of this host: the reloads that wait for it begin, and it lasts until they have ended.
func handleTurn(c *call) error {
	if err := c.decodeAll(&struct{}{}); err != nil {
		return err
	}
	if err := c.server.backend.Turn(c.ctx); err != nil {
		return err
	}
	return c.reply(struct{}{})
}

// handleShutdown sends its event when every app is stopped: then the context of
// Serve ends.
// handleUpgrade answers only when the upgrade has failed: this process ends otherwise.
func handleUpgrade(c *call) error {
	var r api.UpgradeRequest
	if err := c.decodeAll(&r); err != nil {
		return err
	}
	if r.Program != "" && !filepath.IsAbs(r.Program) {
		return errorf(api.ExitUsage, "", "program %q is not an absolute path", r.Program)
	}
	r.By = c.caller()
	return c.server.backend.Upgrade(r)
}

func handleShutdown(c *call) error {
	var r shutdownRequest
	if err := c.decodeAll(&r); err != nil {
		return err
	}
	c.server.backend.Shutdown(r.Fast)
	<-c.ctx.Done()
	return c.sendEvent(event{End: true})
}
