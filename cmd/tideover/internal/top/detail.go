package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
	"tideover/supervisor/trend"
)

// detail draws the chosen app: facts, curves, and the operation that runs or ran last.
func (m *model) detail(r row, width, height int) []string {
	lines := m.facts(r, width)
	turns := m.operationLines(r, width)
	if room := height - len(lines) - len(turns); isWeb(r.AppStatus) && room >= 2 {
		lines = append(lines, m.curves(r, width, min(room-1, 8))...)
	}
	return append(lines, turns...)
}

// facts are what the table has no room for, and what needs attention.
func (m *model) facts(r row, width int) []string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, faint.Render(name)+" "+clean(value))
		}
	}
	add("listen", strings.Join(r.Listen, " "))
	add("revision", r.Revision)
	add("pid", dashIfZero(orDash(r.Pid)))
	if r.Processes > 0 {
		add("processes", fmt.Sprint(r.Processes))
	}
	add("dir", r.Directory)
	add("says", r.Says)
	lines := []string{strings.Join(parts, "  ")}
	if causes := ownErrors(r.Counters); causes != "" {
		lines = append(lines, faint.Render("own errors since the start")+"  "+warning.Render(causes))
	}
	if what := attention(r); what != "" {
		lines = append(lines, warning.Render("! "+clean(what)))
	}
	return lines
}

// ownErrors are the answers of tideover's own, by their cause.
func ownErrors(c api.Counters) string {
	var parts []string
	for _, cause := range []struct {
		n    uint64
		name string
	}{
		{c.Expired, "held too long"}, {c.Overflowed, "too many held"}, {c.BadGateway, "app gave no answer"}, {c.TimedOut, "app too slow"},
		{c.Cut, "cut"}, {c.Refused, "refused"}, {c.BadRequest, "malformed"},
	} {
		if cause.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", cause.n, cause.name))
		}
	}
	return strings.Join(parts, " · ")
}

// attention is why one should look at the app; empty: no reason.
func attention(r row) string {
	switch {
	case r.Reason != "" && r.Next > 0:
		return r.Reason + "; the next try is in " + seconds(r.Next)
	case r.Reason != "" && r.State != api.Stopped:
		return r.Reason
	case len(r.Holds) > 0:
		return "its requests are held by " + strings.Join(r.Holds, ", ")
	case len(r.Warnings) > 0:
		return r.Warnings[0]
	}
	return ""
}

// curves draws requests, latency and held requests side by side.
func (m *model) curves(r row, width, height int) []string {
	gap := 3
	each := (width - 2*gap) / 3
	if each < 12 {
		return nil
	}
	label := func(name, now string, values []float64, show func(float64) string) string {
		highest := 0.0
		for _, v := range values {
			highest = max(highest, v)
		}
		return ends(faint.Render(name)+" "+bold.Render(now), faint.Render("max "+show(highest)), each)
	}
	rates, latencies, held := m.curve(r, each, rateOf), m.curve(r, each, latencyOf), m.curve(r, each, heldOf)
	space := strings.Repeat(" ", gap)
	lines := []string{label("req/s", number(rate(r)), rates, number) + space + label("p95", latency(r, r.P95), latencies, seconds) + space +
		label("held", fmt.Sprint(r.Held), held, number)}
	one, two, three := chart(rates, each, height, accent), chart(latencies, each, height, second), chart(held, each, height, warning)
	for y := range height {
		lines = append(lines, one[y]+space+two[y]+space+three[y])
	}
	return lines
}

// part is what a generation did for a time, in seconds since the operation began.
type part struct {
	from, to float64
	doing    doing
}

type doing int

const (
	serving doing = iota
	startingUp
	draining
)

// timeline is an operation as a timeline of two generations.
type timeline struct {
	verb     api.Verb
	pair     api.GenerationPair
	revision api.RevisionPair
	phases   []api.PhaseResult
	phase    string // that runs
	phaseFor float64
	total    float64
	result   *api.Result // nil: it runs
	old, new []part
}

