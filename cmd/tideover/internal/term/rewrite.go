package term

import (
	"fmt"
	"strings"
)

// StatusLine is the last line on a terminal, rewritten in place until it is
// closed.
type StatusLine struct {
	screen Screen
	open   bool
	frame  int // of the spinner
}

// NewStatusLine returns a line that is not yet on the screen.
func NewStatusLine(s Screen) *StatusLine { return &StatusLine{screen: s} }

// Open reports whether the line is on the screen and may be rewritten.
func (l *StatusLine) Open() bool { return l.open }

// Draw writes the line anew: a mark one column wide, text, and at the right
// edge a second text of at most 11 columns. The mark may have a colour.
func (l *StatusLine) Draw(mark, text, right string) {
	width := min(l.screen.Width-1, MaxLine) - len("  x ") - 12
	text = Pad(Truncate(text, width), width)
	fmt.Fprintf(l.screen.Out, "\r\x1b[K  %s %s %11s", mark, text, right)
	l.open = true
}

// Spinner is the mark of a line that is still to be rewritten.
func (l *StatusLine) Spinner() string {
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	return l.screen.Paint(Yellow, string(frames[l.frame%len(frames)]))
}

// Spin turns the spinner to its next frame.
func (l *StatusLine) Spin() { l.frame++ }

// Close leaves the line as it is and begins a new one.
func (l *StatusLine) Close() {
	if l.open {
		fmt.Fprintln(l.screen.Out)
		l.open = false
	}
}

// Escape sequences around pages: the alternate screen buffer without a cursor,
// and back.
const (
	EnterAlternate = "\x1b[?1049h\x1b[?25l"
	LeaveAlternate = "\x1b[?25h\x1b[?1049l"
)

// Pages shows one page after another: on a terminal in the alternate screen
// buffer, each over the one before, elsewhere one below the other.
type Pages struct {
	screen func() Screen // asked for every page, because windows change
	shown  int
	last   string
}

// NewPages shows nothing yet.
func NewPages(screen func() Screen) *Pages { return &Pages{screen: screen} }

// Shown is how many pages were shown.
func (p *Pages) Shown() int { return p.shown }

// Show shows a page; heading is a line above it, on terminals only.
func (p *Pages) Show(heading, page string) error {
	s := p.screen()
	if !s.Terminal {
		if p.shown++; p.shown > 1 {
			page = "\n" + page
		}
		_, err := fmt.Fprint(s.Out, page)
		return err
	}
	if p.shown++; p.shown == 1 {
		fmt.Fprint(s.Out, EnterAlternate)
	}
	p.last = page
	_, err := fmt.Fprint(s.Out, overwrite(s.Paint(Faint, heading)+"\n"+page, s.Height))
	return err
}

// Close leaves the alternate screen buffer; the last page stays on the terminal.
func (p *Pages) Close() {
	if s := p.screen(); s.Terminal && p.shown > 0 {
		fmt.Fprint(s.Out, LeaveAlternate+p.last)
	}
}

// overwrite is a page that replaces the one before: each line is cleared to its
// end after it is written, and then everything below. Lines that do not fit
// into height are counted.
func overwrite(page string, height int) string {
	lines := strings.Split(strings.TrimSuffix(page, "\n"), "\n")
	if room := max(2, height-1); len(lines) > room {
		lines = append(lines[:room-1:room-1], fmt.Sprintf("... and %s", Plural(len(lines)-room+1, "line")))
	}
	return "\x1b[H" + strings.Join(lines, "\x1b[K\n") + "\x1b[K\n\x1b[J"
}
