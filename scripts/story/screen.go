package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lineLength fits the narrowest terminal people use.
const lineLength = 79

// screen is where the story is shown.
type screen struct {
	out      *os.File
	terminal bool // lines may be rewritten in place
	color    bool
}

func newScreen(out *os.File) screen {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	terminal := err == nil && os.Getenv("TERM") != "dumb"
	return screen{out: out, terminal: terminal, color: terminal && os.Getenv("NO_COLOR") == ""}
}

type color string

const (
	bold  color = "1"
	faint color = "2"
	red   color = "31"
	green color = "32"
)

func (s screen) paint(c color, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

func (s screen) say(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

// reading is what the live line shows.
type reading struct {
	answered, lost int
	held           string
	tide           []int
	took           time.Duration
}

// liveLine is rewritten in place on a terminal, and written anew now and then
// elsewhere.
type liveLine struct {
	screen screen
	open   bool
	last   time.Time
}

func (s screen) live() *liveLine { return &liveLine{screen: s, last: time.Now()} }

func (l *liveLine) draw(r reading) {
	if !l.screen.terminal {
		if time.Since(l.last) >= plainLook {
			l.last = time.Now()
			l.screen.say("%s\n", l.text(" ", r))
		}
		return
	}
	l.open = true
	l.screen.say("\r\x1b[K%s", l.text(" ", r))
}

// finish writes the line for the last time.
func (l *liveLine) finish(r reading) {
	mark := l.screen.paint(green, "✓")
	if r.lost > 0 {
		mark = l.screen.paint(red, "✗")
	}
	if l.screen.terminal {
		l.screen.say("\r\x1b[K")
	}
	l.screen.say("%s\n", l.text(mark, r))
	l.open = false
}

// close ends a line that was not finished.
func (l *liveLine) close() {
	if l.open {
		l.screen.say("\n")
	}
}

const tideWidth = 24

func (l *liveLine) text(mark string, r reading) string {
	lost := fmt.Sprintf("lost %3d", r.lost)
	if r.lost > 0 {
		lost = l.screen.paint(red, lost)
	}
	text := fmt.Sprintf("%s answered %4d   held %3s   %s", mark, r.answered, r.held, lost)
	if l.screen.terminal {
		text += "   " + l.screen.paint(faint, spark(r.tide, tideWidth))
	}
	return text + fmt.Sprintf("   %5.1f s", r.took.Seconds())
}

// full is how many waiting requests fill the last of spark's steps: those of
// four seconds.
const full = 4 * rate

// spark draws how many requests were waiting: as many columns as there were
// looks, or width columns when there were more.
func spark(waiting []int, width int) string {
	steps := []rune("▁▂▃▄▅▆▇█")
	columns := min(width, len(waiting))
	var b strings.Builder
	for i := range columns {
		highest := 0
		for _, n := range waiting[i*len(waiting)/columns : (i+1)*len(waiting)/columns] {
			highest = max(highest, n)
		}
		b.WriteRune(steps[min(highest*len(steps)/full, len(steps)-1)])
	}
	return b.String() + strings.Repeat(" ", width-columns)
}

// wrap breaks a sentence into lines.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	return append(lines, line)
}
