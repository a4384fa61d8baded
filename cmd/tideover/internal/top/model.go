package top

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
	"tideover/supervisor/trend"
)

const (
	// maxCurve is how many seconds the curves go back: as many as a wide terminal has columns.
	maxCurve = 400
	// maxLogLines is how many lines of the chosen app are kept.
	maxLogLines = 500
	// askTimeout is how long an answer may take.
	askTimeout = 5 * time.Second
)

// model is the state of the screen. It belongs to the goroutine of bubbletea.
type model struct {
	ctx     context.Context // ends with the program
	running *sync.WaitGroup // goroutines that read logs
	options Options

	width, height int
	answers       []api.Status // of each daemon, the last one
	records       []*trend.Recorder
	failure       string // why the last question had no answer; empty: it had one
	at            time.Time

	rows   []row // shown, in their order
	chosen string
	top    int // first row that is shown
	order  order
	filter string

	mode     mode
	typing   bool // the filter is being typed
	asked    *question
	notice   *notice
	busy     int // operations that this screen has asked for and that run
	inFlight map[string][]int

	follow *follower
	lines  []logs.Line

	fleet     *api.Fleet // of the first daemon that is in one; nil: none is
	firstHost int        // that is shown
}

// mode is what the screen shows.
type mode int

const (
	overview mode = iota
	onlyLog
	onlyHosts
	help
)

// row is an app of one daemon.
type row struct {
	api.AppStatus
	trend.Summary
	daemon int
}

// key tells apps of the same name apart.
func (r row) key() string { return string(rune('0'+r.daemon)) + r.Name }

// order is how the apps are sorted.
type order int

const (
	byName order = iota
	byRate
	byHeld
	byLatency
	byMemory
	byCPU
	orders = iota
)

func (o order) String() string {
	return [...]string{"name", "req/s", "held", "p95", "memory", "CPU"}[o]
}

// Messages.
type (
	answered struct {
		at       time.Time
		statuses []api.Status
		fleet    *api.Fleet
		err      error
	}
	askAgain  struct{}
	linesRead struct {
		from  *follower
		lines []logs.Line
		ended bool
	}
	operated struct{ notice notice }
)

func (m *model) Init() tea.Cmd { return m.ask }

// ask asks every daemon once. One question is under way at most.
func (m *model) ask() tea.Msg {
	ctx, cancel := context.WithTimeout(m.ctx, askTimeout)
	defer cancel()
	a := answered{statuses: make([]api.Status, len(m.options.Daemons))}
	for i, d := range m.options.Daemons {
		selectors := m.options.Apps
		if len(selectors) == 0 {
			selectors = []string{"all"} // without selectors there is no memory and no CPU
		}
		st, err := d.Status(ctx, selectors...)
		var known *api.Error
		if len(m.options.Daemons) > 1 && errors.As(err, &known) && known.Exit == api.ExitNoSuchApp {
			err = nil // another daemon has those apps
		}
		if err != nil {
			a.err = err
		}
		a.statuses[i] = st
		if st.Fleet != "" && a.fleet == nil {
			if f, err := d.Fleet(ctx); err == nil { // else it has just left it
				a.fleet = &f
			}
		}
	}
	a.at = time.Now()
	return a
}

// Update reacts to a message.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case answered:
		return m, m.onAnswer(msg)
	case askAgain:
		return m, m.ask
	case linesRead:
		return m, m.onLines(msg)
	case operated:
		m.busy--
		m.notice = &msg.notice
	case tea.KeyPressMsg:
		return m, m.onKey(msg)
	}
	return m, nil
}

func (m *model) onAnswer(a answered) tea.Cmd {
	again := tea.Tick(m.options.Interval, func(time.Time) tea.Msg { return askAgain{} })
	if a.err != nil {
		m.failure = a.err.Error()
		return again
	}
	m.failure, m.at, m.fleet = "", a.at, a.fleet
	if m.fleet == nil && m.mode == onlyHosts {
		m.mode = overview
	}
	for i, st := range a.statuses {
		m.answers[i] = st
		m.records[i].Add(a.at, st)
	}
	m.remember()
	m.arrange()
	return tea.Batch(again, m.followChosen())
}

// remember keeps the requests in flight of each generation that an operation concerns: the curves of
// the old and the new one.
func (m *model) remember() {
	kept := map[string][]int{}
	for i, st := range m.answers {
		for _, a := range st.Apps {
			for generation, n := range generations(a) {
				key := generationKey(i, a.Name, generation)
				turns := append(m.inFlight[key], n)
				kept[key] = turns[max(0, len(turns)-maxInFlight):]
			}
		}
	}
	m.inFlight = kept
}

