package top

import (
	"fmt"
	"strconv"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"tideover/supervisor/api"
)

// rolloutText is what the header says of the fleet: of a rollout that goes on or has halted.
func (m *model) rolloutText() string {
	if m.fleet == nil || m.fleet.Rollout == nil {
		return ""
	}
	switch r := m.fleet.Rollout; r.State {
	case "running":
		return warning.Render(fmt.Sprintf("  ◐ rollout %d/%d", r.Done, r.Of))
	case "halted":
		return bad.Render("  ✗ rollout halted")
	}
	return ""
}

// hostPanel shows the hosts of the fleet.
func (m *model) hostPanel(width, height int) []string {
	f := m.fleet
	title := fmt.Sprintf("hosts of %s", clean(f.Group))
	right := ""
	if r := f.Rollout; r != nil {
		right = fmt.Sprintf("rollout %d of %s %s: %s, %d of %d", r.ID, clean(r.App), clean(r.Revision), r.State, r.Done, r.Of)
		if ansi.StringWidth(title)+ansi.StringWidth(right) > width-12 {
			right = fmt.Sprintf("%s, %d of %d", r.State, r.Done, r.Of)
		}
	}
	lines := m.hostNotes()
	name := 6
	for _, h := range f.Hosts {
		name = min(max(name, ansi.StringWidth(h.Name)), 24, width/4)
	}
	lines = append(lines, faint.Render(hostLine(name, "HOST", "ROLLOUT", "APP", "STATE", "GEN", "REVISION")))
	room := max(1, height-2-len(lines))
	m.firstHost = max(0, min(m.firstHost, len(f.Hosts)-room))
	for _, h := range f.Hosts[m.firstHost:min(len(f.Hosts), m.firstHost+room)] {
		lines = append(lines, m.hostRow(h, name))
	}
	if len(f.Hosts) > room || f.Members > len(f.Hosts) {
		title += fmt.Sprintf(" %d-%d of %d", m.firstHost+1, min(m.firstHost+room, len(f.Hosts)), f.Members)
	}
	return panel(title, right, lines, width, height)
}

// hostNotes are why a rollout has halted, what this host waits for, and why it is no member.
func (m *model) hostNotes() (notes []string) {
	if r := m.fleet.Rollout; r != nil && r.Halted != "" {
		notes = append(notes, bad.Render("✗ halted at "+clean(r.Halted)))
	}
	if m.fleet.Behind != "" {
		notes = append(notes, warning.Render("◌ a turn of this host waits for "+clean(m.fleet.Behind)))
	}
	if m.fleet.Error != "" {
		notes = append(notes, bad.Render("✗ as last known: "+clean(m.fleet.Error)))
	}
	return notes
}

func hostLine(name int, host, turn, app, state, generation, revision string) string {
	return fit(host, name) + " " + fit(turn, 11) + " " + fit(app, 14) + " " + fit(state, 11) + " " + fitRight(generation, 5) + " " + revision
}

func (m *model) hostRow(h api.FleetHost, name int) string {
	turn := h.Turn
	if turn == "" && !h.Here {
		turn = "away"
	}
	style, symbol := turnStyle(turn)
	app, state, generation, revision := "–", "–", "–", ""
	if a := h.App; a != nil {
		app, state, revision = clean(a.Name), marks[api.State(a.State)]+" "+clean(a.State), clean(a.Revision)
		if h.Apps > 1 {
			app += fmt.Sprintf(" +%d", h.Apps-1)
		}
		generation = strconv.Itoa(a.Generation)
	}
	host := fit(clean(h.Name), name)
	if h.Name == m.fleet.Host {
		host = accent.Render(host) // beside the word in the title of the screen
	}
	return host + " " + style.Render(fit(symbol+" "+clean(turn), 11)) + " " + fit(app, 14) + " " + fit(state, 11) + " " + fitRight(generation, 5) + " " + revision
}

// turnStyle is the colour and the symbol of a host's part in the last rollout.
func turnStyle(turn string) (lipgloss.Style, string) {
	switch turn {
	case "":
		return faint, "–"
	case "ok":
		return good, "●"
	case "reloading":
		return warning, "◐"
	case "failed", "gone", "away":
		return bad, "✗"
	case "skipped":
		return faint, "○"
	}
	return plainest, "◌"
}