// timelineOf is the operation that runs, else the last reload or restart; nil: there is none.
func timelineOf(a api.AppStatus, now time.Time) *timeline {
	t := &timeline{}
	switch o, last := a.Operation, a.LastReload; {
	case o != nil:
		t.verb, t.pair, t.revision, t.phases, t.phase, t.phaseFor, t.total = o.Verb, o.Generation, o.Revision, o.Phases, o.Phase, o.PhaseTime, o.Duration
	case last != nil:
		t.verb, t.pair, t.revision, t.phases, t.total, t.result = last.Verb, last.Generation, last.Revision, last.Phases, last.Duration, last
		if d := last.Drain; d != nil && d.Result == "running" {
			t.phase, t.phaseFor = "drain", max(0, now.Sub(last.Ended).Seconds())
			t.total += t.phaseFor
		}
	default:
		return nil
	}
	t.phases = slices.DeleteFunc(slices.Clone(t.phases), func(p api.PhaseResult) bool { return p.Name == "done" })
	t.draw()
	return t
}

// draw makes the parts of both generations from the phases.
func (t *timeline) draw() {
	at, gone, began, serves := 0.0, -1.0, -1.0, -1.0
	step := func(name string, took float64, ended bool) {
		switch name {
		case "hold":
			gone = at
		case "start":
			began = at
		}
		at += took
		if ended && (name == "swap" || name == "release") {
			serves = at
			if gone < 0 {
				gone = at
			}
		}
	}
	drained := -1.0
	for _, p := range t.phases {
		if p.Name == "drain" && gone >= 0 {
			drained = gone + p.Duration
		}
		step(p.Name, p.Duration, true)
	}
	if t.phase != "" {
		step(t.phase, t.phaseFor, false)
	}
	t.total = max(t.total, at, 0.001)
	if t.pair.From > 0 {
		end := t.total
		if gone >= 0 {
			end = gone
		}
		t.old = append(t.old, part{0, end, serving})
		switch {
		case gone >= 0 && drained >= 0:
			t.old = append(t.old, part{gone, drained, draining})
		case gone >= 0 && (t.result == nil || t.phase != ""):
			until := t.total
			if began > gone {
				until = began
			}
			t.old = append(t.old, part{gone, until, draining})
		case gone >= 0 && began > gone:
			t.old = append(t.old, part{gone, began, draining})
		}
	}
	if began >= 0 {
		end := t.total
		if serves >= 0 {
			end = serves
		}
		t.new = append(t.new, part{began, end, startingUp})
		if serves >= 0 {
			t.new = append(t.new, part{serves, t.total, serving})
		}
	}
}

