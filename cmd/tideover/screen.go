package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"tideover/supervisor/api"
)

// screen is one of the two places words go to, and what it can show.
type screen struct {
	out      io.Writer
	terminal bool // lines may be rewritten in place
	color    bool
	width    int // columns
	height   int // lines
}

func (c *cli) results() screen { return c.screen(c.stdout) }
func (c *cli) errors() screen  { return c.screen(c.stderr) }

func (c *cli) screen(w io.Writer) screen {
	s := screen{out: w, width: 80, height: 24}
	if f, ok := w.(*os.File); ok && c.getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd())) {
		s.terminal = true
		if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			s.width, s.height = width, height
		}
	}
	switch c.color {
	case "always":
		s.color = true
	case "auto":
		s.color = s.terminal && c.getenv("NO_COLOR") == ""
	}
	return s
}

// color is an SGR sequence's parameters.
type color string

const (
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	faint  color = "2"
	bold   color = "1"
)

func (s screen) paint(c color, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// mark is a sign for people where there is a terminal, and a word elsewhere.
func (s screen) mark(sign, word string) string {
	if s.terminal {
		return sign
	}
	return word
}

// human is a duration as people say it.
func human(d time.Duration) string { return api.FormatDuration(d) }

// span makes a duration of a number in the API's unit.
func span(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// number is how seconds are written in key=value lines: no more digits than
// anybody needs.
func number(seconds float64) string {
	digits := 3
	if seconds >= 10 {
		digits = 1
	}
	text := strconv.FormatFloat(seconds, 'f', digits, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// size is a number of bytes as people say it.
func size(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MB", n>>20)
	}
	return fmt.Sprintf("%d KB", n>>10)
}

// plural is "1 request" and "2 requests".
func plural(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "s"), strings.HasSuffix(what, "sh"):
		what += "e"
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// pad fills text with spaces up to a width in columns.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// cut shortens text to a width in columns.
func cut(text string, width int) string {
	if width < 1 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// shown makes a child's text safe for a terminal: colours stay, whatever else
// would move the cursor, change the title or ring is spelled out.
func shown(text string) string {
	if !strings.ContainsFunc(text, isControl) {
		return text
	}
	var b strings.Builder
	painted := false
	for rest := text; rest != ""; {
		if paint := leadingColor(rest); paint != "" {
			b.WriteString(paint)
			rest, painted = rest[len(paint):], true
			continue
		}
		r, size := utf8.DecodeRuneInString(rest)
		if isControl(r) {
			fmt.Fprintf(&b, `\x%02x`, r)
		} else {
			b.WriteString(rest[:size])
		}
		rest = rest[size:]
	}
	if painted {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// shownLines is shown for each line of text.
func shownLines(text string) string {
	var safe strings.Builder
	for line := range strings.Lines(text) {
		body, ended := strings.CutSuffix(line, "\n")
		safe.WriteString(shown(body))
		if ended {
			safe.WriteByte('\n')
		}
	}
	return safe.String()
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f }

// leadingColor is the SGR sequence text begins with, if any.
func leadingColor(text string) string {
	rest, ok := strings.CutPrefix(text, "\x1b[")
	if !ok {
		return ""
	}
	parameters := len(rest) - len(strings.TrimLeft(rest, "0123456789;:"))
	if parameters < len(rest) && rest[parameters] == 'm' {
		return text[:len("\x1b[")+parameters+1]
	}
	return ""
}
