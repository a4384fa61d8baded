package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tideover/supervisor/api"
)

const (
	spinPeriod = 120 * time.Millisecond
	beatPeriod = 10 * time.Second // a line in a log, so that CI does not think we hang
	lineLength = 79               // git puts "remote: " in front, and screens have 80
)

// progress shows the phases of one operation as they happen. Its methods are
// called from one goroutine.
type progress interface {
	phase(api.Phase)
	tick(time.Time)
	close() // the operation is over, or nobody waits for it any more
}

// newProgress is how phases are shown. width is that of a column for the apps'
// names; 0: there is one app.
func newProgress(c *cli, width int) (progress, time.Duration) {
	s := c.errors()
	switch {
	case c.quiet:
		return silence{}, time.Hour
	case s.terminal:
		return &live{screen: s, apps: width}, spinPeriod
	}
	return &lines{screen: s}, beatPeriod
}

// watch runs an operation and shows its phases meanwhile. width is that of a
// column for the apps' names; 0: there is one app.
func watch[R any](c *cli, width int, operation func(progress func(api.Phase)) (R, error)) (R, error) {
	view, period := newProgress(c, width)
	defer view.close()
	phases := make(chan api.Phase)
	var result R
	var err error
	go func() {
		defer close(phases) // what waits for this goroutine is the loop below
		result, err = operation(func(p api.Phase) { phases <- p })
	}()
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case p, more := <-phases:
			if !more {
				return result, err
			}
			view.phase(p)
		case now := <-ticker.C:
			view.tick(now)
		}
	}
}

type silence struct{}

func (silence) phase(api.Phase) {}
func (silence) tick(time.Time)  {}
func (silence) close()          {}

// lines is one line for each finished phase, for logs and scripts.
type lines struct {
	screen screen
	now    api.Phase
	began  time.Time
}

func (l *lines) phase(p api.Phase) {
	if l.now, l.began = p, time.Now(); p.Result == "" || p.Name == "done" {
		return
	}
	pairs := []api.Attr{{Key: "app", Value: p.App}, {Key: "phase", Value: p.Name}, {Key: "result", Value: p.Result},
		{Key: "duration_s", Value: number(p.Duration.Seconds())}}
	line, _ := keyValues(append(pairs, telling(p.Attrs)...))
	fmt.Fprintln(l.screen.out, line)
}

func (l *lines) tick(now time.Time) {
	if l.now.Name == "" || l.now.Result != "" {
		return
	}
	line, _ := keyValues([]api.Attr{{Key: "app", Value: l.now.App}, {Key: "phase", Value: l.now.Name},
		{Key: "result", Value: "waiting"}, {Key: "duration_s", Value: number(now.Sub(l.began).Round(time.Second).Seconds())}})
	fmt.Fprintln(l.screen.out, line)
}

func (l *lines) close() {}

// keyValues writes facts as key=value, quoted where they must be, and leaves
// out those that would make the line too long; whole is whether there were none.
func keyValues(facts []api.Attr) (line string, whole bool) {
	var b strings.Builder
	for _, f := range facts {
		value := f.Value
		if value == "" || strings.ContainsAny(value, " \t\n\"=") {
			value = strconv.Quote(value)
		}
		word := f.Key + "=" + value
		if b.Len() > 0 {
			word = " " + word
		}
		if b.Len()+len(word) > lineLength {
			return b.String(), false
		}
		b.WriteString(word)
	}
	return b.String(), true
}

// telling leaves out what says nothing: that nothing was tried.
func telling(facts []api.Attr) []api.Attr {
	return slices.DeleteFunc(slices.Clone(facts), func(f api.Attr) bool {
		return f.Key == "tries" && f.Value == "0"
	})
}

// live is a line for each phase, the last one rewritten in place.
type live struct {
	screen screen
	apps   int // width of a column for the apps' names; 0: there is one, and a title
	titled bool
	open   bool // the last line is still to be rewritten
	now    api.Phase
	under  []api.Phase // way, the newest last; of each app the one it is in
	began  time.Time
	turn   int
}

func (l *live) phase(p api.Phase) {
	if p.Name == "done" {
		return
	}
	if l.apps == 0 && !l.titled {
		l.titled = true
		fmt.Fprintf(l.screen.out, "%s  %s\n\n", l.screen.paint(bold, p.App), title(p))
	}
	l.now, l.began = p, time.Now()
	l.under = slices.DeleteFunc(l.under, func(u api.Phase) bool { return u.App == p.App })
	switch p.Result {
	case "":
		l.under = append(l.under, p)
		l.draw(l.spinner(), 0)
		return
	case "ok":
		l.draw(l.screen.paint(green, "✓"), p.Duration)
	default:
		l.draw(l.screen.paint(red, "✗"), p.Duration)
	}
	l.close()
	if n := len(l.under); n > 0 { // another app's, which this line was written over
		l.now = l.under[n-1]
		l.draw(l.spinner(), 0)
	}
}

func title(p api.Phase) string {
	if p.From == 0 {
		return string(p.Verb)
	}
	return fmt.Sprintf("%s   generation %d serves", p.Verb, p.From)
}

func (l *live) tick(now time.Time) {
	if !l.open {
		return
	}
	l.turn++
	l.draw(l.spinner(), now.Sub(l.began))
}

func (l *live) spinner() string {
	turns := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	return l.screen.paint(yellow, string(turns[l.turn%len(turns)]))
}

// draw writes the phase over what the last line was. The mark's colours have
// no width.
func (l *live) draw(mark string, took time.Duration) {
	var facts []string
	for _, f := range telling(l.now.Attrs) {
		value := f.Value
		if d, err := time.ParseDuration(value); err == nil && strings.HasSuffix(value, "s") {
			value = human(d)
		}
		facts = append(facts, strings.ReplaceAll(f.Key, "_", " ")+" "+value)
	}
	duration := human(took)
	if l.now.Result == "" && took < time.Second {
		duration = ""
	}
	room := min(l.screen.width-1, lineLength) - len("  x ") - 12
	text := pad(l.now.Name, 9) + " " + strings.Join(facts, " · ")
	if l.apps > 0 {
		text = pad(l.now.App, l.apps) + "  " + text
	}
	text = pad(cut(text, room), room)
	fmt.Fprintf(l.screen.out, "\r\x1b[K  %s %s %11s", mark, text, duration)
	l.open = true
}

func (l *live) close() {
	if l.open {
		fmt.Fprintln(l.screen.out)
		l.open = false
	}
}
