package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy"
	"tideover/proxy/gate"
	"tideover/supervisor/api"
)

// operator is the name of a hold that belongs to nobody in particular: asked
// for by one command, ended by another.
const operator = "operator"

// leases are the holds on an app and when each ends by itself. The app's
// goroutine owns them.
type leases struct {
	app    string
	gate   *gate.Gate
	server *proxy.Server
	logger hclog.Logger

	byName map[string]*lease
	timer  *time.Timer
	last   int
}

type lease struct {
	name   string
	by     string
	length time.Duration
	began  time.Time
	ends   time.Time

	before   proxy.Counters
	observed *gate.Observation
	ended    *api.HoldReport
	over     chan struct{} // closed when it has ended
}

// due is ready when the next lease may have ended.
func (l *leases) due() <-chan time.Time {
	if l.timer == nil {
		return nil
	}
	return l.timer.C
}

func (l *leases) arm() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	var next time.Time
	for _, held := range l.byName {
		if next.IsZero() || held.ends.Before(next) {
			next = held.ends
		}
	}
	if !next.IsZero() {
		l.timer = time.NewTimer(time.Until(next))
	}
}

// Lease is a hold that somebody asked for.
type Lease struct {
	app    *App
	lease  *lease
	report api.HoldReport
}

// Report tells how the hold began.
func (l *Lease) Report() api.HoldReport { return l.report }

// Ended is closed when the hold is over: by End, by its time or by an
// operator's release.
func (l *Lease) Ended() <-chan struct{} { return l.lease.over }

// Hold holds the requests of an app and returns when those in flight have
// ended, or ctx or the lease has; Report says which. It
// ends with End, Release, or by itself when the lease is over.
func (s *Supervisor) Hold(ctx context.Context, name string, r api.HoldRequest) (*Lease, error) {
	a, err := s.registry.app(name)
	if err != nil {
		return nil, err
	}
	if a.server == nil {
		return nil, api.Errorf(api.ExitUsage, "%s is a plain process: it has no requests to hold", a.name)
	}
	l := &Lease{app: a, report: api.HoldReport{App: a.name, Drained: true}}
	var targets []*gate.Target
	var refused *api.Error
	var ends time.Time
	begun := a.do(ctx, func() {
		if l.lease, targets, refused = a.hold(r); refused == nil {
			ends, l.report.For = l.lease.ends, api.Seconds(l.lease.length)
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

// End releases what this hold held and tells what it meant for clients. The
// gate opens when it was the last reason to be shut.
func (l *Lease) End() api.HoldReport {
	report := l.report
	l.app.do(context.Background(), func() {
		l.app.leases.end(l.lease, false)
		ended := l.lease.ended
		report.Held, report.Requests, report.Expired = ended.Held, ended.Requests, ended.Expired
	})
	return report
}

// Release ends the operator's hold on an app and tells what it meant for
// clients. Holds of commands that still run end with those. No hold is no
// error.
func (s *Supervisor) Release(name string) (api.HoldReport, error) {
	a, err := s.registry.app(name)
	if err != nil {
		return api.HoldReport{}, err
	}
	report := api.HoldReport{App: a.name}
	done := a.do(context.Background(), func() {
		if l, ok := a.leases.byName[operator]; ok {
			a.leases.end(l, false)
			report = *l.ended
		}
	})
	if !done {
		return report, api.Errorf(api.ExitNotRunning, "tideover is shutting down")
	}
	return report, nil
}

// hold shuts the gate under a name of its own, and returns whatever requests
// may still be out on.
func (a *App) hold(r api.HoldRequest) (*lease, []*gate.Target, *api.Error) {
	if a.restart.desired != desiredUp {
		return nil, nil, &api.Error{Exit: api.ExitNotRunning, Message: a.name + " is stopped", Hint: "tideover start " + a.name}
	}
	if r.For <= 0 {
		r.For = a.settings.Hold.Timeout
	}
	l := a.leases.lease(r)
	var targets []*gate.Target
	if a.current != nil {
		targets = append(targets, a.current.Target)
	}
	for _, d := range a.teardowns {
		if d.Target != nil {
			targets = append(targets, d.Target)
		}
	}
	return l, targets, nil
}

// lease finds the operator's lease and prolongs it, or makes a new one, and
// shuts the gate.
func (all *leases) lease(r api.HoldRequest) *lease {
	name := operator
	if r.Attached {
		all.last++
		name = fmt.Sprintf("command %d", all.last)
	}
	l := all.byName[name]
	if l == nil {
		l = &lease{name: name, over: make(chan struct{}), began: time.Now(), before: all.server.Counters(), observed: all.gate.Observe()}
		all.byName[name] = l
	}
	l.by, l.length, l.ends = r.By, r.For, time.Now().Add(r.For)
	all.gate.Hold(l.name)
	all.arm()
	all.logger.Info("holding", "app", all.app, "by", r.By, "for", l.length)
	return l
}

// expire ends those whose time is over.
func (all *leases) expire() {
	now := time.Now()
	for _, l := range all.byName {
		if !l.ends.After(now) {
			all.logger.Warn("the hold ended by itself: its time is over", "app", all.app, "by", l.by, "after", l.length)
			all.end(l, true)
		}
	}
	all.arm()
}

// end opens the gate as far as this lease is concerned. Ending it again does
// nothing.
func (all *leases) end(l *lease, expired bool) {
	if l.ended != nil {
		return
	}
	delete(all.byName, l.name)
	all.arm()
	all.gate.Release(l.name)
	held := l.observed.End()
	l.ended = &api.HoldReport{App: all.app, Drained: true, For: api.Seconds(l.length), Held: api.Seconds(time.Since(l.began)), Expired: expired,
		Requests: api.RequestCounts{Held: held.Held, HeldMax: api.Seconds(held.Longest), Lost: lost(l.before, all.server.Counters())}}
	close(l.over)
	all.logger.Info("released", "app", all.app, "by", l.by, "after", time.Since(l.began).Round(time.Millisecond), "held", held.Held)
}
