package supervisor

import (
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/history"
)

// operator is the name of the hold that one command begins and another one ends.
const operator = "operator"

// leases are the holds on an app, each with the time at which it ends by itself.
// The app's goroutine owns them.
type leases struct {
	app     string
	relay   *relayApp
	logger  hclog.Logger
	history *history.Store

	byName map[string]*lease
	timer  *time.Timer
	last   int
}

type lease struct {
	name    string
	by      api.Caller
	length  time.Duration
	timeout time.Duration // hold.timeout when it began
	began   time.Time
	ends    time.Time

	requests *requestMeter
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

// lease prolongs the operator's lease, or makes a new one, and shuts the gate.
func (all *leases) lease(r api.HoldRequest, timeout time.Duration) *lease {
	name := operator
	if r.Attached {
		all.last++
		name = fmt.Sprintf("command %d", all.last)
	}
	l := all.byName[name]
	if l == nil {
		l = &lease{name: name, over: make(chan struct{}), began: time.Now(), requests: newRequestMeter(all.relay)}
		all.byName[name] = l
	}
	l.by, l.length, l.timeout, l.ends = r.By, r.For, timeout, time.Now().Add(r.For)
	all.relay.hold(remote.Hold{Name: l.name, Until: l.ends})
	all.arm()
	all.history.Add(api.Record{Kind: api.HoldBegun, App: all.app, By: r.By, For: l.length.Seconds()})
	all.logger.Info("hold started", "app", all.app, "by", r.By.String(), "limit_s", l.length.Seconds())
	return l
}

// expire ends the leases that have passed their deadline.
func (all *leases) expire() {
	now := time.Now()
	for _, l := range all.byName {
		if !l.ends.After(now) {
			all.logger.Warn("hold expired", "app", all.app, "by", l.by.String(), "limit_s", l.length.Seconds())
			all.end(l, l.by, true)
		}
	}
	all.arm()
}

// end releases the gate's hold of this lease, for the caller by. Ending it again does nothing.
func (all *leases) end(l *lease, by api.Caller, expired bool) {
	if l.ended != nil {
		return
	}
	delete(all.byName, l.name)
	all.arm()
	all.relay.release(l.name)
	l.ended = &api.HoldReport{App: all.app, Drained: true, For: api.Seconds(l.length), Longest: api.Seconds(l.timeout), Held: api.Seconds(time.Since(l.began)), Expired: expired,
		Requests: l.requests.end()}
	close(l.over)
	requests := l.ended.Requests
	all.history.Add(api.Record{Kind: api.HoldEnded, App: all.app, By: by, Expired: expired, Requests: &requests, Duration: l.ended.Held})
	all.logger.Info("hold ended", "app", all.app, "by", by.String(),
		"duration_s", time.Since(l.began).Round(time.Millisecond).Seconds(), "held", l.ended.Requests.Held)
}

// attached reports whether a hold ends with the command that has asked for it.
func (l *leases) attached() bool {
	for name := range l.byName {
		if name != operator {
			return true
		}
	}
	return false
}
