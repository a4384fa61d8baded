package supervisor

import (
	"context"
	"sync"
	"time"
)

const (
	// signalTime is the part of an app's time in a bounded shutdown that comes after the drain:
	// one fifth, but at most maxSignalTime. The app has the stop signal then.
	signalTime    = 5
	maxSignalTime = 5 * time.Second
	// killTime is the part of a bounded shutdown that comes after SIGKILL, for the end of the
	// processes, of connections and of the output: one fifth, but at most maxKillTime.
	killTime    = 5
	maxKillTime = 2 * time.Second
)

// deadline bounds the stop of one app when the daemon has a stop_timeout. Its contexts end in
// this order, if they are not needed any more before.
type deadline struct {
	drains context.Context // ends: requests in flight have had their time, the stop signal is sent
	graces context.Context // ends: what still lives gets SIGKILL

	endDrains, endGraces context.CancelFunc

	mu     sync.Mutex
	timers []*time.Timer
}

// newDeadline returns a deadline without a time. It ends with hurry.
func newDeadline(hurry context.Context) *deadline {
	d := &deadline{}
	d.graces, d.endGraces = context.WithCancel(hurry)
	d.drains, d.endDrains = context.WithCancel(d.graces)
	return d
}

// limitStop has the stop of the app end at a time. A drain ends before.
func (a *App) limitStop(end time.Time) {
	d, left := a.deadline, time.Until(end)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timers = append(d.timers,
		time.AfterFunc(left-min(left/signalTime, maxSignalTime), func() {
			if n := a.snapshot.Load().inFlight(); n > 0 {
				a.logger.Warn("drain ended by stop_timeout", "app", a.name, "in_flight", n)
			}
			d.endDrains()
		}),
		time.AfterFunc(left, func() {
			if !isClosed(a.closed) {
				a.logger.Warn("processes killed by stop_timeout", "app", a.name)
			}
			d.endGraces()
		}))
}

// close stops the timers, when the app has ended.
func (d *deadline) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, timer := range d.timers {
		timer.Stop()
	}
}

// limitStop sets the deadline of every app, so that the shutdown ends at s.stopBy. The time is
// divided among apps that stop one after another because of `after`: an app that others
// follow has to leave them their part. What an app does not need is left to those that follow.
func (s *Supervisor) limitStop() {
	end, limited := s.stopBy()
	if !limited {
		return
	}
	left := max(0, time.Until(end))
	kill := min(left/killTime, maxKillTime)
	entries := s.registry.all()
	time.AfterFunc(left-kill/2, func() {
		s.rush()
		for _, e := range entries {
			e.app.relay.cut() // a client that reads slowly
		}
	})
	following := stopsAfter(entries)
	steps := 1
	for _, n := range following {
		steps = max(steps, n+1)
	}
	step := (left - kill) / time.Duration(steps)
	for _, e := range entries {
		e.app.limitStop(end.Add(-kill - time.Duration(following[e])*step))
	}
}

// stopsAfter is, for each entry, the length of the longest chain of apps that stop after it.
func stopsAfter(entries []*entry) map[*entry]int {
	lengths := map[*entry]int{}
	var length func(e *entry) int
	length = func(e *entry) int {
		if known, ok := lengths[e]; ok {
			return known // 0 in a circle
		}
		lengths[e] = 0
		longest := 0
		for _, other := range entries {
			if e.dependsOn(other) { // other stops after e
				longest = max(longest, length(other)+1)
			}
		}
		lengths[e] = longest
		return longest
	}
	for _, e := range entries {
		length(e)
	}
	return lengths
}