// maxInFlight is how many answers the curve of a generation has.
const maxInFlight = 60

func generationKey(daemon int, app string, generation int) string {
	return string(rune('0'+daemon)) + app + "\x00" + string(rune(generation))
}

// generations are the requests in flight of the generations that have any target.
func generations(a api.AppStatus) map[int]int {
	all := map[int]int{}
	if a.Generation > 0 {
		all[a.Generation] = a.InFlight
	}
	for _, d := range a.Draining {
		all[d.Generation] = d.InFlight
	}
	return all
}

// arrange makes the rows from the answers.
func (m *model) arrange() {
	m.rows = m.rows[:0]
	for i, st := range m.answers {
		for _, a := range st.Apps {
			if m.filter == "" || strings.Contains(strings.ToLower(a.Name), strings.ToLower(m.filter)) || string(a.State) == m.filter {
				m.rows = append(m.rows, row{AppStatus: a, Summary: m.records[i].Summary(a.Name), daemon: i})
			}
		}
	}
	slices.SortStableFunc(m.rows, func(a, b row) int { return cmp.Or(m.order.compare(a, b), strings.Compare(a.Name, b.Name)) })
	if _, found := m.selected(); !found && len(m.rows) > 0 {
		m.chosen = m.rows[0].key()
	}
}

// compare puts the greater one first.
func (o order) compare(a, b row) int {
	switch o {
	case byRate:
		return cmp.Compare(b.PerSecond, a.PerSecond)
	case byHeld:
		return cmp.Compare(b.Held, a.Held)
	case byLatency:
		return cmp.Compare(b.P95, a.P95)
	case byMemory:
		return cmp.Compare(b.Memory, a.Memory)
	case byCPU:
		return cmp.Compare(b.CPUShare, a.CPUShare)
	}
	return 0
}

// selected is the row that was chosen, and its number.
func (m *model) selected() (int, bool) {
	i := slices.IndexFunc(m.rows, func(r row) bool { return r.key() == m.chosen })
	return i, i >= 0
}

// follower reads what an app writes, until cancel.
type follower struct {
	key    string
	cancel context.CancelFunc
	lines  chan logs.Line // closed at the end
}

// followChosen reads the lines of the app that is chosen.
func (m *model) followChosen() tea.Cmd {
	i, found := m.selected()
	if !found {
		return nil
	}
	r := m.rows[i]
	if m.follow != nil {
		if m.follow.key == r.key() {
			return nil
		}
		m.follow.cancel()
	}
	ctx, cancel := context.WithCancel(m.ctx)
	f := &follower{key: r.key(), cancel: cancel, lines: make(chan logs.Line, maxLogLines)}
	m.follow, m.lines = f, nil
	daemon := m.options.Daemons[r.daemon]
	m.running.Go(func() {
		defer close(f.lines)
		_ = daemon.Logs(ctx, api.LogQuery{Apps: []string{r.Name}, Lines: maxLogLines / 2, Follow: true}, func(l logs.Line) bool {
			select {
			case f.lines <- l:
				return true
			case <-ctx.Done():
				return false
			}
		})
	})
	return f.read
}

// read waits for a line, and takes those with it that are there already.
func (f *follower) read() tea.Msg {
	line, ok := <-f.lines
	if !ok {
		return linesRead{from: f, ended: true}
	}
	read := []logs.Line{line}
	for len(read) < maxLogLines {
		select {
		case line, ok := <-f.lines:
			if !ok {
				return linesRead{from: f, lines: read, ended: true}
			}
			read = append(read, line)
			continue
		default:
		}
		break
	}
	return linesRead{from: f, lines: read}
}

func (m *model) onLines(msg linesRead) tea.Cmd {
	if msg.from != m.follow {
		return nil
	}
	m.lines = append(m.lines, msg.lines...)
	m.lines = slices.Clone(m.lines[max(0, len(m.lines)-maxLogLines):])
	if msg.ended {
		m.follow.cancel()
		m.follow.key = "" // the next answer of the daemon begins again
		return nil
	}
	return func() tea.Msg {
		select { // not more often than the screen is written
		case <-time.After(time.Second / fps):
		case <-m.ctx.Done():
		}
		return msg.from.read()
	}
}
