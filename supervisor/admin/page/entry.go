package page

import (
	"cmp"
	"fmt"
	"strings"

	"tideover/supervisor/api"
)

// entry is a record of the history as the page shows it. It has nothing of what an app has written.
type entry struct {
	ID     uint64   `json:"id"`
	Time   int64    `json:"time"` // in ms since 1970
	App    string   `json:"app,omitempty"`
	Tone   string   `json:"tone"` // ok, warn, bad, or empty
	What   string   `json:"what"`
	More   []string `json:"more,omitempty"`
	By     string   `json:"by,omitempty"`
	Phases []phase  `json:"phases,omitempty"`
}

// newEntry returns nil for a record that the page does not list: the beginning of an operation, which
// it shows while that runs.
func newEntry(r *api.Record) *entry {
	e := &entry{ID: r.ID, Time: r.Time.UnixMilli(), App: clip(r.App), By: clip(via(r.By))}
	add := func(format string, args ...any) { e.More = append(e.More, clip(fmt.Sprintf(format, args...))) }
	switch r.Kind {
	case api.OperationBegun:
		return nil
	case api.OperationEnded:
		e.Tone = "ok"
		if r.Exit != nil && *r.Exit != api.ExitOK {
			e.Tone = "bad"
		}
		e.What, e.Phases = fmt.Sprintf("%s %s in %s", r.Verb, r.Result, seconds(r.Duration)), phases(r.Phases)
	case api.DrainEnded:
		e.What = "old generation gone after " + seconds(r.Duration)
	case api.AppStarted:
		e.Tone = "ok"
		if r.Result != "ok" {
			e.Tone = "bad"
		}
		e.What = fmt.Sprintf("start %s", r.Result)
		if r.Cause != "" && r.Cause != "start" {
			add("because %s", r.Cause)
		}
	case api.AppCrashed:
		e.Tone, e.What = "bad", fmt.Sprintf("crash after %s: %s", seconds(r.Duration), r.Cause)
	case api.AppDown:
		e.Tone, e.What = "bad", "left down: "+r.Cause
	case api.HoldBegun:
		e.Tone, e.What = "warn", "hold for "+seconds(r.For)
	case api.HoldEnded:
		e.What = "released after " + seconds(r.Duration)
		if r.Expired {
			e.What = "hold expired after " + seconds(r.Duration)
		}
	case api.ConfigApplied:
		if e.What = "configuration " + cmp.Or(r.Result, "applied"); r.Exit != nil && *r.Exit != api.ExitOK {
			e.Tone = "bad"
		}
		for _, c := range r.Changes[:min(len(r.Changes), maxItems)] {
			add("%s %s", c.App, c.Change)
		}
	case api.DaemonChanged:
		e.What = fmt.Sprintf("tideover %s %s", r.Version, r.Result)
	case api.RecordsLost:
		e.Tone, e.What = "warn", fmt.Sprintf("%d records not written: %s", r.Count, r.Cause)
	default:
		e.What = string(r.Kind) // of a newer daemon
	}
	e.What = clip(e.What)
	if g := r.Generation; g != (api.GenerationPair{}) {
		add("generation %s", change(number(g.From), number(g.To)))
	}
	if v := r.Revision; v != (api.RevisionPair{}) {
		add("revision %s", change(v.From, v.To))
	}
	if q := r.Requests; q != nil {
		if q.Held > 0 {
			add("%d held, longest %s", q.Held, seconds(q.HeldMax))
		}
		add("%d lost", q.Lost)
	}
	if r.Cause != "" && r.Kind == api.OperationEnded {
		add("because %s", r.Cause)
	}
	if r.Error != "" {
		add("%s", r.Error)
	}
	return e
}

// via is the caller without its command line: the arguments can be secret.
func via(c api.Caller) string {
	switch {
	case c.Via == api.ViaClient:
		return fmt.Sprintf("%s, uid %d", c.Via, c.UID)
	case c.Address != "":
		return c.Via + ", " + c.Address
	}
	return c.Via
}

// change is "7 → 8", or "8" where nothing has changed.
func change(from, to string) string {
	switch {
	case from == to, from == "":
		return to
	case to == "":
		return from
	}
	return from + " → " + to
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// seconds is a duration for people.
func seconds(s float64) string {
	switch {
	case s < 0.9995:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 9.95:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", s), ".0") + " s"
	case s < 119.5:
		return fmt.Sprintf("%.0f s", s)
	case s < 2*3600:
		return fmt.Sprintf("%.0f min", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%.0f h", s/3600)
	}
	return fmt.Sprintf("%.0f d", s/86400)
}
