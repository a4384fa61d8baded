package page

import (
	"strings"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/trend"
)

// Bounds of what the browser gets of one app.
const (
	maxText  = 300 // bytes of a sentence
	maxItems = 8   // of a list
)

// row is an app. It has moments instead of durations wherever it can, so that the row of an app that is
// left alone does not change.
type row struct {
	Name       string    `json:"name"`
	State      api.State `json:"state"`
	Generation int       `json:"gen"`
	Revision   string    `json:"revision,omitempty"`
	Web        bool      `json:"web"` // requests are relayed to it, and counted
	Pid        int       `json:"pid,omitempty"`
	Ready      int64     `json:"ready,omitempty"` // since when it serves, in ms since 1970; 0: it does not
	Listen     []string  `json:"listen,omitempty"`
	Probe      string    `json:"probe,omitempty"` // how readiness is asked

	PerSecond float64 `json:"rps"`
	Failing   float64 `json:"failing"` // per second, with a status of 500 or above
	InFlight  int     `json:"inflight"`
	Capacity  int     `json:"capacity,omitempty"`
	Held      int     `json:"held"`
	Oldest    float64 `json:"oldest,omitempty"` // how long the oldest is held, in s
	HoldLimit int     `json:"limit,omitempty"`
	HoldFor   float64 `json:"timeout,omitempty"`
	P50       float64 `json:"p50"` // in s; 0: no request has ended
	P95       float64 `json:"p95"`

	Memory    uint64  `json:"mem,omitempty"`
	MemoryMax uint64  `json:"memmax,omitempty"`
	CPU       float64 `json:"cpu,omitempty"` // of one CPU
	Processes int     `json:"procs,omitempty"`
	Restarts  int     `json:"restarts,omitempty"` // crashes

	Attention string   `json:"attention,omitempty"` // why one should look at it
	Warnings  []string `json:"warnings,omitempty"`
	Holds     []string `json:"holds,omitempty"`
	Drained   bool     `json:"drained,omitempty"`
	NextTry   int64    `json:"next,omitempty"` // backoff, failed: in ms since 1970

	Own       []cause      `json:"own,omitempty"`
	Operation *operation   `json:"operation,omitempty"`
	Compare   *trendChange `json:"compare,omitempty"`
}

// cause is how many requests tideover itself has ended, and why.
type cause struct {
	Text   string `json:"text"`
	Status string `json:"status"` // what the client got
	Count  uint64 `json:"n"`
}

// trendChange is trend.Comparison in the words of the browser.
type trendChange struct {
	*trend.Comparison
	Since int64 `json:"since"`
}

// operation is an operation that runs, or the last reload or restart: two generations on one line of
// time.
type operation struct {
	Verb     api.Verb           `json:"verb"`
	From     int                `json:"from"`
	To       int                `json:"to"`
	Revision api.RevisionPair   `json:"revision,omitzero"`
	Begun    int64              `json:"begun"` // in ms since 1970
	Running  bool               `json:"running"`
	Phases   []phase            `json:"phases"`
	Phase    string             `json:"phase,omitempty"`  // that runs
	Since    int64              `json:"since,omitempty"`  // when it began
	Ended    int64              `json:"ended,omitempty"`  // at the swap
	Result   string             `json:"result,omitempty"` // of one that has ended
	Error    string             `json:"error,omitempty"`
	Held     int                `json:"held,omitempty"`
	HeldMax  float64            `json:"heldmax,omitempty"`
	Lost     int                `json:"lost,omitempty"`
	Draining []drainingRequests `json:"draining,omitempty"`
	By       string             `json:"by,omitempty"`
}

type phase struct {
	Name     string  `json:"name"`
	Result   string  `json:"result"`
	Duration float64 `json:"s"`
}

// drainingRequests is what a generation still has to finish.
type drainingRequests struct {
	Generation int `json:"gen"`
	InFlight   int `json:"inflight"`
	Tunnels    int `json:"tunnels,omitempty"`
}

// before is what the row before had: moments are derived from durations, and jump by a few
// milliseconds from answer to answer.
func newRow(a *api.AppStatus, now time.Time, s trend.Summary, c *trend.Comparison, before *row) *row {
	r := &row{
		Name: a.Name, State: a.State, Generation: a.Generation, Revision: clip(a.Revision), Web: len(a.Listen) > 0 && a.Relay == "", Pid: a.Pid,
		Listen: clipAll(a.Listen), Probe: clip(a.Ready), PerSecond: round(a.RequestsPerSecond), Failing: round(a.FailingPerSecond),
		InFlight: a.InFlight, Capacity: a.Capacity, Held: a.Held, Oldest: a.HeldOldest, HoldLimit: a.HoldLimit, HoldFor: a.HoldFor,
		Memory: a.Memory, MemoryMax: a.MemoryMax, CPU: a.CPUShare, Processes: a.Processes, Restarts: a.Restarts,
		Warnings: clipAll(a.Warnings), Holds: holdNames(a.Holds), Drained: a.Drained != nil, Attention: clip(attention(a)), Own: ownErrors(a.Counters),
	}
	if before == nil {
		before = &row{}
	}
	if s.Known {
		r.PerSecond, r.Failing, r.P50, r.P95 = round(s.PerSecond), round(s.Failing), milli(s.P50), milli(s.P95)
	}
	if a.Generation > 0 {
		r.Ready = steady(now, -a.Uptime, before.Ready)
	}
	if a.Next > 0 {
		r.NextTry = steady(now, a.Next, before.NextTry)
	}
	if a.Processes == 0 && a.Generation > 0 && a.Pid == before.Pid { // this answer is without them
		r.Memory, r.CPU, r.Processes = before.Memory, before.CPU, before.Processes
	}
	if c != nil {
		r.Compare = &trendChange{Comparison: c, Since: c.Since.UnixMilli()}
	}
	r.Operation = newOperation(a, now, before.Operation)
	return r
}

