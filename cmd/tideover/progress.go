package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

const (
	spinInterval      = 120 * time.Millisecond
	heartbeatInterval = 10 * time.Second // of a line in a log, so that CI does not think the command hangs
)

// progress shows the phases of an operation as they happen. Its methods are
// called from one goroutine.
type progress interface {
	phase(api.Phase)
	tick(time.Time)
	close() // the operation has ended, or the waiting for it
}

// newProgress chooses how phases are shown, and how often tick is called. width
// is the width of the column with the apps' names; 0: there is one app.
func newProgress(c *cli, width int) (progress, time.Duration) {
	s := c.errors()
	switch {
	case c.quiet:
		return noProgress{}, time.Hour
	case s.Terminal:
		return newLiveProgress(s, width), spinInterval
	}
	return &logProgress{screen: s}, heartbeatInterval
}

// withProgress runs an operation and shows its phases meanwhile. width is that
// of newProgress.
func withProgress[R any](c *cli, width int, operation func(progress func(api.Phase)) (R, error)) (R, error) {
	view, interval := newProgress(c, width)
	defer view.close()
	phases := make(chan api.Phase)
	var result R
	var err error
	go func() {
		defer close(phases) // ends the loop below, which waits for this goroutine
		result, err = operation(func(p api.Phase) { phases <- p })
	}()
	ticker := time.NewTicker(interval)
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

// noProgress shows nothing.
type noProgress struct{}

func (noProgress) phase(api.Phase) {}
func (noProgress) tick(time.Time)  {}
func (noProgress) close()          {}

// logProgress writes a line of key=value pairs for each phase that has ended,
// for logs and scripts.
type logProgress struct {
	screen  term.Screen
	current api.Phase
	began   time.Time
}

func (l *logProgress) phase(p api.Phase) {
	if l.current, l.began = p, time.Now(); p.Result == "" || p.Name == "done" {
		return
	}
	l.write(p.Result, p.Duration, informative(p.Attrs))
}

func (l *logProgress) tick(now time.Time) {
	if l.current.Name == "" || l.current.Result != "" {
		return
	}
	l.write("waiting", now.Sub(l.began).Round(time.Second), l.current.Attrs)
}

func (l *logProgress) write(result string, took time.Duration, attrs []api.Attr) {
	line, _ := keyValues(append([]api.Attr{
		{Key: "app", Value: l.current.App},
		{Key: "phase", Value: l.current.Name},
		{Key: "result", Value: result},
		{Key: "duration_s", Value: term.Seconds(took.Seconds())},
	}, attrs...))
	fmt.Fprintln(l.screen.Out, line)
}

func (l *logProgress) close() {}

// keyValues writes attrs as key=value, quoted where they must be. It stops at
// the first one that would make the line longer than term.MaxLine; complete is
// false then.
func keyValues(attrs []api.Attr) (line string, complete bool) {
	var b strings.Builder
	for _, f := range attrs {
		value := f.Value
		if value == "" || strings.ContainsAny(value, " \t\n\"=") {
			value = strconv.Quote(value)
		}
		pair := f.Key + "=" + value
		if b.Len() > 0 {
			pair = " " + pair
		}
		if b.Len()+len(pair) > term.MaxLine {
			return b.String(), false
		}
		b.WriteString(pair)
	}
	return b.String(), true
}

// informative leaves out the count of tries when there was none.
func informative(attrs []api.Attr) []api.Attr {
	return slices.DeleteFunc(slices.Clone(attrs), func(f api.Attr) bool {
		return f.Key == "tries" && f.Value == "0"
	})
}

// liveProgress is a line for each phase on a terminal; the last one is rewritten
// in place.
type liveProgress struct {
	screen    term.Screen
	line      *term.StatusLine
	nameWidth int // of the column with the apps' names; 0: one app, named in a title
	titled    bool
	current   api.Phase
	running   []api.Phase // of each app the phase it is in; the newest last
	began     time.Time
}

func newLiveProgress(s term.Screen, nameWidth int) *liveProgress {
	return &liveProgress{screen: s, line: term.NewStatusLine(s), nameWidth: nameWidth}
}

func (l *liveProgress) phase(p api.Phase) {
	if p.Name == "done" {
		return
	}
	if l.nameWidth == 0 && !l.titled {
		l.titled = true
		fmt.Fprintf(l.screen.Out, "%s  %s\n\n", l.screen.Paint(term.Bold, p.App), title(p))
	}
	l.current, l.began = p, time.Now()
	l.running = slices.DeleteFunc(l.running, func(r api.Phase) bool { return r.App == p.App })
	switch p.Result {
	case "":
		l.running = append(l.running, p)
		l.draw(l.line.Spinner(), 0)
		return
	case "ok":
		l.draw(l.screen.Paint(term.Green, "✓"), p.Duration)
	default:
		l.draw(l.screen.Paint(term.Red, "✗"), p.Duration)
	}
	l.line.Close()
	if n := len(l.running); n > 0 { // the phase of another app, which this one has overwritten
		l.current = l.running[n-1]
		l.draw(l.line.Spinner(), 0)
	}
}

func title(p api.Phase) string {
	if p.From == 0 {
		return string(p.Verb)
	}
	if p.Plain {
		return fmt.Sprintf("%s   generation %d runs", p.Verb, p.From)
	}
	return fmt.Sprintf("%s   generation %d serves", p.Verb, p.From)
}

func (l *liveProgress) tick(now time.Time) {
	if !l.line.Open() {
		return
	}
	l.line.Spin()
	l.draw(l.line.Spinner(), now.Sub(l.began))
}

// draw rewrites the line with the current phase.
func (l *liveProgress) draw(mark string, took time.Duration) {
	var attrs []string
	for _, f := range informative(l.current.Attrs) {
		value := f.Value
		if d, err := time.ParseDuration(value); err == nil && strings.HasSuffix(value, "s") {
			value = human(d)
		}
		attrs = append(attrs, strings.ReplaceAll(f.Key, "_", " ")+" "+value)
	}
	duration := human(took)
	if l.current.Result == "" && took < time.Second {
		duration = ""
	}
	text := term.Pad(l.current.Name, 9) + " " + strings.Join(attrs, " · ")
	if l.nameWidth > 0 {
		text = term.Pad(l.current.App, l.nameWidth) + "  " + text
	}
	l.line.Draw(mark, text, duration)
}

func (l *liveProgress) close() { l.line.Close() }
