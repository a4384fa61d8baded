package top

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// fake is a daemon.
type fake struct {
	status api.Status
	fleet  api.Fleet
	err    error
	done   []string
	denied bool
}

func (f *fake) Status(context.Context, ...string) (api.Status, error) { return f.status, f.err }

func (f *fake) Fleet(context.Context) (api.Fleet, error) { return f.fleet, nil }

func (f *fake) Do(_ context.Context, r api.Request, _ func(api.Phase)) (api.Result, error) {
	f.done = append(f.done, string(r.Verb)+" "+r.App)
	if f.denied {
		return api.Result{}, &api.Error{Exit: api.ExitDenied, Message: "uid 1000 may not use tideover restart", Hint: "root may"}
	}
	return api.Result{App: r.App, Verb: r.Verb, Result: "ok", Generation: api.GenerationPair{From: 1, To: 2}}, nil
}

func (f *fake) Hold(_ context.Context, app string, r api.HoldRequest) (api.HoldReport, error) {
	f.done = append(f.done, fmt.Sprint("hold ", app, " ", r.For))
	return api.HoldReport{App: app, For: r.For.Seconds()}, nil
}

func (f *fake) Release(_ context.Context, app string) (api.HoldReport, error) {
	f.done = append(f.done, "release "+app)
	return api.HoldReport{App: app}, nil
}

func (f *fake) Logs(ctx context.Context, _ api.LogQuery, yield func(logs.Line) bool) error {
	for i := range 20 {
		yield(logs.Line{Time: time.Now(), Generation: i, Text: "\x1b[2J\x1b]0;title\x07 \u202e 日本語 line\r\t" + strings.Repeat("x", 300), Stream: logs.Stream(i % 4)})
	}
	<-ctx.Done()
	return nil
}

// screen is a model without a terminal.
func newScreen(t *testing.T, f *fake) *model {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	running := &sync.WaitGroup{}
	t.Cleanup(func() { cancel(); running.Wait() })
	m := newModel(ctx, running, Options{Daemons: []Daemon{f}, Host: "web-1", Interval: time.Hour})
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	m.answer()
	return m
}

// answer asks the daemon, and reads the log of the chosen app.
func (m *model) answer() {
	m.Update(m.ask())
	if m.follow != nil && len(m.lines) == 0 {
		m.Update(m.follow.read())
	}
}

// press presses a key and carries out what follows.
func (m *model) press(key string) {
	msg := tea.KeyPressMsg{Text: key, Code: []rune(key)[0]}
	if _, command := m.Update(msg); command != nil {
		if reply := command(); reply != nil {
			m.Update(reply)
		}
	}
}

func apps() *fake {
	f := &fake{}
	f.status.DurationBounds = []float64{0.1, 1}
	f.status.Apps = []api.AppStatus{
		{Name: "blog", State: api.Running, Generation: 3, Listen: []string{"127.0.0.1:1"}, Capacity: 8, InFlight: 9, Durations: []uint64{1, 2, 3}, Uptime: 3e6, Memory: 5 << 30},
		{Name: "日本\x1b[31m\u202e店", State: "odd\x07", Listen: []string{"unix:/a\nb"}, Held: 1234567, Reason: "it \x1b[1mis\r down", Next: 3,
			LastReload: &api.Result{Verb: api.Reload, Result: "kept\x1bold", Exit: api.ExitKeptOld, Generation: api.GenerationPair{From: 3, To: 4},
				Phases: []api.PhaseResult{{Name: "start", Result: "ok", Duration: 1}, {Name: "ready", Result: "failed", Duration: 60}}}},
		{Name: "shop", State: api.Reloading, Generation: 7, Listen: []string{"127.0.0.1:2"}, InFlight: 3, Draining: []api.DrainingGeneration{{Generation: 6, InFlight: 2}},
			Operation: &api.Operation{Verb: api.Reload, Generation: api.GenerationPair{From: 7, To: 8}, Phases: []api.PhaseResult{{Name: "start", Result: "ok", Duration: 0.4}},
				Phase: "ready", PhaseTime: 2, Duration: 2.4}},
		{Name: "worker", State: api.Stopped},
	}
	return f
}

