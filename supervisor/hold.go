package supervisor

import (
	"context"
	"fmt"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/generation"
)

// Lease is a hold on one app.
type Lease struct {
	app    *App
	lease  *lease
	report api.HoldReport
}

// Report says what the beginning of the hold meant.
func (l *Lease) Report() api.HoldReport { return l.report }

// Ended is closed when the hold has ended: by End, by its time or by Release.
func (l *Lease) Ended() <-chan struct{} { return l.lease.over }

// Hold holds the requests of an app and returns when those in flight have ended,
// or ctx or the lease has ended; Report says which. The hold ends with End,
// Release, or by itself when the time of the lease is over.
func (s *Supervisor) Hold(ctx context.Context, name string, r api.HoldRequest) (*Lease, error) {
	a, err := s.registry.app(name)
	if err != nil {
		return nil, err
	}
	if a.direct != nil {
		return nil, &api.Error{Exit: api.ExitUsage, Message: fmt.Sprintf(`%s has relay = "none": no request passes through tideover, so none can be held`, a.name),
			Hint: fmt.Sprintf("to run a command while the app is stopped: tideover stop %[1]s, the command, tideover start %[1]s; new connections wait in the kernel's queue meanwhile", a.name)}
	}
	if a.relay == nil {
		return nil, api.Errorf(api.ExitUsage, "%s is a plain process: it has no requests to hold", a.name)
	}
	l := &Lease{app: a, report: api.HoldReport{App: a.name, Drained: true}}
	var targets []*generation.Target
	var refused *api.Error
	var ends time.Time
	again := false // its caller has asked for it before
	begun := a.do(ctx, func() {
		if l.lease = a.leases.rejoin(r.ID); l.lease != nil {
			again, targets = true, a.targets()
		} else {
			l.lease, targets, refused = a.hold(r)
		}
		if refused == nil {
			ends, l.report.For, l.report.Longest = l.lease.ends, api.Seconds(l.lease.length), api.Seconds(a.settings.Hold.Timeout)
			if again {
				l.report.Held = max(0.001, api.Seconds(time.Since(l.lease.began)))
			}
		}
	})
	if !begun {
		return nil, api.Errorf(api.ExitNotRunning, "tideover is shutting down")
	}
	if refused != nil {
		return nil, refused
	}
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, ends)
	defer cancel()
	for _, t := range targets {
		if t.Wait(ctx) != nil {
			l.report.Drained = false
			l.report.InFlight += t.InFlight()
		}
	}
	l.report.Waited = api.Seconds(time.Since(began))
	return l, nil
}

// End ends the hold and says what it meant for clients. The gate opens when no
// other reason keeps it shut.
func (l *Lease) End() api.HoldReport {
	report := l.report
	l.app.do(context.Background(), func() {
		l.app.leases.end(l.lease, l.lease.by, false)
		ended := l.lease.ended
		report.Held, report.Requests, report.Expired = ended.Held, ended.Requests, ended.Expired
	})
	return report
}

// Release ends the operator's hold on an app, for the caller by, and says what it meant for clients.
// Holds of commands that still run are not ended. It is no error when there is no
// hold.
func (s *Supervisor) Release(name string, by api.Caller) (api.HoldReport, error) {
	a, err := s.registry.app(name)
	if err != nil {
		return api.HoldReport{}, err
	}
	report := api.HoldReport{App: a.name}
	done := a.do(context.Background(), func() {
		if l, ok := a.leases.byName[operator]; ok {
			a.leases.end(l, by, false)
			report = *l.ended
		}
	})
	if !done {
		return report, api.Errorf(api.ExitNotRunning, "tideover is shutting down")
	}
	return report, nil
}

// hold shuts the gate and returns the targets that may still have requests in
// flight.
func (a *App) hold(r api.HoldRequest) (*lease, []*generation.Target, *api.Error) {
	if a.restart.desired != desiredUp {
		return nil, nil, &api.Error{Exit: api.ExitNotRunning, Message: a.name + " is stopped", Hint: "tideover start " + a.name}
	}
	longest := a.settings.Hold.MaxFor
	switch {
	case r.For <= 0 && longest > 0:
		r.For = min(a.settings.Hold.Timeout, longest)
	case r.For <= 0:
		r.For = a.settings.Hold.Timeout
	case longest > 0 && r.For > longest:
		return nil, nil, &api.Error{Exit: api.ExitUsage, Message: fmt.Sprintf("a hold of %s lasts %s at most (hold.max_for)", a.name, api.FormatDuration(longest)),
			Hint: "give a shorter --for, or set hold.max_for in the configuration"}
	}
	return a.leases.lease(r, a.settings.Hold.Timeout), a.targets(), nil
}

// targets are those that may have requests in flight.
func (a *App) targets() (targets []*generation.Target) {
	if a.current != nil {
		targets = append(targets, a.current.Target)
	}
	for _, d := range a.teardowns {
		if d.Target != nil {
			targets = append(targets, d.Target)
		}
	}
	return targets
}
