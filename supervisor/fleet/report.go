package fleet

import (
	"maps"
	"slices"
)

// Report is what people and scripts see of a fleet. Its JSON is fixed: keys may be added.
type Report struct {
	Group   string       `json:"group"`
	Rollout *Rollout     `json:"rollout,omitempty"` // the last one; nil: there was none
	Hosts   []HostReport `json:"hosts"`
}

// Rollout is the rollout under way, or the last one.
type Rollout struct {
	Wish
	State State        `json:"state"`
	Halt  *Halt        `json:"halt,omitempty"`
	Hosts []TurnReport `json:"hosts"` // of the members
	// Exit is the exit code of a command that waits for the rollout; -1: it goes on.
	Exit int `json:"exit"`
}

// TurnState is how far a host is.
type TurnState string

const (
	Waiting TurnState = "waiting"
	Queued  TurnState = "queued"
	Turning TurnState = "reloading" // its turn is open
	Serving TurnState = "ok"
	Broken  TurnState = "failed"
	Omitted TurnState = "skipped"
	Missing TurnState = "away" // its tideover is not there
	Gone    TurnState = "gone" // it is not there, and its turn is open
)

// TurnReport is a host's part in a rollout.
type TurnReport struct {
	Host  string    `json:"host"`
	State TurnState `json:"state"`
	Done  *Done     `json:"done,omitempty"`
}

// HostReport is a member of the fleet.
type HostReport struct {
	Name string `json:"name"`
	Host
}

// Report returns what the view shows.
func (v *View) Report(group string) Report {
	r := Report{Group: group, Hosts: []HostReport{}}
	for _, name := range slices.Sorted(maps.Keys(v.hosts)) {
		r.Hosts = append(r.Hosts, HostReport{name, v.hosts[name].record})
	}
	if v.wish == nil {
		return r
	}
	r.Rollout = &Rollout{Wish: v.wish.record, State: v.state(), Halt: v.halt(), Exit: -1}
	for _, host := range v.wish.record.Members {
		r.Rollout.Hosts = append(r.Rollout.Hosts, v.turnReport(host))
	}
	// A rollout that has stopped is over when nobody is in the middle of a turn that it knows of.
	switch r.Rollout.State {
	case Complete:
		r.Rollout.Exit = 0
	case Halted, Aborted:
		if !slices.ContainsFunc(r.Rollout.Hosts, func(t TurnReport) bool { return t.State == Turning }) {
			r.Rollout.Exit = 11
		}
	}
	return r
}

func (v *View) turnReport(host string) TurnReport {
	t := turnKey{v.wish.record.id(), host}
	report := TurnReport{Host: host, State: Waiting}
	d, closed := v.done[t]
	if closed {
		report.Done = &d.record
	}
	_, here := v.hosts[host]
	_, queued := v.slots[host]
	switch {
	case v.open[t] && queued:
		report.State = Turning
	case v.open[t]:
		report.State = Gone
	case !v.wish.record.concerns(host):
		report.State = Omitted
	case closed && d.record.Outcome == OK:
		report.State = Serving
	case closed && d.record.Outcome == Skipped:
		report.State = Omitted
	case closed && d.record.Outcome == Failed && !v.needs(host):
		report.State = Broken
	case !here:
		report.State = Missing
	case queued:
		report.State = Queued
	}
	return report
}

// Past returns the rollouts before the last one, the newest first.
func (v *View) Past() (all []Past) {
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(v.history))) {
		all = append(all, v.history[id])
	}
	return all
}
