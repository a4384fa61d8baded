package supervisor

import (
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/state"
)

// drained is whether load balancers are to send no new request to the app: readiness, hold.alive
// and the agent-check say so, and requests that come are served. It outlives the generations and, by
// the state file, the daemon. The app's goroutine owns it.
type drained struct {
	app    *App
	record *state.Drained // nil: it is not drained
	timer  *time.Timer    // nil: it does not end by itself
}

// newDrained takes what the state file says.
func newDrained(a *App) drained {
	d := drained{app: a}
	record := a.state.Drained(a.name)
	if record != nil && (record.Until.IsZero() || time.Until(record.Until) > 0) {
		d.set(record)
	}
	return d
}

// due is ready when the drain may have ended.
func (d *drained) due() <-chan time.Time {
	if d.timer == nil {
		return nil
	}
	return d.timer.C
}

// set drains, or with nil ends that.
func (d *drained) set(record *state.Drained) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.record = record
	if record != nil && !record.Until.IsZero() {
		d.timer = time.NewTimer(time.Until(record.Until))
	}
	d.app.relay.drain(record != nil)
}

// expire ends a drain whose time is over.
func (d *drained) expire() { d.end("its time is over") }

// end ends the drain, and returns how long it has lasted; 0: there was none.
func (d *drained) end(by string) time.Duration {
	if d.record == nil {
		return 0
	}
	lasted := time.Since(d.record.Since)
	d.set(nil)
	d.app.recordDrained(nil)
	d.app.logger.Info("balancer drain ended", "app", d.app.name, "by", by, "duration_s", lasted.Round(time.Millisecond).Seconds())
	return lasted
}

// recordDrained keeps a drain over a restart of the daemon.
func (a *App) recordDrained(record *state.Drained) {
	if err := a.state.SetDrained(a.name, record); err != nil {
		a.logger.Warn("cannot save state", "record", "drained for load balancers", "app", a.name, "error", err)
	}
}

// drainedStatus is a drain as status shows it.
func drainedStatus(record *state.Drained) *api.Drained {
	if record == nil {
		return nil
	}
	d := &api.Drained{By: record.By, Since: record.Since}
	if !record.Until.IsZero() {
		d.Left = max(0.001, api.Seconds(time.Until(record.Until)))
	}
	return d
}

// Drain has load balancers send no new request to an app, until Undrain or the end of r.For. It may
// be repeated, to change that time.
func (s *Supervisor) Drain(name string, r api.DrainRequest) (api.DrainReport, error) {
	report := api.DrainReport{}
	a, err := s.drainable(name)
	if err != nil {
		return report, err
	}
	done := a.do(s.leaving, func() {
		record := &state.Drained{By: r.By, Since: time.Now()}
		if a.drained.record != nil {
			record.Since = a.drained.record.Since
		}
		if r.For > 0 {
			record.Until = time.Now().Add(r.For)
		}
		a.drained.set(record)
		a.recordDrained(record)
		report = a.drainReport()
		report.For = api.Seconds(r.For)
		a.logger.Info("balancer drain started", "app", a.name, "by", r.By, "limit_s", r.For.Seconds())
	})
	if !done {
		return report, api.Errorf(api.ExitNotRunning, "tideover is shutting down")
	}
	return report, nil
}

// Undrain ends the drain of an app. It is no error when there is none.
func (s *Supervisor) Undrain(name, by string) (api.DrainReport, error) {
	report := api.DrainReport{}
	a, err := s.drainable(name)
	if err != nil {
		return report, err
	}
	done := a.do(s.leaving, func() {
		lasted := a.drained.end(by)
		report = a.drainReport()
		report.Lasted = api.Seconds(lasted)
	})
	if !done {
		return report, api.Errorf(api.ExitNotRunning, "tideover is shutting down")
	}
	return report, nil
}

// drainable finds an app that load balancers may send requests to.
func (s *Supervisor) drainable(name string) (*App, error) {
	a, err := s.registry.app(name)
	if err != nil {
		return nil, err
	}
	if a.plain() {
		return nil, api.Errorf(api.ExitUsage, "%s is a plain process: no load balancer sends requests to it", a.name)
	}
	return a, nil
}

// drainReport says how many requests are in flight, and where load balancers are told.
func (a *App) drainReport() api.DrainReport {
	report := api.DrainReport{App: a.name, Notices: []string{}}
	if a.settings.Agent.Listen != "" {
		report.Notices = append(report.Notices, "agent-check on "+a.settings.Agent.Listen)
	}
	if a.settings.Hold.Alive != "" {
		report.Notices = append(report.Notices, "hold.alive "+a.settings.Hold.Alive)
	}
	if g := a.current; g != nil && g.Target != nil {
		report.InFlight = g.Target.InFlight()
	}
	return report
}
