package supervisor

import (
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/handoff"
	"tideover/supervisor/history"
)

// operator is the name of the hold that one command begins and another one ends.
const operator = "operator"

// attachedPrefix begins the name of the hold of a command; its number follows.
const attachedPrefix = "command "

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
	ended  []handoff.EndedHold // that have ended last, and whose callers can ask again; the oldest first
	unsaid []handoff.EndedHold // that have ended, and are not in the record yet
}

type lease struct {
	name    string
	id      string // by which its caller asks again; empty: it does not
	by      api.Caller
	length  time.Duration
	timeout time.Duration // hold.timeout when it began
	began   time.Time
	ends    time.Time
	until   time.Time // ends, once the command of a hold has attached again

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
		name = attachedPrefix + strconv.Itoa(all.last)
	}
	l := all.byName[name]
	if l == nil {
		l = &lease{name: name, over: make(chan struct{}), began: time.Now(), requests: newRequestMeter(all.relay)}
		all.byName[name] = l
	}
	l.by, l.id, l.length, l.timeout, l.ends = r.By, r.ID, r.For, timeout, time.Now().Add(r.For)
	l.until = l.ends
	all.relay.hold(remote.Hold{Name: l.name, Until: l.ends})
	all.arm()
	all.history.Add(api.Record{Kind: api.HoldBegun, App: all.app, By: r.By, For: l.length.Seconds()})
	all.logger.Info("hold started", "app", all.app, "by", r.By.String(), "limit_s", l.length.Seconds())
	return l
}

// rejoin returns the lease of a caller that asks again, or one that has ended; nil: it is not known.
func (all *leases) rejoin(id string) *lease {
	if id == "" {
		return nil
	}
	for _, l := range all.byName {
		if l.id != id {
			continue
		}
		if l.ends.Before(l.until) {
			l.ends = l.until
			all.relay.hold(remote.Hold{Name: l.name, Until: l.ends})
			all.arm()
		}
		return l
	}
	for _, e := range all.ended {
		if e.ID == id {
			l := &lease{id: id, length: time.Duration(e.Report.For * float64(time.Second)), ends: time.Now(), began: e.Began, over: make(chan struct{}), ended: &e.Report}
			close(l.over)
			return l
		}
	}
	return nil
}

// expire ends the leases that have passed their deadline.
func (all *leases) expire() {
	now := time.Now()
	for _, l := range all.byName {
		if !l.ends.After(now) {
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
	ended := handoff.EndedHold{ID: l.id, By: by, Began: l.began, Ended: time.Now(), Report: *l.ended}
	if l.id != "" {
		all.ended = append(slices.Clone(all.ended[max(0, len(all.ended)-maxEnded+1):]), ended)
	}
	all.unsaid = append(all.unsaid, ended)
}

// sayEnded logs the holds that have ended, and adds them to the history. A later supervisor must know that they
// have: else it ends them, too.
func (all *leases) sayEnded() {
	for i := range all.unsaid {
		e := &all.unsaid[i]
		if e.Report.Expired {
			all.logger.Warn("hold expired", "app", all.app, "by", e.By.String(), "limit_s", e.Report.For)
		}
		all.logger.Info("hold ended", "app", all.app, "by", e.By.String(), "duration_s", e.Report.Held, "held", e.Report.Requests.Held)
		all.history.Add(endOfHold(all.app, e))
	}
	all.unsaid = nil
}

// endOfHold is the record of the history of the end of a hold.
func endOfHold(app string, e *handoff.EndedHold) api.Record {
	requests := e.Report.Requests
	return api.Record{Time: e.Ended, Kind: api.HoldEnded, App: app, By: e.By, Expired: e.Report.Expired, Requests: &requests, Duration: e.Report.Held}
}