// newOperation is the operation that runs, else the last reload or restart; nil: there was none.
func newOperation(a *api.AppStatus, now time.Time, before *operation) *operation {
	if before == nil {
		before = &operation{}
	}
	t := &operation{}
	switch o, last := a.Operation, a.LastReload; {
	case o != nil:
		*t = operation{Verb: o.Verb, From: o.Generation.From, To: o.Generation.To, Revision: o.Revision, Running: true, Phases: phases(o.Phases), Phase: o.Phase, By: o.By.Via}
		t.Begun = steady(now, -o.Duration, before.Begun)
		if o.Phase != "" {
			t.Since = steady(now, -o.PhaseTime, before.Since)
		}
	case last != nil:
		*t = operation{Verb: last.Verb, From: last.Generation.From, To: last.Generation.To, Revision: last.Revision, Phases: phases(last.Phases), Result: last.Result,
			Error: clip(last.Error), Ended: last.Ended.UnixMilli(), Held: last.Requests.Held, HeldMax: last.Requests.HeldMax, Lost: last.Requests.Lost}
		t.Begun = t.Ended - int64(last.Duration*1000)
		if last.Drain != nil && last.Drain.Result == "running" {
			t.Running, t.Phase, t.Since = true, "drain", t.Ended
		}
	default:
		return nil
	}
	for _, d := range a.Draining[:min(len(a.Draining), maxItems)] {
		t.Draining = append(t.Draining, drainingRequests{d.Generation, d.InFlight, d.Tunnels})
	}
	return t
}

func phases(all []api.PhaseResult) []phase {
	shown := []phase{}
	for _, p := range all[:min(len(all), 4*maxItems)] {
		if p.Name != "done" {
			shown = append(shown, phase{p.Name, p.Result, p.Duration})
		}
	}
	return shown
}

// ownErrors are the answers of tideover's own, by their cause.
func ownErrors(c api.Counters) (all []cause) {
	for _, o := range []cause{
		{"held longer than hold.timeout", "503", c.Expired}, {"more held than hold.limit", "503", c.Overflowed}, {"stopped, or given up", "503", c.Refused},
		{"the app gave no answer, or none that is HTTP", "502", c.BadGateway}, {"no answer within timeout", "504", c.TimedOut},
		{"the app ended within its answer", "cut", c.Cut}, {"malformed request", "4xx", c.BadRequest},
	} {
		if o.Count > 0 {
			all = append(all, o)
		}
	}
	return all
}

// attention is why one should look at the app; empty: no reason.
func attention(a *api.AppStatus) string {
	switch {
	case a.Reason != "" && a.State != api.Stopped:
		return a.Reason
	case len(a.Warnings) > 0:
		return a.Warnings[0]
	}
	return ""
}

// tolerance is by how much two answers disagree about the same moment, in ms.
const tolerance = 250

// steady is the moment that is s seconds after now, in ms since 1970: that of the answer before, if it
// is the same.
func steady(now time.Time, s float64, before int64) int64 {
	at := now.UnixMilli() + int64(s*1000)
	if d := at - before; -tolerance < d && d < tolerance {
		return before
	}
	return at
}

// clip bounds a sentence.
func clip(s string) string { return cut(s, maxText) }

// cut bounds a text, in bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func clipAll(all []string) []string {
	clipped := make([]string, 0, min(len(all), maxItems))
	for _, s := range all[:min(len(all), maxItems)] {
		clipped = append(clipped, clip(s))
	}
	return clipped
}

// holdNames are the holds without the callers: their arguments can be secret.
func holdNames(all []string) []string {
	names := clipAll(all)
	for i := range names {
		names[i], _, _ = strings.Cut(names[i], " (")
	}
	return names
}

// round keeps what the page shows of a rate.
func round(v float64) float64 { return float64(int64(v*10+0.5)) / 10 }

// milli rounds seconds to a tenth of a millisecond.
func milli(v float64) float64 { return float64(int64(v*10000+0.5)) / 10000 }
