package top

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"tideover/supervisor/api"
)

const (
	minWidth, minHeight = 40, 10
	// wide is from how many columns on the log is beside the app, not below it.
	wide = 140
	// minLog is how many lines the log has at least.
	minLog = 3
)

// View draws the screen.
func (m *model) View() tea.View {
	view := tea.NewView(m.draw())
	view.AltScreen = true
	view.WindowTitle = "tideover top"
	return view
}

func (m *model) draw() string {
	if m.width == 0 {
		return ""
	}
	if m.width < minWidth || m.height < minHeight {
		return ansi.Wrap(fmt.Sprintf("%d x %d is too small for this screen: it needs %d x %d", m.width, m.height, minWidth, minHeight), m.width, "")
	}
	lines := []string{m.header()}
	room := m.height - 2
	switch {
	case m.mode == help:
		lines = append(lines, panel("keys", "", helpLines, m.width, room)...)
	case m.mode == onlyHosts:
		lines = append(lines, m.hostPanel(m.width, room)...)
	case m.mode == onlyLog:
		lines = append(lines, m.logPanel(m.width, room)...)
	default:
		lines = append(lines, m.body(room)...)
	}
	lines = append(lines, m.footer())
	for i := range lines {
		lines[i] = fit(lines[i], m.width)
	}
	return strings.Join(lines, "\n")
}

// header says where this is, how the apps are, and whether the daemon answers.
func (m *model) header() string {
	text := " " + bold.Render("tideover")
	if m.options.Host != "" {
		text += " " + accent.Render(clean(m.options.Host))
	}
	counts := map[api.State]int{}
	uptime := 0.0
	for _, st := range m.answers {
		uptime = max(uptime, st.Uptime)
		for _, a := range st.Apps {
			counts[a.State]++
		}
	}
	if uptime > 0 {
		text += faint.Render("  up " + seconds(uptime))
	}
	for _, state := range []api.State{api.Running, api.Reloading, api.Holding, api.Starting, api.Backoff, api.Failed, api.Stopping, api.Stopped} {
		if n := counts[state]; n > 0 {
			text += "  " + stateStyle(state).Render(fmt.Sprintf("%s %d %s", marks[state], n, state))
		}
	}
	text += m.rolloutText()
	right := ""
	switch {
	case m.failure != "":
		right = bad.Render("✗ "+clean(m.failure)) + " "
	case !m.at.IsZero():
		right = faint.Render(m.at.Local().Format("15:04:05")) + " "
	}
	if m.busy > 0 {
		right = warning.Render("◐ ") + right
	}
	if m.failure != "" {
		return fit(" "+right, m.width)
	}
	return ends(text, right, m.width)
}

// body is the table, the chosen app and its log.
func (m *model) body(height int) []string {
	rows := min(max(len(m.rows), 1), max(3, height/3))
	right := faint.Render("by " + m.order.String())
	if m.filter != "" || m.typing {
		cursor := ""
		if m.typing {
			cursor = "▏"
		}
		right = accent.Render("/"+m.filter+cursor) + " " + right
	}
	title := "apps"
	if len(m.rows) > rows {
		title = fmt.Sprintf("apps %d-%d of %d", m.top+1, min(m.top+rows, len(m.rows)), len(m.rows))
	}
	drawn := panel(title, right, m.table(m.width-4, rows+1), m.width, rows+3)
	height -= len(drawn)
	i, found := m.selected()
	if !found {
		return append(drawn, panel("", "", nil, m.width, height)...)
	}
	r := m.rows[i]
	name := stateStyle(r.State).Render(marks[r.State]) + " " + clean(r.Name)
	if m.width >= wide {
		left := m.width * 3 / 5
		return append(drawn, beside(panel(name, "", m.detail(r, left-4, height-2), left, height), m.logPanel(m.width-left, height))...)
	}
	lines := m.detail(r, m.width-4, height-2-2-max(minLog, (height-4)/3))
	upper := min(len(lines)+2, height-2-minLog)
	if upper < 3 {
		return append(drawn, m.logPanel(m.width, height)...)
	}
	drawn = append(drawn, panel(name, "", lines, m.width, upper)...)
	return append(drawn, m.logPanel(m.width, height-upper)...)
}

func (m *model) logPanel(width, height int) []string {
	name := ""
	if i, found := m.selected(); found {
		name = " " + clean(m.rows[i].Name)
	}
	return panel("log"+name, "", m.logLines(width-4, height-2), width, height)
}

// keyNames are the keys in the footer, the most important first.
var keyNames = []struct{ key, does string }{
	{"q", "quit"}, {"?", "help"}, {"↑↓", "choose"}, {"r", "reload"}, {"h", "hold"}, {"u", "release"}, {"l", "log"}, {"R", "restart"}, {"f", "hosts"}, {"s", "sort"}, {"/", "filter"},
}

var helpLines = []string{
	"", "  ↑ ↓  k j       choose an app          PgUp PgDn Home End",
	"  l  Enter       only its log, and back",
	"  f              only the hosts of the fleet, and back",
	"  s              sort by name, req/s, held, p95, memory, CPU",
	"  /              show apps whose name has these letters; Esc: all",
	"  q  Ctrl-C      quit; what has begun goes on",
	"", "  These ask before they do it:", "",
	"  r              reload: new generation first, then the old one drains",
	"  R              restart: requests are held meanwhile",
	"  h              hold its requests for 30 s", "  u              release them",
	"", "  BUSY           requests in flight, of those that the workers handle at once",
	"  P50 P95        how long requests took for clients, of the last 10 s",
}

// footer is a question, the end of an operation, or the keys.
func (m *model) footer() string {
	switch {
	case m.asked != nil:
		return chosen.Render(" "+clean(m.asked.text)+" ") + "  " + bold.Render("y") + " yes  " + bold.Render("any other key") + " no"
	case m.notice != nil && m.notice.failed:
		text := " ✗ " + clean(m.notice.text)
		if m.notice.hint != "" {
			text += "; " + clean(m.notice.hint)
		}
		return bad.Render(text)
	case m.notice != nil:
		return good.Render(" ✓ " + clean(m.notice.text))
	case m.typing:
		return faint.Render(" type letters of a name  Enter: keep  Esc: all")
	}
	text := ""
	for _, k := range keyNames {
		if k.key == "f" && m.fleet == nil {
			continue
		}
		next := " " + bold.Render(k.key) + " " + faint.Render(k.does) + " "
		if ansi.StringWidth(text+next) > m.width {
			break
		}
		text += next
	}
	return text
}