// bar draws the parts of a generation.
func (t *timeline) bar(parts []part, width int) string {
	kinds := make([]int, width)
	for i := range kinds {
		kinds[i] = -1
	}
	for _, p := range parts {
		from, to := int(p.from/t.total*float64(width)), int(p.to/t.total*float64(width)+0.5)
		for i := min(from, width-1); i < max(min(to, width), min(from, width-1)+1); i++ {
			kinds[i] = int(p.doing)
		}
	}
	var b strings.Builder
	for _, kind := range kinds {
		switch kind {
		case int(serving):
			b.WriteString(good.Render("━"))
		case int(startingUp):
			b.WriteString(accent.Render("┅"))
		case int(draining):
			b.WriteString(warning.Render("╌"))
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// operationLines draw the operation that runs or ran last, and what the requests were like before and
// after it.
func (m *model) operationLines(r row, width int) []string {
	t := timelineOf(r.AppStatus, m.at)
	if t == nil {
		return nil
	}
	lines := []string{"", t.heading(m.at, width)}
	if t.pair.From == t.pair.To && len(t.new) == 0 {
		return lines
	}
	if t.pair.From > 0 {
		lines = append(lines, m.generationLine("old", r, t.pair.From, t, t.old, width))
	}
	if t.pair.To != t.pair.From || len(t.new) > 0 {
		lines = append(lines, m.generationLine("new", r, t.pair.To, t, t.new, width))
	}
	if c := m.records[r.daemon].Comparison(r.Name); c != nil && c.To == t.pair.To {
		lines = append(lines, comparisonLine(*c))
	}
	return lines
}

func change(from, to string) string { return from + " → " + to }

// heading has the phases of the operation with their times.
func (t *timeline) heading(now time.Time, width int) string {
	text := bold.Render(string(t.verb))
	if t.pair.From != t.pair.To {
		text += " " + change(orDash(t.pair.From), orDash(t.pair.To))
	}
	if v := t.revision; v.From != v.To && width >= 100 {
		text += "  " + accent.Render(clean(change(cmp.Or(v.From, "-"), cmp.Or(v.To, "-"))))
	}
	if len(t.phases) == 0 && t.phase == "" && t.result == nil {
		text += "  " + warning.Render("◐ settings")
	}
	for _, p := range t.phases {
		mark, style := "✓", good
		if p.Result == "failed" {
			mark, style = "✗", bad
		}
		text += "  " + style.Render(mark) + " " + p.Name + " " + faint.Render(seconds(p.Duration))
	}
	if t.phase != "" {
		text += "  " + warning.Render("◐ "+t.phase) + " " + faint.Render(seconds(t.phaseFor))
	}
	right := ""
	if t.result != nil {
		style := good
		if t.result.Exit != api.ExitOK {
			style = bad
		}
		right = style.Render(clean(t.result.Result))
		if !t.result.Plain {
			right += faint.Render(fmt.Sprintf("  held %d  lost %d", t.result.Requests.Held, t.result.Requests.Lost))
		}
		right += faint.Render("  " + seconds(max(0, now.Sub(t.result.Ended).Seconds())) + " ago")
	}
	return ends(text, right, width)
}

// generationLine draws one of the two generations: number, what it did when, and its requests.
func (m *model) generationLine(name string, r row, generation int, t *timeline, parts []part, width int) string {
	doing := "gone"
	inFlight := ""
	if n, has := generations(r.AppStatus)[generation]; has {
		doing = "drains"
		if generation == r.Generation {
			doing = "serves"
		}
		if isWeb(r.AppStatus) {
			inFlight = fmt.Sprintf("%3d in flight ", n)
		}
	} else if name == "new" && t.result == nil {
		doing = "starts"
	} else if name == "new" && t.result.Exit != api.ExitOK {
		doing = "failed"
	}
	label := fit(fmt.Sprintf("%s %-4d %s", name, generation, doing), 16)
	right := inFlight
	if inFlight != "" && width > 70 {
		values := []float64{}
		for _, n := range m.inFlight[generationKey(r.daemon, r.Name, generation)] {
			values = append(values, float64(n))
		}
		right += spark(values, 12, plainest)
	}
	const rightWidth = 28
	bars := width - 16 - rightWidth - 2
	if bars < 10 {
		return fit(label+" "+right, width)
	}
	return label + " " + t.bar(parts, bars) + " " + fitRight(right, rightWidth)
}

// comparisonLine is what the requests were like under both generations.
func comparisonLine(c trend.Comparison) string {
	style := func(worse bool) lipgloss.Style {
		if worse {
			return bad
		}
		return good
	}
	if c.New.Requests == 0 {
		return faint.Render("new against old  no request yet")
	}
	return faint.Render("new against old  p95 ") + seconds(c.Old.P95) + " → " + style(c.New.P95 > 1.25*c.Old.P95 && c.Old.P95 > 0).Render(seconds(c.New.P95)) +
		faint.Render("   5xx ") + percent(c.Old.FailedShare()) + " → " + style(c.New.FailedShare() > c.Old.FailedShare()+0.001).Render(percent(c.New.FailedShare())) +
		faint.Render(fmt.Sprintf("   %d requests before, %d since", c.Old.Requests, c.New.Requests))
}

// logLines draws the last lines of the app.
func (m *model) logLines(width, height int) []string {
	lines := m.lines[max(0, len(m.lines)-height):]
	drawn := make([]string, 0, height)
	for _, l := range lines {
		style := plainest
		switch l.Stream {
		case logs.Stderr:
			style = warning
		case logs.Note:
			style = accent
		case logs.Access:
			style = faint
		}
		stamp := faint.Render(fmt.Sprintf("%s %3d ", l.Time.Local().Format("15:04:05"), l.Generation))
		drawn = append(drawn, stamp+style.Render(fit(clean(l.Text), max(0, width-13))))
	}
	return drawn
}
