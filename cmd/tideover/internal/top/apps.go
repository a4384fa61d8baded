package top

import (
	"fmt"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"tideover/supervisor/api"
	"tideover/supervisor/trend"
)

// column is one of the table. Those of the lowest priority are left out first where the screen is
// narrow.
type column struct {
	head     string
	width    int
	right    bool
	priority int
	cell     func(m *model, r row) (text string, style lipgloss.Style)
}

// curveHead is the column that gets the width that is left.
const curveHead = "HELD, LAST MINUTE"

// columns are all of them.
func columns() []column {
	return []column{
		{"APP", 6, false, 99, nameCell},
		{"STATE", 11, false, 98, stateCell},
		{"GEN", 4, true, 60, func(_ *model, r row) (string, lipgloss.Style) { return orDash(r.Generation), plainest }},
		{"REVISION", 14, false, 10, func(_ *model, r row) (string, lipgloss.Style) { return clean(r.Revision), plainest }},
		{"REQ/S", 6, true, 90, func(_ *model, r row) (string, lipgloss.Style) { return web(r, number(rate(r))), plainest }},
		{"5XX/S", 5, true, 70, func(_ *model, r row) (string, lipgloss.Style) {
			if n := failing(r); n > 0 {
				return web(r, number(n)), bad
			}
			return web(r, "0"), faint
		}},
		{"P50", 5, true, 30, func(_ *model, r row) (string, lipgloss.Style) { return latency(r, r.P50), plainest }},
		{"P95", 5, true, 80, func(_ *model, r row) (string, lipgloss.Style) { return latency(r, r.P95), plainest }},
		{"BUSY", 7, true, 75, busyCell},
		{"HELD", 5, true, 95, func(_ *model, r row) (string, lipgloss.Style) {
			if r.Held > 0 {
				return web(r, strconv.Itoa(r.Held)), warning
			}
			return web(r, "0"), faint
		}},
		{curveHead, 9, false, 40, func(*model, row) (string, lipgloss.Style) { return "", plainest }},
		{"MEM", 5, true, 55, func(_ *model, r row) (string, lipgloss.Style) {
			if r.MemoryMax > 0 && r.Memory > r.MemoryMax*9/10 {
				return size(r.Memory), warning
			}
			return size(r.Memory), plainest
		}},
		{"CPU", 5, true, 45, func(_ *model, r row) (string, lipgloss.Style) { return percent(r.CPUShare), plainest }},
		{"AGE", 4, true, 50, func(_ *model, r row) (string, lipgloss.Style) { return dashIfZero(seconds(r.Uptime)), plainest }},
		{"PID", 8, true, 5, func(_ *model, r row) (string, lipgloss.Style) { return orDash(r.Pid), faint }},
	}
}

// fitting are the columns that fit into the width, and the width of the curve. A column for which no
// app has a value is left out.
func (m *model) fitting(width int) []column {
	shown := columns()
	for i := range shown {
		if shown[i].head == "APP" {
			for _, r := range m.rows {
				shown[i].width = min(max(shown[i].width, ansi.StringWidth(r.Name)), 24, width/4)
			}
		}
	}
	revision := false
	for _, r := range m.rows {
		revision = revision || r.Revision != ""
	}
	if !revision {
		shown = without(shown, func(c column) bool { return c.head == "REVISION" })
	}
	for {
		total := 2
		least := 0
		for i, c := range shown {
			total += c.width + 1
			if c.priority < shown[least].priority {
				least = i
			}
		}
		if total-1 <= width || len(shown) <= 2 {
			for i := range shown {
				if shown[i].head == curveHead {
					shown[i].width = min(60, shown[i].width+width-total+1)
				}
			}
			return shown
		}
		priority := shown[least].priority
		shown = without(shown, func(c column) bool { return c.priority == priority })
	}
}

func without(all []column, drop func(column) bool) (kept []column) {
	for _, c := range all {
		if !drop(c) {
			kept = append(kept, c)
		}
	}
	return kept
}

