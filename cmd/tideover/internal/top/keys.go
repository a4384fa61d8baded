package top

import (
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"

	"tideover/supervisor/api"
)

// question is what has to be confirmed.
type question struct {
	text string
	run  func() notice // carries it out
}

// notice is the end of what was confirmed.
type notice struct {
	text, hint string
	failed     bool
}

// lease is how long the requests are held with the key h, where that is less than the app's
// hold.timeout.
const lease = 30 * time.Second

func (m *model) onKey(key tea.KeyPressMsg) tea.Cmd {
	pressed := key.String()
	switch {
	case pressed == "ctrl+c":
		return tea.Quit
	case m.typing:
		return m.onFilterKey(key)
	case m.asked != nil:
		return m.onAnswerKey(pressed)
	}
	m.notice = nil
	switch pressed {
	case "q":
		return tea.Quit
	case "esc":
		if m.mode == overview && m.filter != "" {
			m.filter = ""
			m.arrange()
		}
		m.mode = overview
	case "?":
		m.mode = toggled(m.mode, help)
	case "l", "enter":
		m.mode = toggled(m.mode, onlyLog)
	case "f":
		if m.fleet != nil {
			m.mode = toggled(m.mode, onlyHosts)
		}
	case "up", "k":
		return m.move(-1)
	case "down", "j":
		return m.move(1)
	case "pgup":
		return m.move(-10)
	case "pgdown":
		return m.move(10)
	case "home", "g":
		return m.move(-len(m.rows))
	case "end", "G":
		return m.move(len(m.rows))
	case "s":
		m.order = (m.order + 1) % orders
		m.arrange()
	case "/":
		m.typing = true
	case "r":
		m.confirm(api.Reload)
	case "R":
		m.confirm(api.Restart)
	case "h":
		m.confirmHold()
	case "u":
		m.confirmRelease()
	}
	return nil
}

func toggled(now, to mode) mode {
	if now == to {
		return overview
	}
	return to
}

// move chooses another app.
func (m *model) move(by int) tea.Cmd {
	if m.mode == onlyHosts {
		m.firstHost = max(0, min(m.firstHost+by, len(m.fleet.Hosts)-1))
		return nil
	}
	i, found := m.selected()
	if !found {
		return nil
	}
	m.chosen = m.rows[min(max(i+by, 0), len(m.rows)-1)].key()
	return m.followChosen()
}

func (m *model) onFilterKey(key tea.KeyPressMsg) tea.Cmd {
	switch key.String() {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		if text := []rune(m.filter); len(text) > 0 {
			m.filter = string(text[:len(text)-1])
		}
	default:
		m.filter += clean(key.Text)
	}
	m.arrange()
	return m.followChosen()
}

// onAnswerKey carries out what was asked, or not.
func (m *model) onAnswerKey(pressed string) tea.Cmd {
	q := m.asked
	m.asked = nil
	if pressed != "y" && pressed != "Y" {
		return nil
	}
	m.busy++
	return func() tea.Msg { return operated{q.run()} }
}

// confirm asks whether an operation is to be carried out. It goes on when the screen is closed.
func (m *model) confirm(verb api.Verb) {
	i, found := m.selected()
	if !found {
		return
	}
	r := m.rows[i]
	text := fmt.Sprintf("%s %s?", verb, r.Name)
	if verb == api.Restart && isWeb(r.AppStatus) {
		text += " Requests are held meanwhile."
	}
	daemon := m.options.Daemons[r.daemon]
	m.asked = &question{text, func() notice {
		result, err := daemon.Do(m.ctx, api.Request{Verb: verb, App: r.Name}, nil)
		if err != nil {
			return failed(err)
		}
		if result.Exit != api.ExitOK {
			return notice{fmt.Sprintf("%s %s: %s: %s", verb, r.Name, result.Result, result.Error), result.Hint, true}
		}
		done := fmt.Sprintf("%s %s: generation %d serves after %s", verb, r.Name, result.Generation.To, seconds(result.Duration))
		if !result.Plain {
			done += fmt.Sprintf(" · held %d, lost %d", result.Requests.Held, result.Requests.Lost)
		}
		return notice{text: done}
	}}
}

func (m *model) confirmHold() {
	i, found := m.selected()
	if !found || !isWeb(m.rows[i].AppStatus) {
		return
	}
	r := m.rows[i]
	wanted := lease
	if longest := time.Duration(r.HoldFor * float64(time.Second)); longest > 0 && longest < wanted {
		wanted = longest
	}
	daemon := m.options.Daemons[r.daemon]
	m.asked = &question{fmt.Sprintf("hold the requests of %s for %s?", r.Name, api.FormatDuration(wanted)), func() notice {
		report, err := daemon.Hold(m.ctx, r.Name, api.HoldRequest{For: wanted})
		if err != nil {
			return failed(err)
		}
		return notice{text: fmt.Sprintf("%s: holding for %s", r.Name, seconds(report.For))}
	}}
}

func (m *model) confirmRelease() {
	i, found := m.selected()
	if !found || !isWeb(m.rows[i].AppStatus) {
		return
	}
	r := m.rows[i]
	daemon := m.options.Daemons[r.daemon]
	m.asked = &question{fmt.Sprintf("release the requests of %s?", r.Name), func() notice {
		report, err := daemon.Release(m.ctx, r.Name)
		if err != nil {
			return failed(err)
		}
		return notice{text: fmt.Sprintf("%s: released after %s · held %d, lost %d", r.Name, seconds(report.Held), report.Requests.Held, report.Requests.Lost)}
	}}
}

// failed is the notice of an error.
func failed(err error) notice {
	if advised, ok := err.(interface{ Advice() (message, hint string) }); ok {
		message, hint := advised.Advice()
		return notice{message, hint, true}
	}
	return notice{err.Error(), "", true}
}
