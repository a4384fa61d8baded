package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lineLength    = 79
	plainInterval = 2 * time.Second // of live lines where they cannot be rewritten
	sparkWidth    = 24
	sparkFull     = 4 * rate // requests in flight that fill the highest column: those of 4 s
)

// screen prints to a terminal, or to a file or pipe without colours and rewritten
// lines.
type screen struct {
	out      *os.File
	terminal bool
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

func (s screen) printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

// lost is a number of lost requests, red unless it is 0.
func (s screen) lost(format string, n int) string {
	text := fmt.Sprintf(format, n)
	if n > 0 {
		return s.paint(red, text)
	}
	return text
}

// reading has the values of the live line.
type reading struct {
	answered, lost int
	held           string
	waiting        []int
	took           time.Duration
}

// liveLine is rewritten in place on a terminal. Elsewhere a line is printed now
// and then.
type liveLine struct {
	screen
	open bool
	last time.Time
}

func (s screen) live() *liveLine { return &liveLine{screen: s, last: time.Now()} }

func (l *liveLine) draw(r reading) {
	if l.terminal {
		l.open = true
		l.printf("\r\x1b[K%s", l.text(" ", r))
	} else if time.Since(l.last) >= plainInterval {
		l.last = time.Now()
		l.printf("%s\n", l.text(" ", r))
	}
}

// finish prints the line for the last time.
func (l *liveLine) finish(r reading) {
	mark := l.paint(green, "✓")
	if r.lost > 0 {
		mark = l.paint(red, "✗")
	}
	if l.terminal {
		l.printf("\r\x1b[K")
	}
	l.printf("%s\n", l.text(mark, r))
	l.open = false
}

// close ends a line that was not finished.
func (l *liveLine) close() {
	if l.open {
		l.printf("\n")
	}
}

func (l *liveLine) text(mark string, r reading) string {
	text := fmt.Sprintf("%s answered %4d   held %3s   %s", mark, r.answered, r.held, l.lost("lost %3d", r.lost))
	if l.terminal {
		text += "   " + l.paint(faint, spark(r.waiting))
	}
	return text + fmt.Sprintf("   %5.1f s", r.took.Seconds())
}

// spark draws the numbers of waiting requests: a column for each, or sparkWidth
// columns with the largest of several when there are more.
func spark(waiting []int) string {
	steps := []rune("▁▂▃▄▅▆▇█")
	columns := min(sparkWidth, len(waiting))
	var b strings.Builder
	for i := range columns {
		highest := 0
		for _, n := range waiting[i*len(waiting)/columns : (i+1)*len(waiting)/columns] {
			highest = max(highest, n)
		}
		b.WriteRune(steps[min(highest*len(steps)/sparkFull, len(steps)-1)])
	}
	return b.String() + strings.Repeat(" ", sparkWidth-columns)
}

// table has a line for each step, and one for all under tideover.
func (s screen) table(results []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", s.paint(faint, fmt.Sprintf("%-36s %9s %8s %14s %8s", "", "requests", "held", "longest wait", "lost")))
	for _, r := range append(results, total(results)) {
		fmt.Fprintf(&b, "%-36s %9d %8s %12.2f s %s\n", r.name, r.requests, heldText(r.ours, r.held), r.longest.Seconds(), s.lost("%8d", r.lost))
	}
	return b.String()
}

func heldText(ours bool, held int) string {
	if !ours {
		return "-"
	}
	return fmt.Sprint(held)
}

// total adds up the results under tideover.
func total(results []result) result {
	sum := result{name: "all under tideover", ours: true}
	for _, r := range results {
		if r.ours {
			sum.held += r.held
			sum.requests += r.requests
			sum.lost += r.lost
			sum.longest = max(sum.longest, r.longest)
		}
	}
	return sum
}

// summary states the table in plain words.
func (s screen) summary(results []result) string {
	ours := total(results)
	if ours.lost > 0 {
		words := []string{fmt.Sprintf("Under tideover %d of %d requests were lost:", ours.lost, ours.requests)}
		for _, r := range results {
			if r.ours && r.lost > 0 {
				words = append(words, fmt.Sprintf("  %s: %s", r.name, r.ways), "    "+strings.Join(r.examples, "\n    "))
			}
		}
		return s.paint(red, strings.Join(words, "\n"))
	}
	words := s.paint(green, fmt.Sprintf("Under tideover each of %d requests got its complete right answer", ours.requests))
	for _, r := range results {
		if !r.ours && r.lost > 0 {
			words += fmt.Sprintf(".\nOne restart by supervisord lost %d of %d", r.lost, r.requests)
		}
	}
	return words + "."
}