// table draws the head and the rows that fit into the height.
func (m *model) table(width, height int) []string {
	shown := m.fitting(width)
	var head strings.Builder
	head.WriteString("  ")
	for i, c := range shown {
		if i > 0 {
			head.WriteByte(' ')
		}
		text := c.head
		if c.head == curveHead && c.width < len(curveHead) {
			text = "" // the head beside it says what it is
		}
		if c.right {
			head.WriteString(fitRight(text, c.width))
		} else {
			head.WriteString(fit(text, c.width))
		}
	}
	lines := []string{faint.Render(head.String())}
	room := max(1, height-1)
	if i, found := m.selected(); found {
		m.top = min(max(m.top, i-room+1), i)
	}
	m.top = max(0, min(m.top, len(m.rows)-room))
	for _, r := range m.rows[m.top:min(len(m.rows), m.top+room)] {
		lines = append(lines, m.line(r, shown))
	}
	if len(m.rows) == 0 {
		lines = append(lines, faint.Render("  no app"))
	}
	return lines
}

// line draws an app. The chosen one is reversed, and has a mark.
func (m *model) line(r row, shown []column) string {
	selected := r.key() == m.chosen
	var b strings.Builder
	paint := func(style lipgloss.Style, text string) {
		if selected {
			style = chosen
		}
		b.WriteString(style.Render(text))
	}
	mark := "  "
	if selected {
		mark = "▸ "
	}
	paint(plainest, mark)
	for i, c := range shown {
		if i > 0 {
			paint(plainest, " ")
		}
		if c.head == curveHead {
			curve := strings.Repeat(" ", c.width)
			if isWeb(r.AppStatus) {
				curve = spark(m.curve(r, c.width, heldOf), c.width, warning)
			}
			if selected {
				curve = chosen.Render(clean(curve))
			}
			b.WriteString(curve)
			continue
		}
		text, style := c.cell(m, r)
		if c.right {
			paint(style, fitRight(text, c.width))
		} else {
			paint(style, fit(text, c.width))
		}
	}
	return b.String()
}

func nameCell(_ *model, r row) (string, lipgloss.Style) { return clean(r.Name), bold }

// marks are the symbols of the states.
var marks = map[api.State]string{api.Running: "●", api.Starting: "◌", api.Reloading: "◐", api.Holding: "‖", api.Backoff: "✗", api.Failed: "✗",
	api.Stopped: "○", api.Stopping: "◌"}

func stateCell(_ *model, r row) (string, lipgloss.Style) {
	return marks[r.State] + " " + clean(string(r.State)), stateStyle(r.State)
}

func stateStyle(s api.State) lipgloss.Style {
	switch s {
	case api.Running:
		return good
	case api.Failed, api.Backoff:
		return bad
	case api.Stopped:
		return faint
	}
	return warning
}

// busyCell is the requests in flight, of those that the workers handle at once.
func busyCell(_ *model, r row) (string, lipgloss.Style) {
	switch {
	case !isWeb(r.AppStatus):
		return "-", faint
	case r.Capacity == 0:
		return strconv.Itoa(r.InFlight), plainest
	case r.InFlight >= r.Capacity:
		return fmt.Sprintf("%d/%d", r.InFlight, r.Capacity), warning
	}
	return fmt.Sprintf("%d/%d", r.InFlight, r.Capacity), plainest
}

// isWeb reports whether requests are relayed to the app, and counted.
func isWeb(a api.AppStatus) bool { return len(a.Listen) > 0 && a.Relay == "" }

func web(r row, text string) string {
	if !isWeb(r.AppStatus) {
		return "-"
	}
	return text
}

// rate and failing are the daemon's own until this screen has two answers.
func rate(r row) float64 {
	if r.Known {
		return r.Summary.PerSecond
	}
	return r.RequestsPerSecond
}

func failing(r row) float64 {
	if r.Known {
		return r.Summary.Failing
	}
	return r.FailingPerSecond
}

func latency(r row, s float64) string {
	if s == 0 {
		return "-"
	}
	return seconds(s)
}

func orDash(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func dashIfZero(text string) string {
	if text == "0" {
		return "-"
	}
	return text
}

// curve is the last values of a curve of the app.
func (m *model) curve(r row, n int, of func(trend.Point) float64) []float64 {
	points := m.records[r.daemon].Newest(r.Name, n)
	values := make([]float64, len(points))
	for i, p := range points {
		values[i] = of(p)
	}
	return values
}

func heldOf(p trend.Point) float64    { return float64(p.Held) }
func rateOf(p trend.Point) float64    { return float64(p.PerSecond) }
func latencyOf(p trend.Point) float64 { return float64(p.P95) }