func TestEveryScreenHasExactlyItsSizeAndNoControlCharacter(t *testing.T) {
	f := apps()
	for i := range 12 {
		f.status.Apps = append(f.status.Apps, api.AppStatus{Name: fmt.Sprint("app-", i, strings.Repeat("n", i)), State: api.Failed, Warnings: []string{"one\x1b]8;;http://x\x07"}})
	}
	f.status.Fleet, f.fleet = "shop", hosts()
	m := newScreen(t, f)
	for range 30 {
		f.status.Apps[0].Durations = []uint64{f.status.Apps[0].Durations[0] + 5, 2, 3}
		m.answer()
	}
	for step := range 4 {
		m.press("j")
		m.answer()
		for _, key := range []string{"?", "f", "l", "l", "r", "n"} {
			m.press(key)
			for _, size := range [][2]int{{40, 10}, {80, 24}, {120, 36}, {139, 20}, {140, 50}, {250, 70}, {20, 5}} {
				m.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
				text := m.draw()
				lines := strings.Split(text, "\n")
				if size[0] >= minWidth && len(lines) != size[1] {
					t.Fatalf("step %d, %v: %d lines", step, size, len(lines))
				}
				for _, line := range lines {
					plain := ansi.Strip(line)
					if size[0] >= minWidth && ansi.StringWidth(line) != size[0] {
						t.Fatalf("step %d, %v: %d columns: %q", step, size, ansi.StringWidth(line), plain)
					}
					if i := strings.IndexFunc(plain, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }); i >= 0 {
						t.Fatalf("step %d, %v: a control character: %q", step, size, plain)
					}
				}
			}
		}
	}
}

// hosts is a fleet.
func hosts() api.Fleet {
	f := api.Fleet{Group: "sh\x1bop", Host: "web-1", Members: 400, Behind: "the turn of web-2", Error: "etcd\n is away",
		Rollout: &api.FleetRollout{ID: 3, App: "shop", Revision: "v42", State: "halted", Done: 1, Of: 3, Halted: "web-2: kept old\x07"},
		Hosts: []api.FleetHost{{Name: "web-1", Here: true, Turn: "ok", Apps: 2, App: &api.FleetApp{Name: "shop", State: "running", Generation: 8, Revision: "v42"}},
			{Name: "web-2", Here: true, Turn: "failed", Apps: 1, App: &api.FleetApp{Name: "shop", State: "running", Generation: 7}}, {Name: "web-3\u202e", Turn: "waiting"}}}
	for i := range 50 {
		f.Hosts = append(f.Hosts, api.FleetHost{Name: fmt.Sprint("z", i)})
	}
	return f
}

func TestTheHostsOfAFleetAreShown(t *testing.T) {
	f := apps()
	m := newScreen(t, f)
	m.press("f")
	if m.mode != overview || strings.Contains(ansi.Strip(m.draw()), "hosts") {
		t.Error("there is no fleet")
	}
	f.status.Fleet, f.fleet = "shop", hosts()
	m.answer()
	m.Update(tea.WindowSizeMsg{Width: 120, Height: 24})
	if text := ansi.Strip(m.draw()); !strings.Contains(text, "✗ rollout halted") || !strings.Contains(text, "f hosts") {
		t.Error(text)
	}
	m.press("f")
	text := ansi.Strip(m.draw())
	for _, want := range []string{"rollout 3 of shop v42: halted, 1 of 3", "✗ halted at web-2: kept old", "waits for the turn of web-2", "as last known: etcd", "web-1  ● ok ", "shop +1", "✗ failed", "◌ waiting", "✗ away", "1-16 of 400"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	for range 100 {
		m.press("j")
	}
	if text := ansi.Strip(m.draw()); !strings.Contains(text, "z49 ") || strings.Contains(text, "● ok") {
		t.Error(text)
	}
	f.status.Fleet = ""
	m.answer()
	if m.mode != overview {
		t.Error("the hosts are shown without a fleet")
	}
}

func TestNothingIsDoneWithoutConfirmation(t *testing.T) {
	f := apps()
	m := newScreen(t, f)
	for _, key := range []string{"r", "R", "h", "u"} {
		m.press(key)
		if m.asked == nil || !strings.Contains(ansi.Strip(m.draw()), m.asked.text) {
			t.Errorf("%s does not ask", key)
		}
		m.press("n")
	}
	m.press("y")
	if len(f.done) > 0 {
		t.Fatalf("done: %q", f.done)
	}
	for _, key := range []string{"r", "R", "h", "u"} {
		m.press(key)
		m.press("y")
	}
	if got := strings.Join(f.done, ", "); got != "reload blog, restart blog, hold blog 30s, release blog" {
		t.Errorf("done: %s", got)
	}
	f.denied = true
	m.press("R")
	m.press("y")
	m.Update(tea.WindowSizeMsg{Width: 120, Height: 24})
	if text := ansi.Strip(m.draw()); !strings.Contains(text, "uid 1000 may not use tideover restart; root may") {
		t.Error(text)
	}
}

func TestAReloadShowsBothGenerations(t *testing.T) {
	f := apps()
	m := newScreen(t, f)
	m.press("j")
	text := ansi.Strip(m.draw())
	for _, want := range []string{"reload 7 → 8", "✓ start 400ms", "◐ ready 2.0s", "old 7    serves", "3 in flight", "new 8    starts", "┅┅"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

func TestTheTimelineOfAReloadFollowsItsPhases(t *testing.T) {
	now := time.Now()
	phases := []api.PhaseResult{{Name: "start", Result: "ok", Duration: 1}, {Name: "ready", Result: "ok", Duration: 2}, {Name: "swap", Result: "ok"},
		{Name: "drain", Result: "ok", Duration: 4}, {Name: "done"}}
	one := timelineOf(api.AppStatus{LastReload: &api.Result{Phases: phases, Generation: api.GenerationPair{From: 1, To: 2}, Ended: now}}, now)
	if got := fmt.Sprint(one.old, one.new, one.total); got != "[{0 3 0} {3 7 2}] [{0 3 1} {3 7 0}] 7" {
		t.Error(got)
	}
	held := []api.PhaseResult{{Name: "hold", Result: "ok", Duration: 1}, {Name: "stop", Result: "ok", Duration: 2}, {Name: "start", Result: "ok", Duration: 1},
		{Name: "ready", Result: "ok", Duration: 3}, {Name: "release", Result: "ok", Duration: 1}}
	two := timelineOf(api.AppStatus{LastReload: &api.Result{Phases: held, Generation: api.GenerationPair{From: 1, To: 2}, Ended: now, Duration: 8}}, now)
	if got := fmt.Sprint(two.old, two.new, two.total); got != "[{0 0 0} {0 3 2}] [{3 8 1} {8 8 0}] 8" {
		t.Error(got)
	}
	if timelineOf(api.AppStatus{}, now) != nil {
		t.Error("there is no operation")
	}
}

func TestADaemonThatDoesNotAnswerIsSaidAndComesBack(t *testing.T) {
	f := apps()
	m := newScreen(t, f)
	f.err = errors.New("no daemon on /run/x")
	m.answer()
	if text := ansi.Strip(m.draw()); !strings.Contains(text, "✗ no daemon on /run/x") || !strings.Contains(text, "blog") {
		t.Error(text)
	}
	f.err = nil
	m.answer()
	if text := ansi.Strip(m.draw()); strings.Contains(text, "no daemon") {
		t.Error(text)
	}
}

func TestAFilterShowsTheAppsWithThatName(t *testing.T) {
	m := newScreen(t, apps())
	for _, key := range []string{"/", "o", "p"} {
		m.press(key)
	}
	if len(m.rows) != 1 || m.rows[0].Name != "shop" {
		t.Errorf("%d rows", len(m.rows))
	}
	m.Update(tea.KeyPressMsg{Code: tea.KeyEscape})
	if len(m.rows) != 4 {
		t.Errorf("%d rows", len(m.rows))
	}
}
